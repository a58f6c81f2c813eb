from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from repligan.models.weights import build, pack, sample, unpack
from repligan.params import Params
from repligan.training.rows import RowId


def built(params: Params, row: RowId, seeds: Sequence[int]) -> tuple[nn.Module, nn.Module]:
    found = params.rows[row]
    return build(found.G, found.D, found.z.dim, params.datasets[found.dataset].form, seeds)


EVEN, MNIST = RowId(experiment="even"), RowId(experiment="dcgan-mnist")


@pytest.mark.parametrize(
    "row", [EVEN, RowId(experiment="bits1010"), RowId(experiment="bits1010", variant="d-alone"), MNIST], ids=str
)
def test_what_is_packed_is_unpacked(smoke: Params, row: RowId) -> None:
    seeds = range(4) if smoke.rows[row].stacked else range(1)
    G, D = built(smoke, row, seeds)
    others = built(smoke, row, [seed + 10 for seed in seeds])
    before = [p.clone() for net in others for p in net.parameters()]
    unpack(pack(G, D, len(seeds)), *others)
    after = [p for net in others for p in net.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(after, [*G.parameters(), *D.parameters()], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(after, before, strict=True))


def test_packed_tensors_have_a_seed_axis(smoke: Params) -> None:
    assert pack(*built(smoke, EVEN, range(8)), 3)["G.layer0"].shape == (3, 8, 7)
    assert pack(*built(smoke, MNIST, [0]), 1)["D.net.0.weight"].shape[0] == 1


def test_sampling_uses_population_statistics_and_leaves_them(smoke: Params) -> None:
    G, _ = built(smoke, MNIST, [0])
    z = torch.rand(1, 16, 100)
    G(z)  # moves the running statistics away from their start
    before = {key: value.clone() for key, value in G.state_dict().items()}
    together = sample(G, z)
    torch.testing.assert_close(together[:, :1], sample(G, z[:, :1]))
    assert G.training
    assert all(torch.equal(value, before[key]) for key, value in G.state_dict().items())
    assert not torch.allclose(together, G(z), atol=1e-5)
