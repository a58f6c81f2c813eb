"""CelebA's aligned faces: one zip, and where they are given the official split and attributes (Liu et al. 2015).

Where there is a listed.txt, only the images that it names are read, in its order. Each line has a name, 0 to learn from
the image or 1 to hold it out, and 1 if its attributes count, else 0. So the official zip and any zip that has the
listed images give the same.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from repligan.core.rows import File
from repligan.data.layouts import archives
from repligan.data.raw import UNKNOWN, Raw, refuse_missing

if TYPE_CHECKING:
    import numpy as np

FACES, SPLIT, ATTRIBUTES = "img_align_celeba.zip", "list_eval_partition.txt", "list_attr_celeba.txt"
LISTED = "listed.txt"
NEEDED = [FACES]


def read(raw: Path, files: list[File]) -> Raw:
    """The faces, the split that each is meant for, and its attributes as factors of "no" and "yes"."""
    import numpy as np

    if (raw / LISTED).exists():
        listed = _rows(raw / LISTED)
        names, told = list(listed), [name for name, (_, counts) in listed.items() if int(counts)]
        found, parts = archives.listed(raw / FACES, names), listed
    else:
        found, paths = archives.of([raw / FACES])
        names = told = [PurePosixPath(path).name for path in paths]
        parts = _rows(raw / SPLIT) if (raw / SPLIT).exists() else {name: ["0"] for name in names}
    refuse_missing(raw / SPLIT, names, parts, "a line for each image")
    pool = np.array([int(parts[name][0]) > 0 for name in names]).astype(int)  # 0 train, 1 validation, 2 test
    if not (raw / ATTRIBUTES).exists():
        return Raw(pool, found.items, None, {})
    return Raw(pool, found.items, *_attributes(raw / ATTRIBUTES, names, told))


def _rows(path: Path) -> dict[str, list[str]]:
    lines = (line.split() for line in path.read_text().splitlines() if line.strip())
    return {name: values for name, *values in lines}


def _attributes(path: Path, names: list[str], told: list[str]) -> tuple[np.ndarray, dict[str, list[str]]]:
    """Labels [N, K] of the images `names`, UNKNOWN but for those of `told`, and the factors that they are values of."""
    import numpy as np

    _, header, *rows = path.read_text().splitlines()
    has = {name: values for name, *values in (row.split() for row in rows)}
    refuse_missing(path, told, has, "a line for each image whose attributes count")
    factors = {name: ["no", "yes"] for name in header.split()}
    known, nothing = set(told), [UNKNOWN] * len(factors)
    labels = [[int(int(value) > 0) for value in has[name]] if name in known else nothing for name in names]
    return np.array(labels, np.int64), factors
