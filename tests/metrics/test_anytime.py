from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import integrate, stats

from repligan.metrics import anytime

G = np.random.default_rng(0)
NORMAL = G.normal(1, 1, 24)
U_SHAPED = G.beta(0.3, 0.3, 24)
NEAR_1 = G.beta(20, 2, 24)
KINDS: dict[str, tuple[Callable[[np.ndarray], anytime.Sequence], np.ndarray]] = {
    "share": (lambda values: anytime.share(values.sum(), len(values)), (NORMAL > 0.5).astype(float)),
    "mean": (anytime.mean, NORMAL),
    "ratio": (anytime.ratio, np.exp(NORMAL)),
    "logit_mean": (anytime.logit_mean, NEAR_1),
    "bounded_mean": (anytime.bounded_mean, U_SHAPED),
    "pairs": (lambda values: anytime.bounded_mean(values, -1, 1), np.sign(np.round(NORMAL))),
    "median": (anytime.median, NORMAL),
}
ALPHA = 0.05
any_kind = pytest.mark.parametrize("kind", KINDS)


def made(kind: str) -> anytime.Sequence:
    make, values = KINDS[kind]
    return make(values)


def closed_form(t: float, num: int) -> float:
    """Lindon et al. 2022, the two-sided e-value of a t statistic under a normal mixture of precision g."""
    kept = anytime.PRECISION / (anytime.PRECISION + num)
    return kept**0.5 * ((1 + t**2 / (num - 1)) / (1 + kept * t**2 / (num - 1))) ** (num / 2)


def closed_radius(num: int, alpha: float) -> float:
    """The same inverted: the t statistic whose e-value is 1 / alpha."""
    kept = anytime.PRECISION / (anytime.PRECISION + num)
    power = (kept * alpha**2) ** (1 / num)
    return ((num - 1) * (1 - power) / (power - kept)) ** 0.5


@pytest.mark.parametrize("num", [2, 8, 24, 1000])
def test_the_mean_of_both_sides_is_the_published_two_sided_e_value(num: int) -> None:
    for t in (0.3, 2.0, 7.0):
        found = anytime.normal_mean(t / num**0.5, 1.0, num)
        both = (np.exp(found.above(0.0)) + np.exp(found.below(0.0))) / 2
        assert both == pytest.approx(closed_form(t, num), rel=1e-9)


def test_a_side_of_t_is_the_mixture_over_positive_effects() -> None:
    """Twice the normal density over effects above 0, times the likelihood ratio of noncentral and central t."""
    num, t = 10, 2.5

    def mixed(effect: float) -> float:
        prior = 2 * stats.norm.pdf(effect, scale=anytime.PRECISION**-0.5)
        return float(prior * stats.nct.pdf(t, num - 1, effect * num**0.5) / stats.t.pdf(t, num - 1))

    expected = integrate.quad(mixed, 0, 12)[0]
    assert np.exp(anytime.normal_mean(t / num**0.5, 1.0, num).above(0.0)) == pytest.approx(expected, rel=1e-6)


def test_t_lies_just_inside_the_published_radius() -> None:
    for num in (8, 24, 100):
        lower = anytime.normal_mean(0.0, num**0.5, num).bounds(ALPHA)[0]
        assert -closed_radius(num, ALPHA) < lower <= -closed_radius(num, 2 * ALPHA)
        assert -lower == pytest.approx(closed_radius(num, 2 * ALPHA), rel=0.01)


def test_a_side_of_a_share_is_the_mixture_over_larger_shares() -> None:
    yes, num, null = 9, 10, 0.6
    prior = stats.beta(0.5, 0.5)
    mixed = integrate.quad(lambda p: prior.pdf(p) * p**yes * (1 - p) ** (num - yes), null, 1)[0]
    expected = mixed / prior.sf(null) / (null**yes * (1 - null) ** (num - yes))
    assert np.exp(anytime.share(yes, num).above(null)) == pytest.approx(expected, rel=1e-6)


def test_thirteen_of_thirteen_signs_decide_at_the_level_of_34_tests_and_twelve_do_not() -> None:
    enough = np.log(34 / 0.05)
    assert anytime.median(np.arange(1.0, 14.0)).apart(0.0) > enough
    assert anytime.median(np.arange(1.0, 13.0)).apart(0.0) < enough


@pytest.mark.parametrize("null", [0.02, 0.5, 0.97])
def test_a_share_is_a_fair_game_at_every_look(null: float) -> None:
    """Whatever was seen, the e-value expected after one more seed is the present one: so it is valid at any time."""
    for yes, num in ((0, 0), (3, 4), (7, 7), (0, 30), (12, 40)):
        now = anytime.share(yes, num)
        then = [anytime.share(yes + more, num + 1) for more in (0, 1)]
        for side in ("above", "below"):
            expected = sum(
                weight * np.exp(getattr(one, side)(null)) for weight, one in zip((1 - null, null), then, strict=True)
            )
            assert expected == pytest.approx(np.exp(getattr(now, side)(null)), rel=1e-9)


