"""Real draws of a toy in the place of G's samples; without torch, so that this reference is measured at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from repligan.core.files import load_array
from repligan.data.rows import Dataset
from repligan.evaluation.rows import DrawsReference
from repligan.metrics import toys

if TYPE_CHECKING:
    import numpy as np


def floor(reference: DrawsReference, dataset: Dataset, processed: Path) -> dict[str, np.ndarray]:
    """Statistics [repeats] of the draws in `processed`."""
    if dataset.metrics == "even":
        return toys.even_floor(toys.decode(load_array(processed / "train.npy")), reference.num, reference.repeats)
    return toys.pattern_floor(load_array(processed / "bounds.npy"), reference.num, reference.repeats)
