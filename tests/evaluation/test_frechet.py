from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from repligan.evaluation.frechet import Gaussian, frechet_distance, gaussian


def normal(mean: float, std: float, dim: int = 3) -> Gaussian:
    return Gaussian(torch.full((dim,), mean, dtype=torch.float64), torch.eye(dim, dtype=torch.float64) * std**2)


def test_known_gaussians() -> None:
    """Isotropic: |dm|^2 + d (s1 - s2)^2."""
    assert frechet_distance(normal(0, 1), normal(2, 3)) == pytest.approx(3 * 4 + 3 * 4)
    assert frechet_distance(normal(0, 1), normal(0, 1)) == pytest.approx(0, abs=1e-12)


def test_against_the_matrix_square_root() -> None:
    g = np.random.default_rng(0)
    a, b = (torch.from_numpy(g.normal(size=(300, 16)) @ g.normal(size=(16, 16)) + shift) for shift in (0, 0.3))
    ga, gb = gaussian(a), gaussian(b)
    root = sqrtm(ga.cov.numpy() @ gb.cov.numpy()).real
    expected = ((ga.mean - gb.mean) ** 2).sum() + torch.trace(ga.cov + gb.cov) - 2 * np.trace(root)
    assert frechet_distance(ga, gb) == pytest.approx(float(expected), rel=1e-9)
    assert frechet_distance(gb, ga) == pytest.approx(frechet_distance(ga, gb), rel=1e-9)


def test_fewer_samples_than_dimensions() -> None:
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 20)))
    assert frechet_distance(gaussian(x), gaussian(x)) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(gaussian(x), gaussian(x + 1)) == pytest.approx(20, rel=1e-6)


def test_moments() -> None:
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(50, 4)))
    np.testing.assert_allclose(gaussian(x).cov.numpy(), np.cov(x.numpy().T), rtol=1e-12)
