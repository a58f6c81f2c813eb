"""Values over seeds -> interval -> verdict."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from repligan.claims import rows
from repligan.claims.verdict import FAILS, HOLDS, OPEN, SOME, combine, estimate, quantile, verdict

TESTS = 24  # that share the 5 %
CONFIDENCE = 1 - 0.05 / TESTS
SHARE = rows.Share(kind="share", most=0.95)
ABOVE = rows.Above(kind="above", than=1.0)
BELOW = rows.Below(kind="below", than=1.0)
WITHIN = rows.Within(kind="within", low=0.0, high=1.0)
Draw = Callable[[np.random.Generator], np.ndarray]


def test_of(**changes: Any) -> rows.ClaimTest:
    row = {"label": "", "value": {"kind": "snapshot", "metric": "tv"}, "row": {"experiment": "even"}}
    return rows.ClaimTest.model_validate(row | changes)


test_of.__test__ = False  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("rule", "lo", "hi", "said"),
    [
        (SHARE, 0.96, 1.0, HOLDS),
        (SHARE, 0.95, 1.0, HOLDS),
        (SHARE, 0.94, 0.96, OPEN),
        (SHARE, 0.44, 0.56, SOME),
        (SHARE, 0.04, 0.06, OPEN),
        (SHARE, 0.0, 0.04, FAILS),
        (SHARE, 0.02, 0.98, OPEN),
        (ABOVE, 1.01, 2.0, HOLDS),
        (ABOVE, 0.99, 2.0, OPEN),
        (ABOVE, 1.0, 2.0, OPEN),
        (ABOVE, 0.5, 0.9, FAILS),
        (BELOW, 0.5, 0.9, HOLDS),
        (BELOW, 0.5, 1.1, OPEN),
        (BELOW, 1.1, 1.2, FAILS),
        (WITHIN, 0.1, 0.9, HOLDS),
        (WITHIN, -0.1, 0.9, OPEN),
        (WITHIN, 0.1, 1.1, OPEN),
        (WITHIN, 1.1, 1.2, FAILS),
        (WITHIN, -0.3, -0.2, FAILS),
    ],
)
def test_a_verdict_is_where_the_interval_lies(rule: Any, lo: float, hi: float, said: str) -> None:
    assert verdict(rule, {"mean": (lo + hi) / 2, "lo": lo, "hi": hi}) == said


@pytest.mark.parametrize("rule", [SHARE, ABOVE, BELOW, WITHIN])
def test_without_an_interval_nothing_is_decided(rule: Any) -> None:
    assert verdict(rule, {"mean": 1.0}) == OPEN


def yes(share: float, seeds: int = 1000) -> Draw:
    return lambda g: g.random(seeds) < share


def normal(mean: float, seeds: int, sd: float = 1.0) -> Draw:
    return lambda g: g.normal(mean, sd, seeds)


def skewed(mean: float, seeds: int) -> Draw:
    return lambda g: g.exponential(1.0, seeds) + mean - 1


@pytest.mark.parametrize(
    ("rule", "draw", "right"),
    [
        (SHARE, yes(0.99), HOLDS),
        (SHARE, yes(0.01), FAILS),
        (SHARE, yes(0.5), SOME),
        (SHARE, yes(0.95), OPEN),
        (SHARE, yes(0.05), OPEN),
        (SHARE, yes(0.99, 8), OPEN),
        (ABOVE, normal(11.0, 5), HOLDS),
        (ABOVE, normal(-9.0, 5), FAILS),
        (ABOVE, normal(1.0, 5), OPEN),
        (ABOVE, normal(3.0, 40), HOLDS),
        (BELOW, skewed(-0.5, 40), HOLDS),
        (BELOW, skewed(1.0, 40), OPEN),
        (WITHIN, normal(1.5, 40, 0.3), FAILS),
        (WITHIN, normal(0.5, 8, 0.15), HOLDS),
        (WITHIN, normal(0.0, 8, 0.15), OPEN),
    ],
)
def test_simulated_claims_get_the_right_verdict(rule: Any, draw: Draw, right: str) -> None:
    g, test = np.random.default_rng(0), test_of()
    found = [verdict(rule, estimate(test, draw(g), None, CONFIDENCE)) for _ in range(1000)]
    assert found.count(right) >= 950


@pytest.mark.parametrize(("shift", "right"), [(3.0, HOLDS), (-3.0, FAILS), (0.0, OPEN)], ids=["true", "false", "edge"])
def test_pairs_of_seeds_decide_what_groups_could_not(shift: float, right: str) -> None:
    # Seeds differ by 30, the ablation moves each by 3 give or take 0.5: only the difference within a seed shows it.
    g = np.random.default_rng(0)
    test = test_of(against={"experiment": "even", "variant": "fast"}, relation="difference")
    rule, found = rows.Above(kind="above", than=0.0), []
    for _ in range(1000):
        seeds = g.normal(0, 30, 5)
        found.append(
            verdict(
                rule,
                estimate(test, seeds + shift + g.normal(0, 0.5, 5), seeds + g.normal(0, 0.1, 5), CONFIDENCE),
            )
        )
    assert found.count(right) >= 950


@pytest.mark.parametrize(("before", "after", "right"), [(0.4, 0.7, HOLDS), (0.7, 0.4, FAILS), (0.5, 0.5, OPEN)])
def test_differences_of_shares(before: float, after: float, right: str) -> None:
    g = np.random.default_rng(0)
    test = test_of(against={"experiment": "even", "variant": "fast"}, relation="difference")
    rule = rows.Above(kind="above", than=0.0)
    found = [
        verdict(rule, estimate(test, g.random(500) < after, g.random(500) < before, CONFIDENCE)) for _ in range(1000)
    ]
    assert found.count(right) >= 950


@pytest.mark.parametrize(
    ("verdicts", "whole"),
    [
        ([HOLDS, HOLDS], HOLDS),
        ([HOLDS, SOME], SOME),
        ([SOME, OPEN], OPEN),
        ([OPEN, FAILS], FAILS),
    ],
)
def test_all_tests_of_a_claim_have_to_hold(verdicts: list[str], whole: str) -> None:
    assert combine(verdicts) == combine(verdicts[::-1]) == whole


def test_ratios_are_geometric_means_and_stop_at_zero() -> None:
    test = test_of(against={"experiment": "even", "variant": "fast"}, relation="ratio")
    found = estimate(test, np.array([1.0, 8.0, 4.0]), np.array([2.0, 4.0, 4.0]), 0.95)
    assert found["mean"] == pytest.approx(1.0)
    assert found["lo"] * found["hi"] == pytest.approx(1.0)
    assert estimate(test, np.array([0.0, 8.0]), np.array([2.0, 4.0]), 0.95) == {"mean": 1.0}


@pytest.mark.parametrize(
    ("against", "found"),
    [([2.0, 0.0, 2.0], {"mean": 3.0}), ([0.0, 0.0, 0.0], {}), ([np.nan, 2.0, np.nan], {"mean": 1.0})],
)
@pytest.mark.parametrize("beside", ["real", {"experiment": "even", "variant": "fast"}], ids=["real", "row"])
def test_a_ratio_to_zero_decides_nothing(against: list[float], found: dict[str, float], beside: Any) -> None:
    test = test_of(against=beside, relation="ratio")
    measured = estimate(test, np.array([4.0, 2.0, 8.0]), np.array(against), 0.95)
    assert measured == found
    assert verdict(ABOVE, measured) == OPEN


def test_one_seed_has_no_interval() -> None:
    for values in (np.array([2.0]), np.array([True])):
        assert estimate(test_of(), values, None, 0.95) == {"mean": float(values[0])}


def test_ratios_of_shares_are_no_differences() -> None:
    test = test_of(against={"experiment": "even", "variant": "fast"}, relation="ratio")
    assert estimate(test, np.array([True, False]), np.array([True, True]), 0.95) == {"mean": 0.5}


def test_an_equal_value_counts_half_in_a_quantile() -> None:
    found = quantile(2.0, np.array([1.0, 2.0, 3.0, 4.0]), 0.95)
    assert found["mean"] == 0.375
    assert found["lo"] < 0.375 < found["hi"]
