"""Values over seeds -> evidence -> verdict."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from repligan.claims import rows
from repligan.claims.verdict import (
    FAILS,
    HOLDS,
    LEAST,
    OPEN,
    SOME,
    UNMET,
    Verdict,
    combine,
    evidence,
    growth,
    interval,
    likely,
    nearest,
    quantile,
    related,
    verdict,
)  # fmt: skip
from repligan.metrics import anytime

ALPHA = 0.05 / 24  # of one of 24 claims
SHARE = rows.Share(kind="share", most=0.95)
ABOVE = rows.Above(kind="above", than=1.0)
BELOW = rows.Below(kind="below", than=1.0)
WITHIN = rows.Within(kind="within", low=0.0, high=1.0)
Draw = Callable[[np.random.Generator], np.ndarray]


def test_of(**changes: Any) -> rows.ClaimTest:
    row = {"label": "", "value": {"kind": "snapshot", "metric": "tv"}, "row": {"experiment": "even"}}
    return rows.ClaimTest.model_validate(row | changes)


test_of.__test__ = False  # type: ignore[attr-defined]


SHARE_OF = {"kind": "snapshot", "metric": "recall"}
MOVES = {"kind": "change", "metric": "auc_D", "before": [0.0, 0.5], "after": [0.5, 1.0]}
AGAINST = {"against": {"experiment": "odd"}, "relation": "difference"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"value": SHARE_OF}, (0, 1)),
        ({"value": SHARE_OF} | AGAINST, (-1, 1)),
        ({"value": SHARE_OF} | AGAINST | {"relation": "ratio"}, None),
        ({"value": SHARE_OF | {"over": "blurred"}}, None),
        ({"value": SHARE_OF | {"metric": "fd"}}, None),
        ({"value": SHARE_OF | {"metric": "distinct"}}, (1, 10)),
        ({"value": SHARE_OF | {"metric": "distinct"}} | AGAINST, (-9, 9)),
        ({"value": SHARE_OF | {"metric": "gap_D"}} | AGAINST, (-2, 2)),
        ({"value": {"kind": "during", "metric": "acc_D", "part": [0, 1]}}, (0, 1)),
        ({"value": MOVES}, (-1, 1)),
        ({"value": MOVES} | AGAINST, (-2, 2)),
        ({"value": MOVES | {"metric": "loss_D"}}, None),
        ({"value": {"kind": "settles", "metric": "match"}}, None),
        ({"value": {"kind": "progress", "metric": "recall", "since": 0.5}}, None),
        ({"value": {"kind": "variation", "metric": "acc_D", "part": [0, 1]}}, None),
    ],
)
def test_values_lie_in_the_range_that_their_kind_makes_of_the_metrics(changes: Any, expected: Any) -> None:
    """Values at both ends are evidence, of whatever kind; one beyond is refused."""
    test = test_of(**changes)
    assert test.range == expected
    low, high = expected or (0.5, 5000.0)
    ends = np.linspace(low, high, 12)
    values, against = (ends, None) if test.against is None else (ends / 2, -ends / 2)
    if test.relation == "ratio":
        values, against = ends, np.ones(12)
    assert evidence(test, values, against)
    if expected and test.against is None:
        with pytest.raises(ValueError, match="allowed: "):
            evidence(test, values + 0.1, against)


def test_differences_may_be_told_to_be_bounded() -> None:
    test = test_of(value=SHARE_OF, by="bounded", **AGAINST)
    a, b = np.zeros(20), np.ones(20)
    assert evidence(test, a, b).bounds(ALPHA)[1] < 0  # type: ignore[union-attr]


class Fixed:
    """Evidence with the same bounds at every level."""

    def __init__(self, lo: float, hi: float):
        self.lo, self.hi = lo, hi

    def bounds(self, alpha: float) -> tuple[float, float]:
        return self.lo, self.hi


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
        (ABOVE, 1.01, np.inf, HOLDS),
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
def test_a_verdict_is_where_the_bounds_lie(rule: Any, lo: float, hi: float, said: str) -> None:
    assert verdict(rule, Fixed(lo, hi), ALPHA, 1) == said  # type: ignore[arg-type]


def test_a_claim_holds_at_alpha_and_fails_at_a_share_of_it() -> None:
    asked = []

    class Noting(Fixed):
        def bounds(self, alpha: float) -> tuple[float, float]:
            asked.append(alpha)
            return super().bounds(alpha)

    for rule, levels in ((ABOVE, {0.04, 0.01}), (WITHIN, {0.04, 0.01, 0.005})):
        asked.clear()
        verdict(rule, Noting(0.5, 1.5), 0.04, tests=4)  # type: ignore[arg-type]
        assert set(asked) == levels


@pytest.mark.parametrize("rule", [SHARE, ABOVE, BELOW, WITHIN])
def test_without_evidence_nothing_is_decided(rule: Any) -> None:
    assert verdict(rule, None, ALPHA, 1) == OPEN


PAIR = {"against": {"experiment": "even", "variant": "fast"}}


def yes(share: float, seeds: int = 1000) -> Draw:
    return lambda g: g.random(seeds) < share


def normal(mean: float, seeds: int, sd: float = 1.0) -> Draw:
    return lambda g: g.normal(mean, sd, seeds)


def uniform(mean: float, seeds: int, width: float) -> Draw:
    return lambda g: g.uniform(mean - width / 2, mean + width / 2, seeds)


@pytest.mark.parametrize(
    ("rule", "draw", "right"),
    [
        (SHARE, yes(0.99), HOLDS),
        (SHARE, yes(0.01), FAILS),
        (SHARE, yes(0.5), SOME),
        (SHARE, yes(0.95), OPEN),
        (SHARE, yes(0.05), OPEN),
        (SHARE, yes(0.99, 8), OPEN),
        (rows.Above(kind="above", than=0.5), uniform(0.9, 24, 0.2), HOLDS),
        (rows.Above(kind="above", than=0.5), uniform(0.1, 24, 0.2), FAILS),
        (rows.Above(kind="above", than=0.5), uniform(0.5, 24, 0.2), OPEN),
        (rows.Within(kind="within", low=0.4, high=0.6), uniform(0.5, 400, 0.1), HOLDS),
        (rows.Within(kind="within", low=0.4, high=0.6), uniform(0.4, 400, 0.1), OPEN),
        (rows.Within(kind="within", low=0.4, high=0.6), uniform(0.8, 400, 0.1), FAILS),
    ],
)
def test_simulated_claims_get_the_right_verdict(rule: Any, draw: Draw, right: str) -> None:
    g, test = np.random.default_rng(0), test_of()
    found = [verdict(rule, evidence(test, draw(g), None), ALPHA, 2) for _ in range(40)]
    assert found.count(right) >= 39


@pytest.mark.parametrize(("shift", "right"), [(3.0, HOLDS), (-3.0, FAILS), (0.0, OPEN)], ids=["true", "false", "edge"])
def test_pairs_of_seeds_decide_what_groups_could_not(shift: float, right: str) -> None:
    # Seeds differ by 30, the variant moves each by 3 give or take 0.5: only the difference within a seed shows it.
    g, test = np.random.default_rng(0), test_of(**PAIR, relation="difference")
    rule, found = rows.Above(kind="above", than=0.0), []
    for _ in range(40):
        seeds = g.normal(0, 30, 12)
        pair = seeds + shift + g.normal(0, 0.5, 12), seeds + g.normal(0, 0.1, 12)
        found.append(verdict(rule, evidence(test, *pair), ALPHA, 2))
    assert found.count(right) >= 39


@pytest.mark.parametrize(("before", "after", "right"), [(0.3, 0.7, HOLDS), (0.7, 0.3, FAILS), (0.5, 0.5, OPEN)])
def test_differences_of_shares(before: float, after: float, right: str) -> None:
    g, test = np.random.default_rng(0), test_of(**PAIR, relation="difference")
    rule = rows.Above(kind="above", than=0.0)
    found = [verdict(rule, evidence(test, g.random(300) < after, g.random(300) < before), ALPHA, 1) for _ in range(20)]
    assert found.count(right) >= 19


@pytest.mark.parametrize(
    ("premise", "verdicts", "whole"),
    [
        ([], [HOLDS, HOLDS], HOLDS),
        ([], [HOLDS, SOME], SOME),
        ([], [SOME, OPEN], OPEN),
        ([], [OPEN, FAILS], FAILS),
        ([HOLDS], [FAILS, HOLDS], FAILS),
        ([FAILS], [FAILS, HOLDS], UNMET),
        ([SOME, HOLDS], [HOLDS, HOLDS], UNMET),
        ([OPEN], [FAILS, HOLDS], OPEN),
    ],
)
def test_all_tests_have_to_hold_and_the_premise_first(
    premise: list[Verdict], verdicts: list[Verdict], whole: Verdict
) -> None:
    assert combine(verdicts, premise) == combine(verdicts[::-1], premise[::-1]) == whole


def measured(test: rows.ClaimTest, values: np.ndarray, against: np.ndarray | None = None) -> dict[str, float]:
    return interval(test, related(test, values, against), evidence(test, values, against), 0.05)


def test_ratios_are_geometric_means_and_stop_at_zero() -> None:
    test, g = test_of(**PAIR, relation="ratio"), np.random.default_rng(0)
    values, against = g.lognormal(size=(2, 30))
    found, mirrored = measured(test, values, against), measured(test, against, values)
    assert found["mean"] == pytest.approx(np.exp(np.log(values / against).mean()))
    assert found["lo"] * mirrored["hi"] == pytest.approx(1.0, rel=1e-6)
    assert 0 < found["lo"] < found["mean"] < found["hi"]
    values[0] = 0.0
    assert measured(test, values, against).keys() == {"mean"}


@pytest.mark.parametrize(
    ("against", "found"),
    [([2.0, 0.0, 2.0], {"mean": pytest.approx(8**0.5)}), ([0.0, 0.0, 0.0], {}), ([np.nan, 2.0, np.nan], {"mean": 1.0})],
)
@pytest.mark.parametrize("beside", ["real", {"experiment": "even", "variant": "fast"}], ids=["real", "row"])
def test_a_ratio_to_zero_decides_nothing(against: list[float], found: dict[str, Any], beside: Any) -> None:
    test, pair = test_of(against=beside, relation="ratio"), (np.array([4.0, 2.0, 8.0]), np.array(against))
    assert measured(test, *pair) == found
    assert evidence(test, *pair) is None


@pytest.mark.parametrize("seeds", [1, LEAST - 1, LEAST])
def test_fewer_than_eight_seeds_decide_nothing(seeds: int) -> None:
    for values in (np.full(seeds, 0.5), np.ones(seeds, bool)):
        assert (len(measured(test_of(), values)) > 1) == (seeds >= LEAST)


@pytest.mark.parametrize(
    ("metric", "changes", "low", "high"),
    [("tv", {}, 0.0, 1.0), ("loss_D", {"by": "ratio"}, 0.0, np.inf), ("coverage", {"by": "logit"}, 0.0, 1.0),
     ("coverage", {"inside": [0.2, None]}, 0.0, 1.0)],
)  # fmt: skip
def test_bounds_stay_inside_what_a_value_can_be(metric: str, changes: Any, low: float, high: float) -> None:
    value = {"kind": "snapshot", "metric": metric}
    values = np.array([0.01, 0.02, 0.01, 0.03, 0.9, 0.01, 0.02, 0.99])
    found = measured(test_of(value=value, **changes), values)
    assert low <= found.get("lo", low) <= found["mean"] <= found.get("hi", high) <= high


def test_inside_is_a_yes_or_no() -> None:
    values = np.array([0.1, 0.2, 0.3, 0.4] * 2)
    for inside, share in (([0.2, 0.3], 0.5), ([None, 0.1], 0.25), ([0.2, None], 0.75)):
        assert measured(test_of(inside=inside), values)["mean"] == share


def test_evidence_grows_from_the_first_seeds() -> None:
    values, test = np.random.default_rng(0).random(200) < 0.7, test_of()
    grown = growth(test, values, None, 0.05)
    num, estimate, low, high = grown
    assert (num[0], num[-1]) == (LEAST, 200)
    assert estimate[0] == pytest.approx(values[:LEAST].mean(), rel=1e-5)
    assert (high - low)[-1] < (high - low)[0] / 2
    assert growth(test, values[: LEAST - 1], None, 0.05).shape == (4, 0)


def test_an_equal_value_counts_half_in_a_quantile() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0] * 3)
    found = quantile(2.0, values, 0.05)
    assert found["mean"] == 0.375
    assert found["lo"] < 0.375 < found["hi"]
    assert quantile(2.0, values[:4], 0.05) == {"mean": 0.375}


@pytest.mark.parametrize("rule", [SHARE, ABOVE, BELOW, rows.Within(kind="within", low=0.3, high=0.7)])
def test_the_nearest_verdict_is_reached_just_where_the_bounds_decide(rule: Any) -> None:
    g, seen = np.random.default_rng(0), set()
    for num in (8, 30, 300):
        for mean in (0.01, 0.3, 0.5, 0.9, 0.99, 1.2):
            share = anytime.share(int((g.random(num) < mean).sum()), num)
            for found in (share, anytime.mean(g.normal(mean, 0.1, num))):
                said, part = nearest(rule, found, ALPHA, 3)
                decided = verdict(rule, found, ALPHA, 3)
                assert (said if part >= 1 else OPEN) == decided, (found, part)
                seen.add(decided)
    assert seen >= {HOLDS, FAILS, OPEN}


def test_a_rule_that_asks_for_what_no_value_is_is_never_near() -> None:
    beyond = rows.Above(kind="above", than=2.0)
    said, part = nearest(beyond, anytime.share(8, 8), ALPHA, 1)
    assert part < 1 or said == FAILS
    assert nearest(beyond, None, ALPHA, 1) == (OPEN, 0.0)


def test_likely_seeds_are_about_those_that_decide() -> None:
    test, found = test_of(by="mean", rule={"kind": "above", "than": 0.0}), []
    for seed in range(8):
        values = np.random.default_rng(seed).normal(0.5, 1.0, 800)
        decided = next(n for n in range(8, 800, 8) if likely(test, values[:n], None, n, ALPHA, 1) != OPEN)
        expected = [n for n in range(40, 800, 8) if likely(test, values[:40], None, n, ALPHA, 1) != OPEN]
        found.append(decided / min(expected, default=800))
    assert 0.4 < np.median(found) < 2.5
