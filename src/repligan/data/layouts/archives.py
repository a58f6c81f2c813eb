"""Zip and tar archives of image files, in any folders."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from repligan.core.errors import InputError
from repligan.core.files import existing
from repligan.core.rows import File
from repligan.data.raw import Item, Raw

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".ppm", ".tif", ".tiff"}
NEEDED: list[str] = []
MOST_BYTES = 2**26  # of one image: beyond that a file is an accident or an attack


def read(raw: Path, files: list[File]) -> Raw:
    """The images of all files."""
    return of([raw / file.name for file in files])


def of(paths: list[Path]) -> Raw:
    """The images of archives; where they lie in several folders, the folder is the label."""
    import numpy as np

    names_of = [members(path) for path in paths]
    folders = [PurePosixPath(name).parent.name for names in names_of for name in names]
    values = sorted(set(folders))
    labels = np.array([values.index(folder) for folder in folders])[:, None] if len(values) > 1 else None

    def items() -> Iterator[Item]:
        for path, names in zip(paths, names_of, strict=True):
            yield from _contents(path, names)

    return Raw(np.zeros(len(folders), int), items, labels, {"folder": values} if labels is not None else {})


def members(path: Path) -> list[str]:
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
