"""What the nearest neighbours of features say: precision, recall, density, coverage, outliers and copies.

Features are rounded to a grid on which every squared distance is an integer below 2^53, so that float64 products
give it exactly, whatever the order of their sums: duplicates lie at 0, d(x, y) is d(y, x), and neither chunks,
threads nor devices change a bit. The grid's step is at most 2^-23 of the largest norm of the reference set around its
mean: like the rounding of float32. Features beyond three times that norm are as exact as float64 is, no more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch

from repligan.metrics.frechet import centre, product, root

CHUNK = 500  # rows of a distance matrix in memory at a time
ENTRIES = 2**24  # of such a chunk, at most: of many columns fewer rows, 134 MB
OUTER = 0.05  # share of real images that count as outliers
STEPS = 24  # norms on the grid are at most 2^STEPS, hence squared distances 2^(2 STEPS + 2)


class Grid(NamedTuple):
    """Steps per unit, a power of two, and the origin [d] in steps."""

    scale: float
    origin: torch.Tensor

    def on(self, features: torch.Tensor) -> torch.Tensor:
        """Features [N, d] -> steps [N, d], whole numbers as float64. Raises ValueError if they are not finite."""
        centre(features)
        return (features.double() * self.scale).round_().sub_(self.origin)

    def distance(self, squares: torch.Tensor) -> torch.Tensor:
        """Squared steps -> distances."""
        return root(squares) / self.scale

    def squares(self, distances: torch.Tensor) -> torch.Tensor:
        """Distances -> squared steps: of those that `distance` gave, the very ones."""
        return (distances.double() * self.scale).square().round()


def prdc(
    gen: torch.Tensor, real: torch.Tensor, k: int = 5, real_radii: torch.Tensor | None = None, chunk: int = CHUNK
) -> dict[str, float]:
    """precision, recall, density, coverage, outlying of features gen [N, d] and real [M, d]; all but density in 0..1.

    precision: share of gen within the distance of some real image to its k-th nearest other real image; recall:
    the same with the sides exchanged (Kynkaanniemi et al. 2019). density: of how many real images gen lies
    within that distance, over k; coverage: share of real images with gen within theirs (Naeem et al. 2020).
    outlying: share of gen whose k-th nearest real image is as far as that of the outermost OUTER of the real images.
    "Within" includes the distance itself. `real_radii`: what radii(real, k) gave, to save the time.
    Raises ValueError unless both sides have more than k finite rows.
    """
    grid = _grid(real)
    x, y = grid.on(gen), grid.on(real)
    around_real = grid.squares(radii(real, k, chunk) if real_radii is None else real_radii)
    around_gen = _kth(x, k, chunk)
    far = around_real.sort().values[-max(1, round(OUTER * len(y)))]
    precise = dense = outlying = 0
    covered = recalled = torch.zeros(len(y), dtype=torch.bool, device=y.device)
    for start, squares in _squares(x, y, chunk):
        within = squares <= around_real
        precise += int(within.any(dim=1).sum())
        dense += int(within.sum())
        outlying += int(((squares < far).sum(dim=1) < k).sum())
        covered = covered | within.any(dim=0)
        recalled = recalled | (squares <= around_gen[start : start + len(squares), None]).any(dim=0)
    return {
        "precision": precise / len(x),
        "recall": int(recalled.sum()) / len(y),
        "density": dense / (k * len(x)),
        "coverage": int(covered.sum()) / len(y),
        "outlying": outlying / len(x),
    }


def radii(features: torch.Tensor, k: int, chunk: int = CHUNK) -> torch.Tensor:
    """Distance [N], float64, of each row of features [N, d] to its k-th nearest other row.

    Raises ValueError unless there are more than k rows, all finite.
    """
    grid = _grid(features)
    return grid.distance(_kth(grid.on(features), k, chunk))


def nearest(gen: torch.Tensor, train: torch.Tensor, chunk: int = CHUNK) -> torch.Tensor:
    """Distance [N], float64, of each row of gen [N, d] to the nearest row of train [M, d]: 0 for a copy.

    Raises ValueError unless all are finite.
    """
    grid = _grid(train)
    found = [squares.amin(dim=1) for _, squares in _squares(grid.on(gen), grid.on(train), chunk)]
    return grid.distance(torch.cat(found))


def memorised(gen: torch.Tensor, heldout: torch.Tensor, share: float = 0.05) -> float:
    """Share of images whose distance gen [N] to training is at most that of the nearest `share` of heldout ones [M].

    About `share` for images as new as the held-out ones, 1 for copies of training images.
    """
    reach = heldout.sort().values[max(1, round(share * len(heldout))) - 1]
    return float((gen <= reach).double().mean())


def _grid(features: torch.Tensor) -> Grid:
    mean = centre(features)
    largest = max(float((chunk - mean).square().sum(dim=1).max()) for chunk in features.split(CHUNK)) ** 0.5
    scale = 2.0 ** (STEPS - math.frexp(largest)[1]) if largest else 1.0
    # The origin shortens norms; being whole steps, it cancels in every difference.
    return Grid(scale, (mean * scale).round())


def _kth(x: torch.Tensor, k: int, chunk: int) -> torch.Tensor:
    """Squared steps [N] from each row of x [N, d] to its k-th nearest other row."""
    if len(x) <= k:
        raise ValueError(f"features: found {len(x)} rows; allowed: more than k, {k}")
    # A row is its own nearest.
    near = [squares.topk(k + 1, largest=False).values[:, -1] for _, squares in _squares(x, x, chunk)]
    return torch.cat(near)


def _squares(x: torch.Tensor, y: torch.Tensor, chunk: int) -> Iterator[tuple[int, torch.Tensor]]:
    """(first row, squared steps [rows, M]) from the rows of x to those of y, at most `chunk` of them at a time."""
    chunk = max(1, min(chunk, ENTRIES // len(y)))
    norms = y.square().sum(dim=1)
    for start in range(0, len(x), chunk):
        rows = x[start : start + chunk]
        yield start, product(rows, y.T).mul_(-2).add_(rows.square().sum(dim=1, keepdim=True)).add_(norms)
