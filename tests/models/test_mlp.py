from __future__ import annotations

import numpy as np
import torch

from repligan.core.randomness import rng
from repligan.models.mlp import StackedMlp


def stack(widths: list[int], seeds: range, squash: bool = True) -> StackedMlp:
    return StackedMlp(widths, [rng(seed, "init_G") for seed in seeds], squash)


def test_each_network_is_what_torch_would_compute() -> None:
    net = stack([1, 3, 4], range(5))
    x = torch.rand(5, 2, 1)
    first, second = net.layers()
    for seed in range(5):
        hidden = torch.sigmoid(x[seed] @ first[:-1, :, seed] + first[-1, :, seed])
        expected = torch.sigmoid(hidden @ second[:-1, :, seed] + second[-1, :, seed])
        torch.testing.assert_close(net(x)[seed], expected)


def test_without_squash_the_output_is_logits() -> None:
    x = torch.rand(3, 2, 7)
    logits = stack([7, 1], range(3), squash=False)(x)
    torch.testing.assert_close(stack([7, 1], range(3))(x), torch.sigmoid(logits))
    assert logits.min() < 0


def test_weights_start_as_in_torch_linear() -> None:
    weights = stack([4, 3], range(2000)).flat.detach().numpy()
    assert np.abs(weights).max() <= 0.5
    assert np.abs(weights).max() > 0.499
    assert abs(weights.std() - 0.5 / 3**0.5) < 0.003


def test_a_seed_has_its_own_weights() -> None:
    many, alone = stack([7, 7], range(20)), stack([7, 7], range(17, 18))
    assert torch.equal(many.flat[:, 17], alone.flat[:, 0])
    assert not torch.equal(many.flat[:, 16], many.flat[:, 17])
