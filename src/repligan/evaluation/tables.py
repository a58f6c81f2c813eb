"""What trials recorded and what was measured of them, as files: a table of values a row, curves, one metrics JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from repligan.core.files import SIGNIFICANT, array_bytes
from repligan.metrics.intervals import interval, summary
from repligan.metrics.metric import frechet
from repligan.training.rows import Experiment

BAND = {"p05": 0.05, "p50": 0.5, "p95": 0.95}
Line = dict[str, float]
Stats = Mapping[str, np.ndarray]
POINTS = 200  # of a loss curve: more than a figure resolves
LAST = 0.1  # share of a training over which its final losses are averaged


@dataclass
class RowResult:
    """All trials of a row. history: metric -> [L, S] every `log_every`; stats: metric -> [T, R] at `steps`.

    R are seeds, or of one seed draws of z and of the real half. alarms: of the first seed's training. walked: scores
    of the latent space [S] of the last snapshot.
    """

    experiment: Experiment
    steps: list[int]
    history: Stats
    stats: Stats
    alarms: list[dict[str, Any]] = field(default_factory=list)
    walked: Stats = field(default_factory=dict)

    def at(self, step: int) -> dict[str, dict[str, float]]:
        """metric -> mean and interval at a snapshot."""
        row = self.steps.index(step)
        return summary({key: values[row] for key, values in self.stats.items()})

    def end(self) -> dict[str, dict[str, float]]:
        """loss -> mean and interval over the seeds, each averaged over the last tenth of its training."""
        return {key: interval(v[-max(1, round(LAST * len(v))) :].mean(axis=0)) for key, v in self.history.items()}

    def best(self) -> dict[str, Any]:
        """The snapshot with the lowest mean Frechet distance, and the rule."""
        distance = frechet(self.stats)
        assert distance
        step = self.steps[int(self.stats[distance].mean(axis=1).argmin())]
        return {"step": step, "rule": f"lowest mean {distance} of all snapshots, on these draws", **self.at(step)}


def joined(experiment: Experiment, trials: Sequence[RowResult]) -> RowResult:
    """The results of a row's trials, seed after seed; of several seeds each counts once, as the mean of its draws."""
    first = trials[0]
    stats = {
        key: np.concatenate([_a_column_a_seed(one, key, len(trials)) for one in trials], axis=1) for key in first.stats
    }
    history = {key: np.concatenate([one.history[key] for one in trials], axis=1) for key in first.history}
    walked = {key: np.concatenate([one.walked[key] for one in trials]) for key in first.walked}
    return RowResult(experiment, first.steps, history, stats, first.alarms, walked)


def _a_column_a_seed(result: RowResult, key: str, trials: int) -> np.ndarray:
    values = result.stats[key]
    several = trials > 1 and not result.experiment.stacked
    return values.mean(axis=1, keepdims=True) if several else values


def values(result: RowResult, real: Mapping[str, float], blurred: Mapping[str, float]) -> bytes:
    """The table of a row as safetensors: metric -> [T, S], a value a step and seed; steps by metric, the row and what
    `real` data and `blurred` ones come to in the header."""
    recorded = [(i + 1) * result.experiment.log_every for i in range(len(next(iter(result.history.values()))))]
    measured = {
        key: found if result.experiment.stacked or found.shape[1] == result.experiment.seeds else found.mean(1)[:, None]
        for key, found in result.stats.items()
    }
    measured |= {key: found[None] for key, found in result.walked.items()}
    steps = {**dict.fromkeys(result.history, recorded), **dict.fromkeys(measured, result.steps)}
    steps |= dict.fromkeys(result.walked, result.steps[-1:])
    row = result.experiment.model_dump(mode="json")
    note = {"row": row, "steps": steps, "real": dict(real), "blurred": dict(blurred)}
    return array_bytes({**result.history, **measured}, note)


def metrics(
    result: RowResult, variants: Mapping[str, RowResult], milestones: Sequence[int], card: Mapping[str, Any]
) -> dict[str, Any]:
    """What DVC and the report compare: metric -> mean, lo, hi at every milestone, the variants' ends, the protocol."""
    experiment = result.experiment
    of_seeds = experiment.stacked or experiment.seeds > 1
    found: dict[str, Any] = {
        "dataset": experiment.dataset,
        "over": f"{experiment.seeds} seeds" if of_seeds else f"{card['repeats']} draws of one seed",
        "protocol": card,
        "end": result.end(),
        **{f"step_{step}": result.at(step) for step in milestones if step in result.steps},
    }
    if not experiment.stacked:
        found["model"] = {"step": result.steps[-1], "rule": "the last snapshot, whatever its metrics"}
        found |= {"best": result.best(), "alarms": result.alarms}
    if variants:
        found["variants"] = {name: _of_variant(one) for name, one in variants.items()}
    return found


def _of_variant(result: RowResult) -> dict[str, Any]:
    last = {f"step_{result.steps[-1]}": result.at(result.steps[-1])} if result.steps else {}
    return {"seeds": result.experiment.seeds, "end": result.end(), **last}


def curves(result: RowResult) -> list[Line]:
    """A line per snapshot: mean, interval and, over many repeats, quantiles of every metric."""
    lines = []
    for i, step in enumerate(result.steps):
        line: Line = {"step": step}
        for key, found in result.stats.items():
            line |= {key if end == "mean" else f"{key}_{end}": value for end, value in interval(found[i]).items()}
            line |= _band(key, found[i])
        lines.append(line)
    return lines


def losses(result: RowResult) -> list[Line]:
    """Loss and D's mean outputs over the steps: mean and quantiles over the seeds, averaged to 200 lines at most."""
    length = len(next(iter(result.history.values())))
    bounds = np.linspace(0, length, min(length, POINTS) + 1).astype(int)
    lines = []
    for low, high in pairwise(bounds):
        line: Line = {"step": int(high) * result.experiment.log_every}
        for key, found in result.history.items():
            seeds = found[low:high].mean(axis=0)
            line |= {key: float(seeds.mean())} | _band(key, seeds)
        lines.append(line)
    return lines


def to_csv(lines: Sequence[Line]) -> bytes:
    """CSV of lines with the same keys, floats with 6 significant digits."""
    text = io.StringIO()
    table = csv.DictWriter(text, list(lines[0]) if lines else [], lineterminator="\n")
    table.writeheader()
    for line in lines:
        table.writerow({k: f"{v:.{SIGNIFICANT}g}" if isinstance(v, float) else v for k, v in line.items()})
    return text.getvalue().encode()


def _band(key: str, found: np.ndarray) -> Line:
    if found.dtype == bool or len(found) < 20:
        return {}
    return {f"{key}_{name}": float(np.quantile(found, q)) for name, q in BAND.items()}
