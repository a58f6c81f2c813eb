"""z, the input of G."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from repligan.core.draws import BitDraws, Draws, random_bytes, unpacked
from repligan.core.randomness import rng
from repligan.models.rows import Noise


class TrainingNoise(Protocol):
    """`noise[i]`: the i-th z of a training, float32 [S, B, dim], or uint8 of 0 and 1."""

    def __getitem__(self, index: int) -> torch.Tensor: ...


def training_noise(noise: Noise, seeds: Sequence[int], batch: int) -> TrainingNoise:
    """All z of a training of `seeds`."""
    if noise.pool:
        return Pool(training_noise(noise.model_copy(update={"pool": None}), seeds, batch), noise.pool)
    match noise.kind:
        case "constant":
            return Constant(torch.full((len(seeds), batch, noise.dim), noise.low))
        case "bits":
            return BitDraws(seeds, "z", lambda g, n: random_bytes(g, n, batch, -(-noise.dim // 8)), noise.dim)
        case _:
            return Draws(seeds, "z", lambda g, n: draw(noise, g, n, batch))


class Constant:
    """The same z at each step: not drawn a thousand times."""

    def __init__(self, z: torch.Tensor):
        self.z = z

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.z


class Pool:
    """The first `num` batches, in turn."""

    def __init__(self, noise: TrainingNoise, num: int):
        self.noise, self.num = noise, num

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.noise[index % self.num]


def draw(noise: Noise, g: np.random.Generator, *shape: int) -> np.ndarray:
    """z of shape [*shape, noise.dim], uint8 for bits, else float32."""
    size = (*shape, noise.dim)
    match noise.kind:
        case "bits":
            return unpacked(random_bytes(g, *shape, -(-noise.dim // 8)), noise.dim)
        case "uniform":
            return g.uniform(noise.low, noise.high, size).astype(np.float32)
        case "normal":
            return g.normal(noise.low, noise.high, size).astype(np.float32)
        case "constant":
            return np.full(size, noise.low, np.float32)


def fixed_z(noise: Noise, seed: int, num: int, stream: str = "fixed_z", index: int = 0) -> torch.Tensor:
    """[1, num, dim] float32, for samples that stay comparable over training."""
    return torch.from_numpy(draw(noise, rng(seed, stream, index), num)).float()[None]
