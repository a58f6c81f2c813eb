from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from outputs import make

from repligan import tracking
from repligan.core.errors import InputError
from repligan.core.files import array_bytes, arrays, write_bytes
from repligan.core.rows import fingerprint
from repligan.store import Store
from repligan.trials import Workshop, trials_of

if TYPE_CHECKING:
    from mlflow.entities import Run

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
    live = tracking.Live("dcgan", "f1")
    live(10, {"loss_D": 1.0}, None)
    live.close()
    assert capfd.readouterr().err == (
        "warning: dcgan: MLflow: file is not a database; `repligan sync` adds the run later\n"
    )


def test_a_store_follows_its_folder_and_leaves_a_copy_alone(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = here / "öld", here / "new one"
    (old / ".work").mkdir(parents=True)
    code = (
        "from repligan import tracking; store = tracking.open_store(); run = store.client.create_run("
        "store.experiment_id); store.client.log_dict(run.info.run_id, {'a': 1}, 'first.json')"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=old, check=True)
    shutil.copytree(old, new)
    monkeypatch.chdir(new)
    store = tracking.open_store()
    [run] = store.client.search_runs([store.experiment_id])
    store.client.log_dict(run.info.run_id, {"a": 2}, "second.json")
    assert [file.path for file in store.client.list_artifacts(run.info.run_id)] == ["first.json", "second.json"]
    other = store.client.create_run(store.experiment_id)
    assert {one.info.artifact_uri.split("/mlartifacts/")[0] for one in (run, other)} == {new.as_uri()}
    assert len(list(old.rglob("*.json"))) == 1


def runs_of(store: tracking.Store) -> dict[str, Run]:
    return {run.info.run_name: run for run in store.client.search_runs([store.experiment_id])}


@pytest.fixture
def finished(here: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("REPLIGAN_TRIALS", str(here / "trials"))
    return Store(here / "trials")


def test_every_row_gets_one_run(here: Path, finished: Store) -> None:
    made = make(here)
    names = {str(row) for row in made.params.rows} | {"claims"}
    assert tracking.sync(made.params, made.data, made.reports) == dict.fromkeys(names, "written")
    store = tracking.open_store()
    runs = runs_of(store)
    assert runs.keys() == {made.params.called(row) for row in made.params.rows} | {"claims"}
    for row, experiment in made.params.rows.items():
        run = runs[made.params.called(row)]
        values, note = arrays(made.data / "evaluations" / row.experiment / f"{row.variant}.safetensors")
        for key, table in values.items():
            points = store.client.get_metric_history(run.info.run_id, key)
            wanted = list(zip(note["steps"][key], table.mean(axis=1), strict=True))
            assert [(point.step, point.value) for point in points] == wanted
        files = {file.path for file in store.client.list_artifacts(run.info.run_id)}
        seeds = json.loads(read(store, run, "seeds.json"))
        assert len(seeds["data"]) == experiment.seeds
        assert set(seeds["columns"]) == {"seed", *values}
        assert run.info.status == "FINISHED"
        assert run.data.tags["scale"] == made.params.scale
        published = row.variant == "published"
        assert ("images" in files, "metrics.json" in files) == (published, published)
        assert run.data.tags.get("variant") == (None if published else row.variant)
        of = {"toy": "toy", "pictures": "pictures on squares"}[row.experiment]
        assert run.data.tags.get("variant_of") == (None if published else of)
        assert json.loads(read(store, run, "training.json")) == {"environment": tracking.ELSEWHERE}


def test_twice_over_gives_the_same_and_a_stopped_sync_goes_on(here: Path, finished: Store) -> None:
    made = make(here)
    tracking.sync(made.params, made.data, made.reports)
    assert set(tracking.sync(made.params, made.data, made.reports).values()) == {"was there"}
    store = tracking.open_store()
    before = runs_of(store)
    store.client.set_terminated(before["toy/fast"].info.run_id, "RUNNING")
    assert tracking.sync(made.params, made.data, made.reports)["toy/fast"] == "written"
    after = runs_of(store)
    assert {name: run.info.run_id for name, run in after.items()} == {n: run.info.run_id for n, run in before.items()}
    seeds = json.loads(read(store, after["toy/fast"], "seeds.json"))
    assert len(seeds["data"]) == 40


def test_other_values_get_another_run(here: Path, finished: Store) -> None:
    made = make(here)
    tracking.sync(made.params, made.data, made.reports)
    path = made.data / "evaluations" / "toy" / "fast.safetensors"
    values, note = arrays(path)
    write_bytes(path, array_bytes({key: found + 1 for key, found in values.items()}, note))
    done = tracking.sync(made.params, made.data, made.reports)
    assert [name for name, what in done.items() if what == "written"] == ["toy/fast"]
    store = tracking.open_store()
    assert len(store.client.search_runs([store.experiment_id])) == len(made.params.rows) + 2


@pytest.mark.usefixtures("at_once")
def test_a_live_run_is_completed_under_the_name_of_its_row(here: Path, finished: Store) -> None:
    made = make(here)
    row, experiment = next((row, one) for row, one in made.params.rows.items() if made.params.called(row) != str(row))
    workshop = Workshop(made.params, made.data / "processed" / experiment.dataset, here, finished)
    trial = next(trials_of(row, experiment))
    key, notes = workshop.training_key(trial), {"environment": {"cpu": "AVX2"}, "began": 1.0, "seconds": 2.5}
    finished.get(key, lambda out, unfinished: notes)
    for name, key_of_run in ((str(trial), fingerprint(key)), ("stopped", "f1"), ("given up", "f2")):
        live = tracking.Live(name, key_of_run)
        live(5, {"loss_D": 1.0}, None)
        live.close()
    (finished.folder / "f1.unfinished").mkdir()
    store = tracking.open_store()
    assert runs_of(store).keys() == {str(trial), "stopped", "given up"}
    live_run = runs_of(store)[str(trial)].info.run_id
    done = tracking.sync(made.params, made.data, made.reports)
    assert [name for name, what in done.items() if what != "written"] == ["given up"]
    runs = runs_of(store)
    assert [runs[name].info.status for name in ("stopped", "given up")] == ["RUNNING", "KILLED"]
    assert len(runs) == len(made.params.rows) + 3
    assert runs[made.params.called(row)].info.run_id == live_run
    assert json.loads(read(store, runs[made.params.called(row)], "training.json")) == notes


def test_a_damaged_table_is_named(here: Path, finished: Store) -> None:
    made = make(here)
    path = made.data / "evaluations" / "toy" / "fast.safetensors"
    write_bytes(path, array_bytes({"tv": np.ones((2, 3))}, {"steps": {}}))
    with pytest.raises(InputError, match=r"fast\.safetensors: damaged .*; run `dvc repro` to make it again"):
        tracking.sync(made.params, made.data, made.reports)


def read(store: tracking.Store, run: Run, file: str) -> str:
    return Path(store.client.download_artifacts(run.info.run_id, file)).read_text()
