"""The store, and a training that is seen in it while it runs."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from repligan import tracking
from repligan.tracking import live

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return tmp_path


def test_the_store_is_in_the_repository_or_where_the_user_says(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracking.uri() == f"sqlite:///{here}/mlflow.db"
    monkeypatch.setenv("DVC_ROOT", "/elsewhere")
    assert tracking.uri() == "sqlite:////elsewhere/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mine/runs.db")
    assert tracking.uri() == "sqlite:////elsewhere/mine/runs.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert tracking.uri() == "http://127.0.0.1:5000"


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training is seen in MLflow from its first report on."""
    monkeypatch.setattr(live, "LIVE_AFTER", -1.0)


@pytest.mark.usefixtures("at_once")
def test_a_live_run_has_scalars_and_images_and_is_found_again(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PATIENCE", 60.0)  # the second training begins when MLflow has all of the first
    for steps in ((10, 20), (20, 30)):
        training = tracking.Live("dcgan", "f1")
        for step in steps:
            training(step, {"loss_D": step / 10}, np.zeros((4, 1, 8, 8), np.uint8) if step == 20 else None)
        training.close()
    store = tracking.open_store()
    runs = store.client.search_runs([store.experiment_id])
    assert len(runs) == 1
    history = store.client.get_metric_history(runs[0].info.run_id, "loss_D")
    assert [(point.step, point.value) for point in history] == [(10, 1), (20, 2), (30, 3)]
    images = [file.path for file in store.client.list_artifacts(runs[0].info.run_id, "images")]
    assert len([path for path in images if "samples" in path and path.endswith(".png")]) == 1


def test_a_short_training_leaves_mlflow_alone(here: Path) -> None:
    training = tracking.Live("dcgan", "f1")
    training(10, {"loss_D": 1.0}, np.zeros((4, 3, 8, 8), np.uint8))
    training.close()
    assert list(here.iterdir()) == []


@pytest.mark.usefixtures("at_once")
def test_an_absent_server_is_one_line(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    began = time.monotonic()
    training = tracking.Live("dcgan", "f1")
    training(10, {"loss_D": 1.0}, None)
    training.close()
    assert time.monotonic() - began < live.PATIENCE + 5
    said = capsys.readouterr().err
    assert "dcgan: MLflow" in said
    assert "`repligan sync` adds" in said


def test_several_processes_may_come_first(here: Path) -> None:
    code = "from repligan import tracking; print(tracking.open_store().experiment_id)"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code], cwd=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    results = [process.communicate() for process in running]
    assert [out.strip() for out, _ in results] == ["1"] * 4, results


def test_a_file_that_is_written_to_for_a_moment_is_waited_for(here: Path) -> None:
    other = sqlite3.connect(here / "mlflow.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    soon = threading.Timer(0.5, other.close)
    soon.start()
    assert tracking.open_store().experiment_id
    soon.join()


@pytest.mark.usefixtures("at_once")
def test_a_file_of_another_mlflow_stops_no_training(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (here / "mlflow.db").write_bytes(b"garbage" * 999)
    training = tracking.Live("dcgan", "f1")
    training(10, {"loss_D": 1.0}, None)
    training.close()
    assert capfd.readouterr().err == (
        "warning: dcgan: MLflow: file is not a database; `repligan sync` adds the run later\n"
    )


def test_the_browser_is_told_that_models_are_trained_here(here: Path) -> None:
    store = tracking.open_store()
    experiment = store.client.get_experiment(store.experiment_id)
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    assert experiment.artifact_location == "mlflow-artifacts:/repligan"


def test_an_experiment_of_an_earlier_version_is_kept_under_another_name(here: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking.uri())
    old = client.create_experiment("repligan", (here / "mlartifacts").as_uri())
    client.create_run(old)
    new = tracking.open_store().experiment_id
    assert new != old
    assert tracking.open_store().experiment_id == new
    assert client.get_experiment(old).name == "repligan, with files bound to a folder"
    assert len(client.search_runs([old])) == 1


@pytest.mark.usefixtures("at_once")
def test_of_a_long_training_the_load_of_the_machine_is_recorded(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MACHINE_AFTER", -1.0)
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    training = tracking.Live("dcgan", "f1")
    store = tracking.open_store()
    began = time.monotonic()
    while time.monotonic() - began < 20:
        training(round(1000 * (time.monotonic() - began)), {"loss_D": 1.0}, None)
        time.sleep(0.1)
        runs = store.runs()
        if runs and any(key.startswith("system/") for key in runs[0].data.metrics):
            break
    training.close()
    [run] = store.runs()
    assert {"loss_D", "system/cpu_utilization_percentage", "system/system_memory_usage_percentage"} <= {
        *run.data.metrics
    }
    assert not [thread.name for thread in threading.enumerate() if thread.name == "SystemMetricsMonitor"]


@pytest.mark.usefixtures("at_once")
def test_a_sweep_is_a_run_of_its_own_that_ends_with_it(here: Path) -> None:
    sweep = tracking.Sweep("dcgan: training on Ray", "f2")
    for finished in (1, 3):
        sweep(finished, {"finished": finished, "waiting": 3 - finished}, None)
    store = tracking.open_store()
    sweep.close()
    run = store.client.search_runs([store.experiment_id])[0]
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"finished": 3, "waiting": 0})
    history = store.client.get_metric_history(run.info.run_id, "finished")
    assert [(point.step, point.value) for point in history] == [(1, 1), (3, 3)]
