"""Repair what a killed `dvc` leaves half-written.

DVC 3.67 writes dvc.lock and .dvc/tmp/rwlock in place: killed in that moment, it refuses to start again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from repligan.core.files import write_bytes
from repligan.core.git import git


def repair(root: Path) -> list[str]:
    """Repair the files of DVC in the repository `root`; what was done, nothing while a `dvc` runs."""
    from zc.lockfile import LockError, LockFile

    folder = root / ".dvc" / "tmp"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        held = LockFile(str(folder / "lock"))
    except LockError:
        return []
    try:
        return [*_repair_rwlock(folder / "rwlock"), *_repair_dvc_lock(root)]
    finally:
        held.close()


def _repair_rwlock(path: Path) -> Iterator[str]:
    try:
        json.loads(path.read_text() if path.exists() else "{}")
    except ValueError:
        path.unlink()
        yield f"{path}: was damaged, removed"


def _repair_dvc_lock(root: Path) -> Iterator[str]:
    path = root / "dvc.lock"
    if not path.exists() or _is_whole(path):
        return
    committed = git(root, "-c", "safe.directory=*", "show", "HEAD:./dvc.lock")  # whoever owns it
    if committed.returncode == 0:
        write_bytes(path, committed.stdout)
        yield f"{path}: was damaged, the committed one is back; stages that ran since run again"
    else:
        path.unlink()
        yield f"{path}: was damaged, removed; all stages run again"


def _is_whole(path: Path) -> bool:
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from voluptuous import Invalid

    try:
        COMPILED_LOCKFILE_SCHEMA(YAML(typ="safe").load(path.read_text(encoding="utf-8")))
    except (Invalid, YAMLError, UnicodeDecodeError):
        return False
    return True
