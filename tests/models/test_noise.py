from __future__ import annotations

import pytest
import torch

from repligan.models.noise import fixed_z, training_noise
from repligan.models.rows import Noise


@pytest.mark.parametrize(
    ("kind", "low", "high", "mean", "std"),
    [("bits", 0.0, 1.0, 0.5, 0.5), ("uniform", -1.0, 1.0, 0.0, 3**-0.5), ("normal", 1.0, 2.0, 1.0, 2.0),
     ("constant", 0.5, 0.5, 0.5, 0.0)],
)  # fmt: skip
def test_moments(kind: str, low: float, high: float, mean: float, std: float) -> None:
    noise = Noise(kind=kind, dim=10, low=low, high=high)
    drawn = training_noise(noise, range(20), 30)[7]
    assert (drawn.shape, drawn.dtype) == ((20, 30, 10), torch.uint8 if kind == "bits" else torch.float32)
    z = drawn.float()
    assert z.mean().item() == pytest.approx(mean, abs=0.08)
    assert z.std().item() == pytest.approx(std, abs=0.05)


def test_fixed_z_stays_and_differs_by_index() -> None:
    noise = Noise(kind="uniform", dim=4, low=-1.0, high=1.0)
    assert torch.equal(fixed_z(noise, 0, 5), fixed_z(noise, 0, 5))
    assert not torch.equal(fixed_z(noise, 0, 5, "evaluation_z", 0), fixed_z(noise, 0, 5, "evaluation_z", 1))


def test_a_pool_of_z_is_used_in_turn() -> None:
    noise = Noise(kind="normal", dim=3, low=0.0, high=1.0)
    fresh, pool = (training_noise(one, [5], 4) for one in (noise, noise.model_copy(update={"pool": 2})))
    assert all(torch.equal(pool[i], fresh[i % 2]) for i in range(5))
    assert not torch.equal(fresh[0], fresh[2])
