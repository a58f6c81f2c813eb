"""Looking after every seed: ours keeps its promise, an interval for a fixed number of seeds does not."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import ROOT

from repligan.core.randomness import rng
from repligan.metrics import anytime
from repligan.tools import simulate

PAGE = ROOT / "docs" / "intervals.md"
MISUSED = ("taken for its mean", "lognormal, SD of the log 1")
USED = [
    case for case in simulate.CASES if not (case.kind == "mean" and case.of != "normal") and MISUSED[0] not in case.of
]


@pytest.mark.parametrize("case", USED, ids=lambda case: f"{case.kind}, {case.of}")
def test_one_may_look_after_every_seed(case: simulate.Case) -> None:
    ours, usual = simulate.errors(case._replace(last=100), repetitions=400, alphas=(0.05, 0.01))
    assert ours[0] <= 0.05
    assert ours[1] <= 0.02
    if case.of not in ("1 % yes", "99 % yes"):
        assert usual[0] > 0.15


def test_a_mean_of_skewed_values_errs_and_the_page_says_so() -> None:
    case = next(case for case in simulate.CASES if case.kind == "mean" and case.of == MISUSED[1])
    assert simulate.errors(case, repetitions=400)[0, 0] > 0.1
    assert f"| `mean` | {case.of} | 8 to 100 | **20 %** |" in PAGE.read_text()


def test_a_running_process_ends_with_what_the_values_say() -> None:
    values = rng(0, "test").random((3, 40))
    for process, make, at in (
        (simulate.running_t, anytime.mean, values),
        (simulate.running_signs, anytime.median, values),
        (simulate.running_bets, anytime.bounded_mean, values),
        (simulate.running_share, lambda row: anytime.share(row.sum(), len(row)), np.round(values)),
    ):
        for side in ("above", "below", "apart"):
            ends = [getattr(make(row), side)(0.4) for row in at]
            assert process(at, 0.4, side)[:, -1] == pytest.approx(np.ravel(ends), rel=1e-9)


def test_the_tables_stand_between_the_marks() -> None:
    page = simulate.written(f"# A\n\n{simulate.MARKS[0]}\nold\n{simulate.MARKS[1]}\n\nend\n", "| new |")
    assert page == f"# A\n\n{simulate.MARKS[0]}\n\n| new |\n\n{simulate.MARKS[1]}\n\nend\n"
    assert [PAGE.read_text().count(mark) for mark in simulate.MARKS] == [1, 1]


def test_the_page_has_a_row_for_each_case() -> None:
    page = PAGE.read_text()
    for one in (*simulate.CASES, *simulate.WIDTHS, *simulate.DECISIONS):
        kind = one.kind if " " in one.kind else f"`{one.kind}`"
        assert f"| {kind} | {one.of} |" in page


def test_a_usual_interval_is_the_textbook_one() -> None:
    from scipy import stats

    values = rng(0, "test").random((2, 12))
    lo, hi = simulate.student_interval(values, 0.05)
    expected = stats.ttest_1samp(values, 0, axis=1).confidence_interval()
    assert lo == pytest.approx(expected.low)
    assert hi == pytest.approx(expected.high)
    p = np.exp(-simulate.student(values, 0.3)[:, -1])
    assert p == pytest.approx(stats.ttest_1samp(values, 0.3, axis=1).pvalue)
    found = stats.binomtest(5, 20).proportion_ci(method="wilson")
    ends = simulate.wilson_interval(np.repeat([1.0, 0.0], [5, 15])[None], 0.05)
    assert np.ravel(ends) == pytest.approx([found.low, found.high])
