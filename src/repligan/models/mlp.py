"""Fully connected networks of many seeds as one stack of weights."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import nn


class StackedMlp(nn.Module):
    """S independent MLPs: [S, B, widths[0]] float32 -> [S, B, widths[-1]] float32.

    Sigmoid between the layers; after the last one only if `squash`, else the output is logits.
    Weights and biases start as U(-k, k), k = 1/sqrt(inputs), as in torch.nn.Linear.
    """

    def __init__(self, widths: Sequence[int], rngs: Sequence[np.random.Generator], squash: bool):
        super().__init__()
        self.depth, self.squash = len(widths) - 1, squash
        for i, (n_in, n_out) in enumerate(pairwise(widths)):
            k = n_in**-0.5
            drawn = np.stack([rng.uniform(-k, k, (n_in + 1, n_out)) for rng in rngs]).astype(np.float32)
            self.register_parameter(f"weight{i}", nn.Parameter(torch.from_numpy(drawn[:, :-1].copy())))
            self.register_parameter(f"bias{i}", nn.Parameter(torch.from_numpy(drawn[:, -1:].copy())))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for i in range(self.depth):
            x = torch.baddbmm(getattr(self, f"bias{i}"), x, getattr(self, f"weight{i}"))
            if self.squash or i < self.depth - 1:
                x = torch.sigmoid(x)
        return x
