from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT

from repligan import config, doctor, tracking


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
