"""Zip and tar archives of image files in folders that say nothing of them, such as numbered ones."""

from __future__ import annotations

from pathlib import Path

from repligan.core.rows import File
from repligan.data.layouts import archives
from repligan.data.raw import Raw

NEEDED: list[str] = []


def read(raw: Path, files: list[File]) -> Raw:
    """The images of all files, without labels."""
    return archives.of([raw / file.name for file in files])[0]
