"""MNIST: four gzipped IDX files (LeCun et al. 1998)."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import TYPE_CHECKING

from repligan.core.files import existing
from repligan.core.rows import File
from repligan.data.raw import DIGITS, Raw, digits, of_arrays

if TYPE_CHECKING:
    import numpy as np

SPLITS = ("train", "t10k")
IMAGES, LABELS = "images-idx3-ubyte.gz", "labels-idx1-ubyte.gz"
NEEDED = [f"{split}-{what}" for split in SPLITS for what in (IMAGES, LABELS)]


def read(raw: Path, files: list[File]) -> Raw:
    """The images and digits of both splits."""
    return of_arrays([(idx(raw / f"{name}-{IMAGES}"), _labels(raw / f"{name}-{LABELS}")) for name in SPLITS], DIGITS)


def _labels(path: Path) -> np.ndarray:
    return digits(path, idx(path))


def idx(path: Path) -> np.ndarray:
    """The uint8 array of a gzipped IDX file."""
    import numpy as np

    with gzip.open(existing(path)) as file:
        content = file.read()
    if content[:3] != b"\0\0\x08":
        raise ValueError(f"{path.name}: found no IDX file of bytes")
    shape = np.frombuffer(content, ">u4", content[3], 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).reshape(shape)
