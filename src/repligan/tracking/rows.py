"""What a run shows of a row or of one of its trials: curves, the values of its seeds, when it was trained."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from repligan.core.files import array_bytes, arrays, sha256, usable
from repligan.metrics.intervals import interval, student
from repligan.metrics.metric import FRECHET, Interval, frechet
from repligan.params import Params
from repligan.reporting.pictures import spread
from repligan.training.rows import PUBLISHED, RowId
from repligan.trials import Trial, trials_of

if TYPE_CHECKING:
    import pandas as pd

Curves = dict[str, list[tuple[int, Interval]]]
"""metric -> its values in the order of the steps: a mean, with `lo` and `hi` where there is an interval."""
MOST_KEYS = 25  # metrics a run: with more the browser is slow
MOST_POINTS = 50  # of a curve
# In this order as far as there is room: those that come with their interval, then those that come without.
WITH_INTERVAL = (
    "loss_D", "loss_G", FRECHET.name, "precision", "recall", "covered", "class_tv", "even_rate", "all_even", "coverage",
    "tv", "match", "inside",
)  # fmt: skip
THEN = ("D_real", "D_gen", "acc_D", "auc_D", "grad_G", "spread", "twins")
IN_TABLES = ("kid_se", "gap_D", "extreme_D", "steep_D", "dead_D")
LOSSES = WITH_INTERVAL[:2]
Values = Mapping[str, np.ndarray]
Steps = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Shown:
    """What a run shows. `key` changes with all of it; `seeds` is a table of what each seed came to last."""

    key: str
    curves: Curves
    seeds: Mapping[str, list[Any]]
    trials: Sequence[Trial]


@dataclass(frozen=True)
class Span:
    """From when to when something was trained, in milliseconds since 1970."""

    start: int
    end: int

    def at(self, share: float) -> int:
        """The time at a share of it."""
        return round(self.start + share * (self.end - self.start))


def read(params: Params, row: RowId, data: Path, reports: Path) -> tuple[Shown, list[Shown]]:
    """(what a row came to over its seeds, what each of its trials came to, where it has several).

    Raises InputError where its table is missing or damaged.
    """
    path = data / "evaluations" / row.experiment / f"{row.variant}.safetensors"
    values, note = arrays(path)
    trials = list(trials_of(row, params.rows[row]))
    key, drawn = f"{row}-{sha256(path)[:32]}", None
    if row.variant == PUBLISHED:
        key += f"-{sha256(reports / 'metrics' / f'{row.experiment}.json')[:32]}"
        drawn = data / "evaluations" / row.experiment / "curves.csv"
    with usable(path):
        steps, first = note["steps"], note["row"]["first_seed"]
        whole = _shown(key, values, steps, trials, drawn)
        parts = []
        for trial in trials if len(trials) > 1 else ():
            own = {name: one[:, trial.seeds.start - first : trial.seeds.stop - first] for name, one in values.items()}
            said = trial.experiment.model_dump(mode="json", exclude={"seeds", "first_seed", "keep_weights"})
            digest = hashlib.sha256(array_bytes(own, said)).hexdigest()
            parts.append(_shown(f"{trial}-{digest[:32]}", own, steps, [trial]))
    return whole, parts


def _shown(key: str, values: Values, steps: Steps, trials: Sequence[Trial], drawn: Path | None = None) -> Shown:
    seeds = {"seed": [seed for trial in trials for seed in trial.seeds]}
    last = {name: one[-1].astype(float).tolist() for name, one in values.items() if len(one)}
    return Shown(key, curves(values, steps, _measured(drawn)), seeds | last, trials)


def _measured(drawn: Path | None) -> pd.DataFrame | None:
    """The curves of an experiment as published, None where none was measured."""
    import pandas as pd

    return None if drawn is None or drawn.read_text() == "\n" else pd.read_csv(drawn)


def curves(values: Values, steps: Steps, measured: pd.DataFrame | None = None) -> Curves:
    """The curves of up to MOST_KEYS metrics of a table [T, S], as means over the seeds.

    Intervals are those of `measured`, the table of the report, where it has the metric, else over the seeds.
    """
    found: Curves = {}
    room = MOST_KEYS
    for key, wants_interval in _order(values):
        if not len(values[key]) or not room:
            continue
        at = spread(range(len(values[key])), MOST_POINTS)
        if measured is not None and key in measured:
            points = list(_of_report(measured, key))
        else:
            points = [(int(steps[key][i]), _over_seeds(key, values[key][i], wants_interval)) for i in at]
        width = 3 if wants_interval and "lo" in points[-1][1] else 1
        if width == 1 or width > room:
            points, width = [(step, {"mean": value["mean"]}) for step, value in points], 1
        found[key] = points
        room -= width
    return found


def _order(values: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """Metrics in the order in which they get their place in a run, and whether they get their interval too."""
    names = {FRECHET.name: frechet(values)}
    first = [names.get(name, name) for name in WITH_INTERVAL]
    rest = sorted(set(values) - {*first, *THEN, *IN_TABLES})
    for keys, wants_interval in ((first, True), (THEN, False), (rest, False)):
        yield from ((key, wants_interval) for key in keys if key in values)  # type: ignore[operator, misc]


def _of_report(measured: pd.DataFrame, key: str) -> Iterator[tuple[int, Interval]]:
    ends = {"mean": key, "lo": f"{key}_lo", "hi": f"{key}_hi"}
    for _, line in measured.iterrows():
        yield int(line["step"]), {end: float(line[name]) for end, name in ends.items() if name in measured}


def _over_seeds(key: str, found: np.ndarray, wants_interval: bool) -> Interval:
    if not wants_interval or len(found) == 1:
        return {"mean": float(found.mean())}
    if key in LOSSES:  # recorded a thousand times: too often for a bootstrap
        lo, hi = student(found)
        return {"mean": float(found.mean()), "lo": lo, "hi": hi}
    return interval(found)


def span(notes: Sequence[Mapping[str, Any]], otherwise: Path) -> Span:
    """When something was trained by the notes of its trials: from the first start on, as long as all of them took.

    Trained elsewhere it has no length, and stands where the file `otherwise` came here.
    """
    timed = [note for note in notes if {"began", "seconds"} <= note.keys()]
    if not timed:
        came = round(otherwise.stat().st_mtime * 1000)
        return Span(came, came)
    start = round(min(note["began"] for note in timed) * 1000)
    return Span(start, start + round(sum(note["seconds"] for note in timed) * 1000))
