"""Repair what a killed `dvc` leaves half-written.

DVC 3.67 writes dvc.lock and .dvc/tmp/rwlock in place: killed in that moment, it refuses to start again.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from repligan.core.files import write_bytes


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
        held = json.loads(path.read_text() if path.exists() else "{}")
    except ValueError:
        path.unlink()
        yield f"{path}: was damaged, removed"
        return
    owners = [*held.get("write", {}).values(), *(one for some in held.get("read", {}).values() for one in some)]
    if owners and not any(_runs(one["pid"]) for one in owners):
        path.unlink()
        yield f"{path}: held by a `dvc` that was killed, removed"


def _runs(pid: int) -> bool:
    """Whether a process has not ended; DVC takes one that ended, and that nobody has waited for, for a running one."""
    import psutil

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _repair_dvc_lock(root: Path) -> Iterator[str]:
    path = root / "dvc.lock"
    if not path.exists() or _is_whole(path):
        return
    committed = subprocess.run(["git", "show", "HEAD:./dvc.lock"], cwd=root, capture_output=True, check=False)
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
        COMPILED_LOCKFILE_SCHEMA(YAML(typ="safe").load(path.read_text()))
    except (Invalid, YAMLError, UnicodeDecodeError):
        return False
    return True
