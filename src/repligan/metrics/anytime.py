"""Confidence sequences: intervals over seeds that hold at every number of seeds at once, so that one may always look.

An e-value of n values against "the parameter is at most `null`" is 1 before the first value, and however often one
looks, the probability that it ever reaches 1 / alpha is at most alpha where that is true (Ville 1939). A lower bound
is the smallest null whose e-value is below 1 / alpha; what holds above holds below, mirrored. All functions give the
same for the same values in another order. docs/intervals.md says what each kind assumes, and how often it errs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special

PRECISION = 0.3  # of the normal mixture over (mean - null) / SD: narrow at 8 to 24 values and the ledger's level
BETS = 64  # stakes that the bounded mean mixes
HALVINGS = 40  # of the range where a bound lies: 1e-12 of it, far below the digits that are written
EQUAL = 1e-12  # values whose SD is at most this much of their mean are all the same, rounded
Function = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Side:
    """One direction: null -> log e-value against "at most null", and alpha -> lower bound."""

    log_e: Function
    bound: Callable[[float], np.ndarray]


@dataclass(frozen=True)
class Sequence:
    """What the values so far say of one parameter in [low, high]; mirrored data tell what lies below.

    `rising` and `falling` are about the transformed parameter `to(x)` and its mirror image `flip(to(x))`.
    """

    rising: Side
    falling: Side
    low: float
    high: float
    flip: Function
    to: Function = np.asarray
    back: Function = np.asarray

    def above(self, null: float | np.ndarray) -> np.ndarray:
        """Log e-value against "at most null": evidence that the parameter lies above it, low < null < high."""
        return self.rising.log_e(self.to(_inside("null", null, self.low, self.high)))

    def below(self, null: float | np.ndarray) -> np.ndarray:
        """Log e-value against "at least null": evidence that the parameter lies below it, low < null < high."""
        return self.falling.log_e(self.flip(self.to(_inside("null", null, self.low, self.high))))

    def apart(self, null: float | np.ndarray) -> np.ndarray:
        """Log e-value against "equals null": of the likelier side, halved."""
        return np.maximum(self.above(null), self.below(null)) - np.log(2)

    def bounds(self, alpha: float) -> tuple[np.ndarray, np.ndarray]:
        """(lower, upper): each alone is ever wrong with a probability of at most alpha, 0 < alpha < 0.5."""
        _inside("alpha", alpha, 0, 0.5)
        lower, upper = self.rising.bound(alpha), self.flip(self.falling.bound(alpha))
        with np.errstate(over="ignore"):  # a ratio without an upper bound
            return self.back(lower)[()], self.back(upper)[()]

    def interval(self, alpha: float) -> tuple[np.ndarray, np.ndarray]:
        """(lower, upper): together they are ever wrong with a probability of at most alpha, 0 < alpha < 1."""
        return self.bounds(alpha / 2)


def share(yes: float | np.ndarray, num: int | np.ndarray) -> Sequence:
    """The share of yes among all seeds, of `yes` in `num`: a mixture over Beta(1/2, 1/2) (Robbins 1970).

    A tie may count half. For whether a published value is a quantile: `yes` seeds lie below it.
    Raises ValueError unless 0 <= yes <= num.
    """
    yes, num = np.asarray(yes, float), np.asarray(num, float)
    if not ((yes >= 0) & (yes <= num)).all():
        raise ValueError(f"yes: found {yes} of {num}; allowed: 0 to all of them")
    return Sequence(_share(yes, num), _share(num - yes, num), 0.0, 1.0, _rest)


def mean(values: np.ndarray) -> Sequence:
    """The mean of normal values [R], or of differences of pairs: a mixture of t tests. Raises ValueError at NaN."""
    values = _inside("values", values, -np.inf, np.inf)
    if len(values) < 2:
        return normal_mean(0.0, 0.0, len(values))
    return normal_mean(values.mean(), values.std(ddof=1), len(values))


def normal_mean(mean: float | np.ndarray, sd: float | np.ndarray, num: int | np.ndarray) -> Sequence:
    """`mean` of values from their mean, standard deviation (of n - 1) and number.

    A normal mixture over the effect size, right Haar over the SD (Wang and Ramdas 2023; Lindon et al. 2022). Below two
    values, and where all are equal, it says nothing: normal values never are.
    """
    mean, sd, num = np.asarray(mean, float), np.asarray(sd, float), np.asarray(num, float)
    return Sequence(_mean(mean, sd, num), _mean(-mean, sd, num), -np.inf, np.inf, np.negative)


def ratio(values: np.ndarray) -> Sequence:
    """The geometric mean of lognormal values [R], such as ratios of pairs. Raises ValueError unless all are above 0."""
    found = mean(np.log(_inside("values", values, 0, np.inf)))
    return Sequence(found.rising, found.falling, 0.0, np.inf, found.flip, np.log, np.exp)


def logit_mean(values: np.ndarray) -> Sequence:
    """The typical value of shares [R] with a small spread: mean of their logits, as a share again.

    Raises ValueError unless all lie inside 0 and 1.
    """
    found = mean(special.logit(_inside("values", values, 0, 1)))
    return Sequence(found.rising, found.falling, 0.0, 1.0, found.flip, special.logit, special.expit)


def bounded_mean(values: np.ndarray, low: float = 0.0, high: float = 1.0) -> Sequence:
    """The mean of any values [..., R] in [low, high], such as yes less yes of pairs in [-1, 1]: by betting.

    A mixture of constant stakes (Waudby-Smith and Ramdas 2023; Cover 1991). Raises ValueError at a value outside.
    """
    values = np.asarray(values, float)
    fits = (values >= low) & (values <= high)
    if not fits.all():
        raise ValueError(f"values: found {_first(values, fits)}; allowed: {low:g} to {high:g}")
    unit = (values - low) / (high - low)
    to, back = (lambda x: (x - low) / (high - low)), (lambda x: low + (high - low) * x)
    return Sequence(_bounded(unit), _bounded(1 - unit), low, high, _rest, to, back)


def median(values: np.ndarray) -> Sequence:
    """The median of any values [R], by their signs: an e-value beside every t that needs no normal values."""
    values = _inside("values", values, -np.inf, np.inf)
    return Sequence(_median(values), _median(-values), -np.inf, np.inf, np.negative)


def together(*log_e: np.ndarray) -> np.ndarray:
    """Log of the mean of e-values against one null, an e-value too: `mean` with `median`, where both are the centre."""
    return special.logsumexp(log_e, axis=0) - np.log(len(log_e))


def log_bets(unit: np.ndarray, null: float | np.ndarray) -> np.ndarray:
    """unit [..., R] in [0, 1] -> [..., R, BETS]: log of what each stake's money is multiplied by at each value.

    A stake c of it is bet on values above `null`, c / null times value - null. It falls as null rises, for each c.
    """
    stakes = np.sin((np.arange(BETS) + 0.5) * np.pi / (2 * BETS)) ** 2
    null = np.maximum(null, np.finfo(float).tiny)[..., None, None]
    return np.log(1 - stakes + stakes * (unit[..., None] / null))


def _share(yes: np.ndarray, num: np.ndarray) -> Side:
    def log_e(null: np.ndarray) -> np.ndarray:
        # The mixture is over shares above null only: they tell against "at most null".
        after, before = special.betaincc(yes + 0.5, num - yes + 0.5, null), special.betaincc(0.5, 0.5, null)
        mixed = special.betaln(yes + 0.5, num - yes + 0.5) - special.betaln(0.5, 0.5)
        with np.errstate(divide="ignore"):
            likelihood = special.xlogy(yes, null) + special.xlog1py(num - yes, -null)
            return mixed + np.log(after) - np.log(before) - likelihood

    return Side(log_e, lambda alpha: _crossing(log_e, np.zeros_like(yes), yes / np.maximum(num, 1), alpha))


def _mean(mean: np.ndarray, sd: np.ndarray, num: np.ndarray) -> Side:
    tells = (num >= 2) & (sd > EQUAL * np.abs(mean))
    num = np.maximum(num, 2)
    spread = np.where(tells, sd, 1) * ((num - 1) / num) ** 0.5  # the SD with n in the place of n - 1

    def log_e(null: np.ndarray) -> np.ndarray:
        return np.where(tells, _log_t((mean - null) / np.hypot(mean - null, spread), num), 0.0)

    def bound(alpha: float) -> np.ndarray:
        one = np.ones_like(num)
        r = _crossing(lambda r: _log_t(r, num), one, 0 * one, alpha)
        tells_enough = tells & (_log_t(one, num) > -np.log(alpha))
        away = r / (1 - np.where(tells_enough, r, 0) ** 2) ** 0.5
        return np.where(tells_enough, mean - away * spread, -np.inf)

    return Side(log_e, bound)


def _log_t(r: np.ndarray, num: np.ndarray) -> np.ndarray:
    """Log e-value of r = d / sqrt(d^2 + SD^2), d the mean less null: twice the mixture over effects above 0."""
    left = 1 - num / (num + PRECISION) * r**2
    z = r * num / ((num + PRECISION) * left) ** 0.5
    mixed = 0.5 * np.log(PRECISION / (num + PRECISION)) - 0.5 * num * np.log(left)
    with np.errstate(divide="ignore"):
        return mixed + np.log(2 * special.stdtr(num, z))


def _bounded(unit: np.ndarray) -> Side:
    def log_e(null: np.ndarray) -> np.ndarray:
        return special.logsumexp(log_bets(unit, null).sum(axis=-2), axis=-1) - np.log(BETS)

    at = unit.mean(axis=-1) if unit.shape[-1] else np.zeros(unit.shape[:-1])
    return Side(log_e, lambda alpha: _crossing(log_e, np.zeros_like(at), at, alpha))


def _median(values: np.ndarray) -> Side:
    num = len(values)

    def log_e(null: np.ndarray) -> np.ndarray:
        above = (values > np.asarray(null)[..., None]).sum(axis=-1)
        return _share(above.astype(float), np.asarray(float(num))).log_e(np.asarray(0.5))

    def bound(alpha: float) -> np.ndarray:
        found = _share(np.arange(num + 1.0), np.full(num + 1, float(num))).log_e(np.asarray(0.5)) >= -np.log(alpha)
        return np.sort(values)[num - found.argmax()] if found.any() else np.asarray(-np.inf)

    return Side(log_e, bound)


def _crossing(log_e: Function, out: np.ndarray, within: np.ndarray, alpha: float) -> np.ndarray:
    """Where log_e falls below log(1 / alpha) on the way from `out` to `within`: the last point that is out."""
    for _ in range(HALVINGS):
        middle = (out + within) / 2
        is_out = log_e(middle) >= -np.log(alpha)
        out, within = np.where(is_out, middle, out), np.where(is_out, within, middle)
    return out


def _rest(x: np.ndarray) -> np.ndarray:
    return 1 - x


def _inside(name: str, values: float | np.ndarray, low: float, high: float) -> np.ndarray:
    values = np.asarray(values, float)
    fits = (values > low) & (values < high)
    if not fits.all():
        raise ValueError(f"{name}: found {_first(values, fits)}; allowed: numbers inside {low:g} and {high:g}")
    return values


def _first(values: np.ndarray, fits: np.ndarray) -> float:
    return float(values[~fits].flat[0])
