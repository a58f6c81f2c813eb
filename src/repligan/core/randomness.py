"""Every random draw as a function of (seed, stream, index), never of a generator's history.

Philox (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") is counter-based: a resumed
run, and seed 17 alone or among 1,000, see the same numbers, on a CPU and for a GPU alike.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

import numpy as np


def rng(seed: int, stream: str, index: int = 0) -> np.random.Generator:
    """The generator of one (seed, stream, index)."""
    return next(rngs([seed], stream, index))


def rngs(seeds: Iterable[int], stream: str, index: int) -> Iterator[np.random.Generator]:
    """The generators of many seeds, one after another: each is the one before it with another key.

    A new generator would take as long as a thousand numbers.
    """
    philox = np.random.Philox(key=0)
    generator, state = np.random.Generator(philox), philox.state
    # The counter's highest word is out of reach of the draws, which count up from the lowest.
    state["state"]["counter"][:] = (0, 0, 0, index)
    for seed in seeds:
        state["state"]["key"][:] = (seed, zlib.crc32(stream.encode()))
        philox.state = state
        yield generator
