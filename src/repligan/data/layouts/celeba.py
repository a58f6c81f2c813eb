"""CelebA's aligned faces: one zip, and where they are given the official split and attributes (Liu et al. 2015)."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from repligan.core.rows import File
from repligan.data.layouts import archives
from repligan.data.raw import Raw

FACES, SPLIT, ATTRIBUTES = "img_align_celeba.zip", "list_eval_partition.txt", "list_attr_celeba.txt"
NEEDED = [FACES]


def read(raw: Path, files: list[File]) -> Raw:
    """The faces, the split that each is meant for, and its attributes as factors of "no" and "yes"."""
    import numpy as np

    found, paths = archives.of([raw / FACES])
    names = [PurePosixPath(path).name for path in paths]
    pool, labels, factors = np.zeros(len(names), int), None, {}
    if (raw / SPLIT).exists():
        lines = (line.split() for line in (raw / SPLIT).read_text().splitlines() if line.strip())
        held = {name: int(part) > 0 for name, part in lines}  # 0 train, 1 validation, 2 test
        pool = np.array([held[name] for name in names]).astype(int)
    if (raw / ATTRIBUTES).exists():
        _, header, *rows = (raw / ATTRIBUTES).read_text().splitlines()
        has = {name: values for name, *values in (row.split() for row in rows)}
        labels = np.array([[int(value) > 0 for value in has[name]] for name in names]).astype(np.int64)
        factors = {name: ["no", "yes"] for name in header.split()}
    return Raw(pool, found.items, labels, factors)
