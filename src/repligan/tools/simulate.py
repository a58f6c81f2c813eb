"""Simulated tables for docs/intervals.md: how often its intervals err, how wide they are, how soon they decide.

    python -m repligan.tools.simulate docs/intervals.md

writes them between the marks of that page, in a minute or two on one core. The draws are the same every time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import special

from repligan.core.randomness import rng
from repligan.metrics import anytime

MARKS = ("<!-- tables of python -m repligan.tools.simulate -->", "<!-- end of tables -->")
CLAIMS = 24  # of a ledger of about the size of ours
ALPHAS = (0.05, 0.05 / CLAIMS)  # of one claim alone, and of one in such a ledger
FIRST, LAST, LAST_OF_SHARES = 8, 100, 1000  # seeds: one looks at every number from FIRST on
AT = (8, 16, 24, 100, 1000)
REPETITIONS, OF_WIDTHS = 10_000, 25
PART = 200  # repetitions in memory at a time
Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
Process = Callable[..., np.ndarray]  # values [R, N], null, side -> log e-values [R, N] after each value
Interval = tuple[np.ndarray, np.ndarray]


class Case(NamedTuple):
    """Values whose parameter is `truth`, the process that bounds it, and minus log p of the test for a fixed number."""

    kind: str
    of: str
    draw: Draw
    process: Process
    usual: Process
    truth: float
    last: int = LAST


class Width(NamedTuple):
    """Values, and two intervals of each row of them at a level: ours, and the usual one for one fixed number."""

    kind: str
    of: str
    draw: Draw
    ours: Callable[[np.ndarray, float], Interval]
    usual: Callable[[np.ndarray, float], Interval]


class Decision(NamedTuple):
    """Values whose parameter lies on a `side` of `bound`, and the process that may find it out."""

    kind: str
    of: str
    draw: Draw
    process: Process
    bound: float
    side: str = "above"
    last: int = LAST


def running_t(values: np.ndarray, null: float, side: str = "apart") -> np.ndarray:
    """`anytime.mean` after each of values [R, N]."""
    return _of(anytime.normal_mean(*moments(values)), side, null)


def running_share(values: np.ndarray, null: float, side: str = "apart") -> np.ndarray:
    """`anytime.share` after each of values [R, N], which are 0 or 1."""
    num = np.arange(1, values.shape[1] + 1)
    found, place = np.unique(values.cumsum(axis=1) + 1j * num, return_inverse=True)  # few differ
    return _of(anytime.share(found.real, found.imag), side, null)[place].reshape(values.shape)


def running_signs(values: np.ndarray, null: float, side: str = "apart") -> np.ndarray:
    """`anytime.median` after each of continuous values [R, N]."""
    return running_share((values > null).astype(float), 0.5, side)


def running_both(values: np.ndarray, null: float, side: str = "apart") -> np.ndarray:
    """`anytime.together` of the mean and the signs after each of continuous values [R, N]."""
    return anytime.together(running_t(values, null, side), running_signs(values, null, side))


def running_bets(values: np.ndarray, null: float, side: str = "apart") -> np.ndarray:
    """`anytime.bounded_mean` after each of values [R, N] in [0, 1]."""
    if side == "apart":
        both = [running_bets(values, null, side) for side in ("above", "below")]
        return np.maximum(*both) - np.log(2)
    if side == "below":
        values, null = 1 - values, 1 - null
    money = anytime.log_bets(values, null).cumsum(axis=-2)
    return special.logsumexp(money, axis=-1) - np.log(anytime.BETS)


def student(values: np.ndarray, null: float) -> np.ndarray:
    """Minus log p of Student's t, two-sided, after each of values [R, N]; 0 where all are equal."""
    mean, sd, num = moments(values)
    t = np.divide(np.abs(mean - null) * num**0.5, sd, out=np.zeros_like(mean), where=sd > 0)
    with np.errstate(divide="ignore"):
        return -np.log(2 * special.stdtr(np.maximum(num - 1, 1), -t))


def wilson(values: np.ndarray, null: float) -> np.ndarray:
    """Minus log p of the score test that Wilson's interval inverts, two-sided, after each of values [R, N], 0 or 1."""
    num = np.arange(1, values.shape[1] + 1)
    z = np.abs(values.cumsum(axis=1) / num - null) / (null * (1 - null) / num) ** 0.5
    return -np.log(2 * special.ndtr(-z))


def student_interval(values: np.ndarray, alpha: float) -> Interval:
    """Of the mean of each row of values [R, N]."""
    num = values.shape[1]
    half = special.stdtrit(num - 1, 1 - alpha / 2) * values.std(axis=1, ddof=1) / num**0.5
    return values.mean(axis=1) - half, values.mean(axis=1) + half


