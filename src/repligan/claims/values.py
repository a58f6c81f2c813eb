"""The values of trials that claims are tested on: one table a row, with a value of each metric, step and seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from repligan.claims.rows import BLURRED, Away, Change, ClaimTest, During, Progress, Settles, Snapshot, Variation
from repligan.core.errors import InputError
from repligan.core.files import arrays, usable
from repligan.metrics.metric import FRECHET, frechet
from repligan.training.rows import RowId

T = TypeVar("T")


class Unmeasured(InputError):
    """The table is there, but not with the metric or the step that a test asks for."""


@dataclass(frozen=True)
class _OfRow:
    """metric -> values [T, S], their steps [T], and what real data, and blurred ones, come to."""

    values: Mapping[str, np.ndarray]
    steps: Mapping[str, list[int]]
    real: Mapping[str, float]
    blurred: Mapping[str, float]

    def measured(self, where: str, value: Snapshot | Progress | Settles) -> np.ndarray:
        """What a value asks for of the snapshots of each seed: [S]."""
        match value:
            case Snapshot(metric=metric, step=step, over=unit):
                found = self._at(where, metric, step)
                return found / _pick(f"{where}.value.metric", self.blurred, metric) if unit else found
            case Progress(metric=metric, since=since):
                steps = _pick(f"{where}.value.metric", self.steps, metric)
                nearest = min(steps, key=lambda step: abs(step - since * steps[-1]))
                return self._at(where, metric) / self._at(where, metric, nearest)
            case Settles(metric=metric):
                says = _pick(f"{where}.value.metric", self.values, metric) > 0.5
                at_steps = np.array(_pick(f"{where}.value.metric", self.steps, metric))
                stays = np.logical_and.accumulate(says[::-1])[::-1]  # [T, S]: from here to the end
                return np.where(stays[-1], at_steps[stays.argmax(axis=0)], at_steps[-1]).astype(float)

    def recorded(self, where: str, value: During | Away | Change | Variation) -> np.ndarray:
        """What a value asks for of what training recorded of each seed: [S]."""
        match value:
            case During(metric=metric, part=ends):
                return self._part(where, metric, ends).mean(axis=0)
            case Away(metric=metric, level=level, part=ends):
                return np.abs(self._part(where, metric, ends) - level).mean(axis=0)
            case Change(metric=metric, before=before, after=after):
                return self._part(where, metric, after).mean(axis=0) - self._part(where, metric, before).mean(axis=0)
            case Variation(metric=metric, part=ends):
                found = self._part(where, metric, ends)
                return found.std(axis=0) / found.mean(axis=0)

    def _part(self, where: str, metric: str, ends: list[float]) -> np.ndarray:
        """What training recorded over a part of its steps: [T, S]."""
        recorded = _pick(f"{where}.value.metric", self.values, metric).astype(float)
        first, last = (round(end * len(recorded)) for end in ends)
        return recorded[min(first, len(recorded) - 1) : max(last, first + 1)]

    def _at(self, where: str, metric: str, step: int | None = None) -> np.ndarray:
        """The values at a snapshot, by default the last one: [S]."""
        measured = _pick(f"{where}.value.metric", self.values, metric)
        steps = _pick(f"{where}.value.metric", self.steps, metric)
        step = steps[-1] if step is None and steps else step
        if step not in steps:
            raise Unmeasured(f"{where}.value.step: found {step}; allowed: {', '.join(map(str, steps))}")
        one: np.ndarray = measured[steps.index(step)]
        return one


@dataclass
class Table:
    """The values of all trials in `folder`, as the evaluations write them; read when first asked for."""

    folder: Path
    _read: dict[Path, _OfRow] = field(default_factory=dict)

    def values(self, where: str, test: ClaimTest, row: RowId) -> np.ndarray:
        """What a test asks for of each seed of `row`: [R]; raises Unmeasured, naming `where` it stands, if it lacks."""
        value, found = test.value, self._of(row)
        with np.errstate(divide="ignore", invalid="ignore"):
            if isinstance(value, Snapshot | Progress | Settles):
                return found.measured(where, value)
            return found.recorded(where, value)

    def real(self, where: str, test: ClaimTest) -> float:
        """The metric of real data in the place of G's, or of blurred real data: the mean over the repeats."""
        of = self._of(test.row)
        return _pick(f"{where}.value.metric", of.blurred if test.against == BLURRED else of.real, test.value.metric)

    def _of(self, row: RowId) -> _OfRow:
        path = self.folder / row.experiment / f"{row.variant}.safetensors"
        if path not in self._read:
            values, note = arrays(path)
            with usable(path):
                self._read[path] = _OfRow(values, dict(note["steps"]), dict(note["real"]), dict(note["blurred"]))
        return self._read[path]


def _pick(where: str, found: Mapping[str, T], metric: str) -> T:
    name = metric if metric in found else frechet(found) if metric == FRECHET.name else None
    if name is None:
        raise Unmeasured(f"{where}: found {metric!r}; allowed: {', '.join(sorted(found))}")
    return found[name]
