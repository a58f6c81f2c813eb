"""All images of a dataset, in order, as its layout read them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from repligan.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np

Item = tuple[str, "np.ndarray | bytes | Exception"]
"""Name and either pixels uint8 [H, W] or [H, W, 3], or an encoded image file, or why it cannot be had."""
DIGITS = {"digit": [str(digit) for digit in range(10)]}
UNKNOWN = -1  # the label of an image of which nobody says it


@dataclass
class Raw:
    """All images of a dataset in the order in which `items()` yields them.

    pool int [N]: the split that the source means an image for, all 0 if it has no splits; labels int64 [N, K], the
    value of each of the K `factors` (name -> names of its values) or UNKNOWN, or None.
    """

    pool: np.ndarray
    items: Callable[[], Iterator[Item]]
    labels: np.ndarray | None
    factors: dict[str, list[str]]

    def first(self, counts: Sequence[int]) -> Raw:
        """The first images: `counts[0]` to learn from, the next `counts[1]` to hold out; there must be so many."""
        import numpy as np

        num = sum(counts)
        labels = None if self.labels is None else self.labels[:num]
        return Raw(np.repeat(np.arange(len(counts)), counts), lambda: islice(self.items(), num), labels, self.factors)

    def sha256(self) -> str:
        """Hex digest of all images, their splits and labels: the same for all files that hold the same images."""
        digest = hashlib.sha256()
        for _, item in self.items():
            content = str(item).encode() if isinstance(item, Exception) else item
            digest.update(content if isinstance(content, bytes) else content.data)
        for column in (self.pool, self.labels):
            digest.update(b"" if column is None else column.astype("<i8").tobytes())
        return digest.hexdigest()


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


def refuse_missing(path: Path, names: Sequence[str], there: Collection[str], allowed: str) -> None:
    """Raises InputError that names the file `path`, and the first of the `names` that are not `there`."""
    if missing := [name for name in names if name not in there]:
        raise InputError(
            f"{path}: found no {missing[0]}, {len(missing):,} of {len(names):,} images are missing; allowed: {allowed}"
        )
