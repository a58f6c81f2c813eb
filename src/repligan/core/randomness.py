"""Every random draw as a function of (seed, stream, index), never of a generator's history.

Philox (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") is counter-based: a resumed
run, and seed 17 alone or among 1,000, see the same numbers, on a CPU and for a GPU alike.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import numpy as np

BLOCK = 250  # steps drawn at once: 1,000 generators per step would cost more than the training


def rng(seed: int, stream: str, index: int = 0) -> np.random.Generator:
    """The generator of one (seed, stream, index)."""
    key = np.array([seed, zlib.crc32(stream.encode())], dtype=np.uint64)
    # The counter's highest word is out of reach of the draws, which count up from the lowest.
    counter = np.array([0, 0, 0, index], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


class Draws:
    """Draws of one stream for many seeds, `steps[i]` of each, made a block at a time.

    `draw(generator, count)` returns an array [count, ...]: one entry per step. In memory the seeds come last, as the
    stacks of networks want them.
    """

    def __init__(self, seeds: Sequence[int], stream: str, draw: Callable[[np.random.Generator, int], np.ndarray]):
        self.seeds, self.stream, self.draw = seeds, stream, draw
        self._block, self._drawn = -1, np.empty(0)

    def __getitem__(self, step: int) -> np.ndarray:
        """Draws of `step`, shape [S, ...]."""
        import torch

        block, offset = divmod(step, BLOCK)
        if block != self._block:
            drawn = [self.draw(rng(seed, self.stream, block), BLOCK) for seed in self.seeds]
            shape, flat = drawn[0].shape, np.stack(drawn).reshape(len(drawn), -1)
            # By torch: numpy turns a matrix four times slower.
            turned = torch.from_numpy(flat).t().contiguous().numpy()
            self._block, self._drawn = block, turned.reshape(*shape, -1)
        return np.moveaxis(self._drawn[offset], -1, 0)
