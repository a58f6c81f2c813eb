from __future__ import annotations

import numpy as np
import pytest

from repligan.metrics.intervals import bootstrap, interval, paired_shares, student, summary, wilson


def test_wilson_against_the_formula() -> None:
    """Wilson 1927: centre (p + z^2/2n) / (1 + z^2/n)."""
    n, k, z = 1000, 473, 1.959963984540054
    p = k / n
    centre, half = (
        (p + z * z / (2 * n)) / (1 + z * z / n),
        z / (1 + z * z / n) * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5,
    )
    assert wilson(k, n) == pytest.approx((centre - half, centre + half), rel=1e-9)


def test_wilson_stays_inside_and_open_at_the_ends() -> None:
    assert wilson(0, 100)[0] == pytest.approx(0, abs=1e-12)
    assert 0.03 < wilson(0, 100)[1] < 0.04
    assert wilson(100, 100)[1] == pytest.approx(1)


def test_bootstrap_of_a_normal_mean() -> None:
    values = np.random.default_rng(0).normal(5, 2, 1000)
    lo, hi = bootstrap(values)
    assert (lo, hi) == pytest.approx(
        (values.mean() - 1.96 * 2 / 1000**0.5, values.mean() + 1.96 * 2 / 1000**0.5), abs=0.02
    )
    assert bootstrap(values) == (lo, hi)


def test_bootstrap_covers_as_often_as_it_says() -> None:
    g = np.random.default_rng(1)
    covered = np.mean([lo <= 0 <= hi for lo, hi in (bootstrap(g.normal(size=100)) for _ in range(400))])
    assert 0.90 < covered < 0.985


def test_one_value_has_no_interval() -> None:
    assert interval(np.array([2.0])) == {"mean": 2.0}
    assert set(interval(np.array([True, False]))) == {"mean", "lo", "hi"}


def test_a_summary_has_the_spread_of_what_is_not_yes_or_no() -> None:
    found = summary({"x": np.array([1.0, 2.0, 3.0]), "yes": np.array([True, False]), "one": np.array([1.0])})
    assert found["x"]["sd"] == pytest.approx(1)
    assert "sd" not in found["yes"]
    assert found["one"] == {"mean": 1.0}


@pytest.mark.parametrize("num", [5, 100])
def test_more_confidence_is_a_wider_interval(num: int) -> None:
    values = np.random.default_rng(0).normal(size=num)
    for some in (values, values > 0):
        usual, wide = interval(some), interval(some, 0.998)
        assert wide["lo"] < usual["lo"] < usual["mean"] < usual["hi"] < wide["hi"]


def test_bootstrap_and_student_agree_far_out_in_the_tails() -> None:
    values = np.random.default_rng(0).normal(size=1000)
    assert bootstrap(values, 0.998) == pytest.approx(student(values, 0.998), abs=0.01)


def test_paired_shares_against_a_known_table() -> None:
    """Agresti and Min 2005: (n12 - n21) / (n + 2) with half a pair added to each cell."""
    a = np.array([True] * 30 + [False] * 10 + [True] * 40 + [False] * 20)
    b = np.array([False] * 30 + [True] * 10 + [True] * 40 + [False] * 20)
    found = paired_shares(a, b)
    centre = 20 / 102
    half = 1.959964 * ((41 / 102 - centre**2) / 102) ** 0.5
    assert found == pytest.approx({"mean": 0.2, "lo": centre - half, "hi": centre + half}, rel=1e-6)


def test_paired_shares_have_a_width_where_all_seeds_agree() -> None:
    same = np.ones(200, bool)
    found = paired_shares(same, same)
    assert found["mean"] == 0
    assert -0.03 < found["lo"] < 0 < found["hi"] < 0.03


def test_paired_shares_cover_as_often_as_they_say() -> None:
    g, covered = np.random.default_rng(2), 0
    for _ in range(500):
        draws = g.random(80)
        found = paired_shares(draws < 0.6, np.where(g.random(80) < 0.7, draws < 0.5, g.random(80) < 0.5))
        covered += found["lo"] <= 0.1 <= found["hi"]
    assert covered >= 460
