"""What the evaluate stages wrote, read back for tables, figures and MLflow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from repligan.config import Experiment, Params, Report
from repligan.errors import InputError
from repligan.files import existing, read_json


@dataclass
class Result:
    """One experiment: its rows of params.yaml, metrics, curves (a row per snapshot), losses, pictures by step."""

    name: str
    experiment: Experiment
    report: Report
    metrics: dict[str, Any]
    curves: pd.DataFrame
    losses: pd.DataFrame
    pictures: dict[int, np.ndarray]

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
    return [
        Result(
            name,
            params.experiments[name],
            params.reports[name],
            read_json(reports / "metrics" / f"{name}.json"),
            _table(data / "evaluations" / name / "curves.csv"),
            _table(data / "evaluations" / name / "losses.csv"),
            _pictures(data / "evaluations" / name / "pictures.safetensors"),
        )
        for name in params.experiments
    ]


def _table(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(existing(path))
    except pd.errors.EmptyDataError:  # an experiment without snapshots to measure
        return pd.DataFrame()
    except ValueError as error:
        raise InputError(f"{path}: damaged ({error}); run `dvc repro` to make it again") from None


def _pictures(path: Path) -> dict[int, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return {int(step): array for step, array in sorted(load_file(existing(path)).items())}
    except (SafetensorError, ValueError) as error:
        raise InputError(f"{path}: damaged ({error}); run `dvc repro` to make it again") from None
