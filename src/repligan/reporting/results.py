"""What the evaluate stages wrote, read back for tables, figures and MLflow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from repligan.core.config import Experiment, Params, Report
from repligan.core.files import arrays, existing, read_json, usable


@dataclass
class Result:
    """One experiment: its rows of params.yaml, metrics, curves (a row per snapshot), losses, pictures by step.

    `called` is the name that its numbers are shown under. Of an image GAN also `walks`, uint8 images
    [rows, columns, C, H, W] by name, and `scores` of its latent space.
    """

    name: str
    called: str
    experiment: Experiment
    report: Report
    metrics: dict[str, Any]
    curves: pd.DataFrame
    losses: pd.DataFrame
    pictures: dict[int, np.ndarray]
    walks: dict[str, np.ndarray]
    scores: dict[str, Any]

    @property
    def floor(self) -> dict[str, dict[str, float]]:
        """metric -> mean and interval of real against real."""
        return self.metrics["protocol"]["floor"]

    @property
    def measured(self) -> list[str]:
        """The metrics of the curves, in the order of the table."""
        return [key for key in self.curves.columns if key in self.floor]


def read(params: Params, data: Path, reports: Path) -> list[Result]:
    """The results of all experiments of `params` in the folders that the pipeline writes.

    Raises InputError if one is missing or damaged.
    """
    return [_read_one(params, name, data, reports / "metrics") for name in params.experiments]


def _read_one(params: Params, name: str, data: Path, metrics: Path) -> Result:
    folder, explored = data / "evaluations" / name, data / "explorations" / name
    experiment, found = params.experiments[name], read_json(metrics / f"{name}.json")
    pictures = {int(step): array for step, array in arrays(folder / "pictures.safetensors")[0].items()}
    result = Result(
        name,
        params.called(name),
        experiment,
        params.reports[name],
        found,
        _table(folder / "curves.csv", empty=not pictures),
        _table(folder / "losses.csv", empty=False),
        pictures,
        {} if experiment.stacked else arrays(explored / "pictures.safetensors")[0],
        {} if experiment.stacked else read_json(explored / "scores.json"),
    )
    with usable(metrics / f"{name}.json"):
        missing = set(result.floor) - set(result.measured) if pictures else ()
        steps = [result.metrics[f"step_{step}"] for step in result.report.milestones if step in pictures]
        if missing or not result.metrics["end"] or any(not set(step) >= set(result.floor) for step in steps):
            raise ValueError("its metrics are not those of the curves and params.yaml")
    return result


def _table(path: Path, empty: bool) -> pd.DataFrame:
    if empty and existing(path).read_text() == "\n":  # an experiment without snapshots to measure
        return pd.DataFrame()
    with usable(existing(path)):
        table = pd.read_csv(path)
        if "step" not in table:
            raise ValueError("it has no column step")
        return table
