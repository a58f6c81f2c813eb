from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from repligan import tracking

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
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert tracking.uri() == "http://127.0.0.1:5000"


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training is seen in MLflow from its first report on."""
    monkeypatch.setattr(tracking, "LIVE_AFTER", -1.0)


@pytest.mark.usefixtures("at_once")
def test_a_live_run_has_scalars_and_images_and_is_found_again(here: Path) -> None:
    for steps in ((10, 20), (20, 30)):
        live = tracking.Live("dcgan", "f1")
        for step in steps:
            live(step, {"loss_D": step / 10}, np.zeros((4, 1, 8, 8), np.uint8) if step == 20 else None)
        live.close()
    store = tracking.open_store()
    runs = store.client.search_runs([store.experiment_id])
    assert len(runs) == 1
    history = store.client.get_metric_history(runs[0].info.run_id, "loss_D")
    assert [(point.step, point.value) for point in history] == [(10, 1), (20, 2), (30, 3)]
    images = [file.path for file in store.client.list_artifacts(runs[0].info.run_id, "images")]
    assert len([path for path in images if "samples" in path and path.endswith(".png")]) == 1


def test_a_short_training_leaves_mlflow_alone(here: Path) -> None:
    live = tracking.Live("dcgan", "f1")
    live(10, {"loss_D": 1.0}, np.zeros((4, 3, 8, 8), np.uint8))
    live.close()
    assert list(here.iterdir()) == []


@pytest.mark.usefixtures("at_once")
def test_an_absent_server_is_one_line(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    began = time.monotonic()
    live = tracking.Live("dcgan", "f1")
    live(10, {"loss_D": 1.0}, None)
    live.close()
    assert time.monotonic() - began < tracking.PATIENCE + 5
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
