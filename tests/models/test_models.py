from __future__ import annotations

import pytest
import torch

from repligan.core import config
from repligan.models import build, pack, sample, unpack


@pytest.mark.parametrize("name", ["even", "bits1010", "bits1010-d-alone", "dcgan-mnist"])
def test_what_is_packed_is_unpacked(smoke: config.Params, name: str) -> None:
    row = smoke.experiments[name]
    form = smoke.datasets[row.dataset].form
    seeds = range(4) if row.stacked else range(1)
    G, D = build(row, form, seeds)
    others = build(row, form, [seed + 10 for seed in seeds])
    before = [p.clone() for net in others for p in net.parameters()]
    unpack(pack(G, D, len(seeds)), *others)
    after = [p for net in others for p in net.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(after, [*G.parameters(), *D.parameters()], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(after, before, strict=True))


def test_packed_tensors_have_a_seed_axis(smoke: config.Params) -> None:
    even, mnist = smoke.experiments["even"], smoke.experiments["dcgan-mnist"]
    assert pack(*build(even, smoke.datasets["even"].form, range(8)), 3)["G.weight0"].shape == (3, 7, 7)
    assert pack(*build(mnist, smoke.datasets["mnist"].form, [0]), 1)["D.net.0.weight"].shape[0] == 1


def test_sampling_uses_population_statistics_and_leaves_them(smoke: config.Params) -> None:
    G, _ = build(smoke.experiments["dcgan-mnist"], smoke.datasets["mnist"].form, [0])
    z = torch.rand(1, 16, 100)
    G(z)  # moves the running statistics away from their start
    before = {key: value.clone() for key, value in G.state_dict().items()}
    together = sample(G, z)
    torch.testing.assert_close(together[:, :1], sample(G, z[:, :1]))
    assert G.training
    assert all(torch.equal(value, before[key]) for key, value in G.state_dict().items())
    assert not torch.allclose(together, G(z), atol=1e-5)