def test_bets_are_a_fair_game_at_every_look() -> None:
    seen = U_SHAPED[:9]
    outcomes, weights = np.array([0.0, 0.3, 1.0]), np.array([0.2, 0.5, 0.3])
    null = float(outcomes @ weights)
    for side in ("above", "below"):
        now = np.exp(getattr(anytime.bounded_mean(seen), side)(null))
        then = [np.exp(getattr(anytime.bounded_mean(np.append(seen, one)), side)(null)) for one in outcomes]
        assert weights @ then == pytest.approx(now, rel=1e-9)


@pytest.mark.parametrize("num", [2, 8, 30])
def test_t_expects_an_e_value_of_1_where_null_is_true(num: int) -> None:
    def weighted(t: float) -> float:
        return float(stats.t.pdf(t, num - 1) * np.exp(anytime.normal_mean(t / num**0.5, 1.0, num).above(0.0)))

    assert sum(integrate.quad(weighted, *ends, limit=200)[0] for ends in ((-np.inf, 0), (0, np.inf))) == pytest.approx(
        1, abs=1e-4
    )


def test_a_share_has_one_lower_bound() -> None:
    """The e-value falls with null wherever it can exclude one, so halving finds the only crossing."""
    nulls = np.linspace(0.001, 0.999, 400)
    for num in (1, 2, 7, 24, 100, 1000):
        for yes in {0, 1, num // 2, num - 1, num}:
            found = anytime.share(yes, num).above(nulls)
            excluding = found >= np.log(2)
            assert (np.diff(found[excluding]) < 0).all()
            assert (np.diff(excluding.astype(int)) <= 0).all()


@any_kind
def test_an_interval_holds_what_its_e_values_do_not_exclude(kind: str) -> None:
    found = made(kind)
    lower, upper = found.bounds(ALPHA)
    lo, hi = found.interval(ALPHA)
    small, enough = 1e-6, np.log(1 / ALPHA)
    assert found.above(lower - small) >= enough > found.above(lower + small)
    assert found.below(upper + small) >= enough > found.below(upper - small)
    assert found.apart(lo - small) >= enough > found.apart(lo + small)
    assert found.apart(hi + small) >= enough > found.apart(hi - small)


@any_kind
def test_less_alpha_is_a_wider_interval_inside_the_range(kind: str) -> None:
    found = made(kind)
    ends = np.array([found.interval(alpha) for alpha in (0.5, 0.05, 0.002, 1e-12)]).T
    assert (np.diff(ends[0]) <= 0).all()
    assert (np.diff(ends[1]) >= 0).all()
    assert ends[0][0] > ends[0][2]
    assert found.low <= ends.min()
    assert ends.max() <= found.high


@any_kind
def test_the_order_of_seeds_does_not_matter(kind: str) -> None:
    make, values = KINDS[kind]
    assert make(values[::-1]).interval(ALPHA) == pytest.approx(make(values).interval(ALPHA), rel=1e-9)


def test_mirrored_values_have_the_mirrored_interval() -> None:
    for one, mirrored, flip in (
        (anytime.share(3, 20), anytime.share(17, 20), lambda x: 1 - x),
        (anytime.mean(NORMAL), anytime.mean(-NORMAL), lambda x: -x),
        (anytime.ratio(np.exp(NORMAL)), anytime.ratio(np.exp(-NORMAL)), lambda x: 1 / x),
        (anytime.logit_mean(NEAR_1), anytime.logit_mean(1 - NEAR_1), lambda x: 1 - x),
        (anytime.bounded_mean(U_SHAPED), anytime.bounded_mean(1 - U_SHAPED), lambda x: 1 - x),
        (anytime.median(NORMAL), anytime.median(-NORMAL), lambda x: -x),
    ):
        lo, hi = one.interval(ALPHA)
        assert mirrored.interval(ALPHA) == pytest.approx((flip(hi), flip(lo)), rel=1e-9)


def test_units_do_not_matter() -> None:
    lo, hi = anytime.mean(NORMAL).interval(ALPHA)
    assert anytime.mean(1000 + 1e-3 * NORMAL).interval(ALPHA) == pytest.approx((1000 + 1e-3 * lo, 1000 + 1e-3 * hi))
    lo, hi = anytime.bounded_mean(U_SHAPED).interval(ALPHA)
    wide = anytime.bounded_mean(10 * U_SHAPED - 5, -5, 5)
    assert wide.interval(ALPHA) == pytest.approx((10 * lo - 5, 10 * hi - 5))


def test_nothing_is_said_without_values() -> None:
    none = np.empty(0)
    assert anytime.share(0, 0).interval(ALPHA) == (0, 1)
    assert anytime.bounded_mean(none, -1, 1).interval(ALPHA) == (-1, 1)
    assert anytime.ratio(none).interval(ALPHA) == (0, np.inf)
    assert anytime.logit_mean(none).interval(ALPHA) == (0, 1)
    for make in (anytime.mean, anytime.median):
        assert make(none).interval(ALPHA) == (-np.inf, np.inf)
    for found in (anytime.share(0, 0), anytime.bounded_mean(none), anytime.logit_mean(none)):
        assert found.above(0.5) == pytest.approx(0)


def test_one_value_says_nothing_of_a_mean() -> None:
    assert anytime.mean(np.array([3.0])).interval(ALPHA) == (-np.inf, np.inf)
    assert anytime.mean(np.array([3.0])).above(0.0) == 0
    assert anytime.ratio(np.array([3.0])).bounds(0.4) == (0, np.inf)


def test_a_ratio_beyond_all_numbers_is_not_bounded() -> None:
    assert anytime.ratio(np.array([1e-300, 1e300, 1.0, 1e200, 1e-200])).interval(ALPHA) == (0, np.inf)


def test_few_values_have_no_bound_and_more_have_one() -> None:
    level = 0.05 / 24
    widths = [anytime.normal_mean(0.0, 1.0, num).bounds(level)[1] for num in range(2, 30)]
    assert np.isinf(widths[:3]).all()
    assert np.isfinite(widths[6:]).all()
    assert (np.diff(widths[6:]) < 0).all()


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3])
def test_equal_values_are_not_certain(value: float) -> None:
    """Normal values are never equal: where they are, t says nothing. Betting does, and has a width."""
    same = np.full(24, value)
    assert anytime.mean(same).interval(ALPHA) == (-np.inf, np.inf)
    assert anytime.mean(same).above(value - 1) == 0
    lo, hi = anytime.bounded_mean(same, -10, 10).interval(ALPHA)
    assert lo < value - 0.5
    assert value + 0.5 < hi


