from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

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


def test_repair_releases_what_a_killed_dvc_held_also_if_nobody_waited_for_it(tmp_path: Path) -> None:
    rwlock = tmp_path / ".dvc" / "tmp" / "rwlock"
    rwlock.parent.mkdir(parents=True)

    def held_by(pid: int) -> list[str]:
        info = {"pid": pid, "cmd": "dvc repro"}
        rwlock.write_text(json.dumps({"write": {"data/rows": info}, "read": {"params.yaml": [info]}}))
        return repair(tmp_path)

    assert held_by(os.getpid()) == []
    process = subprocess.Popen(["sleep", "60"])
    assert held_by(process.pid) == []
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is still in the list
    assert held_by(process.pid) == [f"{rwlock}: held by a `dvc` that was killed, removed"]
    process.wait()
    assert held_by(process.pid) == [f"{rwlock}: held by a `dvc` that was killed, removed"]
    assert not rwlock.exists()


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
