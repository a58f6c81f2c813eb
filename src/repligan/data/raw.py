"""All images of a dataset, in order, as its layout read them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from repligan.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np

Item = tuple[str, "np.ndarray | bytes | Exception"]
"""Name and either pixels uint8 [H, W] or [H, W, 3], or an encoded image file, or why it cannot be had."""
DIGITS = {"digit": [str(digit) for digit in range(10)]}


@dataclass
class Raw:
    """All images of a dataset in the order in which `items()` yields them.

    pool int [N]: the split that the source means an image for, all 0 if it has no splits; labels int64 [N, K], the
    value of each of the K `factors` (name -> names of its values), or None.
    """

    pool: np.ndarray
    items: Callable[[], Iterator[Item]]
    labels: np.ndarray | None
    factors: dict[str, list[str]]


def of_arrays(splits: list[tuple[np.ndarray, np.ndarray]], factors: dict[str, list[str]]) -> Raw:
    """Images [N, H, W] or [N, H, W, 3] and labels [N] or [N, K] per split."""
    import numpy as np

    for img, labels in splits:
        if img.dtype != np.uint8 or img.ndim not in (3, 4) or len(labels) != len(img):
            raise ValueError(f"found {img.dtype} {list(img.shape)} images and {len(labels)} labels")

    def items() -> Iterator[Item]:
        count = 0
        for img, _ in splits:
            for one in img:
                yield str(count), np.ascontiguousarray(one)
                count += 1

    labels = np.concatenate([labels.reshape(len(labels), -1).astype(np.int64) for _, labels in splits])
    pool = np.concatenate([np.full(len(img), index) for index, (img, _) in enumerate(splits)])
    return Raw(pool, items, labels, factors)


def digits(path: Path, labels: np.ndarray, highest: int = 9) -> np.ndarray:
    """The labels [N] of the file `path`; raises InputError unless all are from 0 to `highest`."""
    wrong = labels[(labels < 0) | (labels > highest)]
    if len(wrong):
        raise InputError(f"{path}: found the label {wrong[0]}; allowed: those of digits, 0 to {highest}")
    return labels
