"""95 % confidence intervals over seeds or repeats, for a number of them that is fixed in advance."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from repligan.core.randomness import rng

CONFIDENCE = 0.95
RESAMPLES = 2000
FEW = 100  # below this many values a percentile bootstrap is too narrow


def interval(values: np.ndarray) -> dict[str, float]:
    """mean, lo, hi of values [R]: Wilson (1927) for booleans, Student's t below a hundred values, else a bootstrap.

    One value alone has no interval: its mean only.
    """
    if len(values) == 1:
        return {"mean": float(values[0])}
    if values.dtype == bool:
        lo, hi = wilson(int(values.sum()), len(values))
    else:
        lo, hi = (bootstrap if len(values) >= FEW else student)(values)
    return {"mean": float(values.mean()), "lo": lo, "hi": hi}


def summary(values: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """metric -> `interval` of its values [R], with their standard deviation where they are not yes or no."""
    return {
        key: interval(v) | ({"sd": float(v.std(ddof=1))} if v.dtype != bool and len(v) > 1 else {})
        for key, v in values.items()
    }


def wilson(successes: float, trials: int) -> tuple[float, float]:
    """Wilson's score interval of a share (1927)."""
    from scipy.special import ndtri

    z2 = float(ndtri((1 + CONFIDENCE) / 2)) ** 2
    centre = (successes + z2 / 2) / (trials + z2)
    half = (z2 * (successes * (trials - successes) / trials + z2 / 4)) ** 0.5 / (trials + z2)
    # At the ends the bounds are exact; rounding must not lead beyond them.
    return (centre - half if successes else 0.0), (centre + half if successes < trials else 1.0)


def student(values: np.ndarray) -> tuple[float, float]:
    """Student's t interval of the mean (1908)."""
    from scipy.special import stdtrit

    half = float(stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2)) * float(values.std(ddof=1)) / len(values) ** 0.5
    return float(values.mean()) - half, float(values.mean()) + half


def bootstrap(values: np.ndarray) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean (Efron 1979), the same resamples at every call."""
    tail = (1 - CONFIDENCE) / 2
    means = values.astype(np.float64)[_resamples(len(values))].mean(axis=1)
    lo, hi = np.quantile(means, [tail, 1 - tail])
    return float(lo), float(hi)


@lru_cache(maxsize=2)
def _resamples(num: int) -> np.ndarray:
    return rng(0, "bootstrap").integers(num, size=(RESAMPLES, num)).astype(np.uint16)
