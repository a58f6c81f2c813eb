"""Batches of real data: batch `i` is a function of (seeds, i)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from repligan.core.draws import BitDraws, Draws, packed
from repligan.core.errors import InputError
from repligan.core.files import load_array
from repligan.core.randomness import rng
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
            return table_batches(np.array(table), seeds, batch)
        case BoxForm():
            return box_batches(np.array(load_array(folder / "bounds.npy")), seeds, batch)
        case ImagesForm():
            return ImageBatches(load_array(folder / "train.npy"), seeds[0], batch)


def normalise(img: np.ndarray) -> torch.Tensor:
    """uint8 0..255 -> float32 -1..1."""
    return torch.from_numpy(img.astype(np.float32)).div_(127.5).sub_(1)


def denormalise(img: torch.Tensor) -> torch.Tensor:
    """float32 -1..1 -> uint8 0..255."""
    return img.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)


def table_batches(table: np.ndarray, seeds: Sequence[int], batch: int) -> BitDraws:
    """Rows of a table of bits [N, width], drawn uniformly with replacement."""
    rows, num = packed(table), np.uint64(len(table))

    def draw(g: np.random.Generator, n: int) -> np.ndarray:
        # A share of 2^32 for each row: five times as fast as integers below N, and off by less than N in four billion.
        share = g.integers(2**32, size=(n, batch), dtype=np.uint32).astype(np.uint64)
        return rows[share * num >> np.uint64(32)]

    return BitDraws(seeds, "real", draw, table.shape[1])


def box_batches(bounds: np.ndarray, seeds: Sequence[int], batch: int) -> Draws:
    """Points drawn uniformly from a box with `bounds` [2, dim]."""
    low, span = bounds[0], bounds[1] - bounds[0]
    return Draws(seeds, "real", lambda g, n: g.random((n, batch, len(low)), np.float32) * span + low)


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
