"""Batches of real data: batch `i` is a function of (seeds, i)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from repligan.core.draws import BitDraws, Draws, packed, random_bytes
from repligan.core.errors import InputError
from repligan.core.files import load_array
from repligan.core.randomness import rng
from repligan.core.runtime import sent
from repligan.data.rows import BitsForm, BoxForm, Form, ImagesForm

CPU = torch.device("cpu")
RESIDENT = 1 / 4  # of a GPU's free memory: data sets that take no more lie in it


class Batches(Protocol):
    """`batches[i]`: [S, B, ...] as networks see it, float32 or uint8 of 0 and 1; images on the training's device."""

    def __getitem__(self, index: int) -> torch.Tensor: ...


def real_batches(form: Form, folder: Path, seeds: Sequence[int], batch: int, device: torch.device = CPU) -> Batches:
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
            img = load_array(folder / "train.npy")
            resident = device.type == "cuda" and img.nbytes <= RESIDENT * torch.cuda.mem_get_info()[0]
            return ImageBatches(img, seeds[0], batch, device, resident)


def normalise(img: np.ndarray | torch.Tensor) -> torch.Tensor:
    """uint8 0..255 -> float32 -1..1, of a tensor where that is."""
    levels = img.float() if isinstance(img, torch.Tensor) else torch.from_numpy(img.astype(np.float32))
    return levels.div_(127.5).sub_(1)


def denormalise(img: torch.Tensor) -> torch.Tensor:
    """float32 -1..1 -> uint8 0..255."""
    return img.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)


def table_batches(table: np.ndarray, seeds: Sequence[int], batch: int) -> BitDraws:
    """Rows of a table of bits [N, width], drawn uniformly with replacement."""
    rows, num = packed(table), np.uint64(len(table))

    def draw(g: np.random.Generator, n: int) -> np.ndarray:
        # A share of 2^32 for each row: five times as fast as integers below N, and off by less than N in four billion.
        share = random_bytes(g, n, 4 * batch).view("<u4").astype(np.uint64)
        share *= num
        share >>= np.uint64(32)
        return rows.take(share, axis=0)

    return BitDraws(seeds, "real", draw, table.shape[1])


def box_batches(bounds: np.ndarray, seeds: Sequence[int], batch: int) -> Draws:
    """Points drawn uniformly from a box with `bounds` [2, dim]."""
    low, span = bounds[0], bounds[1] - bounds[0]

    def stretched(drawn: np.ndarray) -> np.ndarray:
        drawn *= span
        drawn += low
        return drawn

    return Draws(seeds, "real", lambda g, n: g.random((n, batch, len(low)), np.float32), stretched)


class ImageBatches:
    """Images in epochs, each in a new order; the last, incomplete batch of an epoch is left out.

    Levels stay uint8 until they are on `device`. All are there from the start where they are `resident`; else each
    batch comes from the disk.
    """

    def __init__(self, img: np.ndarray, seed: int, batch: int, device: torch.device = CPU, resident: bool = False):
        if batch > len(img):
            raise InputError(f"params.yaml: batch: found {batch}; allowed: at most the {len(img)} training images")
        self.img, self.batch, self.per_epoch, self.device = img, batch, len(img) // batch, device
        self.resident = torch.from_numpy(np.array(img)).to(device) if resident else None
        self._order = lru_cache(maxsize=1)(lambda epoch: rng(seed, "real", epoch).permutation(len(img)))

    def __getitem__(self, index: int) -> torch.Tensor:
        epoch, i = divmod(index, self.per_epoch)
        rows = np.sort(self._order(epoch)[i * self.batch : (i + 1) * self.batch])
        if self.resident is None:
            img = sent(torch.from_numpy(self.img[rows]), self.device)
        else:
            img = self.resident[sent(torch.from_numpy(rows), self.device)]
        return normalise(img)[None]
