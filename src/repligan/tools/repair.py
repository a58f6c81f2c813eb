"""Repair what a killed `dvc` leaves half-written.

DVC 3.67 writes dvc.lock and .dvc/tmp/rwlock in place: killed in that moment, it refuses to start again. Killed while a
stage runs, it leaves its process number in rwlock, which another process may get.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from fnmatch import fnmatch
from itertools import chain
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from repligan.core.files import write_bytes
from repligan.core.git import git
from repligan.params import Params


def repair(root: Path) -> list[str]:
    """Repair the files of DVC in the repository `root`; what was done, nothing while a `dvc` runs."""
    from zc.lockfile import LockError, LockFile

    folder = root / ".dvc" / "tmp"
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            for name in ("lock", "rwlock.lock"):
                held.callback(LockFile(str(folder / name)).close)
        except LockError:
            return []
        return [*_repair_rwlock(folder / "rwlock"), *_repair_dvc_lock(root)]


def strays(root: Path, params: Params) -> Iterator[str]:
    """What lies in the folders that whole stages depend on and is the output of no experiment: a line each.

    DVC removes no output of a stage that is no more.
    """
    for folder, suffix in ((Path("data/evaluations"), ""), (Path("reports/metrics"), ".json")):
        wanted = {f"{name}{suffix}" for name in params.experiments}
        for name in sorted({path.name for path in (root / folder).glob("*")} - wanted):
            if not fnmatch(name, ".*.partial"):  # which .dvcignore names
                yield f"{folder / name}: of no experiment in params.yaml, yet part of a stage's hash; remove it"


def _repair_rwlock(path: Path) -> Iterator[str]:
    from dvc.rwlock import SCHEMA
    from voluptuous import Invalid

    try:
        held = SCHEMA(json.loads(path.read_text() if path.exists() else "{}"))
    except (ValueError, Invalid):
        path.unlink()
        yield f"{path}: was damaged, removed"
        return
    holders = {info["pid"] for info in chain(held["write"].values(), *held["read"].values())}
    if holders and not any(map(_runs_dvc, holders)):
        path.unlink()
        yield f"{path}: the dvc that held it was killed, removed"


def _runs_dvc(pid: int) -> bool:
    """Whether a process lives and is a dvc: DVC takes any process that got the number of a killed one for it."""
    import psutil

    try:
        return any("dvc" in word for word in psutil.Process(pid).cmdline())
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # another user's
        return True


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
