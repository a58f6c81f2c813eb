"""What the evaluate stages wrote of the experiments as published, read back for tables, figures and MLflow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from repligan.core.files import arrays, existing, read_json, usable
from repligan.evaluation.rows import Report
from repligan.metrics.metric import Interval
from repligan.params import Params
from repligan.training.rows import PUBLISHED, Experiment, RowId


@dataclass(frozen=True)
class Variant:
    """What a variant came to: metric -> interval at its last snapshot, and of its losses over the end.

    `step` is None where no snapshot was measured.
    """

    name: str
    seeds: int
    step: int | None
    measured: dict[str, Interval]
    end: dict[str, Interval]


@dataclass
class Result:
    """One experiment as published: its rows of params.yaml, metrics, curves (a row per snapshot), losses, pictures by
    step.

    `called` is the name that its numbers are shown under. Of an image GAN also `walks`, uint8 images
    [rows, columns, C, H, W] by name, and `scores` of its latent space.
    """

    name: str
    called: str
    experiment: Experiment
    report: Report
    milestones: list[int]
    metrics: dict[str, Any]
    curves: pd.DataFrame
    losses: pd.DataFrame
    pictures: dict[int, np.ndarray]
    walks: dict[str, np.ndarray]
    scores: dict[str, Any]

    @property
    def floor(self) -> dict[str, Interval]:
        """metric -> mean and interval of real against real."""
        return self.metrics["protocol"]["floor"]

    @property
    def measured(self) -> list[str]:
        """The metrics of the curves, in the order of the table."""
        return [key for key in self.curves.columns if key in self.floor]

    @property
    def variants(self) -> list[Variant]:
        """Its variants."""
        return [_variant(name, found) for name, found in self.metrics.get("variants", {}).items()]


def read(params: Params, data: Path, reports: Path) -> list[Result]:
    """The results of all experiments of `params` in the folders that the pipeline writes.

    Raises InputError if one is missing or damaged.
    """
    return [_read_one(params, name, data, reports / "metrics") for name in params.experiments]


def _read_one(params: Params, name: str, data: Path, metrics: Path) -> Result:
    folder, walk = data / "evaluations" / name, data / "evaluations" / name / "walk"
    walked = params.measures[name].walk is not None
    pictures = {int(step): array for step, array in arrays(folder / "pictures.safetensors")[0].items()}
    result = Result(
        name,
        params.called(RowId(experiment=name)),
        params.published(name),
        params.reports[name],
        params.measures[name].milestones,
        read_json(metrics / f"{name}.json"),
        _table(folder / "curves.csv", empty=not pictures),
        _table(folder / "losses.csv", empty=False),
        pictures,
        arrays(walk / "pictures.safetensors")[0] if walked else {},
        read_json(walk / "scores.json") if walked else {},
    )
    with usable(metrics / f"{name}.json"):
        missing = set(result.floor) - set(result.measured) if pictures else ()
        variants = {row.variant for row in params.rows_of(name)} - {PUBLISHED}
        if {variant.name for variant in result.variants} != variants:
            raise ValueError("its variants are not those of params.yaml")
        steps = [result.metrics[f"step_{step}"] for step in result.milestones if step in pictures]
        if missing or not result.metrics["end"] or any(not set(step) >= set(result.floor) for step in steps):
            raise ValueError("its metrics are not those of the curves and params.yaml")
    return result


def _variant(name: str, found: dict[str, Any]) -> Variant:
    step = next((int(key.removeprefix("step_")) for key in found if key.startswith("step_")), None)
    return Variant(name, found["seeds"], step, {} if step is None else found[f"step_{step}"], found["end"])


def _table(path: Path, empty: bool) -> pd.DataFrame:
    if empty and existing(path).read_text() == "\n":  # an experiment without snapshots to measure
        return pd.DataFrame()
    with usable(existing(path)):
        table = pd.read_csv(path)
        if "step" not in table:
            raise ValueError("it has no column step")
        return table
