"""The DCGAN of "A short introduction to GANs": 5x5 kernels, stride 2, "same" padding, 32x32 images.

TensorFlow pads by 1 before and 2 after, these layers by 2 before and 1 after: the article's network seen
in a mirror, and as likely to be drawn, since its weights start independent and identically distributed.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn


def conv(n_in: int, n_out: int) -> nn.Conv2d:
    """[N, C, H, W] -> [N, C', H/2, W/2]."""
    return nn.Conv2d(n_in, n_out, 5, stride=2, padding=2)


def conv_transpose(n_in: int, n_out: int) -> nn.ConvTranspose2d:
    """[N, C, H, W] -> [N, C', 2H, 2W]."""
    return nn.ConvTranspose2d(n_in, n_out, 5, stride=2, padding=2, output_padding=1)


def batch_norm(n: int) -> nn.BatchNorm2d:
    """Epsilon 1e-5, and .9 in TensorFlow's sense of momentum."""
    return nn.BatchNorm2d(n, eps=1e-5, momentum=0.1)


def init_normal(network: nn.Module, rng: np.random.Generator) -> None:
    """Every kernel N(0, .02), every bias 0 (Radford et al. 2016, section 4)."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            drawn = rng.normal(0.0, 0.02, tuple(layer.weight.shape)).astype(np.float32)
            layer.weight.data = torch.from_numpy(drawn)
            if layer.bias is not None:
                layer.bias.data.zero_()


class Generator(nn.Module):
    """z [1, B, dim] float32 -> images [1, B, C, 32, 32] float32 in (-1, 1); `width` 64 is the article's."""

    def __init__(self, dim: int, width: int, channels: int, rng: np.random.Generator):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(dim, 8 * width * 4 * 4),
            nn.Unflatten(1, (8 * width, 4, 4)),
            batch_norm(8 * width),
            nn.ReLU(),
            conv_transpose(8 * width, 4 * width),
            batch_norm(4 * width),
            nn.ReLU(),
            conv_transpose(4 * width, 2 * width),
            batch_norm(2 * width),
            nn.ReLU(),
            conv_transpose(2 * width, channels),
            nn.Tanh(),
        )
        init_normal(self, rng)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.net(z[0])[None]


class Discriminator(nn.Module):
    """Images [1, B, C, 32, 32] float32 in [-1, 1] -> logits [1, B, 1] float32."""

    def __init__(self, width: int, channels: int, rng: np.random.Generator):
        super().__init__()
        self.net = nn.Sequential(
            conv(channels, width),
            nn.LeakyReLU(0.2),
            conv(width, 2 * width),
            batch_norm(2 * width),
            nn.LeakyReLU(0.2),
            conv(2 * width, 4 * width),
            batch_norm(4 * width),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(4 * width * 4 * 4, 1),
        )
        init_normal(self, rng)

    def forward(self, img: torch.Tensor) -> torch.Tensor:
        return self.net(img[0])[None]
