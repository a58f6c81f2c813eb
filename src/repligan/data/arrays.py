"""Raw files -> arrays that the networks learn from, written as .npy without pickle.

`bits`: train.npy uint8 [N, width]; `box`: bounds.npy float32 [2, dim] (low, high);
`images`: train.npy and heldout.npy uint8 NCHW; train_labels.npy, heldout_labels.npy int64 [N, K] and factors.json
where there are labels (see images).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from repligan.core.errors import InputError
from repligan.core.files import existing
from repligan.data.images import preprocess_images
from repligan.data.rows import BitsForm, BoxForm, Dataset, ImagesForm


def preprocess(dataset: Dataset, raw: Path, out: Path) -> None:
    """Write the arrays of `dataset` into the existing folder `out`; raises InputError on unusable raw data."""
    match dataset.form:
        case BitsForm(width=width):
            integers = _read_csv(raw / "integers.csv")["integer"]
            np.save(out / "train.npy", to_bits(integers.to_numpy(), width))
        case BoxForm():
            np.save(out / "bounds.npy", _read_csv(raw / "box.csv").to_numpy(np.float32).T.copy())
        case ImagesForm() as form:
            preprocess_images(dataset.source, form, raw, out)  # type: ignore[arg-type]


def to_bits(integers: np.ndarray, width: int) -> np.ndarray:
    """Integers [N] -> uint8 [N, width], most significant bit first; raises InputError if one does not fit."""
    if integers.min() < 0 or integers.max() >= 2**width:
        raise InputError(f"datasets: found integer {integers.max()}; allowed: 0 to {2**width - 1} in {width} bits")
    return (integers[:, None] >> np.arange(width)[::-1] & 1).astype(np.uint8)


def _read_csv(path: Path):  # type: ignore[no-untyped-def]  # pandas ships no types
    import pandas as pd

    return pd.read_csv(existing(path))
