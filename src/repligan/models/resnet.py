"""Residual networks for images (Miyato et al. 2018, "Spectral normalization for GANs", table 4; Gulrajani et al. 2017).

Without the spectral normalisation of D: the loss holds its slope, as with a gradient penalty.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn.functional import avg_pool2d, interpolate, relu

from repligan.models.dcgan import batch_norm


def conv3(n_in: int, n_out: int, kernel: int = 3) -> nn.Conv2d:
    """[N, C, H, W] -> [N, C', H, W]."""
    return nn.Conv2d(n_in, n_out, kernel, padding=kernel // 2)


class Up(nn.Module):
    """[N, C, H, W] -> [N, C', 2H, 2W]."""

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        self.norm1, self.conv1 = batch_norm(n_in), conv3(n_in, n_out)
        self.norm2, self.conv2 = batch_norm(n_out), conv3(n_out, n_out)
        self.short = conv3(n_in, n_out, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.conv1(interpolate(relu(self.norm1(x)), scale_factor=2))
        return self.conv2(relu(self.norm2(h))) + self.short(interpolate(x, scale_factor=2))


class Down(nn.Module):
    """[N, C, H, W] -> [N, C', H/2, W/2], or of the same size; the first block of all sees pixels, not activations."""

    def __init__(self, n_in: int, n_out: int, halves: bool, first: bool = False):
        super().__init__()
        self.conv1, self.conv2, self.halves, self.first = conv3(n_in, n_out), conv3(n_out, n_out), halves, first
        self.short = conv3(n_in, n_out, 1) if halves else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.conv2(relu(self.conv1(x if self.first else relu(x))))
        total = h + self.short(x)
        return avg_pool2d(total, 2) if self.halves else total


def init_he(network: nn.Module, rng: np.random.Generator) -> None:
    """Kernels uniform with variance 2 / inputs (He et al. 2015, eq. 10), 1 / inputs in shortcuts and dense layers."""
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            inputs = layer.weight[0].numel()
            gain = 3 if name.endswith("short") or isinstance(layer, nn.Linear) else 6
            bound = (gain / inputs) ** 0.5
            drawn = rng.uniform(-bound, bound, tuple(layer.weight.shape)).astype(np.float32)
            layer.weight.data = torch.from_numpy(drawn)
            if layer.bias is not None:
                layer.bias.data.zero_()


class Generator(nn.Module):
    """z [1, B, dim] float32 -> images [1, B, C, size, size] float32 in (-1, 1)."""

    def __init__(self, width: int, dim: int, channels: int, size: int, rng: np.random.Generator):
        super().__init__()
        blocks = (size // 4).bit_length() - 1
        self.net = nn.Sequential(
            nn.Linear(dim, width * 16),
            nn.Unflatten(1, (width, 4, 4)),
            *(Up(width, width) for _ in range(blocks)),
            batch_norm(width),
            nn.ReLU(),
            conv3(width, channels),
            nn.Tanh(),
        )
        init_he(self, rng)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.net(z[0])[None]


class Discriminator(nn.Module):
    """Images [1, B, C, size, size] float32 in [-1, 1] -> logits [1, B, 1] float32."""

    def __init__(self, width: int, channels: int, rng: np.random.Generator):
        super().__init__()
        self.blocks = nn.Sequential(
            Down(channels, width, halves=True, first=True),
            Down(width, width, halves=True),
            Down(width, width, halves=False),
            Down(width, width, halves=False),
        )
        self.head = nn.Linear(width, 1)
        init_he(self, rng)

    def forward(self, img: torch.Tensor) -> torch.Tensor:
        return self.head(relu(self.blocks(img[0])).sum(dim=(2, 3)))[None]
