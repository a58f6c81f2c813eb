"""SVHN's cropped digits: two MATLAB files (Netzer et al. 2011)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from repligan.core.files import existing
from repligan.core.rows import File
from repligan.data.raw import DIGITS, Raw, digits, of_arrays

if TYPE_CHECKING:
    import numpy as np

NEEDED = ["train_32x32.mat", "test_32x32.mat"]


def read(raw: Path, files: list[File]) -> Raw:
    """The images and digits of both splits."""
    return of_arrays([split(raw / name) for name in NEEDED], DIGITS)


def split(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images [N, 32, 32, 3] and digits [N] of X [32, 32, 3, N] and y [N, 1], where 10 stands for 0."""
    from scipy.io import loadmat

    content: dict[str, Any] = loadmat(existing(path), variable_names=["X", "y"])
    return content["X"].transpose(3, 0, 1, 2), digits(path, content["y"].ravel(), 10) % 10
