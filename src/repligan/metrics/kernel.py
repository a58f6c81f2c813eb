"""Kernel distance between features (Binkowski et al. 2018, "Demystifying MMD GANs"), in float64."""

from __future__ import annotations

from typing import NamedTuple

import torch

from repligan.metrics.frechet import centre, product

CHUNK = 500  # rows of a kernel matrix in memory at a time; with it change the last bits


class Sums(NamedTuple):
    """Mean over each row [N] and each column [M] of a kernel matrix, and the sum of its squares."""

    rows: torch.Tensor
    columns: torch.Tensor
    squares: torch.Tensor


def kid(gen: torch.Tensor, real: torch.Tensor, chunk: int = CHUNK) -> tuple[float, float]:
    """(KID, its standard error) of features gen [N, d] and real [M, d], from all of them.

    KID is the unbiased MMD^2 (Gretton et al. 2012, lemma 6) with the kernel (x'y / d + 1)^3; below 0 by chance where
    the sides are alike. The error is that of a U-statistic by its two orders (Hoeffding 1948): the variance of
    the row means (Bounliphone et al. 2016), which counts the second order twice, less that order once. So it
    holds where the sides differ and also where they are alike and the first order vanishes (there a jackknife
    gives sqrt(2) times too much), and needs no subsets. Raises ValueError unless N, M >= 4 and all are finite.
    """
    for features in (gen, real):
        centre(features, at_least=4)
    x, y = gen.double(), real.double()
    m, n = len(x), len(y)
    xx, yy, xy = _within(x, chunk), _within(y, chunk), _sums(x, y, chunk)
    value = xx.rows.mean() + yy.rows.mean() - 2 * xy.rows.mean()
    first = 4 * (xx.rows - xy.rows).var() / m + 4 * (yy.rows - xy.columns).var() / n
    second = 2 * _rest_within(xx) / (m * (m - 1)) + 2 * _rest_within(yy) / (n * (n - 1)) + 4 * _rest(xy) / (m * n)
    return float(value), max(0.0, float(torch.maximum(first - second, second))) ** 0.5


def _within(x: torch.Tensor, chunk: int) -> Sums:
    return _sums(x, x, chunk, diagonal=False)


def _sums(x: torch.Tensor, y: torch.Tensor, chunk: int, diagonal: bool = True) -> Sums:
    """Sums of the kernel between x [N, d] and y [M, d]; without its diagonal, means are over the M - 1 others."""
    rows, columns, squares = [], torch.zeros_like(y[:, 0]), torch.zeros_like(y[0, 0])
    for start in range(0, len(x), chunk):
        base = product(x[start : start + chunk], y.T).div_(x.shape[1]).add_(1)
        kernel = base.square().mul_(base)
        if not diagonal:
            kernel.diagonal(start).zero_()
        rows.append(kernel.sum(dim=1))
        columns += kernel.sum(dim=0)
        squares += kernel.square_().sum()
    others = 0 if diagonal else 1
    return Sums(torch.cat(rows) / (len(y) - others), columns / (len(x) - others), squares)


def _rest(xy: Sums) -> torch.Tensor:
    """Variance of the kernel beyond its row and column means: E (k_ij - r_i - c_j + mean)^2."""
    m, n = len(xy.rows), len(xy.columns)
    mean = xy.rows.mean()
    total = xy.squares - n * xy.rows.square().sum() - m * xy.columns.square().sum() + m * n * mean.square()
    return total / ((m - 1) * (n - 1))


def _rest_within(xx: Sums) -> torch.Tensor:
    """The same over i != j; rows and columns are alike."""
    m = len(xx.rows)
    total = xx.squares - 2 * m * xx.rows.square().sum() + m * (m + 1) * xx.rows.mean().square()
    return total / (m * (m - 3))
