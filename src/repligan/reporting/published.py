"""What was found at other scales and committed (`repligan publish`), to stand beside one's own results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from repligan.claims import ledger
from repligan.claims.ledger import Ledger
from repligan.core.errors import InputError
from repligan.core.files import existing
from repligan.params import SCALES


@dataclass(frozen=True)
class Published:
    """A scale's ledger, and by experiment what its G made last, uint8 [H, W] or [H, W, 3]."""

    claims: Ledger
    pictures: Mapping[str, np.ndarray]


def read(folder: Path, scale: str) -> list[Published]:
    """What `folder` has of each scale but `scale`, the smallest first; raises InputError where it is damaged."""
    return [_read_one(folder / name) for name in SCALES if name != scale and (folder / name).is_dir()]


def _read_one(folder: Path) -> Published:
    pictures = {}
    for path in sorted(existing(folder / "pictures").glob("*.png")):
        try:
            with Image.open(path) as img:
                pictures[path.stem] = np.asarray(img)
        except (UnidentifiedImageError, SyntaxError) as error:
            raise InputError(f"{path}: damaged ({error}); allowed: a PNG that `repligan publish` wrote") from None
    return Published(ledger.read(folder), pictures)
