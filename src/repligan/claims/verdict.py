"""Values over seeds -> what they say of a parameter -> verdict.

A verdict errs by one bound only, so bounds are one-sided, and hold however often one looks (see metrics/anytime.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np

from repligan.claims.rows import Above, Below, ClaimTest, Rule, Share, Within
from repligan.metrics import anytime
from repligan.metrics.metric import Interval

Verdict = Literal[
    "holds", "holds for some seeds", "does not hold", "not tested: its premise is not met", "not decided at this budget"
]
HOLDS: Final = "holds"
SOME: Final = "holds for some seeds"
FAILS: Final = "does not hold"
UNMET: Final = "not tested: its premise is not met"
OPEN: Final = "not decided at this budget"
POINTS = 24  # at which the growth of evidence is looked at
EDGE = 1e-9  # from the ends of a range, where evidence is infinite
LEAST = 8  # seeds below which nothing is decided


def evidence(test: ClaimTest, values: np.ndarray, against: np.ndarray | None) -> anytime.Sequence | None:
    """What `values` [R], or their relation to `against`, say of a test's parameter; None where nothing can be said.

    Yes or no: the share of yes. Ratios: their geometric mean. Yes less yes, and values with a range: the mean, by
    betting. All others: the mean. A test may say what else it knows of its values (`by`).
    """
    found = answered(test, related(test, values, against))
    if len(found) < LEAST or not np.isfinite(found).all():
        return None
    if found.dtype == bool:
        return anytime.share(int(found.sum()), len(found))
    both = against is not None and values.dtype == bool and against.dtype == bool
    bounded = test.range and (test.against is None or both)
    by = test.by or ("ratio" if test.relation == "ratio" else "bounded" if bounded else "mean")
    match by:
        case "mean":
            return anytime.mean(found)
        case "ratio":
            return anytime.ratio(found) if (found > 0).all() else None
        case "logit":
            return anytime.logit_mean(found) if ((found > 0) & (found < 1)).all() else None
        case "bounded":
            assert test.range
            return anytime.bounded_mean(found.astype(float), *test.range)


def verdict(rule: Rule, found: anytime.Sequence | None, alpha: float, tests: int) -> Verdict:
    """What evidence says of a rule: wrongly "holds" with a probability of at most `alpha`, "does not" of 1 / `tests`.

    A claim holds if all of its `tests` do, which is no easier for more of them; it fails if one does.
    """
    if found is None:
        return OPEN
    lower, upper = found.bounds(alpha)
    over, under = found.bounds(alpha / tests)
    match rule:
        case Share(most=most):
            if 1 - most < lower and upper < most:
                return SOME
            return HOLDS if lower >= most else FAILS if under <= 1 - most else OPEN
        case Above(than=than):
            return HOLDS if lower > than else FAILS if under < than else OPEN
        case Below(than=than):
            return HOLDS if upper < than else FAILS if over > than else OPEN
        case Within(low=low, high=high):
            over, under = found.bounds(alpha / tests / 2)  # it may fail on either side
            return HOLDS if low <= lower and upper <= high else FAILS if under < low or over > high else OPEN


def nearest(rule: Rule, found: anytime.Sequence | None, alpha: float, tests: int) -> tuple[Verdict, float]:
    """The verdict that evidence is nearest to, and its log e-value over what `verdict` asks for: 1 or more decides."""
    if found is None:
        return OPEN, 0.0
    holds, fails = -np.log(alpha), -np.log(alpha / tests)
    ends = found.low + EDGE, found.high - EDGE  # a rule may ask for what no value is

    def above(null: float) -> float:
        return float(found.above(np.clip(null, *ends)))

    def below(null: float) -> float:
        return float(found.below(np.clip(null, *ends)))

    ways: dict[Verdict, float]
    match rule:
        case Share(most=most):
            some = min(above(1 - most), below(most)) / holds
            ways = {HOLDS: above(most) / holds, SOME: some, FAILS: below(1 - most) / fails}
        case Above(than=than):
            ways = {HOLDS: above(than) / holds, FAILS: below(than) / fails}
        case Below(than=than):
            ways = {HOLDS: below(than) / holds, FAILS: above(than) / fails}
        case Within(low=low, high=high):
            outside = max(below(low), above(high)) / (fails + np.log(2))
            ways = {HOLDS: min(above(low), below(high)) / holds, FAILS: outside}
    return max(ways.items(), key=lambda way: way[1])


def likely(
    test: ClaimTest, values: np.ndarray, against: np.ndarray | None, num: int, alpha: float, tests: int
) -> Verdict:
    """The verdict of a test with a rule at `num` seeds, if new ones are like the `values` [R] of those so far.

    Evidence grows about in proportion to seeds, less a logarithm that counts while they are few: so seeds are repeated.
    """
    assert test.rule
    parts = np.resize(values, num), None if against is None else np.resize(against, num)
    said, share = nearest(test.rule, evidence(test, *parts), alpha, tests)
    return said if share >= 1 else OPEN


def combine(verdicts: Sequence[Verdict], premise: Sequence[Verdict] = ()) -> Verdict:
    """The verdict of a claim all of whose tests have to hold: one that fails decides, then one that is open.

    A premise comes first: unless it holds, nothing is concluded.
    """
    if any(one in (FAILS, SOME) for one in premise):
        return UNMET
    deciding: tuple[Verdict, ...] = (FAILS, OPEN, SOME)
    if any(one == OPEN for one in premise):
        return OPEN
    return next((kind for kind in deciding if kind in verdicts), HOLDS)


def related(test: ClaimTest, values: np.ndarray, against: np.ndarray | None) -> np.ndarray:
    """`values` [R], or their relation to `against` of the same seeds; a ratio to 0 is not finite."""
    if against is None:
        return values
    values, against = values.astype(float), against.astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return values - against if test.relation == "difference" else values / against


def answered(test: ClaimTest, values: np.ndarray) -> np.ndarray:
    """`values` [R], or whether each lies `inside` what the test says."""
    if test.inside is None:
        return values
    low, high = (np.inf * sign if end is None else end for end, sign in zip(test.inside, (-1, 1), strict=True))
    return (values >= low) & (values <= high)


def estimate(test: ClaimTest, found: np.ndarray) -> float:
    """The estimate of a test's parameter from finite values [R]: mean, share, or of ratios the geometric mean."""
    found = answered(test, found)
    if (test.by or test.relation) == "ratio" and found.dtype != bool and (found > 0).all():
        return float(np.exp(np.log(found).mean()))
    return float(found.mean())


