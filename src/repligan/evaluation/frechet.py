"""Frechet distance between Gaussians fitted to features (Heusel et al. 2017, eq. 6), in float64.

Also what this metric shares with the others: a check of features, and a product of matrices.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch

CHUNK = 1000  # rows in float64 at a time; with it change the last bits. malloc keeps 16 MB, but not 40


class Gaussian(NamedTuple):
    """mean [d] and covariance [d, d], float64."""

    mean: torch.Tensor
    cov: torch.Tensor


def gaussian(features: torch.Tensor) -> Gaussian:
    """Moments of features [N, d], N >= 2; the covariance is the unbiased one.

    Raises ValueError if they are fewer or not finite.
    """
    _check(features, at_least=2)
    num, dim = features.shape
    # Not the mean, but near enough for nothing to cancel, and known before the one pass.
    origin = features[:CHUNK].mean(dim=0, dtype=torch.float64)
    total, squares = torch.zeros_like(origin), origin.new_zeros(dim, dim)
    for chunk in features.split(CHUNK):
        moved = chunk - origin
        total += moved.sum(dim=0)
        _add_square(squares, moved)
    squares = squares.tril() + squares.tril(-1).T
    mean = total / num
    return Gaussian(_finite(origin + mean), squares.addr_(total, mean, alpha=-1).div_(num - 1))


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)), at least 0, in squared units of the features.

    With the Cholesky factor L L' = C_a, the eigenvalues of C_a C_b are those of the symmetric L' C_b L, found on the
    CPU without any vectors. Where C_a is singular, pivots end the factor before what lies below d eps of the largest
    variance (Higham 1990, "Analysis of the Cholesky decomposition of a semi-definite matrix"). Raises ValueError if
    the moments are not finite.
    """
    from scipy.linalg.lapack import dpstrf, dsygst

    with _threads(1):
        factor, pivots, rank, _ = dpstrf(a.cov.cpu().numpy(), lower=1)
    factor[:, rank:] = 0
    order = torch.from_numpy(pivots - 1)
    with _threads(torch.get_num_threads()):
        cross, _ = dsygst(b.cov.cpu()[order][:, order].numpy(), factor, itype=2, lower=1)
    with _threads(1):
        roots = np.sqrt(np.linalg.eigvalsh(cross).clip(min=0)).sum()
    value = float((a.mean - b.mean).square().sum() + a.cov.trace() + b.cov.trace()) - 2 * float(roots)
    if not math.isfinite(value):
        raise ValueError(f"moments: found a distance of {value}; allowed: finite means and covariances")
    return max(0.0, value)


def centre(features: torch.Tensor, at_least: int = 1) -> torch.Tensor:
    """Mean [d], float64, of features [N, d]; raises ValueError if they are fewer than `at_least` or not finite."""
    _check(features, at_least)
    return _finite(features.mean(dim=0, dtype=torch.float64))


def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a @ b of float64 matrices, to the same bits at the same number of torch's threads.

    On a CPU by numpy's BLAS: under portable arithmetic it keeps AVX2, torch's falls back to SSE2, 3 times slower.
    """
    if a.device.type != "cpu":
        return a @ b
    with _threads(torch.get_num_threads()):
        return torch.from_numpy(a.numpy() @ b.numpy())


def root(values: torch.Tensor) -> torch.Tensor:
    """Square roots, by numpy: torch.sqrt gives other bits on other CPU models."""
    return torch.from_numpy(np.sqrt(values.cpu().numpy())).to(values.device)


def _check(features: torch.Tensor, at_least: int) -> None:
    if features.ndim != 2 or len(features) < at_least:
        raise ValueError(f"features: found {list(features.shape)}; allowed: [N, d] with N at least {at_least}")


def _finite(mean: torch.Tensor) -> torch.Tensor:
    # A NaN would make every comparison false and every max(0, ...) 0: a score, and a good one.
    if not mean.isfinite().all():
        raise ValueError("features: found numbers that are not finite")
    return mean


def _add_square(squares: torch.Tensor, x: torch.Tensor) -> None:
    """Add x' x to the lower triangle of `squares` [d, d], in place."""
    if x.device.type != "cpu":
        squares.addmm_(x.T, x)
        return
    from scipy.linalg.blas import dsyrk

    # Fortran's order: what is the upper triangle to it is the lower one here.
    with _threads(torch.get_num_threads()):
        dsyrk(1.0, x.numpy().T, beta=1.0, c=squares.numpy().T, overwrite_c=1, lower=0)


def _threads(num: int) -> Any:
    # Left alone, numpy's BLAS takes a thread per core: other bits on a machine with more of them. Its LAPACK spins at
    # every column until all its threads are there: 1.3 times faster than one alone, 15 times slower in company.
    return _pools().limit(limits=num)


@lru_cache(maxsize=1)
def _pools() -> Any:
    import scipy.linalg  # noqa: F401 - it brings a BLAS of its own, which must be loaded to be found
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")
