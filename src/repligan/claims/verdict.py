"""Values over seeds -> interval -> verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np

from repligan.claims.rows import REAL, Above, Below, ClaimTest, Rule, Share, Within
from repligan.metrics.intervals import interval, paired_shares, wilson
from repligan.metrics.metric import Interval

Verdict = Literal["holds", "holds for some seeds", "does not hold", "not decided at this budget"]
HOLDS: Final = "holds"
SOME: Final = "holds for some seeds"
FAILS: Final = "does not hold"
OPEN: Final = "not decided at this budget"


def verdict(rule: Rule, found: Interval) -> Verdict:
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


def combine(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict of a claim all of whose tests have to hold: one that fails decides, then one that is open."""
    deciding: tuple[Verdict, ...] = (FAILS, OPEN, SOME)
    return next((kind for kind in deciding if kind in verdicts), HOLDS)


def related(test: ClaimTest, values: np.ndarray, against: np.ndarray | None) -> np.ndarray:
    """`values` [R], or their relation to `against` of the same seeds; a ratio to 0 is not finite."""
    if against is None:
        return values
    values, against = values.astype(float), against.astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return values - against if test.relation == "difference" else values / against


def answered(test: ClaimTest, values: np.ndarray) -> np.ndarray:
    """`values` [R], or whether each lies `over` or `under` what the test says."""
    if test.over is not None:
        return values > test.over
    return values < test.under if test.under is not None else values


def estimate(test: ClaimTest, values: np.ndarray, against: np.ndarray | None, confidence: float) -> Interval:
    """Interval of the mean of a test's values; of ratios of two rows the geometric mean, without bounds at a zero.

    Where some values are not finite it is the mean of the others only; nothing at all where none is.
    """
    found = related(test, values, against)
    finite = np.isfinite(found)
    if not finite.all():
        return {"mean": float(answered(test, found[finite]).mean())} if finite.any() else {}
    found = answered(test, found)
    if against is not None and test.against != REAL and found.dtype != bool:
        if test.relation == "ratio":
            if not (found > 0).all():
                return {"mean": float(found.mean())}
            return {end: float(np.exp(value)) for end, value in interval(np.log(found), confidence).items()}
        if values.dtype == against.dtype == bool:
            return paired_shares(values, against, confidence)
    return interval(found, confidence)


def quantile(published: float, values: np.ndarray, confidence: float) -> Interval:
    """Where the published value lies among the seeds: share below it, an equal one counting half."""
    below = int((values < published).sum()) + int((values == published).sum()) / 2
    lo, hi = wilson(below, len(values), confidence)
    return {"mean": below / len(values), "lo": lo, "hi": hi}