def wilson_interval(values: np.ndarray, alpha: float) -> Interval:
    """Of the share of each row of values [R, N], 0 or 1."""
    num, rate, z = values.shape[1], values.mean(axis=1), special.ndtri(1 - alpha / 2)
    centre = (rate + z**2 / (2 * num)) / (1 + z**2 / num)
    half = z / (1 + z**2 / num) * (rate * (1 - rate) / num + z**2 / (4 * num**2)) ** 0.5
    return centre - half, centre + half


def t_interval(values: np.ndarray, alpha: float) -> Interval:
    """`anytime.mean` of each row of values [R, N]."""
    return anytime.normal_mean(values.mean(axis=1), values.std(axis=1, ddof=1), values.shape[1]).interval(alpha)


def clipped_interval(values: np.ndarray, alpha: float) -> Interval:
    """`student_interval` inside [0, 1]."""
    lo, hi = student_interval(values, alpha)
    return np.maximum(lo, 0), np.minimum(hi, 1)


def share_interval(values: np.ndarray, alpha: float) -> Interval:
    """`anytime.share` of each row of values [R, N], 0 or 1."""
    return anytime.share(values.sum(axis=1), values.shape[1]).interval(alpha)


def bets_interval(values: np.ndarray, alpha: float) -> Interval:
    """`anytime.bounded_mean` of each row of values [R, N] in [0, 1]."""
    return anytime.bounded_mean(values).interval(alpha)


def median_interval(values: np.ndarray, alpha: float) -> Interval:
    """`anytime.median` of each row of values [R, N]."""
    lo, hi = zip(*(anytime.median(row).interval(alpha) for row in values), strict=True)
    return np.array(lo), np.array(hi)


def through(change: Callable[[np.ndarray], np.ndarray], process: Process) -> Process:
    """A process on transformed values and null."""
    return lambda values, null, *side: process(change(values), float(change(np.asarray(null))), *side)


def normal(mean: float = 0.0) -> Draw:
    """Of SD 1."""
    return lambda g, size: g.normal(mean, size=size)


def heavy(mean: float = 0.0) -> Draw:
    """Student's t with 3 degrees of freedom, of SD 1."""
    return lambda g, size: g.standard_t(3, size) / 3**0.5 + mean


