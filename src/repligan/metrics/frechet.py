"""Frechet distance between Gaussians fitted to features (Heusel et al. 2017, eq. 6), in float64.

Also what this metric shares with the others: a check of features, and a product of matrices.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch

CHUNK = 1000  # rows in float64 at a time; with it and BLOCK change the last bits
BLOCK = 256  # columns of a task


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
    origin = features[:CHUNK].double().mean(dim=0)
    total, squares = torch.zeros_like(origin), origin.new_zeros(dim, dim)
    # One piece of memory for all chunks: fresh pages cost as much as the arithmetic on them.
    moved = origin.new_empty(min(CHUNK, num), dim)
    for chunk in features.split(CHUNK):
        rows = moved[: len(chunk)].copy_(chunk).sub_(origin)
        total += rows.sum(dim=0)
        _add_square(squares, rows)
    for some in _blocks(dim, BLOCK):
        squares[some, some.stop :] = squares[some.stop :, some].T
    mean = total / num
    return Gaussian(_finite(origin + mean), squares.addr_(total, mean, alpha=-1).div_(num - 1))


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)), at least 0, in squared units of the features.

    With the Cholesky factor L L' = C_a, the eigenvalues of C_a C_b are those of the symmetric L' C_b L, found on the
    CPU without any vectors. Where C_a is singular, pivots end the factor before what lies below d eps of the largest
    variance (Higham 1990, "Analysis of the Cholesky decomposition of a semi-definite matrix"). Raises ValueError if
    the moments are not finite.
    """
    value = float((a.mean - b.mean).square().sum() + a.cov.trace() + b.cov.trace())
    if not math.isfinite(value):
        raise ValueError(f"moments: found a distance of {value}; allowed: finite means and covariances")
    return max(0.0, value - 2 * _cross(a.cov.cpu().numpy(), b.cov.cpu().numpy()))


def centre(features: torch.Tensor, at_least: int = 1) -> torch.Tensor:
    """Mean [d], float64, of features [N, d]; raises ValueError if they are fewer than `at_least` or not finite."""
    _check(features, at_least)
    return _finite(features.mean(dim=0, dtype=torch.float64))


def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a @ b of float64 matrices.

    On a CPU by numpy's BLAS: under portable arithmetic it keeps AVX2, torch's falls back to SSE2, 3 times slower.
    """
    if a.device.type != "cpu":
        return a @ b
    out = a.new_empty(len(a), b.shape[1])
    columns = _blocks(b.shape[1], 4 * BLOCK)
    _together([partial(np.matmul, a.numpy(), b.numpy()[:, some], out=out.numpy()[:, some]) for some in columns])
    return out


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
    """Add x' x to the blocks on and below the diagonal of `squares` [d, d], in place."""
    if x.device.type != "cpu":
        squares.addmm_(x.T, x)
        return
    out, rows = squares.numpy(), x.numpy()

    def add(i: slice, j: slice) -> None:
        out[i, j] += rows[:, i].T @ rows[:, j]

    blocks = _blocks(len(out), BLOCK)
    _together([partial(add, i, j) for place, i in enumerate(blocks) for j in blocks[: place + 1]])


def _cross(a: np.ndarray, b: np.ndarray) -> float:
    """tr (a b)^(1/2) of covariances."""
    from scipy.linalg import eigvalsh
    from scipy.linalg.lapack import dpotrf, dpstrf

    with _pools().limit(limits=1):
        half, failed = dpotrf(a.T, lower=1)
        if failed:
            half, pivots, rank, _ = dpstrf(a.T, lower=1)
            half, b = np.tril(half), b[np.ix_(pivots - 1, pivots - 1)]
            half[:, rank:] = 0
        lower = np.empty_like(a, order="F")  # above the diagonal, nothing is read

        def fill(j: slice) -> None:
            lower[j.start :, j] = half[j.start :, j.start :].T @ (b[j.start :, j.start :] @ half[j.start :, j])

        _together([partial(fill, j) for j in _blocks(len(a), BLOCK)])
        values = eigvalsh(lower, driver="ev", check_finite=False, overwrite_a=True)
    return float(np.sqrt(values.clip(min=0)).sum())


def _blocks(size: int, width: int) -> list[slice]:
    return [slice(start, start + width) for start in range(0, size, width)]


def _together(tasks: list[Callable[[], Any]]) -> None:
    """Run tasks on torch's number of threads, each with one of numpy's and scipy's BLAS.

    Left alone, these take a thread per core, whose number then decides the bits, and which spin for one another:
    beside another process, eigenvalues take 15 times as long.
    """
    with _pools().limit(limits=1):
        if len(tasks) == 1:
            tasks[0]()
            return
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            for _ in pool.map(lambda task: task(), tasks):
                pass


@lru_cache(maxsize=1)
def _pools() -> Any:
    import scipy.linalg  # noqa: F401 - it brings a BLAS of its own, which must be loaded to be found
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")
