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
    Weights and biases start as U(-k, k), k = 1/sqrt(inputs), as in torch.nn.Linear. All of them are one parameter,
    `flat` [P, S]: with the seeds last, one vector instruction computes a weight of several seeds.
    """

    def __init__(self, widths: Sequence[int], rngs: Sequence[np.random.Generator], squash: bool):
        super().__init__()
        self.widths, self.squash = list(widths), squash
        drawn = [
            np.stack([rng.uniform(-(n_in**-0.5), n_in**-0.5, (n_in + 1) * n_out) for rng in rngs], axis=-1)
            for n_in, n_out in pairwise(widths)
        ]
        self.flat = nn.Parameter(torch.from_numpy(np.concatenate(drawn).astype(np.float32)))

    def layers(self, flat: torch.Tensor | None = None) -> list[torch.Tensor]:
        """Views [n_in + 1, n_out, S] of `flat`, by default the weights: a row an input, the last one the bias."""
        flat, found, at = self.flat if flat is None else flat, [], 0
        for n_in, n_out in pairwise(self.widths):
            found.append(flat[at : at + (n_in + 1) * n_out].view(n_in + 1, n_out, -1))
            at += (n_in + 1) * n_out
        return found

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        layers = self.layers()
        for i, layer in enumerate(layers):
            weight = layer.movedim(-1, 0)
            x = torch.baddbmm(weight[:, -1:], x, weight[:, :-1])
            if self.squash or i < len(layers) - 1:
                x = torch.sigmoid(x)
        return x
