"""Batches of real data: batch `i` is a function of (seeds, i)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from repligan.core.errors import InputError
from repligan.core.files import load_array
from repligan.core.randomness import Draws, rng
from repligan.data.rows import BitsForm, BoxForm, Form, ImagesForm


class Batches(Protocol):
    """`batches[i]`: float32 [S, B, ...] as the networks see it."""

    def __getitem__(self, index: int) -> torch.Tensor: ...


def real_batches(form: Form, folder: Path, seeds: Sequence[int], batch: int) -> Batches:
    """The batches of the processed data in `folder`; raises InputError if it is missing or too small."""
    match form:
        case BitsForm(width=width):
            table = load_array(folder / "train.npy")
            if table.ndim != 2 or table.shape[1] != width or not len(table) or table.dtype != np.uint8:
                found = f"{table.dtype} {list(table.shape)}"
                raise InputError(f"{folder / 'train.npy'}: found {found}; allowed: uint8 [N, {width}] from `dvc repro`")
            return TableBatches(np.array(table), seeds, batch)
        case BoxForm():
            return BoxBatches(load_array(folder / "bounds.npy"), seeds, batch)
        case ImagesForm():
            return ImageBatches(load_array(folder / "train.npy"), seeds[0], batch)


def normalise(img: np.ndarray) -> torch.Tensor:
    """uint8 0..255 -> float32 -1..1."""
    return torch.from_numpy(img.astype(np.float32)).div_(127.5).sub_(1)


def denormalise(img: torch.Tensor) -> torch.Tensor:
    """float32 -1..1 -> uint8 0..255."""
    return img.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)


class TableBatches:
    """Rows of a table [N, width], drawn uniformly with replacement."""

    def __init__(self, table: np.ndarray, seeds: Sequence[int], batch: int):
        self.columns = torch.from_numpy(table.T.astype(np.float32, order="C"))
        self.rows = Draws(seeds, "real", lambda g, n: g.integers(len(table), size=(n, batch), dtype=np.int32))

    def __getitem__(self, index: int) -> torch.Tensor:
        rows = torch.from_numpy(np.moveaxis(self.rows[index], 0, -1))  # [B, S]: looked up with the seeds last
        return self.columns.index_select(1, rows.reshape(-1)).view(-1, *rows.shape).permute(2, 1, 0)


class BoxBatches:
    """Points drawn uniformly from a box with `bounds` [2, dim]."""

    def __init__(self, bounds: np.ndarray, seeds: Sequence[int], batch: int):
        low, span = np.array(bounds[0]), bounds[1] - bounds[0]
        self.points = Draws(seeds, "real", lambda g, n: g.random((n, batch, len(low)), np.float32) * span + low)

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(self.points[index])


class ImageBatches:
    """Images in epochs, each in a new order; the last, incomplete batch of an epoch is left out."""

    def __init__(self, img: np.ndarray, seed: int, batch: int):
        if batch > len(img):
            raise InputError(f"params.yaml: batch: found {batch}; allowed: at most the {len(img)} training images")
        self.img, self.batch, self.per_epoch = img, batch, len(img) // batch
        self._order = lru_cache(maxsize=1)(lambda epoch: rng(seed, "real", epoch).permutation(len(img)))

    def __getitem__(self, index: int) -> torch.Tensor:
        epoch, i = divmod(index, self.per_epoch)
        rows = self._order(epoch)[i * self.batch : (i + 1) * self.batch]
        return normalise(self.img[np.sort(rows)])[None]