def lognormal(g: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """SD of the log 1, median 1."""
    return g.lognormal(size=size)


def gamma(g: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Of shape 4."""
    return g.gamma(4, size=size)


def yes(rate: float) -> Draw:
    """1 with this rate, else 0."""
    return lambda g, size: (g.random(size) < rate).astype(float)


def beta(a: float, b: float) -> Draw:
    """Beta(a, b)."""
    return lambda g, size: g.beta(a, b, size)


def pairs(ones: float, others: float) -> Draw:
    """Yes less yes of two independent values, moved from [-1, 1] to [0, 1]."""
    return lambda g, size: (1 + yes(ones)(g, size) - yes(others)(g, size)) / 2


MEAN, RATIO, LOGIT, BETS, SHARE, MEDIAN = "mean", "ratio", "logit_mean", "bounded_mean", "share", "median"
log_t, log_student = through(np.log, running_t), through(np.log, student)
logit_t, logit_student = through(special.logit, running_t), through(special.logit, student)
LOGNORMAL, T3 = "lognormal, SD of the log 1", "t with 3 degrees of freedom"
U, HIGH = beta(0.3, 0.3), beta(20, 2)
MEAN_OF_LOGNORMAL, MEAN_OF_HIGH = float(np.exp(0.5)), 20 / 22
TYPICAL_OF_GAMMA = float(np.exp(special.digamma(4)))
TYPICAL_OF_HIGH = float(special.expit(special.digamma(20) - special.digamma(2)))
CASES = [
    Case(MEAN, "normal", normal(), running_t, student, 0.0),
    Case(MEAN, T3, heavy(), running_t, student, 0.0),
    Case(MEAN, "Beta(0.3, 0.3), U-shaped", U, running_t, student, 0.5),
    Case(MEAN, "Beta(20, 2), near 0.91", HIGH, running_t, student, MEAN_OF_HIGH),
    Case(MEAN, LOGNORMAL, lognormal, running_t, student, MEAN_OF_LOGNORMAL),
    Case(RATIO, LOGNORMAL, lognormal, log_t, log_student, 1.0),
    Case(RATIO, "Gamma(4)", gamma, log_t, log_student, TYPICAL_OF_GAMMA),
    Case(RATIO, "lognormal, taken for its mean", lognormal, log_t, log_student, MEAN_OF_LOGNORMAL),
    Case(LOGIT, "Beta(20, 2)", HIGH, logit_t, logit_student, TYPICAL_OF_HIGH),
    Case(LOGIT, "Beta(20, 2), taken for its mean", HIGH, logit_t, logit_student, MEAN_OF_HIGH),
    Case(BETS, "Beta(0.3, 0.3), U-shaped", U, running_bets, student, 0.5),
    Case(BETS, "Beta(20, 2), near 0.91", HIGH, running_bets, student, MEAN_OF_HIGH),
    Case(BETS, "1 % yes", yes(0.01), running_bets, student, 0.01),
    Case(BETS, "pairs, 10 % yes less 5 % yes", pairs(0.1, 0.05), running_bets, student, 0.525),
    Case(SHARE, "1 % yes", yes(0.01), running_share, wilson, 0.01, LAST_OF_SHARES),
    Case(SHARE, "50 % yes", yes(0.5), running_share, wilson, 0.5, LAST_OF_SHARES),
    Case(SHARE, "99 % yes", yes(0.99), running_share, wilson, 0.99, LAST_OF_SHARES),
    Case(MEDIAN, T3, heavy(), running_signs, student, 0.0),
    Case(MEDIAN, LOGNORMAL, lognormal, running_signs, student, 1.0),
]
WIDTHS = [
    Width(MEAN, "any", normal(), t_interval, student_interval),
    Width(MEDIAN, "normal", normal(), median_interval, student_interval),
    Width(SHARE, "50 % yes", yes(0.5), share_interval, wilson_interval),
    Width(SHARE, "90 % yes", yes(0.9), share_interval, wilson_interval),
    Width(SHARE, "99 % yes", yes(0.99), share_interval, wilson_interval),
    Width(BETS, "Beta(0.3, 0.3), U-shaped", U, bets_interval, clipped_interval),
    Width(BETS, "Beta(20, 2), near 0.91", HIGH, bets_interval, clipped_interval),
    Width(BETS, "pairs, 10 % yes less 5 % yes", pairs(0.1, 0.05), bets_interval, clipped_interval),
]
DECISIONS = [
    *[
        Decision(kind, f"{of}, {d:g} SD above the bound", draw(d), process, 0.0)
        for of, draw in (("normal", normal), (T3, heavy))
        for d in (0.5, 1, 2)
        for kind, process in ((MEAN, running_t), (MEDIAN, running_signs), ("both together", running_both))
    ],
    Decision(SHARE, "90 % yes, bound 80 %", yes(0.9), running_share, 0.8, last=LAST_OF_SHARES),
    Decision(SHARE, "99 % yes, bound 90 %", yes(0.99), running_share, 0.9, last=LAST_OF_SHARES),
    Decision(SHARE, "all yes, bound 90 %", yes(1.0), running_share, 0.9, last=LAST_OF_SHARES),
    Decision(SHARE, "50 % yes, bound 80 %", yes(0.5), running_share, 0.8, "below", LAST_OF_SHARES),
    Decision(BETS, "Beta(0.6, 0.2), mean 0.75, bound 0.5", beta(0.6, 0.2), running_bets, 0.5),
    Decision(BETS, "Beta(20, 2), mean 0.91, bound 0.8", HIGH, running_bets, 0.8),
    Decision(LOGIT, "Beta(20, 2), mean 0.91, bound 0.8", HIGH, logit_t, 0.8),
    Decision(BETS, "pairs, 20 % yes less 5 % yes, bound 0", pairs(0.2, 0.05), running_bets, 0.5),
]


def errors(case: Case, repetitions: int = REPETITIONS, alphas: Sequence[float] = ALPHAS) -> np.ndarray:
    """Share of repetitions whose interval excludes the truth at any look [2, alphas]: ours, and the usual one."""
    wrong = np.zeros((2, len(alphas)))
    for values in _drawn(case, case.last, repetitions):
        for i, process in enumerate((case.process, case.usual)):
            most = process(values, case.truth)[:, FIRST - 1 :].max(axis=1)
            wrong[i] += [(most >= -np.log(alpha)).sum() for alpha in alphas]
    return wrong / repetitions


def widths(width: Width, alpha: float) -> list[float]:
    """The width of our interval over that of the usual one, at each of AT seeds: the median of repetitions."""
    found = []
    for num in AT:
        values = width.draw(rng(num, f"width {width.kind} {width.of}"), (OF_WIDTHS, num))
        (lo, hi), (low, high) = width.ours(values, alpha), width.usual(values, alpha)
        # Without a discordant pair Student's t has no width at all.
        found.append(float(np.median(np.divide(hi - lo, high - low, out=np.full(OF_WIDTHS, np.inf), where=high > low))))
    return found


def decided(one: Decision, alpha: float, repetitions: int = REPETITIONS // 5) -> list[float]:
    """Share of repetitions that are decided by each of AT seeds, as far as the case goes."""
    at = [num for num in AT if num <= one.last]
    found = np.zeros(len(at))
    for values in _drawn(one, one.last, repetitions):
        most = np.maximum.accumulate(one.process(values, one.bound, one.side)[:, FIRST - 1 :], axis=1)
        found += (most[:, [num - FIRST for num in at]] >= -np.log(alpha)).sum(axis=0)
    return [float(share) for share in found / repetitions]


def moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and SD [R, N] of the first 1, 2, ... N of values [R, N], and those numbers [N]."""
    num = np.arange(1, values.shape[1] + 1)
    mean = values.cumsum(axis=1) / num
    squares = np.maximum((values**2).cumsum(axis=1) - num * mean**2, 0)
    return mean, (squares / np.maximum(num - 1, 1)) ** 0.5, num


def _of(found: anytime.Sequence, side: str, null: float) -> np.ndarray:
    return {"above": found.above, "below": found.below, "apart": found.apart}[side](null)


def _drawn(case: Case | Decision, last: int, repetitions: int) -> Iterator[np.ndarray]:
    for start in range(0, repetitions, PART):
        g = rng(start, f"simulate {case.kind} {case.of}")
        yield case.draw(g, (min(PART, repetitions - start), last))


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _head(*cells: str) -> list[str]:
    return [_row(*cells), "|" + "---|" * len(cells)]


def _percent(share: float, level: float = 1.0, repetitions: int = REPETITIONS) -> str:
    """Bold where a share lies above its level by more than chance would."""
    said = f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"
    return f"**{said}**" if share > level + 3 * (level * (1 - level) / repetitions) ** 0.5 else said


def error_table() -> list[str]:
    """Ours and the usual interval side by side, at both levels."""
    levels = [f"{name} at {100 * alpha:.2g} %" for alpha in ALPHAS for name in ("ours", "usual")]
    lines = _head("kind", "values", "looks", *levels)
    for case in CASES:
        found = errors(case)
        cells = [_percent(found[i, j], alpha) for j, alpha in enumerate(ALPHAS) for i in range(2)]
        lines.append(_row(f"`{case.kind}`", case.of, f"{FIRST} to {case.last:,}", *cells))
    return lines


def width_table(alpha: float) -> list[str]:
    """Ratios of widths, a column per number of seeds."""
    lines = _head("kind", "values", *(f"{num:,}" for num in AT))
    for width in WIDTHS:
        ratios = ["no bound" if np.isinf(ratio) else f"{ratio:.2f}" for ratio in widths(width, alpha)]
        lines.append(_row(f"`{width.kind}`", width.of, *ratios))
    return lines


def decision_table(alpha: float) -> list[str]:
    """Shares of repetitions that are decided, a column per number of seeds."""
    lines = _head("kind", "values", *(f"{num:,}" for num in AT))
    for one in DECISIONS:
        shares = [f"{100 * share:.0f} %" for share in decided(one, alpha)]
        kind = one.kind if " " in one.kind else f"`{one.kind}`"
        lines.append(_row(kind, one.of, *shares, *[""] * (len(AT) - len(shares))))
    return lines


def written(page: str, tables: str) -> str:
    """`page` with the tables between its marks."""
    before, _, rest = page.partition(MARKS[0])
    return f"{before}{MARKS[0]}\n\n{tables}\n\n{MARKS[1]}{rest.partition(MARKS[1])[2]}"


def report() -> str:
    """All tables, as Markdown."""
    alone, one_of = (f"{100 * alpha:.2g} %" for alpha in ALPHAS)
    titled = {
        f"### How often an interval excludes the truth at any look ({REPETITIONS:,} repetitions)": error_table(),
        f"### Width over that of the usual interval, at {alone}": width_table(ALPHAS[0]),
        f"### Width over that of the usual interval, at {one_of}": width_table(ALPHAS[1]),
        f"### Decided by so many seeds, one-sided at {alone}": decision_table(ALPHAS[0]),
        f"### Decided by so many seeds, one-sided at {one_of}": decision_table(ALPHAS[1]),
    }
    return "\n\n".join("\n".join([title, "", *lines]) for title, lines in titled.items())


if __name__ == "__main__":
    out = Path(sys.argv[1])
    out.write_text(written(out.read_text(), report()))
