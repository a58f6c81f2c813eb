"""z, the input of G."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from repligan.core.randomness import Draws, rng
from repligan.models.rows import Noise


def draw(noise: Noise, g: np.random.Generator, *shape: int) -> np.ndarray:
    """z of shape [*shape, noise.dim], uint8 for bits, else float32."""
    size = (*shape, noise.dim)
    match noise.kind:
        case "bits":
            return unpacked(packed(g, *shape, dim=noise.dim), noise.dim)
        case "uniform":
            return g.uniform(noise.low, noise.high, size).astype(np.float32)
        case "normal":
            return g.normal(noise.low, noise.high, size).astype(np.float32)
        case "constant":
            return np.full(size, noise.low, np.float32)


def packed(g: np.random.Generator, *shape: int, dim: int) -> np.ndarray:
    """Random bits, eight a byte: uint8 [*shape, ceil(dim / 8)]."""
    size = (*shape, -(-dim // 8))
    return np.frombuffer(g.bytes(math.prod(size)), np.uint8).reshape(size)


def unpacked(bits: np.ndarray, dim: int, axis: int = -1) -> np.ndarray:
    """The first `dim` bits of what `packed` gave, the lowest of a byte first: uint8 0 or 1."""
    return np.unpackbits(bits, axis=axis, count=dim, bitorder="little")


def fixed_z(noise: Noise, seed: int, num: int, stream: str = "fixed_z", index: int = 0) -> torch.Tensor:
    """[1, num, dim] float32, for samples that stay comparable over training."""
    return torch.from_numpy(draw(noise, rng(seed, stream, index), num)).float()[None]


class TrainingNoise:
    """`noise[i]`: the i-th z of a training, float32 [S, B, dim]."""

    def __init__(self, noise: Noise, seeds: Sequence[int], batch: int):
        self.noise = noise
        constant = noise.kind == "constant"  # one value for all: not drawn a thousand times
        self.constant = torch.full((len(seeds), batch, noise.dim), noise.low) if constant else None
        if noise.kind == "bits":  # kept eight a byte: most of their cost is moving them
            self.draws = Draws(seeds, "z", lambda g, n: packed(g, n, batch, dim=noise.dim))
        else:
            self.draws = Draws(seeds, "z", lambda g, n: draw(noise, g, n, batch))

    def __getitem__(self, index: int) -> torch.Tensor:
        if self.constant is not None:
            return self.constant
        drawn = self.draws[index]
        if self.noise.kind == "bits":
            seeds_last = unpacked(np.moveaxis(drawn, 0, -1), self.noise.dim, axis=1)
            drawn = np.moveaxis(seeds_last, -1, 0)
        return torch.from_numpy(drawn).float()
