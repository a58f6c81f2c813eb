"""What is wrong with a raw file: another page in its place, other bytes, an archive that cannot be read."""

from __future__ import annotations

import hashlib
import html
import posixpath
import re
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from repligan.core.rows import File

HEAD = 2**16  # bytes, in which a page has its title
TARS = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")
FOREIGN = {b"7z\xbc\xaf\x27\x1c": "7z", b"Rar!\x1a\x07": "rar", b"\x28\xb5\x2f\xfd": "zstd"}  # by their first bytes
ENCRYPTED = 1  # the flag of a zip's member
METHODS = {0: "stored", 8: "Deflate", 12: "bzip2", 14: "LZMA"}  # of a zip's members, that are unpacked here


def fault(path: Path, file: File) -> str | None:
    """What is wrong with the content of `path`: what was found and what is allowed; None if nothing is."""
    if not path.is_file():
        return "found a folder; allowed: a file"
    size = path.stat().st_size
    with path.open("rb") as content:
        head = content.read(HEAD)
        if other := page(head):
            return other
        if foreign := [kind for magic, kind in FOREIGN.items() if head.startswith(magic)]:
            return f"found {foreign[0]} data; allowed: zip, or tar alone or in gzip, xz or bzip2"
        if not size or size != (file.size or size):
            return f"found {size:,} bytes; allowed: {f'{file.size:,}' if file.size else 'some'} bytes"
        for kind, wanted in (("md5", file.md5), ("sha256", file.sha256)):
            content.seek(0)
            if wanted and (found := hashlib.file_digest(content, kind).hexdigest()) != wanted:
                return f"found {kind} {found}; allowed: {wanted}"
    return _archive_fault(path, file.name)


def page(head: bytes, kind: str = "") -> str | None:
    """How an HTML page in place of a file is named, such as Google Drive's on quotas and virus scans."""
    if not kind.startswith("text/html") and not re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype html|html)", head, re.I):
        return None
    said = re.search(rb"<title[^>]*>(.*?)</title", head, re.I | re.S)
    title = " ".join(html.unescape(said[1].decode(errors="replace")).split()) if said else ""
    shown = "".join(letter for letter in title if letter.isprintable())[:80]
    return f"found an HTML page, {shown!r}; allowed: the file itself"


def _archive_fault(path: Path, name: str) -> str | None:
    """Archives are never unpacked here, but one that could write outside of its folder is not what it should be."""
    try:
        if name.endswith(".zip") and (packing := _packing_fault(path)):
            return packing
        members = _zip_members(path) if name.endswith(".zip") else _tar_members(path) if name.endswith(TARS) else ()
        bad = next((member for member, ends in members if any(map(_leads_out, ends))), None)
    except MemoryError:
        raise
    except Exception as error:  # the libraries that read damaged archives raise anything
        return f"found what is no whole archive ({str(error)[:80]}); allowed: one that opens"
    return bad and f"found the member {bad[:120]!r}, which leads out of the archive; allowed: members inside of it"


def _packing_fault(path: Path) -> str | None:
    """Why a member of a zip can be listed and not read."""
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.flag_bits & ENCRYPTED:
                return f"found the member {info.filename[:120]!r}, encrypted; allowed: archives without a password"
            if info.compress_type not in METHODS:
                found = {9: "Deflate64", 93: "Zstandard"}.get(info.compress_type, f"method {info.compress_type}")
                allowed = ", ".join(METHODS.values())
                return f"found the member {info.filename[:120]!r}, packed by {found}; allowed: {allowed}"
    return None


def _zip_members(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Each member's name, and the paths where it and the target of a link end."""
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            ends = [info.filename]
            if stat.S_ISLNK(info.external_attr >> 16):
                with archive.open(info) as link:
                    target = link.read(4096).decode(errors="replace")
                ends.append(posixpath.join(posixpath.dirname(info.filename), target))
            yield info.filename, ends


def _tar_members(path: Path) -> Iterator[tuple[str, list[str]]]:
    with tarfile.open(path) as archive:
        for info in archive:
            base = posixpath.dirname(info.name) if info.issym() else ""  # hard links count from the archive's root
            yield info.name, [info.name, posixpath.join(base, info.linkname)]


def _leads_out(path: str) -> bool:
    plain = posixpath.normpath(path.replace("\\", "/"))
    return plain.startswith(("/", "../")) or plain == ".." or re.match(r"[A-Za-z]:", plain) is not None
