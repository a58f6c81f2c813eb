from __future__ import annotations

import numpy as np
import pytest

from repligan.metrics.intervals import FEW, bootstrap, interval, student, summary, wilson


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


def test_below_a_hundred_values_the_interval_is_students() -> None:
    """A percentile bootstrap of few values is too narrow."""
    assert FEW == 100
    g = np.random.default_rng(2)
    for num, method, other in ((2, student, bootstrap), (99, student, bootstrap), (100, bootstrap, student)):
        values = g.normal(size=num)
        found = interval(values)
        assert (found["lo"], found["hi"]) == method(values) != other(values)


def test_student_covers_as_often_as_it_says_where_a_bootstrap_does_not() -> None:
    g = np.random.default_rng(1)
    samples = [g.normal(size=5) for _ in range(1000)]
    covered = {of: np.mean([of(one)[0] <= 0 <= of(one)[1] for one in samples]) for of in (student, bootstrap)}
    assert 0.93 < covered[student] < 0.97
    assert covered[bootstrap] < 0.9


def test_bootstrap_and_student_agree_where_values_are_many() -> None:
    values = np.random.default_rng(0).normal(size=1000)
    assert bootstrap(values) == pytest.approx(student(values), abs=0.01)
