from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from conftest import ROOT
from torch import nn

from repligan.compose import compose
from repligan.core.randomness import rng
from repligan.models.dcgan import Discriminator, Generator, conv, conv_transpose, start
from repligan.models.rows import DcganD
from repligan.models.weights import build
from repligan.params import Params, load

Networks = dict[str, tuple[Generator, Discriminator]]
# G and D of the articles at full width: weights of the strided layers, features of the normalised ones.
PUBLISHED = {
    "dcgan-mnist": (
        [(512, 256, 5, 5), (256, 128, 5, 5), (128, 1, 5, 5)], [512, 256, 128],
        [(64, 1, 5, 5), (128, 64, 5, 5), (256, 128, 5, 5)], [128, 256],
    ),
    "dcgan-svhn": (
        [(512, 256, 5, 5), (256, 128, 5, 5), (128, 3, 5, 5)], [512, 256, 128],
        [(64, 3, 5, 5), (128, 64, 5, 5), (256, 128, 5, 5)], [128, 256],
    ),
    "dcgan-celeba": (
        [(512, 256, 4, 4), (256, 128, 4, 4), (128, 64, 4, 4), (64, 3, 4, 4)], [256, 128, 64],
        [(64, 3, 4, 4), (128, 64, 4, 4), (256, 128, 4, 4), (512, 256, 4, 4)], [128, 256, 512],
    ),
    "dcgan-anime": (
        [(1024, 512, 4, 4), (512, 256, 4, 4), (256, 128, 4, 4), (128, 3, 4, 4)], [1024, 512, 256, 128],
        [(128, 3, 4, 4), (256, 128, 4, 4), (512, 256, 4, 4), (1024, 512, 4, 4)], [256, 512, 1024],
    ),
}  # fmt: skip
# Start of G and end of D: (z, features of the first map), features before the logit.
ENDS = {
    "dcgan-mnist": (100, 4 * 4 * 512, 4 * 4 * 256),
    "dcgan-svhn": (100, 4 * 4 * 512, 4 * 4 * 256),
    "dcgan-celeba": (100, 2 * 2 * 512, 2 * 2 * 512),
    "dcgan-anime": (64, 4 * 4 * 1024, 4 * 4 * 1024),
}
NAMES = sorted(PUBLISHED)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Params:
    path = tmp_path_factory.mktemp("full") / "params.yaml"
    compose("full", path, ROOT / "conf")
    return load(path)


@pytest.fixture(scope="module")
def networks(full: Params) -> Networks:
    rows = {name: full.published(name) for name in NAMES}
    return {
        name: build(row.G, row.D, row.z.dim, full.datasets[row.dataset].form, [0])  # type: ignore[misc]
        for name, row in rows.items()
    }


def shapes(net: nn.Module, kind: type) -> list[tuple[int, ...]]:
    return [tuple(layer.weight.shape) for layer in net.modules() if isinstance(layer, kind)]


