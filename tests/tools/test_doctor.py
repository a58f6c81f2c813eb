from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from conftest import ROOT

from repligan import tracking
from repligan.core import runtime
from repligan.core.files import write_bytes
from repligan.params import Params
from repligan.store import Store
from repligan.tools import doctor


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("requirements.lock", "dvc.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", "-A"], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.delenv("REPLIGAN_TRIALS", raising=False)
    return tmp_path


def wrong(repo: Path, params: Params) -> str:
    return "\n".join(line for _, lines in doctor.examine(repo, params) for line in lines)


def test_a_healthy_machine_has_nothing(repo: Path, smoke: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "cores", lambda: 256)
    assert wrong(repo, smoke) == ""


def test_another_version_than_the_locked_one(repo: Path, smoke: Params) -> None:
    lock = repo / "requirements.lock"
    lock.write_text(lock.read_text().replace("\nclick==", "\nclick==0.1.") + "\nno-such-package==1.0 \\\n")
    assert "click: found 8" in wrong(repo, smoke)
    assert "no-such-package: found nothing, locked ==1.0" in wrong(repo, smoke)


def test_too_few_cores_no_avx2_and_no_room(repo: Path, smoke: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "cores", lambda: 1)
    monkeypatch.setattr(runtime, "has_avx2", lambda: False)
    monkeypatch.setattr(doctor, "ENOUGH_DISK", 10**18)
    said = wrong(repo, smoke)
    many = [doctor.key_of(row) for row, experiment in smoke.rows.items() if experiment.threads > 1]
    assert many
    assert all(f"{key}.threads: found" in said for key in many)
    assert "found no AVX2" in said
    assert "GB free" in said


def test_files_that_dvc_counts_and_git_does_not_have(repo: Path, smoke: Params) -> None:
    (repo / "src/repligan/models/notes.txt").write_text("mine")
    for name in ("__pycache__/x.pyc", ".DS_Store", ".mlp.py.swp", "#mlp.py#", "mlp.py~", "._mlp.py"):
        (repo / "src/repligan/models" / name).parent.mkdir(exist_ok=True)
        (repo / "src/repligan/models" / name).write_text("")
    said = wrong(repo, smoke)
    assert "src/repligan/models/notes.txt: not in git, yet part of a stage's hash" in said
    assert said.count("\n") == 0


def test_a_repository_that_git_will_not_read_is_told(repo: Path, smoke: Params) -> None:
    """In a container the files often belong to another user; git then refuses them."""
    if os.geteuid() != 0:
        pytest.skip("only root may give files away")
    for path in (repo, repo / ".git"):
        os.chown(path, 65534, 65534)
    assert "git: fatal: detected dubious ownership in repository" in wrong(repo, smoke)


def test_a_machine_without_git_is_told(repo: Path, smoke: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(repo))
    assert wrong(repo, smoke) == "git: git: not found"


def test_variables_that_the_stages_leave_out_are_told(
    repo: Path, smoke: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_THREAD_LIMIT", "1")
    assert wrong(repo, smoke) == "OMP_THREAD_LIMIT: found '1', which the stages leave out: params.yaml says it"


@pytest.mark.parametrize(("avx2", "x86", "said"), [(False, True, "no AVX2"), (True, False, "hashes are promised on")])
def test_a_cpu_without_the_promise_is_told(
    repo: Path, smoke: Params, monkeypatch: pytest.MonkeyPatch, avx2: bool, x86: bool, said: str
) -> None:
    monkeypatch.setattr(runtime, "has_avx2", lambda: avx2)
    monkeypatch.setattr(runtime, "X86_64", x86)
    assert said in wrong(repo, smoke)


@pytest.mark.filterwarnings("ignore")
def test_a_damaged_mlflow_store_and_a_file_store(repo: Path, smoke: Params) -> None:
    tracking.open_store()
    assert wrong(repo, smoke) == ""
    (repo / "mlflow.db").write_bytes(b"garbage" * 999)
    (repo / "mlruns").mkdir()
    said = wrong(repo, smoke)
    assert "file is not a database" in said
    assert "a file store, which MLflow cannot read" in said


@pytest.mark.filterwarnings("ignore")
def test_an_mlflow_store_that_cannot_be_used_is_one_line(
    repo: Path, smoke: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(sqlite3.connect(repo / "mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        monkeypatch.setattr(tracking.store, "LOCKED", 0.1)
        assert f"{repo}/mlflow.db: another process writes to it and does not end; end it" in wrong(repo, smoke)
    (repo / "mlflow.db").write_bytes(b"garbage" * 999)
    said = wrong(repo, smoke).splitlines()
    assert len([line for line in said if "mlflow.db: MLflow" in line and "`repligan sync` writes" in line]) == 1


def test_outputs_of_no_experiment_are_named(repo: Path, smoke: Params) -> None:
    for name in (*smoke.experiments, "removed"):
        (repo / "data/evaluations" / name).mkdir(parents=True)
        write_bytes(repo / "reports/metrics" / f"{name}.json", b"{}")
    (repo / "data/evaluations/.even.partial").mkdir()
    said = [line.split(":")[0] for line in wrong(repo, smoke).splitlines() if "of no experiment" in line]
    assert said == ["data/evaluations/removed", "reports/metrics/removed.json"]


def test_a_stopped_training_waits(repo: Path, smoke: Params) -> None:
    (repo / ".work/trials/abc.unfinished").mkdir(parents=True)
    assert ".work/trials/abc.unfinished: a stopped training" in wrong(repo, smoke)


def test_the_size_of_the_store_is_told_and_not_wrong(repo: Path, smoke: Params) -> None:
    Store(repo / ".work/trials").get(
        {"what": "training"}, lambda out, _: {"bytes": (out / "x").write_bytes(b"1" * 5000)}
    )
    said, found = doctor.examine(repo, smoke)[-1]
    assert "1 entries, 5." in said
    assert "`repligan trials empty`" in said
    assert found == []


def test_hand_edits_of_params_are_told(repo: Path, smoke: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    (repo / "conf").mkdir()
    (repo / "params.yaml").touch()
    monkeypatch.setattr(doctor.compose, "edited", lambda params, conf: [f"{params.name}: edited"])
    assert "params.yaml: edited" in wrong(repo, smoke)
