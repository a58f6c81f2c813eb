"""Draws of many seeds, made for many steps at once and kept with the seeds last, as stacks of networks want them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch

from repligan.core.randomness import rngs

BLOCK = 250  # steps drawn at once: 1,000 generators per step would cost more than the training
Draw = Callable[[np.random.Generator, int], np.ndarray]
"""`draw(generator, count)`: an array [count, ...], one entry a step."""


class Draws:
    """`draws[i]`: what `draw` gives of one stream for step i, a tensor [S, ...].

    `then` turns what all seeds drew, [S, BLOCK, ...], into what is wanted, at once.
    """

    def __init__(
        self, seeds: Sequence[int], stream: str, draw: Draw, then: Callable[[np.ndarray], np.ndarray] | None = None
    ):
        self.seeds, self.stream, self.draw, self.then = seeds, stream, draw, then
        self._block, self._drawn = -1, torch.empty(0)

    def __getitem__(self, step: int) -> torch.Tensor:
        return self.seeds_last(step).movedim(-1, 0)

    def seeds_last(self, step: int) -> torch.Tensor:
        """The same as [..., S], contiguous."""
        block, offset = divmod(step, BLOCK)
        if block != self._block:
            drawn = np.stack([self.draw(g, BLOCK) for g in rngs(self.seeds, self.stream, block)])
            drawn = self.then(drawn) if self.then else drawn
            # By torch: numpy turns a matrix four times slower.
            turned = torch.from_numpy(drawn.reshape(len(drawn), -1)).t().contiguous()
            self._block, self._drawn = block, turned.view(*drawn.shape[1:], -1)
        return self._drawn[offset]


class BitDraws:
    """`draws[i]`: uint8 [S, B, dim], 0 or 1; `draw` gives the bits of a step as bytes [count, B, ceil(dim / 8)].

    Kept eight a byte, the lowest first: most of their cost is moving them.
    """

    def __init__(self, seeds: Sequence[int], stream: str, draw: Draw, dim: int):
        self.draws, self.dim = Draws(seeds, stream, draw), dim
        self._places, self._one = torch.arange(8, dtype=torch.uint8)[:, None], torch.tensor(1, dtype=torch.uint8)

    def __getitem__(self, step: int) -> torch.Tensor:
        bits = torch.bitwise_right_shift(self.draws.seeds_last(step)[..., None, :], self._places).bitwise_and_(
            self._one
        )
        return bits.flatten(1, 2)[:, : self.dim].permute(2, 0, 1)


def random_bytes(g: np.random.Generator, *shape: int) -> np.ndarray:
    """uint8 of any shape. As the generator's own words: `integers` takes twice as long for the same."""
    num = math.prod(shape)
    words = g.bit_generator.random_raw(-(-num // 8))
    return words.astype("<u8", copy=False).view(np.uint8)[:num].reshape(shape)


def packed(bits: np.ndarray) -> np.ndarray:
    """Bits [..., dim] of 0 and 1 as bytes [..., ceil(dim / 8)]."""
    return np.packbits(bits.astype(bool), axis=-1, bitorder="little")


def unpacked(drawn: np.ndarray, dim: int) -> np.ndarray:
    """The first `dim` bits of bytes [..., ceil(dim / 8)]: uint8 [..., dim]."""
    return np.unpackbits(drawn, axis=-1, count=dim, bitorder="little")