def interval(test: ClaimTest, found: np.ndarray, says: anytime.Sequence | None, alpha: float) -> Interval:
    """mean, and where there is evidence lo and hi, each wrong with a probability of at most `alpha`."""
    finite = found[np.isfinite(found)]
    if not len(finite):
        return {}
    value = {"mean": estimate(test, finite)}
    bounds = says.bounds(alpha) if says else ()
    ends = {end: float(one) for end, one in zip(("lo", "hi"), bounds, strict=False) if np.isfinite(one)}
    return value | ends


def growth(test: ClaimTest, values: np.ndarray, against: np.ndarray | None, alpha: float) -> np.ndarray:
    """How the estimate and its bounds changed as seeds were added: [4, N], rows number of seeds, estimate, lo, hi.

    Six digits, for the last ones differ between CPU models; an end without a bound is not a number.
    """
    points = np.unique(np.geomspace(LEAST, max(LEAST, len(values)), POINTS).round().astype(int))
    found = []
    for num in points[points <= len(values)]:
        parts = values[:num], None if against is None else against[:num]
        says = evidence(test, *parts)
        one = interval(test, related(test, *parts), says, alpha)
        found.append([float(num), *(one.get(end, np.nan) for end in ("mean", "lo", "hi"))])
    return np.array([[float(f"{x:.6g}") for x in row] for row in found]).reshape(-1, 4).T


def quantile(published: float, values: np.ndarray, alpha: float) -> Interval:
    """Where the published value lies among the seeds: share below it, an equal one counting half."""
    below = int((values < published).sum()) + int((values == published).sum()) / 2
    value = {"mean": below / len(values)}
    if len(values) < LEAST:
        return value
    lower, upper = anytime.share(below, len(values)).bounds(alpha)
    return value | {"lo": float(lower), "hi": float(upper)}
