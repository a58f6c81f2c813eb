from __future__ import annotations

import pytest
import torch

from repligan.training.losses import LOSSES, bce, mse

LOGITS = torch.tensor([-3.0, -0.5, 0.0, 2.0])


@pytest.mark.parametrize("target", [0.0, 0.9, 1.0])
def test_bce_is_the_cross_entropy_of_probabilities(target: float) -> None:
    p = torch.sigmoid(LOGITS.double())
    expected = -(target * p.log() + (1 - target) * (1 - p).log())
    torch.testing.assert_close(bce(LOGITS.double(), target), expected)


def test_bce_keeps_its_gradient_where_the_sigmoid_is_flat() -> None:
    logits = torch.tensor([-30.0], requires_grad=True)
    bce(logits, 1.0).sum().backward()
    assert logits.grad is not None
    assert logits.grad.item() == pytest.approx(-1.0, abs=1e-6)


def test_mse_of_a_balanced_pair_is_a_quarter() -> None:
    assert mse(torch.zeros(2), 1.0).tolist() == mse(torch.zeros(2), 0.0).tolist() == [0.25, 0.25]


@pytest.mark.parametrize("name", LOSSES)
def test_losses_fall_towards_their_target(name: str) -> None:
    for target in (0.0, 1.0):
        steps = LOSSES[name](LOGITS, target).diff()
        assert (steps < 0).all() if target else (steps > 0).all()
