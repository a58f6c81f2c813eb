"""SVHN's cropped digits, the test file alone."""

from __future__ import annotations

from pathlib import Path

from repligan.core.rows import File
from repligan.data.layouts import svhn
from repligan.data.raw import DIGITS, Raw, of_arrays

NEEDED = ["test_32x32.mat"]


def read(raw: Path, files: list[File]) -> Raw:
    """The images and digits of the file, as one split."""
    return of_arrays([svhn.split(raw / NEEDED[0])], DIGITS)
