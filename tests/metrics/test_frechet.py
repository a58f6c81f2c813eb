from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from threadpoolctl import threadpool_limits

from repligan.metrics.frechet import CHUNK, Gaussian, frechet_distance, gaussian, product


def normal(mean: float, std: float, dim: int = 3) -> Gaussian:
    return Gaussian(torch.full((dim,), mean, dtype=torch.float64), torch.eye(dim, dtype=torch.float64) * std**2)


def drawn(num: int, dim: int, seed: int = 0) -> torch.Tensor:
    g = np.random.default_rng(seed)
    return torch.from_numpy(g.normal(size=(num, dim)) @ g.normal(size=(dim, dim)))


def by_sqrtm(a: Gaussian, b: Gaussian) -> float:
    root = sqrtm(a.cov.numpy() @ b.cov.numpy()).real
    return float(((a.mean - b.mean) ** 2).sum() + torch.trace(a.cov + b.cov) - 2 * np.trace(root))


def test_known_gaussians() -> None:
    """Isotropic: |dm|^2 + d (s1 - s2)^2."""
    assert frechet_distance(normal(0, 1), normal(2, 3)) == pytest.approx(3 * 4 + 3 * 4)
    assert frechet_distance(normal(0, 1), normal(0, 1)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("dead", [0, 7])
def test_commuting_covariances(dead: int) -> None:
    """With the same axes, |dm|^2 + sum (s1 - s2)^2 over them, though some have no variance on either side or one."""
    g = np.random.default_rng(0)
    axes = np.linalg.qr(g.normal(size=(24, 24)))[0]
    stds, means = g.uniform(0.1, 3, size=(2, 24)), g.normal(size=(2, 24))
    stds[:, :dead] = 0
    stds[0, dead : 2 * dead] = 0
    a, b = (
        Gaussian(torch.from_numpy(mean), torch.from_numpy(axes * std**2 @ axes.T))
        for mean, std in zip(means, stds, strict=True)
    )
    expected = ((means[0] - means[1]) ** 2).sum() + ((stds[0] - stds[1]) ** 2).sum()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6 if dead else 1e-12)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-6 if dead else 1e-12)


def test_against_the_matrix_square_root() -> None:
    a, b = gaussian(drawn(300, 16)), gaussian(drawn(300, 16, seed=1) + 0.3)
    assert frechet_distance(a, b) == pytest.approx(by_sqrtm(a, b), rel=1e-9)
    assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b), rel=1e-9)


def test_many_features_against_the_matrix_square_root() -> None:
    a, b = gaussian(drawn(600, 200).float()), gaussian(drawn(900, 200, seed=1).float() * 1.1)
    assert frechet_distance(a, b) == pytest.approx(by_sqrtm(a, b), rel=1e-9)


def test_translations() -> None:
    x, shift = drawn(300, 16), torch.linspace(-1, 2, 16)
    assert frechet_distance(gaussian(x), gaussian(x + shift)) == pytest.approx(float((shift**2).sum()), rel=1e-6)
    assert frechet_distance(gaussian(x), gaussian(x)) == pytest.approx(0, abs=1e-10)


def test_fewer_samples_than_dimensions() -> None:
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 20)))
    assert frechet_distance(gaussian(x), gaussian(x)) == pytest.approx(0, abs=1e-10)
    assert frechet_distance(gaussian(x), gaussian(x + 1)) == pytest.approx(20, rel=1e-10)
    assert frechet_distance(gaussian(x), gaussian(3 * x)) == pytest.approx(
        float(gaussian(x).cov.trace()) * 4 + float((2 * x.mean(dim=0)).square().sum()), rel=1e-10
    )


def test_dead_features_and_collapse() -> None:
    """A feature without variance on one side costs the variance it has on the other."""
    x = drawn(400, 6)
    live = gaussian(torch.cat([x, torch.zeros(400, 3)], dim=1))
    assert frechet_distance(live, live) == pytest.approx(0, abs=1e-10)
    one = gaussian(torch.cat([x.mean(dim=0), torch.zeros(3)]).repeat(400, 1))
    for value in (frechet_distance(live, one), frechet_distance(one, live)):
        assert value == pytest.approx(float(live.cov.trace()), rel=1e-10)


@pytest.mark.parametrize("num", [50, CHUNK + 1])
def test_moments(num: int) -> None:
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(num, 4))) + 100
    np.testing.assert_allclose(gaussian(x).mean.numpy(), x.numpy().mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(gaussian(x).cov.numpy(), np.cov(x.numpy().T), rtol=1e-10, atol=1e-14)
    assert gaussian(x.float()).cov.dtype == torch.float64


def test_a_distance_of_nothing_is_no_distance() -> None:
    x = drawn(10, 3)
    broken = x.clone()
    broken[4, 1] = torch.nan
    for features in (broken, x / 0, x[:1], x[0]):
        with pytest.raises(ValueError, match="features: found"):
            gaussian(features)
    with pytest.raises(ValueError, match="moments: found a distance of nan"):
        frechet_distance(gaussian(x), normal(torch.nan, 1))


def test_the_bits_do_not_depend_on_the_cores() -> None:
    x = drawn(700, 300)
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            found.append((product(x.T, x + 1), frechet_distance(gaussian(x), gaussian(x[:350]))))
    assert torch.equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]
