from __future__ import annotations

import numpy as np
import pytest
import torch
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

from repligan.metrics.kernel import kid


def drawn(num: int, dim: int, seed: int, shift: float = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(shift, 1, size=(num, dim)))


@pytest.mark.parametrize("shift", [0, 0.5])
def test_against_torch_fidelity(shift: float) -> None:
    gen, real = drawn(500, 32, 0, shift), drawn(500, 32, 1)
    expected = kid_features_to_metric(gen, real, kid_subsets=1, kid_subset_size=500, verbose=False)
    assert kid(gen, real)[0] == pytest.approx(expected[KEY_METRIC_KID_MEAN], rel=1e-6)


def test_by_hand() -> None:
    """x = -1, 0, 1, 2 and y = 1, each time: k(x, x') = (x x' + 1)^3, k(y, y') = 8, k(x, y) = (x + 1)^3."""
    x, y = torch.tensor([[-1.0], [0], [1], [2]]), torch.ones(4, 1)
    inside = 2 * (1 + 0 + -1 + 1 + 1 + 27) / 12
    assert kid(x, y)[0] == pytest.approx(inside + 8 - 2 * (0 + 1 + 8 + 27) / 4)


@pytest.mark.parametrize(("shift", "m", "n"), [(0, 150, 150), (0, 90, 180), (0.15, 180, 180), (0.6, 90, 180)])
def test_the_error_is_that_of_repeated_draws(shift: float, m: int, n: int) -> None:
    """Alike (degenerate), nearly so, and far apart; 200 draws tell a spread to 5 %."""
    found = np.array([kid(drawn(m, 8, 2 * i, shift), drawn(n, 8, 2 * i + 1)) for i in range(200)])
    assert found[:, 1].mean() == pytest.approx(found[:, 0].std(ddof=1), rel=0.25)
    if not shift:
        assert abs(found[:, 0].mean()) < 3 * found[:, 0].std() / 200**0.5  # unbiased


def test_sides_and_chunks() -> None:
    gen, real = drawn(150, 8, 0, 0.3), drawn(90, 8, 1)
    assert kid(gen, real) == pytest.approx(kid(real, gen), rel=1e-12)
    assert kid(gen, real) == pytest.approx(kid(gen, real, chunk=7), rel=1e-12)
    assert kid(gen, real) == kid(gen, real)


def test_what_it_refuses() -> None:
    x = drawn(10, 3, 0)
    for gen, real in ((x[:3], x), (x, x[:3]), (x / 0, x), (x, x * torch.nan)):
        with pytest.raises(ValueError, match="features: found"):
            kid(gen, real)
