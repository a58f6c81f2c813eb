"""Evaluations as tables: one metrics JSON for DVC, one CSV of curves."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from repligan.core.config import Dataset, Experiment, Report
from repligan.core.files import DIGITS, to_bytes, write_bytes
from repligan.evaluation.evaluate import Evaluation
from repligan.evaluation.intervals import interval

BAND = {"p05": 0.05, "p50": 0.5, "p95": 0.95}
Row = dict[str, float]
POINTS = 200  # of a loss curve: more than a figure resolves


def metrics(
    experiment: Experiment,
    dataset: Dataset,
    report: Report,
    scale: str,
    evaluation: Evaluation,
    card: dict[str, Any],
) -> dict[str, Any]:
    """What DVC and the report compare: metric -> mean, lo, hi at every milestone, and the protocol."""
    return {
        "dataset": experiment.dataset,
        "standin_for": dataset.standin_for,
        "scale": scale,
        "over": f"{experiment.seeds} seeds" if experiment.stacked else f"{card['repeats']} draws of one seed",
        "protocol": card,
        "end": evaluation.end(),
        **{f"step_{step}": evaluation.at(step) for step in report.milestones if step in evaluation.steps},
        **({} if experiment.stacked else _of_images(evaluation)),
    }


def _of_images(evaluation: Evaluation) -> dict[str, Any]:
    distance = next(key for key in evaluation.stats if key.startswith("fd_"))
    best, final = evaluation.best(distance), evaluation.steps[-1]
    return {
        "model": {"step": final, "rule": "the last snapshot, whatever its metrics"},
        "best": {
            "step": best,
            "rule": f"lowest mean {distance} of all snapshots, on these draws",
            **evaluation.at(best),
        },
        "alarms": [alarm._asdict() for alarm in evaluation.alarms],
    }


def write(folder: Path, experiment: Experiment, evaluation: Evaluation) -> None:
    """losses.csv, curves.csv, pictures.safetensors and, a value per seed or draw, stats.safetensors in `folder`."""
    write_bytes(folder / "losses.csv", to_csv(losses(evaluation, experiment.log_every)))
    write_bytes(folder / "curves.csv", to_csv(curves(evaluation)))
    row = experiment.model_dump(mode="json")
    write_bytes(folder / "pictures.safetensors", to_bytes(evaluation.pictures, row))
    write_bytes(folder / "stats.safetensors", to_bytes(stats(evaluation), {"steps": evaluation.steps}))


def stats(evaluation: Evaluation) -> dict[str, torch.Tensor]:
    """metric -> [T, R], as evaluated."""
    return {key: torch.from_numpy(values) for key, values in evaluation.stats.items()}


def curves(evaluation: Evaluation) -> list[Row]:
    """A row per snapshot: mean, interval and, over many repeats, quantiles of every metric."""
    rows = []
    for i, step in enumerate(evaluation.steps):
        row: Row = {"step": step}
        for key, values in evaluation.stats.items():
            row |= {key if end == "mean" else f"{key}_{end}": value for end, value in interval(values[i]).items()}
            row |= _band(key, values[i])
        rows.append(row)
    return rows


def losses(evaluation: Evaluation, log_every: int) -> list[Row]:
    """Loss and D's mean outputs over the steps: mean and quantiles over the seeds, averaged to 200 rows at most."""
    length = len(next(iter(evaluation.history.values())))
    bounds = np.linspace(0, length, min(length, POINTS) + 1).astype(int)
    rows = []
    for low, high in pairwise(bounds):
        row: Row = {"step": int(high) * log_every}
        for key, values in evaluation.history.items():
            seeds = values[low:high].mean(axis=0)
            row |= {key: float(seeds.mean())} | _band(key, seeds)
        rows.append(row)
    return rows


def to_csv(rows: Sequence[Row]) -> bytes:
    """CSV of rows with the same keys, floats with 6 significant digits."""
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    table.writeheader()
    for row in rows:
        table.writerow({k: f"{v:.{DIGITS}g}" if isinstance(v, float) else v for k, v in row.items()})
    return text.getvalue().encode()


def _band(key: str, values: np.ndarray) -> Row:
    if values.dtype == bool or len(values) < 20:
        return {}
    return {f"{key}_{name}": float(np.quantile(values, q)) for name, q in BAND.items()}
