"""Frechet distance between Gaussians fitted to features (Heusel et al. 2017, eq. 6), in float64."""

from __future__ import annotations

from typing import NamedTuple

import torch


class Gaussian(NamedTuple):
    """mean [d] and covariance [d, d], float64."""

    mean: torch.Tensor
    cov: torch.Tensor


def gaussian(features: torch.Tensor) -> Gaussian:
    """Moments of features [N, d], N >= 2; the covariance is the unbiased one."""
    x = features.double()
    mean = x.mean(dim=0)
    centred = x - mean
    return Gaussian(mean, centred.T @ centred / (len(x) - 1))


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)), at least 0, in squared units of the features.

    With A A' = C_a, the eigenvalues of C_a C_b are those of the symmetric A' C_b A.
    """
    values, vectors = torch.linalg.eigh(a.cov)
    half = vectors * _sqrt(values)
    cross = _sqrt(torch.linalg.eigvalsh(half.T @ b.cov @ half)).sum()
    return max(0.0, float((a.mean - b.mean).square().sum() + a.cov.trace() + b.cov.trace() - 2 * cross))


def _sqrt(values: torch.Tensor) -> torch.Tensor:
    # numpy's: torch.sqrt gives other bits on other CPU models.
    return torch.from_numpy(values.clamp(min=0).cpu().numpy() ** 0.5).to(values.device)