@pytest.mark.parametrize("name", NAMES)
def test_the_published_layers(networks: Networks, name: str) -> None:
    G, D = networks[name]
    up, up_norms, down, down_norms = PUBLISHED[name]
    dim, first, last = ENDS[name]
    assert shapes(G, nn.ConvTranspose2d) == up
    assert shapes(D, nn.Conv2d) == down
    assert shapes(G, nn.BatchNorm2d) == [(n,) for n in up_norms]
    assert shapes(D, nn.BatchNorm2d) == [(n,) for n in down_norms]
    assert shapes(G, nn.Linear) == [(first, dim)]
    assert shapes(D, nn.Linear) == [(1, last)]
    assert {layer.negative_slope for layer in D.modules() if isinstance(layer, nn.LeakyReLU)} == {0.2}
    norms = [layer for net in (G, D) for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert {(layer.eps, layer.momentum) for layer in norms} == {(1e-5, 0.1)}


@pytest.mark.parametrize("name", NAMES)
def test_the_number_of_parameters(networks: Networks, name: str) -> None:
    up, up_norms, down, down_norms = PUBLISHED[name]
    dim, first, last = ENDS[name]
    biased = name in ("dcgan-mnist", "dcgan-svhn")

    def kernels(layers: list[tuple[int, ...]], out: int) -> int:
        return sum(a * b * c * d + biased * shape[out] for shape in layers for a, b, c, d in [shape])

    G, D = (sum(p.numel() for p in net.parameters()) for net in networks[name])
    assert (dim + 1) * first + kernels(up, 1) + 2 * sum(up_norms) == G
    assert kernels(down, 0) + 2 * sum(down_norms) + last + 1 == D


@pytest.mark.parametrize("name", NAMES)
def test_initialisation(networks: Networks, name: str) -> None:
    for net in networks[name]:
        for layer in net.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                assert layer.bias is None or layer.bias.abs().max() == 0
                assert layer.weight.std().item() == pytest.approx(0.02, rel=0.1)
                assert abs(layer.weight.mean().item()) < 0.002
            elif isinstance(layer, nn.BatchNorm2d):
                assert layer.weight.min() == layer.weight.max() == 1
                assert layer.bias.abs().max() == 0


@pytest.mark.parametrize("name", NAMES)
def test_ranges_and_shapes(full: Params, networks: Networks, name: str) -> None:
    G, D = networks[name]
    form = full.dataset_of(name).form
    img = G(torch.rand(1, 3, ENDS[name][0]) * 2 - 1)
    assert img.shape == (1, 3, form.channels, form.size, form.size)
    assert 0 < img.abs().max() <= 1
    assert D(img).shape == (1, 3, 1)


def test_celebas_first_layer_is_plain_and_the_others_are_normalised(networks: Networks) -> None:
    assert [type(layer) for layer in networks["dcgan-celeba"][0].net][2] is nn.ConvTranspose2d
    for name in ("dcgan-mnist", "dcgan-svhn", "dcgan-anime"):
        assert [type(layer) for layer in networks[name][0].net][2:4] == [nn.BatchNorm2d, nn.ReLU]


def test_layers_are_tensorflows_same_padding_in_a_mirror() -> None:
    """TensorFlow pads 1 before and 2 after; mirrored input, kernel and output must give the same numbers."""
    x = torch.rand(1, 2, 8, 8)
    ours = conv(2, 3, 5, True)
    same = nn.functional.conv2d(nn.functional.pad(x, (1, 2, 1, 2)), ours.weight.flip(2, 3), ours.bias, stride=2)
    torch.testing.assert_close(ours(x.flip(2, 3)).flip(2, 3), same)
    back = conv_transpose(2, 3, 5, True)
    full = nn.functional.conv_transpose2d(x, back.weight.flip(2, 3), back.bias, stride=2)
    torch.testing.assert_close(back(x.flip(2, 3)).flip(2, 3), full[..., 1:-2, 1:-2])


def test_a_D_may_do_without_batch_normalisation() -> None:
    row = DcganD(kind="dcgan", kernel=4, start=2, width=4, bias=True, slope=0.2, norm="batch")
    plain = row.model_copy(update={"norm": "none"})
    normed, bare = (Discriminator(one, 3, 32, rng(0, "init_D")) for one in (row, plain))
    assert shapes(normed, nn.BatchNorm2d) == [(8,), (16,), (32,)]
    assert shapes(bare, nn.BatchNorm2d) == []
    for kind in (nn.Conv2d, nn.LeakyReLU, nn.Linear):
        assert [str(one) for one in bare.modules() if isinstance(one, kind)] == [
            str(one) for one in normed.modules() if isinstance(one, kind)
        ]
    img = torch.rand(1, 4, 3, 32, 32)
    torch.testing.assert_close(bare(img)[:, :1], bare(img[:, :1]))  # no image's logit depends on its company
    assert not torch.allclose(normed(img)[:, :1], normed(img[:, :2])[:, :1])


LAYERS = [lambda: nn.Linear(100, 700), lambda: nn.Conv2d(8, 96, 5), lambda: nn.ConvTranspose2d(96, 8, 4)]


@pytest.mark.parametrize("layer", LAYERS, ids=["dense", "convolution", "transposed"])
def test_uniform_kernels_have_the_bounds_of_torchs_own(layer: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    torchs, ours = layer(), layer()
    start(ours, rng(0, "G"), "uniform")
    reach = torchs.weight.abs().max().item()
    assert ours.weight.abs().max().item() == pytest.approx(reach, rel=0.005)
    assert ours.weight.std().item() == pytest.approx(reach / 3**0.5, rel=0.02)  # of a uniform distribution
    assert not ours.bias.any()
    again, other = layer(), layer()
    start(again, rng(0, "G"), "uniform")
    start(other, rng(1, "G"), "uniform")
    assert torch.equal(again.weight, ours.weight)
    assert not torch.equal(other.weight, ours.weight)


@pytest.mark.parametrize("init", ["normal", "uniform"])
def test_a_row_says_how_its_kernels_start(full: Params, init: str) -> None:
    row = full.published("dcgan-mnist")
    G, D = (net.model_copy(update={"init": init}) for net in (row.G, row.D))
    for net in build(G, D, row.z.dim, full.datasets[row.dataset].form, [0]):
        weights = [one.weight for one in net.modules() if isinstance(one, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)]
        wanted = [0.02 if init == "normal" else (3 * one[0].numel()) ** -0.5 for one in weights]
        assert [one.std().item() for one in weights] == pytest.approx(wanted, rel=0.1)
