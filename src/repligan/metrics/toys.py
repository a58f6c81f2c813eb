"""Statistics of the two toys, exact over the whole input space where it is finite; per seed."""

from __future__ import annotations

import numpy as np

from repligan.core.randomness import rng

FEW = 10  # samples of an `even` G that are looked at as the article does
PATTERN = np.array([1, 0, 1, 0], dtype=bool)


def even_statistics(values: np.ndarray, sampled: np.ndarray, real: np.ndarray) -> dict[str, np.ndarray]:
    """Of G's integers for every possible z, `values` [S, N], and for a few random z, `sampled` [S, n].

    even_rate: share of even numbers; coverage: share of the `real` integers that appear; tv: total
    variation distance to the uniform distribution on `real`; all_even: whether all sampled are even;
    evens: how many of them are; distinct: how many different numbers are among the sampled.
    """
    size = int(max(values.max(), real.max())) + 1
    counts = np.stack([np.bincount(row, minlength=size) for row in values])
    wanted = np.zeros(size)
    wanted[real] = 1 / len(real)
    return {
        "even_rate": (values % 2 == 0).mean(axis=1),
        "coverage": (counts[:, real] > 0).mean(axis=1),
        "tv": np.abs(counts / values.shape[1] - wanted).sum(axis=1) / 2,
        "all_even": (sampled % 2 == 0).all(axis=1),
        "evens": (sampled % 2 == 0).sum(axis=1).astype(np.float64),
        "distinct": np.array([len(np.unique(row)) for row in sampled], dtype=np.float64),
    }


def decode(bits: np.ndarray) -> np.ndarray:
    """Outputs in [0, 1], [..., width] -> integers [...]: a bit is 1 where the output is at least 0.5."""
    weights = 2 ** np.arange(bits.shape[-1])[::-1]
    return (bits >= 0.5) @ weights


def pattern_statistics(points: np.ndarray, bounds: np.ndarray) -> dict[str, np.ndarray]:
    """Of points [S, n, 4]: match: share that is 1010 at threshold 0.5; inside: share within `bounds` [2, 4] in all
    components, inside_0 ... inside_3: in each; out_0 ... out_3: mean of each component."""
    low, high = bounds
    within = (points >= low) & (points <= high)
    components = range(points.shape[2])
    return {
        "match": _share(((points >= 0.5) == PATTERN).all(axis=2)),
        "inside": _share(within.all(axis=2)),
        **{f"inside_{i}": _share(within[..., i]) for i in components},
        **{f"out_{i}": points[..., i].mean(axis=1) for i in components},
    }


def even_floor(real: np.ndarray, num: int, repeats: int) -> dict[str, np.ndarray]:
    """Statistics [repeats] of `num` draws of the `real` integers in the place of G's."""
    g = rng(0, "floor")
    return even_statistics(g.choice(real, (repeats, num)), g.choice(real, (repeats, FEW)), real)


def pattern_floor(bounds: np.ndarray, num: int, repeats: int) -> dict[str, np.ndarray]:
    """Statistics [repeats] of `num` draws from the box `bounds` [2, 4] in the place of G's points."""
    shape = (repeats, num, bounds.shape[1])
    return pattern_statistics(rng(0, "floor").uniform(bounds[0], bounds[1], shape), bounds)


def _share(held: np.ndarray) -> np.ndarray:
    # One point a seed is a yes or a no, which has a better interval than a mean.
    return held[:, 0] if held.shape[1] == 1 else held.mean(axis=1)
