"""DCGANs: a dense layer and strided convolutions, as in Radford et al. 2016, "Unsupervised representation learning".

Kernels of 4 pad by 1, kernels of 5 are "same" as in TensorFlow; but where TensorFlow pads by 1 before and 2 after,
these layers pad by 2 before and 1 after: the article's network seen in a mirror, and as likely to be drawn, since
its weights start independent and identically distributed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from repligan.models.rows import DcganD, DcganG


def conv(n_in: int, n_out: int, kernel: int, bias: bool) -> nn.Conv2d:
    """[N, C, H, W] -> [N, C', H/2, W/2]."""
    return nn.Conv2d(n_in, n_out, kernel, stride=2, padding=(kernel - 1) // 2, bias=bias)


def conv_transpose(n_in: int, n_out: int, kernel: int, bias: bool) -> nn.ConvTranspose2d:
    """[N, C, H, W] -> [N, C', 2H, 2W]."""
    padding = (kernel - 1) // 2
    return nn.ConvTranspose2d(n_in, n_out, kernel, stride=2, padding=padding, output_padding=kernel % 2, bias=bias)


def batch_norm(n: int) -> nn.BatchNorm2d:
    """Epsilon 1e-5, and .9 in TensorFlow's sense of momentum."""
    return nn.BatchNorm2d(n, eps=1e-5, momentum=0.1)


def start(network: nn.Module, rng: np.random.Generator, init: str = "normal") -> None:
    """Every kernel N(0, .02) (Radford et al. 2016, section 4), or `uniform` as torch's layers start; every bias 0."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            shape = tuple(layer.weight.shape)
            reach = layer.weight[0].numel() ** -0.5
            drawn = rng.normal(0.0, 0.02, shape) if init == "normal" else rng.uniform(-reach, reach, shape)
            layer.weight.data = torch.from_numpy(drawn.astype(np.float32))
            if layer.bias is not None:
                layer.bias.data.zero_()


def widths(config: DcganG | DcganD, size: int) -> list[int]:
    """Channels between the layers, from the image inwards: `width`, doubled up to the `start` x `start` map."""
    return [config.width * 2**i for i in range((size // config.start).bit_length() - 1)]


def hidden(
    config: DcganG | DcganD,
    channels: list[int],
    layer: Callable[[int, int, int, bool], nn.Module],
    activation: Callable[[], nn.Module],
    norm: bool = True,
) -> Iterator[nn.Module]:
    """The layers between maps of `channels`, each with batch normalisation, unless told, and an activation."""
    for n_in, n_out in pairwise(channels):
        yield layer(n_in, n_out, config.kernel, config.bias)
        if norm:
            yield batch_norm(n_out)
        yield activation()


class Generator(nn.Module):
    """z [1, B, dim] float32 -> images [1, B, C, size, size] float32 in (-1, 1)."""

    def __init__(self, config: DcganG, dim: int, channels: int, size: int, rng: np.random.Generator):
        super().__init__()
        outwards = widths(config, size)[::-1]
        self.net = nn.Sequential(
            nn.Linear(dim, outwards[0] * config.start**2),
            nn.Unflatten(1, (outwards[0], config.start, config.start)),
            *([batch_norm(outwards[0]), nn.ReLU()] if config.project == "norm" else []),
            *hidden(config, outwards, conv_transpose, nn.ReLU),
            conv_transpose(outwards[-1], channels, config.kernel, config.bias),
            nn.Tanh(),
        )
        start(self, rng, config.init)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.net(z[0])[None]


class Discriminator(nn.Module):
    """Images [1, B, C, size, size] float32 in [-1, 1] -> logits [1, B, 1] float32."""

    def __init__(self, config: DcganD, channels: int, size: int, rng: np.random.Generator):
        super().__init__()
        inwards = widths(config, size)
        self.net = nn.Sequential(
            conv(channels, inwards[0], config.kernel, config.bias),
            nn.LeakyReLU(config.slope),
            *hidden(config, inwards, conv, partial(nn.LeakyReLU, config.slope), config.norm == "batch"),
            nn.Flatten(),
            nn.Linear(inwards[-1] * config.start**2, 1),
        )
        start(self, rng, config.init)

    def forward(self, img: torch.Tensor) -> torch.Tensor:
        return self.net(img[0])[None]
