"""Confidence intervals over seeds or repeats, of 95 % unless told."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from repligan.core.randomness import rng

CONFIDENCE = 0.95
RESAMPLES = 2000  # of a round
MOST_ROUNDS = 10
FEW = 20  # below this many values a percentile bootstrap is too narrow


def interval(values: np.ndarray, confidence: float = CONFIDENCE) -> dict[str, float]:
    """mean, lo, hi of values [R]: Wilson (1927) for booleans, Student's t for a few values, else a bootstrap.

    One value alone has no interval: its mean only.
    """
    if len(values) == 1:
        return {"mean": float(values[0])}
    if values.dtype == bool:
        lo, hi = wilson(int(values.sum()), len(values), confidence)
    else:
        lo, hi = (bootstrap if len(values) >= FEW else student)(values, confidence)
    return {"mean": float(values.mean()), "lo": lo, "hi": hi}


def summary(values: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """metric -> `interval` of its values [R], with their standard deviation where they are not yes or no."""
    return {
        key: interval(v) | ({"sd": float(v.std(ddof=1))} if v.dtype != bool and len(v) > 1 else {})
        for key, v in values.items()
    }


def wilson(successes: float, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval of a share (1927)."""
    from scipy.special import ndtri

    z2 = float(ndtri((1 + confidence) / 2)) ** 2
    centre = (successes + z2 / 2) / (trials + z2)
    half = (z2 * (successes * (trials - successes) / trials + z2 / 4)) ** 0.5 / (trials + z2)
    # At the ends the bounds are exact; rounding must not lead beyond them.
    return (centre - half if successes else 0.0), (centre + half if successes < trials else 1.0)


def paired_shares(a: np.ndarray, b: np.ndarray, confidence: float = CONFIDENCE) -> dict[str, float]:
    """mean, lo, hi of the difference of two shares over the same seeds, booleans a and b [R].

    Wald's interval with half a seed added to each of the four outcomes (Agresti and Min 2005, "Simple improved
    confidence intervals for comparing matched proportions"): it has a width also where no seed differs.
    """
    from scipy.special import ndtri

    more, less, num = (int((a & ~b).sum()) + 0.5, int((~a & b).sum()) + 0.5, len(a) + 2)
    centre = (more - less) / num
    half = float(ndtri((1 + confidence) / 2)) * ((more + less) / num - centre**2) ** 0.5 / num**0.5
    mean = float(a.mean() - b.mean())
    return {"mean": mean, "lo": max(-1.0, min(mean, centre - half)), "hi": min(1.0, max(mean, centre + half))}


def student(values: np.ndarray, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Student's t interval of the mean (1908)."""
    from scipy.special import stdtrit

    half = float(stdtrit(len(values) - 1, (1 + confidence) / 2)) * float(values.std(ddof=1)) / len(values) ** 0.5
    return float(values.mean()) - half, float(values.mean()) + half


def bootstrap(values: np.ndarray, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean (Efron 1979), the same resamples at every call."""
    tail = (1 - confidence) / 2
    rounds = max(1, min(MOST_ROUNDS, round((1 - CONFIDENCE) / (1 - confidence))))  # as many resamples in a tail
    values = values.astype(np.float64)
    means = np.concatenate([values[_resamples(len(values), i)].mean(axis=1) for i in range(rounds)])
    lo, hi = np.quantile(means, [tail, 1 - tail])
    return float(lo), float(hi)


@lru_cache(maxsize=2 * MOST_ROUNDS)
def _resamples(num: int, index: int) -> np.ndarray:
    return rng(0, "bootstrap", index).integers(num, size=(RESAMPLES, num)).astype(np.uint16)
