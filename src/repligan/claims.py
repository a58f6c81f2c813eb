"""What the sources claim, tested: values over seeds -> interval -> verdict.

The intervals of all tests with a rule hold together with 95 % (Bonferroni 1936): each has a share of the 5 % only.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from repligan.core.config import (
    REAL,
    SCALES,
    Above,
    Below,
    Change,
    Claim,
    ClaimTest,
    During,
    ImagesForm,
    Latent,
    Params,
    Share,
    Snapshot,
    Variation,
    Within,
)
from repligan.core.errors import InputError
from repligan.core.files import arrays, read_json
from repligan.evaluation.intervals import CONFIDENCE, interval, paired_shares, wilson

HOLDS, SOME, FAILS, OPEN = "holds", "holds for some seeds", "does not hold", "not decided at this budget"
Interval = dict[str, float]


class Unmeasured(InputError):
    """The results are there, but not with the metric or the snapshot that a test asks for."""


Values = dict[str, np.ndarray]


def ledger(params: Params, data: Path) -> tuple[dict[str, Any], Values]:
    """(claim -> what was measured and the verdict, JSON-able; "<claim>.<test>" -> values [R] behind it).

    `data`: the folder that the pipeline writes. Raises InputError if a result is missing or lacks what a test asks for.
    """
    ruled = sum(test.rule is not None for claim in params.claims.values() for test in claim.tests)
    confidence = 1 - (1 - CONFIDENCE) / max(1, ruled)
    found, values = {}, {}
    for name, claim in params.claims.items():
        rows = []
        for i, test in enumerate(claim.tests):
            try:
                row, measured = _tested(f"claims.{name}.tests.{i}", test, params, data, confidence)
            except Unmeasured:
                if params.decides(claim):
                    raise
                row, measured = _not_run(test), None
            rows.append(row)
            if measured is not None:
                values[f"{name}.{i}"] = measured
        found[name] = {"source": claim.source, "says": claim.says, "tests": rows} | _judged(claim, rows, params)
    return found, values


def verdict(rule: Share | Above | Below | Within, found: Interval) -> str:
    """What an interval says of a rule; an interval that holds a bound of the rule decides nothing."""
    if "lo" not in found:
        return OPEN
    lo, hi = found["lo"], found["hi"]
    match rule:
        case Share(most=most):
            if 1 - most < lo and hi < most:
                return SOME
            return HOLDS if lo >= most else FAILS if hi <= 1 - most else OPEN
        case Above(than=than):
            return HOLDS if lo > than else FAILS if hi < than else OPEN
        case Below(than=than):
            return HOLDS if hi < than else FAILS if lo > than else OPEN
        case Within(low=low, high=high):
            return HOLDS if low <= lo and hi <= high else FAILS if hi < low or lo > high else OPEN


def together(verdicts: Sequence[str]) -> str:
    """The verdict of a claim all of whose tests have to hold: one that fails decides, then one that is open."""
    return next((kind for kind in (FAILS, OPEN, SOME) if kind in verdicts), HOLDS)


def related(test: ClaimTest, values: np.ndarray, against: np.ndarray | None) -> np.ndarray:
    """`values` [R], or their relation to `against` of the same seeds."""
    if against is None:
        return values
    values, against = values.astype(float), against.astype(float)
    return values - against if test.relation == "difference" else values / against


def answered(test: ClaimTest, values: np.ndarray) -> np.ndarray:
    """`values` [R], or whether each lies `over` or `under` what the test says."""
    if test.over is not None:
        return values > test.over
    return values < test.under if test.under is not None else values


def estimate(test: ClaimTest, values: np.ndarray, against: np.ndarray | None, confidence: float) -> Interval:
    """Interval of the mean of a test's values; of ratios of two rows the geometric mean, without bounds at a zero."""
    found = answered(test, related(test, values, against))
    if against is not None and test.against != REAL and found.dtype != bool:
        if values.dtype == against.dtype == bool:
            return paired_shares(values, against, confidence)
        if test.relation == "ratio":
            if not (found > 0).all():
                return {"mean": float(found.mean())}
            return {end: float(np.exp(value)) for end, value in interval(np.log(found), confidence).items()}
    return interval(found, confidence)


def _tested(
    where: str, test: ClaimTest, params: Params, data: Path, confidence: float
) -> tuple[dict[str, Any], np.ndarray | None]:
    if not all(params.has(name) for name in test.rows):
        return _not_run(test), None
    values, against = _values(where, test, test.row, data), None
    if test.against == REAL:
        against = np.full(len(values), _real(where, test, params, data))
    elif test.against is not None:
        against = _values(where, test, test.against, data)
        common = min(len(values), len(against))
        values, against = values[:common], against[:common]
    measured, found = related(test, values, against), estimate(test, values, against, confidence)
    row = _asked(test) | {
        "rows": [params.called(name) for name in test.rows],
        "budget": [_budget(params, name) for name in test.rows],
        "num": len(measured),
        "over": _over(params, test),
        "confidence": confidence,
        "kind": "ratio" if test.relation == "ratio" else "share" if _of_shares(test, values) else "value",
        "measured": found,
    }
    if test.rule:
        row["verdict"] = verdict(test.rule, found)
    if test.published is not None:
        row |= {"published": test.published, "quantile": _quantile(test.published, measured, confidence)}
    return row, measured


