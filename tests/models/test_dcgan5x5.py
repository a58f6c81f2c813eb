from __future__ import annotations

import pytest
import torch
from torch import nn

from repligan.models.dcgan5x5 import Discriminator, Generator
from repligan.randomness import rng


@pytest.fixture(scope="module")
def networks() -> tuple[Generator, Discriminator]:
    return Generator(100, 64, 1, rng(0, "init_G")), Discriminator(64, 1, rng(0, "init_D"))


def test_the_published_widths(networks: tuple[Generator, Discriminator]) -> None:
    G, D = networks
    shapes = [tuple(layer.weight.shape) for layer in G.net if isinstance(layer, nn.ConvTranspose2d)]
    assert shapes == [(512, 256, 5, 5), (256, 128, 5, 5), (128, 1, 5, 5)]
    assert G.net[0].weight.shape == (4 * 4 * 512, 100)
    shapes = [tuple(layer.weight.shape) for layer in D.net if isinstance(layer, nn.Conv2d)]
    assert shapes == [(64, 1, 5, 5), (128, 64, 5, 5), (256, 128, 5, 5)]
    assert D.net[-1].weight.shape == (1, 4 * 4 * 256)


def test_the_number_of_parameters(networks: tuple[Generator, Discriminator]) -> None:
    G, D = (sum(p.numel() for p in net.parameters()) for net in networks)
    dense, bn = 100 * 8192 + 8192, 2 * (512 + 256 + 128)
    assert dense + 25 * (512 * 256 + 256 * 128 + 128) + 256 + 128 + 1 + bn == G
    assert D == 25 * (64 + 64 * 128 + 128 * 256) + 64 + 128 + 256 + 2 * (128 + 256) + 4096 + 1


def test_batch_normalisation_where_the_article_has_it(networks: tuple[Generator, Discriminator]) -> None:
    G, D = networks
    found = [[layer.num_features for layer in net.net if isinstance(layer, nn.BatchNorm2d)] for net in (G, D)]
    assert found == [[512, 256, 128], [128, 256]]
    assert all((b.eps, b.momentum) == (1e-5, 0.1) for b in G.net if isinstance(b, nn.BatchNorm2d))


def test_initialisation(networks: tuple[Generator, Discriminator]) -> None:
    for net in networks:
        for layer in net.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                assert layer.bias.abs().max() == 0
                assert layer.weight.std().item() == pytest.approx(0.02, rel=0.1)


def test_ranges_and_shapes(networks: tuple[Generator, Discriminator]) -> None:
    G, D = networks
    img = G(torch.rand(1, 3, 100) * 2 - 1)
    assert img.shape == (1, 3, 1, 32, 32)
    assert img.abs().max() <= 1
    assert D(img).shape == (1, 3, 1)


def test_layers_are_tensorflows_same_padding_in_a_mirror() -> None:
    """TensorFlow pads 1 before and 2 after; mirrored input, kernel and output must give the same numbers."""
    from repligan.models.dcgan5x5 import conv, conv_transpose

    x = torch.rand(1, 2, 8, 8)
    ours = conv(2, 3)
    same = nn.functional.conv2d(nn.functional.pad(x, (1, 2, 1, 2)), ours.weight.flip(2, 3), ours.bias, stride=2)
    torch.testing.assert_close(ours(x.flip(2, 3)).flip(2, 3), same)
    back = conv_transpose(2, 3)
    full = nn.functional.conv_transpose2d(x, back.weight.flip(2, 3), back.bias, stride=2)
    torch.testing.assert_close(back(x.flip(2, 3)).flip(2, 3), full[..., 1:-2, 1:-2])
