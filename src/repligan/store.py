"""Finished work that is kept: entries named by all that decides them, whole or not there, checked when read."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repligan.core.files import alone, sha256, whole_dir, write_bytes
from repligan.core.rows import fingerprint

ENTRY, DISPUTED = "entry.json", ".disputed-"
Key = Mapping[str, Any]
Make = Callable[[Path, Path], Mapping[str, Any]]
"""Fills an empty folder, with another one to keep unfinished work in; returns notes for `Entry.notes`."""


@dataclass(frozen=True)
class Entry:
    """One folder of the store: its `key`, the sha256 of its files, and notes that decide nothing.

    Files that are `absent` were made elsewhere and left there: only their sha256 is known.
    """

    path: Path
    key: Key
    files: Mapping[str, str]
    notes: Mapping[str, Any]
    absent: frozenset[str] = frozenset()

    @property
    def intact(self) -> bool:
        """Whether its files are those that were written."""
        here = {name: digest for name, digest in self.files.items() if name not in self.absent}
        return all((self.path / name).exists() and sha256(self.path / name) == digest for name, digest in here.items())


@dataclass(frozen=True)
class Store:
    """Entries in a folder, for any number of processes at once."""

    folder: Path

    def find(self, key: Key, whole: bool = False) -> Entry | None:
        """The entry of `key`, None if there is none, or none with all of its files; a damaged one is removed."""
        path = self.folder / fingerprint(key)
        if not path.exists():
            return None
        entry = _read(path)
        if entry and entry.intact:
            return None if whole and entry.absent else entry
        print(f"{path}: damaged, done again", file=sys.stderr)
        shutil.rmtree(path)
        return None

    def get(self, key: Key, make: Make, whole: bool = False) -> Entry:
        """The entry of `key`, made if there is none (`whole`: with all of its files); another maker is waited for."""
        name = fingerprint(key)
        with self._alone(name):
            found = self.find(key, whole)
            if found:
                return found
            unfinished = self.folder / f"{name}.unfinished"
            with whole_dir(self.folder / name) as folder:
                notes = make(folder, unfinished)
                _write(folder, key, notes, {})
            shutil.rmtree(unfinished, ignore_errors=True)
        made = _read(self.folder / name)
        assert made
        return made

    def entries(self) -> Iterator[Entry]:
        """All entries, the newest first."""
        folders = [path for path in self.folder.glob("*") if "." not in path.name and (path / ENTRY).exists()]
        for path in sorted(folders, key=lambda path: (path / ENTRY).stat().st_mtime, reverse=True):
            if entry := _read(path):
                yield entry

    def rename(self, entry: Entry, key: Key) -> None:
        """Give an entry another key."""
        with self._alone(fingerprint(key)), whole_dir(self.folder / fingerprint(key)) as folder:
            for name in entry.files.keys() - entry.absent:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                os.link(entry.path / name, folder / name)
            _write(folder, key, entry.notes, {name: entry.files[name] for name in entry.absent})
        shutil.rmtree(entry.path)

    def put(self, key: Key, content: Mapping[str, bytes], absent: Mapping[str, str], notes: Mapping[str, Any]) -> None:
        """Add an entry that was made elsewhere: file -> its content, and of those left there file -> sha256."""
        with self._alone(fingerprint(key)), whole_dir(self.folder / fingerprint(key)) as folder:
            for name, data in content.items():
                write_bytes(folder / name, data)
            _write(folder, key, notes, absent)

    def set_aside(self, entry: Entry) -> Path:
        """Keep an entry where nothing finds it any more; the folder where it then lies."""
        taken = len(list(self.folder.glob(f"{entry.path.name}{DISPUTED}*")))
        aside = entry.path.with_name(f"{entry.path.name}{DISPUTED}{taken + 1}")
        return entry.path.rename(aside)

    def unfinished(self) -> list[Path]:
        """Folders of work that was stopped and waits to be continued."""
        return sorted(self.folder.glob("*.unfinished"))

    def size(self) -> int:
        """Bytes on disk."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    def empty(self) -> int:
        """Remove all entries, those set aside, and unfinished work; how many entries there were."""
        entries = [entry.path for entry in self.entries()]
        for path in (*entries, *self.folder.glob(f"*{DISPUTED}*"), *self.unfinished()):
            shutil.rmtree(path, ignore_errors=True)
        return len(entries)

    def _alone(self, name: str) -> AbstractContextManager[None]:
        return alone(self.folder / "locks" / name)


def _write(folder: Path, key: Key, notes: Mapping[str, Any], absent: Mapping[str, str]) -> None:
    here = {str(path.relative_to(folder)): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    content: dict[str, Any] = {"key": key, "files": here | dict(absent), "notes": notes}
    if absent:
        content["absent"] = sorted(absent)
    (folder / ENTRY).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _read(path: Path) -> Entry | None:
    try:
        content = json.loads((path / ENTRY).read_text(encoding="utf-8"))
        return Entry(path, content["key"], content["files"], content["notes"], frozenset(content.get("absent", ())))
    except (OSError, ValueError, KeyError, TypeError):
        return None
