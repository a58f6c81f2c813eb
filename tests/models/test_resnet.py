from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool2d, relu

from repligan.core.randomness import rng
from repligan.data.rows import Dataset
from repligan.models.resnet import Discriminator, Down, Generator, Up
from repligan.models.rows import Identity, Mlp, Noise, ResnetD, ResnetG
from repligan.models.weights import build

Z = Noise(kind="normal", dim=16, low=0.0, high=1.0)
WIDTH = 32


def dataset(size: int, channels: int = 3) -> Dataset:
    form = {"kind": "images", "size": size, "channels": channels, "crop": None, "train": 8, "heldout": 8}
    source = {"kind": "drawn", "subject": "faces", "count": 16, "size": 32}
    row = {
        "source": source,
        "form": form | {"unreadable": 0.0},
        "metrics": "images",
        "standin_for": "celeba",
        "remote": None,
    }
    return Dataset.model_validate(row)


def rows(width: int = WIDTH) -> tuple[ResnetG, ResnetD]:
    return ResnetG(kind="resnet", width=width), ResnetD(kind="resnet", width=width)


@pytest.mark.parametrize(("size", "channels", "blocks"), [(16, 1, 2), (32, 3, 3), (64, 3, 4)])
def test_shapes_and_ranges_at_every_size(size: int, channels: int, blocks: int) -> None:
    G, D = build(*rows(4), Z.dim, dataset(size, channels).form, [0])
    img = G(torch.randn(1, 5, Z.dim))
    assert img.shape == (1, 5, channels, size, size)
    assert 0 < img.abs().max() <= 1
    assert D(img).shape == (1, 5, 1)
    assert sum(isinstance(layer, Up) for layer in G.modules()) == blocks
    assert sum(isinstance(layer, Down) for layer in D.modules()) == 4  # whatever the size
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in D.modules())


def test_the_published_number_of_parameters_at_32() -> None:
    """Of Miyato et al. 2018, table 4, with 128 channels in D; G as Gulrajani et al. 2017 with as many."""
    n, conv, norm = 128, 128 * 128 * 9 + 128, 2 * 128
    short = n * n + n
    G, D = build(*rows(n), 128, dataset(32).form, [0])
    of_G = (128 + 1) * n * 16 + 3 * (2 * norm + 2 * conv + short) + norm + (n * 3 * 9 + 3)
    of_D = (3 * n * 9 + n) + conv + (3 * n + n) + (2 * conv + short) + 2 * 2 * conv + n + 1
    assert sum(p.numel() for p in G.parameters()) == of_G
    assert sum(p.numel() for p in D.parameters()) == of_D


def test_weights_start_as_he_says_half_as_wide_where_no_relu_follows() -> None:
    for net in build(*rows(), Z.dim, dataset(32).form, [0]):
        for name, layer in net.named_modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                gain = 1 if name.endswith("short") or isinstance(layer, nn.Linear) else 2
                wanted = (gain / layer.weight[0].numel()) ** 0.5
                assert layer.weight.abs().max().item() <= wanted * 3**0.5
                if layer.weight.numel() > 500:
                    assert layer.weight.std().item() == pytest.approx(wanted, rel=0.1), name
                assert layer.bias is not None
                assert layer.bias.abs().max() == 0
            elif isinstance(layer, nn.BatchNorm2d):
                assert layer.weight.min() == layer.weight.max() == 1


def test_weights_are_a_function_of_the_seed() -> None:
    one, again, other = (build(*rows(4), Z.dim, dataset(16).form, [seed]) for seed in (3, 3, 4))
    for net, same, different in zip(one, again, other, strict=True):
        for key, value in net.state_dict().items():
            assert torch.equal(value, same.state_dict()[key])
        assert any(not torch.equal(a, b) for a, b in zip(net.parameters(), different.parameters(), strict=True))


def test_blocks_are_a_shortcut_and_two_convolutions() -> None:
    x = torch.randn(2, 3, 8, 8)
    down = Down(3, 5, halves=True)
    expected = down.conv2(relu(down.conv1(relu(x)))) + down.short(x)
    torch.testing.assert_close(down(x), avg_pool2d(expected, 2))
    first = Down(3, 5, halves=True, first=True)
    torch.testing.assert_close(first(x), avg_pool2d(first.conv2(relu(first.conv1(x))) + first.short(x), 2))
    same = Down(3, 3, halves=False)
    torch.testing.assert_close(same(x), same.conv2(relu(same.conv1(relu(x)))) + x)
    up = Up(3, 5).eval()
    large = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    main = up.conv1(relu(up.norm1(x)).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))
    torch.testing.assert_close(up(x), up.conv2(relu(up.norm2(main))) + up.short(large))


def test_no_logit_depends_on_the_company_of_its_image() -> None:
    D, img = Discriminator(4, 3, rng(0, "init_D")), torch.rand(1, 4, 3, 16, 16)
    torch.testing.assert_close(D(img)[:, :1], D(img[:, :1]))
    G, z = Generator(4, 16, 3, 16, rng(0, "init_G")), torch.randn(1, 4, 16)
    assert not torch.allclose(G(z)[:, :1], G(z[:, :2])[:, :1])


@pytest.mark.parametrize("name", ["G", "D"])
def test_images_below_16_pixels_and_toys_are_refused(name: str) -> None:
    row = rows()["GD".index(name)]
    row.refuse_unfit(name, dataset(16), Z)
    with pytest.raises(ValueError, match=f"{name}: found images of 8 pixels; allowed: at least 16"):
        row.refuse_unfit(name, dataset(8), Z)
    bits = Dataset.model_validate(
        {
            "source": {"kind": "integers", "start": 0, "stop": 128, "step": 2},
            "form": {"kind": "bits", "width": 7},
            "metrics": "even",
            "standin_for": None,
            "remote": None,
        }
    )
    with pytest.raises(ValueError, match=f"{name}: found a network of images; allowed for bits: mlp"):
        row.refuse_unfit(name, bits, Z)
    with pytest.raises(ValueError, match="found 'mlp'; allowed for images: networks of images"):
        Mlp(kind="mlp", widths=[16, 1]).refuse_unfit(name, dataset(16), Z)
    with pytest.raises(ValueError, match="G: found 16 outputs; allowed: 0, the size of the data"):
        Identity(kind="identity").refuse_unfit("G", dataset(16), Z)
