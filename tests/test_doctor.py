from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from repligan import doctor, tracking
from repligan.core import config


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("requirements.lock", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", "-A"], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return tmp_path


def wrong(repo: Path, params: config.Params) -> str:
    return "\n".join(line for _, lines in doctor.examine(repo, params) for line in lines)


def test_a_healthy_machine_has_nothing(repo: Path, smoke: config.Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    assert wrong(repo, smoke) == ""


def test_another_version_than_the_locked_one(repo: Path, smoke: config.Params) -> None:
    lock = repo / "requirements.lock"
    lock.write_text(lock.read_text().replace("\nclick==", "\nclick==0.1.") + "\nno-such-package==1.0 \\\n")
    assert "click: found 8" in wrong(repo, smoke)
    assert "no-such-package: found nothing, locked ==1.0" in wrong(repo, smoke)


def test_too_few_cores_no_avx2_and_no_room(repo: Path, smoke: config.Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    monkeypatch.setattr(doctor, "_cpu_flags", lambda: ["sse2"])
    monkeypatch.setattr(doctor, "ENOUGH_DISK", 10**18)
    said = wrong(repo, smoke)
    assert "experiments.dcgan-mnist.threads: found 2 on 1 cores" in said
    assert "found no AVX2" in said
    assert "GB free" in said


def test_files_that_dvc_counts_and_git_does_not_have(repo: Path, smoke: config.Params) -> None:
    (repo / "src/repligan/models/notes.txt").write_text("mine")
    (repo / "src/repligan/models/__pycache__").mkdir()
    (repo / "src/repligan/models/__pycache__/x.pyc").write_text("")
    said = wrong(repo, smoke)
    assert "src/repligan/models/notes.txt: not in git, yet part of a stage's hash" in said
    assert "pyc" not in said


@pytest.mark.filterwarnings("ignore")
def test_a_moved_mlflow_store_and_a_file_store(repo: Path, smoke: config.Params, tmp_path: Path) -> None:
    tracking.open_store()
    assert wrong(repo, smoke) == ""
    moved = tmp_path.with_name(f"{tmp_path.name}-moved")
    moved.mkdir()
    for name in ("mlflow.db", "requirements.lock", "dvc.yaml"):
        shutil.copy(repo / name, moved)
    (moved / "mlruns").mkdir()
    os.chdir(moved)
    said = wrong(moved, smoke)
    assert "the folder was moved" in said
    assert "a file store, which MLflow cannot read" in said


def test_a_stopped_training_waits(repo: Path, smoke: config.Params) -> None:
    (repo / ".work/trainings/even/snapshots").mkdir(parents=True)
    assert "a stopped training" in wrong(repo, smoke)


LOCK = (ROOT / "dvc.lock").read_bytes()


@pytest.mark.parametrize("size", [0, 1000, 4096, 24576, len(LOCK) // 2])
def test_mend_brings_back_a_dvc_lock_that_a_kill_cut_short(repo: Path, size: int) -> None:
    subprocess.run(["git", "config", "user.email", "test@example.org"], cwd=repo, check=True)
    subprocess.run(["git", "config", "user.name", "test"], cwd=repo, check=True)
    (repo / "dvc.lock").write_bytes(LOCK)
    subprocess.run(["git", "add", "dvc.lock"], cwd=repo, check=True)
    subprocess.run(["git", "commit", "-qm", "x"], cwd=repo, check=True)
    assert doctor.mend(repo) == []
    (repo / "dvc.lock").write_bytes(LOCK[:size])
    if doctor.mend(repo):
        assert (repo / "dvc.lock").read_bytes() == LOCK
    else:  # cut between two stages: valid, DVC runs the missing ones again
        assert size
    assert doctor.mend(repo) == []


def test_mend_without_git_removes_it(tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_bytes(b"")
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    (tmp_path / ".dvc/tmp/rwlock").write_text("{")
    assert len(doctor.mend(tmp_path)) == 2
    assert not (tmp_path / "dvc.lock").exists()
    assert not (tmp_path / ".dvc/tmp/rwlock").exists()


def test_mend_leaves_a_running_dvc_alone(tmp_path: Path) -> None:
    from zc.lockfile import LockFile

    (tmp_path / "dvc.lock").write_bytes(b"")
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    held = LockFile(str(tmp_path / ".dvc/tmp/lock"))
    code = f"from pathlib import Path; from repligan.doctor import mend; print(mend(Path({str(tmp_path)!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    held.close()
    assert done.stdout == "[]\n"
    assert (tmp_path / "dvc.lock").exists()