def _asked(test: ClaimTest) -> dict[str, Any]:
    return {"label": test.label, "rule": test.rule.model_dump() if test.rule else None}


def _not_run(test: ClaimTest) -> dict[str, Any]:
    return _asked(test) | {"not_run": test.rows}


def _of_shares(test: ClaimTest, values: np.ndarray) -> bool:
    return values.dtype == bool or test.over is not None or test.under is not None


def _quantile(published: float, values: np.ndarray, confidence: float) -> Interval:
    """Where the published value lies among the seeds: share below it, an equal one counting half."""
    below = int((values < published).sum()) + int((values == published).sum()) / 2
    lo, hi = wilson(below, len(values), confidence)
    return {"mean": below / len(values), "lo": lo, "hi": hi}


def _judged(claim: Claim, rows: Sequence[dict[str, Any]], params: Params) -> dict[str, Any]:
    """The verdict, for some seeds their share, and where nothing is decided, what would decide it."""
    verdicts = [row["verdict"] for row in rows if "verdict" in row]
    here = together(verdicts) if len(verdicts) == sum(row["rule"] is not None for row in rows) else OPEN
    if not params.decides(claim):
        return {"verdict": OPEN, "decided_by": f"the {claim.needs} scale", "here": here}
    if here == OPEN:
        last = params.scale not in SCALES or params.scale == SCALES[-1]
        larger = "more seeds" if last else f"more seeds, or the {SCALES[SCALES.index(params.scale) + 1]} scale"
        return {"verdict": OPEN, "decided_by": larger, "here": here}
    share = (
        {"share": min(row["measured"]["mean"] for row in rows if row.get("verdict") == SOME)} if here == SOME else {}
    )
    return {"verdict": here, "here": here} | share


def _values(where: str, test: ClaimTest, row: str, data: Path) -> np.ndarray:
    """The test's value of each seed of `row`."""
    base, _, ablation = row.partition("/")
    ablated = data / "ablations" / base / ablation
    match test.value:
        case Snapshot(metric=metric, step=step):
            path = (ablated if ablation else data / "evaluations" / base) / "stats.safetensors"
            stats, note = arrays(path)
            steps = note["steps"]
            step = steps[-1] if step is None and steps else step
            if step not in steps:
                raise Unmeasured(
                    f"params.yaml: {where}.value.step: found {step}; allowed: {', '.join(map(str, steps))}"
                )
            return _pick(where, "metric", stats, metric)[steps.index(step)]
        case Latent(metric=metric):
            return _pick(where, "metric", arrays(data / "explorations" / base / "values.safetensors")[0], metric)
    history, _ = arrays((ablated if ablation else data / "runs" / base) / "history.safetensors")

    def part(metric: str, ends: list[float], key: str = "metric") -> np.ndarray:
        recorded = _pick(where, key, history, metric).astype(float)
        first, last = (round(end * len(recorded)) for end in ends)
        return recorded[min(first, len(recorded) - 1) : max(last, first + 1)]

    match test.value:
        case During(metric=metric, part=ends):
            return part(metric, ends).mean(axis=0)
        case Change(metric=metric, before=before, after=after):
            return part(metric, after).mean(axis=0) - part(metric, before).mean(axis=0)
        case Variation(metric=metric, than=than, part=ends):
            of, beside = part(metric, ends), part(than, ends, "than")
            return (of.std(axis=0) / of.mean(axis=0)) / (beside.std(axis=0) / beside.mean(axis=0))


def _real(where: str, test: ClaimTest, params: Params, data: Path) -> float:
    """The metric of real data in the place of G's, the mean over the repeats."""
    base, _, ablation = test.row.partition("/")
    if ablation and params.ablations[base].num is not None:
        stats, _ = arrays(data / "ablations" / base / REAL / "stats.safetensors")
        return float(_pick(where, "metric", stats, test.value.metric).mean())
    floor = read_json(data / "reference" / params.experiments[base].dataset / "card.json")["floor"]
    return float(_pick(where, "metric", floor, test.value.metric)["mean"])


def _pick(where: str, key: str, found: dict[str, Any], metric: str) -> Any:
    matching = [name for name in found if name == metric or (metric == "fd" and name.startswith("fd_"))]
    if not matching:
        allowed = ", ".join(sorted(found))
        raise Unmeasured(f"params.yaml: {where}.value.{key}: found {metric!r}; allowed: {allowed}")
    return found[matching[0]]


def _over(params: Params, test: ClaimTest) -> str:
    if isinstance(test.value, Latent):
        return (
            "components of z, of one G" if test.value.metric in ("shift", "factors_moved") else "pairs of z, of one G"
        )
    of_draws = isinstance(test.value, Snapshot) and "/" not in test.row and not params.row(test.row).stacked
    return "draws of one seed" if of_draws else "seeds"


def _budget(params: Params, name: str) -> str:
    row = params.row(name)
    form = params.datasets[row.dataset].form
    said = f"{row.seeds} seed{'s' * (row.seeds > 1)}, {row.steps:,} steps of batch {row.batch}"
    said += f", learning rate {row.optimiser.lr:g}"
    if isinstance(form, ImagesForm):
        said += f", {form.train:,} images, width {row.G.width} (G) and {row.D.width} (D)"  # type: ignore[union-attr]
    return said
