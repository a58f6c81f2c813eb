from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import ROOT

from repligan.tools.repair import repair

LOCK = (ROOT / "dvc.lock").read_bytes()


@pytest.mark.parametrize("size", [0, 1000, 4096, 24576, len(LOCK) // 2])
def test_repair_brings_back_a_dvc_lock_that_a_kill_cut_short(tmp_path: Path, size: int) -> None:
    repo = tmp_path
    subprocess.run(["git", "init", "-q"], cwd=repo, check=True)
    subprocess.run(["git", "config", "user.email", "test@example.org"], cwd=repo, check=True)
    subprocess.run(["git", "config", "user.name", "test"], cwd=repo, check=True)
    (repo / "dvc.lock").write_bytes(LOCK)
    subprocess.run(["git", "add", "dvc.lock"], cwd=repo, check=True)
    subprocess.run(["git", "commit", "-qm", "x"], cwd=repo, check=True)
    assert repair(repo) == []
    (repo / "dvc.lock").write_bytes(LOCK[:size])
    if repair(repo):
        assert (repo / "dvc.lock").read_bytes() == LOCK
    else:  # cut between two stages: valid, DVC runs the missing ones again
        assert size
    assert repair(repo) == []


def test_repair_without_git_removes_it(tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_bytes(b"")
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    (tmp_path / ".dvc/tmp/rwlock").write_text("{")
    assert len(repair(tmp_path)) == 2
    assert not (tmp_path / "dvc.lock").exists()
    assert not (tmp_path / ".dvc/tmp/rwlock").exists()


@pytest.mark.parametrize("how", ["write", "read"])
def test_repair_frees_what_a_killed_dvc_held_and_leaves_what_a_living_one_holds(tmp_path: Path, how: str) -> None:
    """Under the number of another process, or of none."""
    rwlock = tmp_path / ".dvc/tmp/rwlock"
    rwlock.parent.mkdir(parents=True)

    def held_by(pid: int) -> None:
        info = {"pid": pid, "cmd": "/usr/bin/dvc repro"}
        rwlock.write_text(json.dumps({how: {str(tmp_path / "data/rows"): info if how == "write" else [info]}}))

    with subprocess.Popen(["sleep", "60"]) as other:
        held_by(other.pid)
        assert repair(tmp_path) == [f"{rwlock}: the dvc that held it was killed, removed"]
        other.kill()
    held_by(other.pid)
    assert len(repair(tmp_path)) == 1
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "dvc", "repro"]) as dvc:
        while "dvc" not in psutil.Process(dvc.pid).cmdline():
            time.sleep(0.01)  # its words appear a moment after it has begun
        held_by(dvc.pid)
        assert repair(tmp_path) == []
        assert rwlock.exists()
        dvc.kill()


def test_repair_removes_an_rwlock_of_another_form(tmp_path: Path) -> None:
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    (tmp_path / ".dvc/tmp/rwlock").write_text('{"data/rows": {"write": {"pid": 1, "cmd": "dvc repro"}}}')
    assert len(repair(tmp_path)) == 1


def test_repair_leaves_a_running_dvc_alone(tmp_path: Path) -> None:
    from zc.lockfile import LockFile

    (tmp_path / "dvc.lock").write_bytes(b"")
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    held = LockFile(str(tmp_path / ".dvc/tmp/lock"))
    code = f"from pathlib import Path; from repligan.tools.repair import repair; print(repair(Path({str(tmp_path)!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    held.close()
    assert done.stdout == "[]\n"
    assert (tmp_path / "dvc.lock").exists()
