from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from outputs import Made, make

from repligan import tracking
from repligan.core.errors import InputError
from repligan.core.files import array_bytes, arrays, read_json, tree_digest, write_bytes, write_json
from repligan.core.rows import fingerprint
from repligan.store import Store
from repligan.tracking import projection
from repligan.tracking.aside import Aside
from repligan.tracking.projection import ELSEWHERE
from repligan.tracking.store import Store as Runs
from repligan.training.rows import RowId
from repligan.trials import Workshop, trials_of

if TYPE_CHECKING:
    from mlflow.entities import Run

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own
SEED = "seed 1 of pictures/relu on squares"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return tmp_path


class Here(Executor):
    """Makes each call at once, in this process."""

    def submit(self, call: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(call(*args, **options))
        return done


@pytest.fixture(autouse=True)
def no_second_process(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second one imports torch and MLflow for each of these tests; test_aside, stages and commands have it."""
    helper = Aside(Here(), tmp_path_factory.mktemp("aside"))
    monkeypatch.setattr(projection, "aside", lambda: nullcontext(helper))


@pytest.fixture
def finished(here: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("REPLIGAN_TRIALS", str(here / "trials"))
    return Store(here / "trials")


def runs_of(store: Runs) -> dict[str, Run]:
    return {str(run.info.run_name): run for run in store.runs()}


def read(store: Runs, run: Run, file: str) -> str:
    return Path(store.client.download_artifacts(run.info.run_id, file)).read_text()


def history(store: Runs, run: Run, key: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in store.client.get_metric_history(run.info.run_id, key)]


def called(made: Made) -> set[str]:
    """The names of all runs: rows, those of their trials where they have several, the claims."""
    several = {row: list(trials_of(row, one)) for row, one in made.params.rows.items()}
    below = {
        f"seed {trial.seeds[0]} of {made.params.called(row)}"
        for row, trials in several.items()
        if len(trials) > 1
        for trial in trials
    }
    return {made.params.called(row) for row in made.params.rows} | below | {"claims"}


def test_an_experiment_has_its_variants_below_it_and_they_have_their_seeds(here: Path, finished: Store) -> None:
    made = make(here)
    done = dict.fromkeys([*map(str, made.params.rows), "claims"], "written")
    assert projection.sync(made.params, made.data, made.reports) == done
    runs = runs_of(tracking.open_store())
    names = {run.info.run_id: name for name, run in runs.items()}
    below = {name: names.get(run.data.tags.get("mlflow.parentRunId", "")) for name, run in runs.items()}
    assert below == {
        "toy": None,
        "toy/fast": "toy",
        "toy/fast-few": "toy",
        "pictures on squares": None,
        "pictures/relu on squares": "pictures on squares",
        "seed 0 of pictures/relu on squares": "pictures/relu on squares",
        "seed 1 of pictures/relu on squares": "pictures/relu on squares",
        "claims": None,
    }
    levels = {name: run.data.tags["level"] for name, run in runs.items()}
    assert levels["toy"] == levels["pictures on squares"] == "system"
    assert {levels[name] for name in ("toy/fast", "pictures/relu on squares")} == {"variant"}
    assert levels["seed 1 of pictures/relu on squares"] == "seed"
    assert {run.info.status for run in runs.values()} == {"FINISHED"}


def test_curves_are_those_of_the_tables_with_their_intervals(here: Path, finished: Store) -> None:
    made = make(here)
    projection.sync(made.params, made.data, made.reports)
    store = tracking.open_store()
    runs = runs_of(store)
    values, note = arrays(made.data / "evaluations" / "toy" / "fast.safetensors")
    means = list(zip(note["steps"]["even_rate"], [float(one.mean()) for one in values["even_rate"]], strict=True))
    assert history(store, runs["toy/fast"], "even_rate") == means
    low, high = (np.array(history(store, runs["toy/fast"], f"loss_D.{end}"))[:, 1] for end in ("low", "high"))
    assert ((low < values["loss_D"].mean(axis=1)) & (values["loss_D"].mean(axis=1) < high)).all()
    curves = pd.read_csv(made.data / "evaluations" / "pictures" / "curves.csv")
    published = runs["pictures on squares"]
    for key, column in (("fd_cnn_32", "fd_cnn_32"), ("fd_cnn_32.low", "fd_cnn_32_lo"), ("recall.high", "recall_hi")):
        assert history(store, published, key) == list(zip(curves["step"], curves[column], strict=True))
    values, note = arrays(made.data / "evaluations" / "pictures" / "relu.safetensors")
    one = list(zip(note["steps"]["kid"], values["kid"][:, 1].tolist(), strict=True))
    assert history(store, runs[SEED], "kid") == one
    assert not [
        key for key in runs["seed 1 of pictures/relu on squares"].data.metrics if key.endswith((".low", ".high"))
    ]


def test_a_run_has_at_most_25_metrics_and_systems_share_theirs() -> None:
    from repligan.tracking.rows import MOST_POINTS, curves

    rng = np.random.default_rng(0)
    images = ("fd_cnn_500", "precision", "recall", "covered", "class_tv", "kid", "kid_se", "luma", "dark", "modes")
    recorded = ("loss_D", "loss_G", "D_real", "D_gen", "acc_D", "auc_D", "grad_G", "spread", "twins")
    toys = ("even_rate", "coverage", "tv", *(f"out_{i}" for i in range(20)))
    found = []
    for measured, seeds in ((images, 8), (images, 1), (toys, 300)):
        values = {key: rng.random((300 if key in recorded else 3, seeds)) for key in (*recorded, *measured)}
        made = curves(values, {key: list(range(len(one))) for key, one in values.items()})
        keys = {key + end for key, points in made.items() for end in points[-1][1]}
        assert len(keys) <= 25
        assert max(len(points) for points in made.values()) == MOST_POINTS
        assert made["loss_D"][0][0] == 0
        assert made["loss_D"][-1][0] == 299
        assert "kid_se" not in made
        found.append(set(made))
    assert {"loss_D", "loss_G", "D_real", "D_gen", "acc_D", "auc_D"} <= set.intersection(*found)
    assert {"fd_cnn_500", "class_tv"} <= found[0] & found[1]


def test_tags_say_what_a_run_is_whose_and_what_came_out(
    here: Path, finished: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in ("git init -q", "git -c user.name=a -c user.email=b commit -q --allow-empty -m first"):
        assert os.system(command) == 0
    monkeypatch.setenv("LOGNAME", "ada")
    made = make(here)
    projection.sync(made.params, made.data, made.reports)
    runs = runs_of(tracking.open_store())
    tags = runs["pictures/relu on squares"].data.tags
    wanted = {
        "system": "pictures", "variant": "relu", "dataset": "squares", "data": "stand-in", "standin_for": "circles",
        "scale": "tiny", "mlflow.source.name": "stages/train.py", "mlflow.user": "ada",
    }  # fmt: skip
    assert wanted.items() <= tags.items()
    head = os.popen("git rev-parse HEAD").read().strip()
    assert tags["mlflow.source.git.commit"] == head
    assert len(head) == 40
    assert runs["toy"].data.tags["data"] == "real"
    assert "As `pictures`, but `seeds` = 2, `D.slope` = 0.0." in tags["mlflow.note.content"]
    note = runs["toy"].data.tags["mlflow.note.content"]
    assert "**A GAN of toy** (A course)" in note
    # What decides, not the premise, which stands before it.
    assert "| Most numbers are even (`most`) | share of even numbers: 0.8 (0.7 to 0.9) | holds at" in note
    assert "`most`" not in runs["pictures on squares"].data.tags["mlflow.note.content"]


def test_runs_take_as_long_as_their_trainings_took(here: Path, finished: Store) -> None:
    made = make(here)
    for row, seed, seconds in ((RowId(experiment="toy"), 0, 60.0), (relu := relu_row(), 0, 5.0), (relu, 1, 7.0)):
        workshop, trial = bench(made, row, finished)[seed]
        finished.get(workshop.training_key(trial), noted({"began": 1000.0 + seed, "seconds": seconds}))
    projection.sync(made.params, made.data, made.reports)
    store = tracking.open_store()
    took = {
        name: (run.info.start_time, run.info.end_time - run.info.start_time) for name, run in runs_of(store).items()
    }
    assert took["toy"] == (1_000_000, 60_000)
    assert took["pictures/relu on squares"] == (1_000_000, 12_000)
    assert took["seed 1 of pictures/relu on squares"] == (1_001_000, 7_000)
    assert {took[name][1] for name in ("toy/fast", "pictures on squares", "claims")} == {0}
    points = store.client.get_metric_history(runs_of(store)["toy"].info.run_id, "loss_D")
    assert [point.timestamp for point in points] == [1_015_000, 1_030_000, 1_045_000, 1_060_000]


def relu_row() -> RowId:
    return RowId(experiment="pictures", variant="relu")


def bench(made: Made, row: RowId, finished: Store) -> list[tuple[Workshop, Any]]:
    processed = made.data / "processed" / made.params.rows[row].dataset
    workshop = Workshop(made.params, processed, made.data, finished)
    return [(workshop, trial) for trial in trials_of(row, made.params.rows[row])]


def noted(notes: dict[str, object]) -> Callable[[Path, Path], dict[str, object]]:
    return lambda out, unfinished: notes


def test_data_have_a_digest_and_a_source(here: Path, finished: Store) -> None:
    made = make(here)
    projection.sync(made.params, made.data, made.reports)
    [found] = runs_of(tracking.open_store())["pictures on squares"].inputs.dataset_inputs
    assert (found.dataset.name, found.dataset.source_type) == ("squares", "code")
    assert json.loads(json.loads(found.dataset.source)["tags"]["source"])["subject"] == "digits"
    assert json.loads(found.dataset.profile) == {"train": 64, "heldout": 16}
    (here / "other").mkdir()
    other = make(here / "other")
    write_bytes(other.data / "processed" / "squares" / "data.npy", b"others")
    from repligan.tracking.runs import data_of

    digests = {data_of(one.params, "squares", one.data / "processed" / "squares").digest for one in (made, other)}
    assert found.dataset.digest in digests
    assert len(digests) == 2


def test_samples_and_walks_are_on_sliders_and_figures_with_their_experiment(here: Path, finished: Store) -> None:
    made = make(here)
    write_bytes(made.reports / "figures" / "overview.png", b"overview")
    write_bytes(made.reports / "index.html", b"<html>")
    projection.sync(made.params, made.data, made.reports)
    store = tracking.open_store()
    runs = runs_of(store)

    def files(name: str) -> list[str]:
        return [file.path for file in store.client.list_artifacts(runs[name].info.run_id, "report")]

    steps = {("samples", step) for step in (0, 10, 20)}
    walked = {(f"walk along component {i}", frame) for i in (0, 3) for frame in range(3)}
    assert store.shown(runs["pictures on squares"].info.run_id) == steps | walked
    assert store.shown(runs["toy"].info.run_id) == steps
    assert "report/losses.svg" in files("pictures on squares")
    assert "report/losses.svg" in files("toy")
    assert read(store, runs["toy"], "report/losses.svg").startswith("<svg")
    assert files("claims") == ["report/index.html", "report/overview.png"]
    write_bytes(made.reports / "index.html", b"<html>another")
    projection.sync(made.params, made.data, made.reports)
    assert read(store, runs["claims"], "report/index.html") == "<html>another"


def test_every_run_has_its_seeds_and_where_they_were_trained(here: Path, finished: Store) -> None:
    made = make(here)
    projection.sync(made.params, made.data, made.reports)
    store = tracking.open_store()
    runs = runs_of(store)
    assert runs.keys() == called(made)
    for row, experiment in made.params.rows.items():
        values, _ = arrays(made.data / "evaluations" / row.experiment / f"{row.variant}.safetensors")
        seeds = json.loads(read(store, runs[made.params.called(row)], "seeds.json"))
        assert len(seeds["data"]) == experiment.seeds
        assert set(seeds["columns"]) == {"seed", *values}
        trained = json.loads(read(store, runs[made.params.called(row)], "training.json"))
        assert trained == {str(trial): {"environment": ELSEWHERE} for trial in trials_of(row, experiment)}


def content(folder: Path) -> str:
    """Digest of all that a store holds: the rows of its tables and the names and bytes of its files."""
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = {name: sorted(map(repr, database.execute(f'SELECT * FROM "{name}"'))) for name in sorted(tables)}
    return hashlib.sha256(json.dumps([rows, tree_digest(folder / "mlartifacts", "**/*.*")]).encode()).hexdigest()


def test_twice_over_changes_nothing_and_a_stopped_sync_goes_on(here: Path, finished: Store) -> None:
    made = make(here)
    projection.sync(made.params, made.data, made.reports)
    whole = content(here)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(projection._Projection, "_draft", None)  # what is there is not put together again
        assert set(projection.sync(made.params, made.data, made.reports).values()) == {"was there"}
    assert content(here) == whole
    store = tracking.open_store()
    before = runs_of(store)
    stopped = ("toy/fast", "pictures on squares", "seed 1 of pictures/relu on squares")
    for name in stopped:
        store.client.set_terminated(before[name].info.run_id, "RUNNING")
    done = projection.sync(made.params, made.data, made.reports)
    assert {name for name, what in done.items() if what == "written"} == {"toy/fast", "pictures", "pictures/relu"}
    after = runs_of(store)
    assert {name: run.info.run_id for name, run in after.items()} == {n: run.info.run_id for n, run in before.items()}
    assert len(json.loads(read(store, after["toy/fast"], "seeds.json"))["data"]) == 40
    assert len(history(store, after["toy/fast"], "loss_D")) == 4
    images = [file.path for file in store.client.list_artifacts(after["pictures on squares"].info.run_id, "images")]
    assert len(images) == 2 * 9


def test_other_values_get_another_run_in_the_same_place(here: Path, finished: Store) -> None:
    made = make(here)
    projection.sync(made.params, made.data, made.reports)
    before = runs_of(tracking.open_store())
    path = made.reports / "metrics" / "pictures.json"
    write_json(path, read_json(path) | {"over": "other draws"})
    done = projection.sync(made.params, made.data, made.reports)
    assert [name for name, what in done.items() if what == "written"] == ["pictures"]
    store = tracking.open_store()
    assert len(store.runs()) == len(before) + 1
    system = max((run for run in store.runs() if run.info.run_name == "pictures on squares"), key=newer(before))
    relu = runs_of(store)["pictures/relu on squares"]
    assert relu.info.run_id == before["pictures/relu on squares"].info.run_id
    assert relu.data.tags["mlflow.parentRunId"] == system.info.run_id


def newer(before: dict[str, Run]) -> Callable[[Run], bool]:
    known = {run.info.run_id for run in before.values()}
    return lambda run: run.info.run_id not in known


def test_a_live_run_is_completed_under_the_name_of_its_row(
    here: Path, finished: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking.live, "LIVE_AFTER", -1.0)
    monkeypatch.setattr(tracking.live, "PATIENCE", 60.0)
    made = make(here)
    row = RowId(experiment="pictures")
    [(workshop, trial)] = bench(made, row, finished)
    key, notes = workshop.training_key(trial), {"environment": {"cpu": "AVX2"}, "began": 1.0, "seconds": 2.5}
    finished.get(key, noted(notes))
    for name, key_of_run in ((str(trial), fingerprint(key)), ("stopped", "f1"), ("given up", "f2")):
        live = tracking.Live(name, key_of_run)
        live(5, {"loss_D": 1.0}, None)
        live.close()
    (finished.folder / "f1.unfinished").mkdir()
    store = tracking.open_store()
    assert runs_of(store).keys() == {str(trial), "stopped", "given up"}
    live_run = runs_of(store)[str(trial)].info.run_id
    done = projection.sync(made.params, made.data, made.reports)
    assert [name for name, what in done.items() if what != "written"] == ["given up"]
    runs = runs_of(store)
    assert [runs[name].info.status for name in ("stopped", "given up")] == ["RUNNING", "KILLED"]
    assert len(runs) == len(called(made)) + 2
    assert runs["pictures on squares"].info.run_id == live_run
    assert json.loads(read(store, runs["pictures on squares"], "training.json")) == {str(trial): notes}
    assert sorted(step for step, _ in history(store, runs["pictures on squares"], "loss_D")) == [5, 10, 15, 20]


def test_a_damaged_table_is_named(here: Path, finished: Store) -> None:
    made = make(here)
    path = made.data / "evaluations" / "toy" / "fast.safetensors"
    write_bytes(path, array_bytes({"tv": np.ones((2, 3))}, {"steps": {}}))
    with pytest.raises(InputError, match=r"fast\.safetensors: damaged .*; run `dvc repro` to make it again"):
        projection.sync(made.params, made.data, made.reports)


def test_a_moved_folder_keeps_its_files(here: Path, finished: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.tracking._tracking_service.utils import _artifact_repos_cache

    (old := here / "öld").mkdir()
    monkeypatch.chdir(old)
    made = make(old)
    projection.sync(made.params, made.data, made.reports)
    new = old.rename(here / "new one")
    monkeypatch.chdir(new)
    _artifact_repos_cache.clear()  # as another process would find it
    store = tracking.open_store()
    run = runs_of(store)["toy"]
    assert "seeds.json" in [file.path for file in store.client.list_artifacts(run.info.run_id)]
    store.client.log_dict(run.info.run_id, {"a": 2}, "second.json")
    assert (new / "mlartifacts" / "repligan" / run.info.run_id / "artifacts" / "second.json").exists()
    assert run.info.artifact_uri == f"mlflow-artifacts:/repligan/{run.info.run_id}/artifacts"
    assert not old.exists()