def test_the_median_of_equal_values_is_that_value() -> None:
    """Were it another, half the seeds would lie beside it: this is certain for a reason."""
    assert anytime.median(np.full(24, 0.1)).interval(ALPHA) == (0.1, 0.1)
    assert anytime.median(np.full(4, 0.1)).interval(ALPHA) == (-np.inf, np.inf)


def test_seeds_that_all_say_no_or_all_yes_bound_one_end() -> None:
    lo, hi = anytime.share(0, 24).interval(ALPHA)
    assert lo == 0
    assert 0.1 < hi < 0.3
    lo, hi = anytime.share(1000, 1000).interval(ALPHA)
    assert hi == 1
    assert 0.99 < lo < 0.997


def test_pairs_that_never_differ_have_a_width() -> None:
    lo, hi = anytime.bounded_mean(np.zeros(1000), -1, 1).interval(ALPHA)
    assert -0.02 < lo < 0 < hi < 0.02


def test_a_tie_that_counts_half_is_safe() -> None:
    """Never more evidence than betting on the same values, 0, 1 and a half for a tie."""
    values = np.array([1.0] * 12 + [0.5] * 6 + [0.0] * 2)
    assert anytime.share(values.sum(), 20).above(0.5) < anytime.bounded_mean(values).above(0.5)


def test_betting_on_yes_or_no_comes_close_to_the_share() -> None:
    bets = anytime.bounded_mean(np.repeat([1.0, 0.0], [70, 30])).interval(ALPHA)
    assert bets == pytest.approx(anytime.share(70, 100).interval(ALPHA), abs=0.01)


def test_e_values_together_are_their_mean() -> None:
    mean, median = anytime.mean(NORMAL).above(0.2), anytime.median(NORMAL).above(0.2)
    assert np.exp(anytime.together(mean, median)) == pytest.approx((np.exp(mean) + np.exp(median)) / 2)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: anytime.mean(np.array([1.0, np.nan, 2.0])), "values: found nan"),
        (lambda: anytime.mean(np.array([1.0, np.inf])), "values: found inf"),
        (lambda: anytime.median(np.array([np.nan])), "values: found nan"),
        (lambda: anytime.ratio(np.array([1.0, 0.0])), "values: found 0.0; allowed: numbers inside 0 and inf"),
        (lambda: anytime.logit_mean(np.array([0.5, 1.0])), "values: found 1.0; allowed: numbers inside 0 and 1"),
        (lambda: anytime.bounded_mean(np.array([0.5, 1.1])), "values: found 1.1; allowed: 0 to 1"),
        (lambda: anytime.bounded_mean(np.array([np.nan])), "values: found nan"),
        (lambda: anytime.share(5, 4), "yes: found 5"),
        (lambda: anytime.share(np.nan, 4), "yes: found nan"),
        (lambda: anytime.share(3, 4).above(0.0), "null: found 0.0"),
        (lambda: anytime.bounded_mean(U_SHAPED).below(1.0), "null: found 1.0"),
        (lambda: anytime.ratio(np.exp(NORMAL)).apart(-1.0), "null: found -1.0"),
        (lambda: anytime.mean(NORMAL).bounds(0.5), "alpha: found 0.5"),
        (lambda: anytime.mean(NORMAL).interval(0.0), "alpha: found 0.0"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()
