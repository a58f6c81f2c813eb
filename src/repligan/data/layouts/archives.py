"""Zip and tar archives of image files; where they lie in several folders, the folder is the label."""

from __future__ import annotations

import re
import stat
import sys
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from repligan.core.errors import InputError
from repligan.core.files import existing
from repligan.core.rows import File
from repligan.data.raw import Item, Raw, refuse_missing

SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".avif", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff",
)  # fmt: skip
NEEDED: list[str] = []
MOST_BYTES = 2**26  # of one image: beyond that a file is an accident or an attack
UTF8 = 0x800  # the flag of a zip's member whose name is said to be UTF-8
MANY, FEW = 30, 10  # more folders than class metrics suit, fewer images than a class needs
HELD_OUT, NUMBER = (
    re.compile(r"test(ing)?|val(id(ation)?)?", re.I),
    re.compile(r"\d{3,}"),
)  # that sort files, not pictures
REASONS = 5  # that a line names


class Entry(NamedTuple):
    """A member of an archive: its name, with "/" between folders, whether it is a file, and how it is opened."""

    name: str
    is_file: bool
    open: Callable[[], Any]


def read(raw: Path, files: list[File]) -> Raw:
    """The images of all files; the folder is the label where there are several."""
    import numpy as np

    found, names = of([raw / file.name for file in files])
    folders = [PurePosixPath(name).parent.name for name in names]
    values = sorted(set(folders))
    if len(values) == 1:
        return found
    _warn_of_odd_classes(raw, Counter(folders))
    value_of = {folder: value for value, folder in enumerate(values)}
    return Raw(found.pool, found.items, np.array([[value_of[folder]] for folder in folders]), {"folder": values})


def of(paths: list[Path]) -> tuple[Raw, list[str]]:
    """The images of archives, without labels, and their names."""
    import numpy as np

    members_of = [members(path) for path in paths]
    names = [name for members in members_of for name in members.values()]

    def items() -> Iterator[Item]:
        for path, members in zip(paths, members_of, strict=True):
            yield from _contents(path, members)

    return Raw(np.zeros(len(names), int), items, None, {}), names


def listed(path: Path, names: list[str]) -> Raw:
    """The images of an archive with these file names, in their order; raises InputError unless it has all of them."""
    import numpy as np

    place_of = {PurePosixPath(member).name: place for place, member in members(path).items()}
    refuse_missing(path, names, place_of, "an archive with all that are listed")

    def items() -> Iterator[Item]:
        with _opened(path) as archive:
            entries = {place: entry for place, entry in enumerate(_entries(archive)) if place in wanted}
            for name in names:
                yield name, _content(entries[place_of[name]].open)

    wanted = {place_of[name] for name in names}
    return Raw(np.zeros(len(names), int), items, None, {})


def members(path: Path) -> dict[int, str]:
    """Place in an archive -> name, of its image files, in its order; says what is left out.

    Of members with one name the last counts, as it would if the archive were unpacked.
    """
    with _opened(existing(path)) as archive:
        entries = [(place, entry.name, entry.is_file) for place, entry in enumerate(_entries(archive))]
    shown = [(place, name, is_file) for place, name, is_file in entries if is_shown(name)]
    left_out = Counter("links" for _, _, is_file in shown if not is_file)
    left_out.update(kind(name) for _, name, is_file in shown if is_file and not is_image(name))
    images = [(name, place) for place, name, is_file in shown if is_file and is_image(name)]
    last = dict(images)
    if len(last) < len(images):
        left_out["replaced by a later member of the same name"] = len(images) - len(last)
    if not last:
        raise InputError(f"{path}: found no images among {len(entries)} files; allowed: {', '.join(SUFFIXES)}")
    say_left_out(path, left_out)
    return {place: name for name, place in sorted(last.items(), key=lambda item: item[1])}


def is_shown(name: str) -> bool:
    """Not hidden, as the leftovers of file managers are."""
    return not any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)


def is_image(name: str) -> bool:
    """Whether a file of this name is read."""
    return kind(name) in SUFFIXES


def kind(name: str) -> str:
    """The suffix of a file's name in lower case."""
    return PurePosixPath(name).suffix.lower() or "without a suffix"


def say_left_out(where: Path, left_out: Counter[str]) -> None:
    """One line on stderr: how many files of `where` are no images to read, and why."""
    if left_out:
        said = ", ".join(f"{count:,} {reason}" for reason, count in left_out.most_common(REASONS))
        more = ", ..." if len(left_out) > REASONS else ""
        print(f"{where}: left out: {said}{more}; read: {' '.join(SUFFIXES)}", file=sys.stderr)


def _warn_of_odd_classes(raw: Path, sizes: Counter[str]) -> None:
    folder, least = min(sizes.items(), key=lambda item: (item[1], item[0]))
    sorts_files = any(map(HELD_OUT.fullmatch, sizes)) or all(map(NUMBER.fullmatch, sizes))
    if sorts_files or len(sizes) > MANY or least < FEW:
        print(
            f"warning: {raw}: {len(sizes)} folders count as classes, the smallest, {folder!r}, has {least} images; "
            "if folders say nothing of the pictures, write `layout: unlabelled`",
            file=sys.stderr,
        )


def _opened(path: Path) -> zipfile.ZipFile | tarfile.TarFile:
    return zipfile.ZipFile(path) if zipfile.is_zipfile(path) else tarfile.open(path)


def _entries(archive: zipfile.ZipFile | tarfile.TarFile) -> Iterator[Entry]:
    """All members but folders."""
    if isinstance(archive, tarfile.TarFile):
        for member in archive:
            if not member.isdir():
                yield Entry(_tar_name(member), member.isfile(), partial(archive.extractfile, member))
        return
    # The format wants "/"; tools on Windows that write "\\" write no other.
    windows = not any("/" in info.filename for info in archive.infolist())
    for info in archive.infolist():
        name = _zip_name(info).replace("\\", "/") if windows else _zip_name(info)
        if not name.endswith("/"):
            yield Entry(name, not stat.S_ISLNK(info.external_attr >> 16), partial(archive.open, info))


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Without the flag, too, most names that are UTF-8 throughout were meant so: macOS and Linux leave it out."""
    if info.flag_bits & UTF8:
        return info.filename
    try:
        return info.filename.encode("cp437").decode()
    except UnicodeError:
        return info.filename


def _tar_name(member: tarfile.TarInfo) -> str:
    """A name that is no UTF-8 is taken for Latin-1, which gives every byte a letter."""
    name = member.name.encode(errors="surrogateescape")
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name.decode("latin-1")


def _contents(path: Path, members: dict[int, str]) -> Iterator[Item]:
    """(name, content) of the members at these places."""
    with _opened(path) as archive:
        for place, entry in enumerate(_entries(archive)):
            if place in members:
                yield entry.name, _content(entry.open)


def _content(opened: Callable[[], Any]) -> bytes | Exception:
    try:
        with opened() as file:
            content: bytes = file.read(MOST_BYTES + 1)
    except MemoryError:
        raise
    except Exception as error:  # a damaged member: counted with the images that no decoder can read
        return error
    return content if len(content) <= MOST_BYTES else ValueError(f"more than {MOST_BYTES:,} bytes")
