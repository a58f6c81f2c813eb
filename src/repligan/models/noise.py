"""z, the input of G."""

from __future__ import annotations

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
            return g.integers(0, 2, size, dtype=np.uint8)
        case "uniform":
            return g.uniform(noise.low, noise.high, size).astype(np.float32)
        case "normal":
            return g.normal(noise.low, noise.high, size).astype(np.float32)
        case "constant":
            return np.full(size, noise.low, np.float32)


def fixed_z(noise: Noise, seed: int, num: int, stream: str = "fixed_z", index: int = 0) -> torch.Tensor:
    """[1, num, dim] float32, for samples that stay comparable over training."""
    return torch.from_numpy(draw(noise, rng(seed, stream, index), num)).float()[None]


class TrainingNoise:
    """`noise[i]`: the i-th z of a training, float32 [S, B, dim]."""

    def __init__(self, noise: Noise, seeds: Sequence[int], batch: int):
        constant = noise.kind == "constant"  # one value for all: not drawn a thousand times
        self.constant = torch.full((len(seeds), batch, noise.dim), noise.low) if constant else None
        self.draws = Draws(seeds, "z", lambda g, n: draw(noise, g, n, batch))

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(self.draws[index]).float() if self.constant is None else self.constant
