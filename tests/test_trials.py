"""Trials: trained and measured once, known by what decides their bits, the same whatever runs beside them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT

from repligan import trials
from repligan.core import code, runtime
from repligan.core.errors import InputError
from repligan.core.files import array_bytes, arrays, read_json, tree_digest, write_bytes, write_json
from repligan.core.signals import Stop
from repligan.engines import MEASURING, TRAINING, LocalProcesses, ThisProcess
from repligan.evaluation import comparison
from repligan.evaluation.rows import CnnReference
from repligan.metrics.intervals import summary
from repligan.metrics.metric import metric
from repligan.params import Params
from repligan.store import Store
from repligan.training import loop
from repligan.training.rows import RowId
from repligan.trials import HISTORY, TRIALS, Trial, Workshop, trials_of

CPU = torch.device("cpu")
NAME = "dcgan-mnist"
SHORT = {"steps": 4, "snapshot_every": 2, "log_every": 2, "threads": 1}


def short(params: Params, seeds: int = 2) -> Params:
    """dcgan-mnist for a few steps, with one variant of `seeds` seeds."""
    experiments = params.model_dump(mode="json")["experiments"]
    variants = {"hard-labels": {"loss": {"smoothing": 0.0}, "seeds": seeds}}
    experiments[NAME] |= SHORT | {"variants": variants}
    tables = params.model_dump(mode="json") | {"experiments": experiments}
    tables["evaluations"][NAME] |= {"milestones": [0, 4], "variants_at": "last"}
    return Params.model_validate(tables)


@pytest.fixture(scope="module")
def workshop(smoke: Params, processed: Path, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    folder = tmp_path_factory.mktemp("reference")
    row = smoke.references["mnist"]
    assert isinstance(row, CnnReference)
    compared, learned = comparison.make(row, processed / "mnist", folder, CPU)
    card = row.model_dump(mode="json") | learned
    card |= {"floor": summary(compared.floor()), "blurred": summary(compared.blurred())}
    write_json(folder / "card.json", card)
    store = Store(tmp_path_factory.mktemp("store"))
    return Workshop(short(smoke), processed / "mnist", folder, store)


@pytest.fixture(scope="module")
def made(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """runs, evaluation and metrics of all rows."""
    return produce(workshop, tmp_path_factory.mktemp("made"))


def produce(workshop: Workshop, out: Path, engine: Any = None) -> Path:
    engine = engine or LocalProcesses((*TRAINING, *MEASURING))
    (out / "runs").mkdir(parents=True)
    (out / "evaluation").mkdir()
    engine.run("train", workshop.training_jobs(NAME))
    workshop.write_runs(NAME, out / "runs")
    engine.run("measure", workshop.measuring_jobs(NAME, out / "runs"))
    write_json(out / "metrics.json", workshop.write_evaluation(NAME, out / "runs", out / "evaluation"))
    return out


def test_a_table_a_row_with_a_column_a_seed(made: Path) -> None:
    for variant, seeds, steps in (("published", 1, [0, 2, 4]), ("hard-labels", 2, [4])):
        values, note = arrays(made / "evaluation" / f"{variant}.safetensors")
        assert {one.shape[1] for one in values.values()} == {seeds}
        assert (note["steps"]["fd_cnn_64"], note["steps"]["loss_D"]) == (steps, [2, 4])
        assert {"acc_D", "grad_G", "covered", "acc_D_heldout"} <= values.keys()
        assert note["row"]["loss"]["smoothing"] == (0.1 if variant == "published" else 0.0)
        assert note["real"].keys() == note["blurred"].keys() >= {"fd_cnn_64", "precision"}
        assert note["real"]["fd_cnn_64"] < note["blurred"]["fd_cnn_64"]
        unexplained = {key for key in values if metric(key).label == key}
        assert not unexplained
        walked = {"mix", "opposite", "opposite_random", "entangled", "entangled_random"}
        assert (values.keys() & walked) == (walked if variant == "published" else set())
    several = arrays(made / "evaluation" / "hard-labels.safetensors")[0]["fd_cnn_64"]
    assert (several[:, 0] != several[:, 1]).all()
    metrics = read_json(made / "metrics.json")
    assert (metrics["variants"]["hard-labels"]["seeds"], metrics["model"]["step"]) == (2, 4)
    assert {"step_0", "step_4", "best", "alarms", "end"} <= metrics.keys()


def test_weights_are_kept_where_the_row_says_so(made: Path) -> None:
    kept = {str(path.parent.relative_to(made / "runs")) for path in (made / "runs").rglob("step_*.safetensors")}
    assert kept == {"published/0-0"}
    listed = read_json(made / "runs" / TRIALS)
    assert [(one["variant"], one["seeds"], one["kept"], len(one["weights"])) for one in listed] == [
        ("published", [0, 0], True, 3),
        ("hard-labels", [0, 0], False, 3),
        ("hard-labels", [1, 1], False, 3),
    ]


def test_of_a_toy_the_first_stacks_keep_their_weights(
    smoke: Params, processed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "STACK", 4)
    small = {"seeds": 10, "first_seed": 1001, "steps": 1, "snapshot_every": 1, "log_every": 1, "variants": {}}
    tables = smoke.model_dump(mode="json")
    tables["evaluations"]["even"] |= {"milestones": []}
    for keeps, expected in ((3, [True, True, True]), (2, [True, True, False]), (0, [False, False, False])):
        tables["experiments"]["even"] |= small | {"keep_weights": keeps}
        runs = tmp_path / str(keeps)
        made = Workshop(Params.model_validate(tables), processed / "even", tmp_path, Store(tmp_path / "store"))
        made.write_runs("even", runs)
        listed = read_json(runs / TRIALS)
        assert [one["kept"] for one in listed] == expected
        assert [one["seeds"] for one in listed] == [[1001, 1004], [1005, 1008], [1009, 1010]]


def test_alarms_are_read_from_what_was_recorded(workshop: Workshop, made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "runs", tmp_path / "runs")
    recorded = tmp_path / "runs" / "published" / "0-0" / "history.safetensors"
    history, note = arrays(recorded)
    limits = workshop.params.published(NAME).alarms
    assert limits
    write_bytes(recorded, array_bytes({key: np.zeros_like(one) for key, one in history.items()}, note))
    assert workshop.measuring_jobs(NAME, tmp_path / "runs") == []
    for lasting, expected in ((1, ["G collapses"]), (5, [])):
        row = changed(alarms=limits.model_dump(mode="json") | {"lasting": lasting})(workshop.params)
        found = replace(workshop, params=row)
        (tmp_path / str(lasting)).mkdir()
        metrics = found.write_evaluation(NAME, tmp_path / "runs", tmp_path / str(lasting))
        assert [alarm["kind"] for alarm in metrics["alarms"]] == expected


def test_the_engine_and_how_many_run_at_a_time_change_no_bit(
    workshop: Workshop, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "cores", lambda: 5)
    produce(replace(workshop, store=Store(tmp_path / "a")), tmp_path / "many")
    produce(replace(workshop, store=Store(tmp_path / "b")), tmp_path / "here", ThisProcess())
    assert tree_digest(tmp_path / "many", "**/*.*") == tree_digest(made, "**/*.*")
    assert tree_digest(tmp_path / "here", "**/*.*") == tree_digest(made, "**/*.*")


def test_a_trial_is_the_training_alone(workshop: Workshop, made: Path, tmp_path: Path) -> None:
    row = workshop.params.rows[RowId(experiment=NAME, variant="hard-labels")]
    form = workshop.params.datasets["mnist"].form
    training = loop.start("alone", row, form, workshop.processed, [1], CPU)
    torch.set_num_threads(row.threads)
    loop.train(training, tmp_path / "run", tmp_path / "work", {}, lambda *_: None, Stop())
    alone = arrays(tmp_path / "run" / "history.safetensors")[0]
    among = arrays(made / "evaluation" / "hard-labels.safetensors")[0]
    assert all((among[key][:, 1:] == alone[key]).all() for key in alone)


def test_a_seed_is_the_same_trial_whatever_the_first_seed_is(workshop: Workshop, made: Path, tmp_path: Path) -> None:
    """Seed 1 as the second one of a row, and as the first one of another."""
    variants = {"hard-labels": {"loss": {"smoothing": 0.0}, "seeds": 2, "first_seed": 1}}
    later = replace(workshop, params=changed(variants=variants)(workshop.params), store=Store(tmp_path / "store"))
    before, after = ([one for one in shop.trials(NAME) if one.seeds[0] == 1] for shop in (workshop, later))
    assert [one.place for one in before + after] == ["hard-labels/1-1"] * 2
    assert later.training_key(after[0]) == workshop.training_key(before[0])
    trained = later.train(after[0])
    assert trained.path != workshop.train(before[0]).path
    old = workshop.train(before[0])
    assert {name: trained.files[name] for name in trained.files.keys() - {HISTORY}} == {
        name: old.files[name] for name in old.files.keys() - {HISTORY}
    }
    (new,) = replace(later, store=workshop.store).training_jobs(NAME)
    assert str(new.call.name) == f"{NAME}/hard-labels seed 2"  # type: ignore[attr-defined]


def test_runs_are_the_same_files_whichever_row_trained_them_first(
    workshop: Workshop, made: Path, tmp_path: Path
) -> None:
    """The row in a header is the one in params.yaml, not the one with which a kept trial was trained."""
    shutil.copytree(workshop.store.folder, tmp_path / "kept")
    variants = {"hard-labels": {"loss": {"smoothing": 0.0}, "seeds": 1, "first_seed": 1}}
    params = changed(variants=variants, keep_weights=0)(workshop.params)
    for name in ("kept", "anew"):
        shop = replace(workshop, params=params, store=Store(tmp_path / name))
        assert bool(shop.training_jobs(NAME)) == (name == "anew")
        shop.write_runs(NAME, tmp_path / f"{name}-runs")
    assert tree_digest(tmp_path / "kept-runs", "**/*.*") == tree_digest(tmp_path / "anew-runs", "**/*.*")
    note = arrays(tmp_path / "kept-runs" / "hard-labels" / "1-1" / HISTORY)[1]
    assert (note["experiment"]["first_seed"], note["experiment"]["seeds"], note["last"]) == (1, 1, 4)


def test_what_is_finished_is_not_done_again(workshop: Workshop, made: Path, tmp_path: Path) -> None:
    assert workshop.training_jobs(NAME) == workshop.measuring_jobs(NAME, made / "runs") == []
    more = replace(workshop, params=short(workshop.params, seeds=4))
    jobs = more.training_jobs(NAME)
    assert [str(job.call.name) for job in jobs] == [f"{NAME}/hard-labels seed {seed}" for seed in (2, 3)]  # type: ignore[attr-defined]


def changed(**changes: Any) -> Callable[[Params], Params]:
    def change(params: Params) -> Params:
        tables = params.model_dump(mode="json")
        tables["experiments"][NAME] |= changes
        return Params.model_validate(tables)

    return change


@pytest.mark.parametrize(
    ("change", "trains"),
    [
        (changed(batch=15), True),
        (changed(loss={"kind": "bce", "halves": "sum", "smoothing": 0.2}), True),
        (changed(steps=6, snapshot_every=2), True),
        (changed(keep_weights=0), False),
        (changed(seeds=2), True),
        (lambda p: p.model_copy(update={"runtime": p.runtime.model_copy(update={"precision": "fast"})}), True),
        (lambda p: p.model_copy(update={"scale": "other"}), False),
    ],
    ids=["batch", "loss", "steps", "keep", "seeds", "precision", "scale"],
)
def test_a_row_is_trained_again_where_its_bits_may_differ(
    workshop: Workshop, made: Path, change: Callable[[Params], Params], trains: bool
) -> None:
    assert bool(replace(workshop, params=change(workshop.params)).training_jobs(NAME)) == trains


def with_ranks(params: Params, **ranks: object) -> Params:
    tables = params.model_dump(mode="json")
    tables["runtime"]["ranks"] = ranks or None
    return Params.model_validate(tables)


def test_ranks_are_in_the_key_of_what_they_train_and_of_nothing_else(workshop: Workshop) -> None:
    (trial, *_), by_one = workshop.trials(NAME), workshop.params
    stack = workshop.trials("even")[0]
    key = workshop.training_key(trial)
    assert "ranks" not in key
    assert with_ranks(by_one).by_stage() == by_one.by_stage()
    keys = [key]
    for ranks in ({"num": 2, "sync_norm": True}, {"num": 2, "sync_norm": False}, {"num": 4, "sync_norm": True}):
        by_several = replace(workshop, params=with_ranks(by_one, **ranks))
        found = by_several.training_key(trial)
        assert {name for name in found if found[name] != key.get(name)} == {"ranks", "code"}
        assert by_several.training_key(stack) == workshop.training_key(stack)
        assert by_several.measuring_key(trial, {}) == workshop.measuring_key(trial, {})
        assert {job.threads for job in by_several.training_jobs(NAME)} == {ranks["num"] * trial.experiment.threads}
        keys.append(found)
    assert len({json.dumps(one, sort_keys=True) for one in keys}) == 4


def test_other_data_code_or_versions_train_again(
    workshop: Workshop, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(workshop.processed, tmp_path / "data")
    assert replace(workshop, processed=tmp_path / "data").training_jobs(NAME) == []
    img = np.load(tmp_path / "data" / "train.npy")
    img[0, 0, 0, 0] ^= 1
    shutil.copytree(tmp_path / "data", tmp_path / "other")
    np.save(tmp_path / "other" / "train.npy", img)
    assert len(replace(workshop, processed=tmp_path / "other").training_jobs(NAME)) == 3
    with monkeypatch.context() as patched:
        patched.setattr(code, "digest", lambda roots: "another")
        assert len(workshop.training_jobs(NAME)) == 3
    with monkeypatch.context() as patched:
        patched.setattr("repligan.trials.version", lambda name: "0")
        assert len(workshop.training_jobs(NAME)) == 3


def test_weights_that_are_not_kept_are_trained_again(workshop: Workshop, made: Path, tmp_path: Path) -> None:
    elsewhere = replace(workshop, store=Store(tmp_path / "store"))
    shutil.copytree(made / "runs", tmp_path / "runs")
    ThisProcess().run("measure", elsewhere.measuring_jobs(NAME, tmp_path / "runs"))
    (tmp_path / "evaluation").mkdir()
    elsewhere.write_evaluation(NAME, tmp_path / "runs", tmp_path / "evaluation")
    assert tree_digest(tmp_path / "evaluation", "**/*.*") == tree_digest(made / "evaluation", "**/*.*")
    listed = read_json(tmp_path / "runs" / TRIALS)
    listed[1]["weights"] = dict.fromkeys(listed[1]["weights"], "0" * 64)
    write_json(tmp_path / "runs" / TRIALS, listed)
    with pytest.raises(InputError, match="found other weights of dcgan-mnist/hard-labels seed 0"):
        ThisProcess().run("measure", elsewhere.measuring_jobs(NAME, tmp_path / "runs"))


def test_runs_of_other_trials_are_refused(workshop: Workshop, made: Path) -> None:
    more = replace(workshop, params=short(workshop.params, seeds=3))
    with pytest.raises(InputError, match=r"trials\.json: found other trials than params\.yaml has"):
        more.measuring_jobs(NAME, made / "runs")


@pytest.mark.parametrize("first", [0, 1000, 1500])
def test_seeds_are_trials_one_by_one_or_in_stacks_from_the_rows_first(smoke: Params, first: int) -> None:
    toy, images = (smoke.published(name) for name in ("even", NAME))
    for one, seeds, ends in ((toy, 2500, (0, 1000, 2000, 2500)), (images, 3, (0, 1, 2, 3))):
        row = one.model_copy(update={"seeds": seeds, "first_seed": first})
        expected = [range(first + low, first + high) for low, high in pairwise(ends)]
        assert [trial.seeds for trial in trials_of(RowId(experiment="any"), row)] == expected
    assert str(Trial(RowId(experiment="any"), toy, range(1000, 2000))) == "any seed 1000-1999"


class Stage:
    """The train stage of `even` with a variant, which takes some seconds, in a folder of its own."""

    def __init__(self, folder: Path, processed: Path, params: Params):
        self.folder = folder
        tables = params.model_dump(mode="json")
        tables["experiments"]["even"] |= {"steps": 1500, "snapshot_every": 500}
        tables["evaluations"]["even"] |= {"milestones": []}
        write_json(folder / "params.yaml", tables)  # JSON is YAML
        shutil.copytree(processed / "even", folder / "data")

    def start(self) -> subprocess.Popen[str]:
        command = [sys.executable, str(ROOT / "stages" / "train.py"), "even", "data", "out"]
        environment = os.environ | {"REPLIGAN_CHECKPOINT_SECONDS": "0.2"}
        return subprocess.Popen(command, cwd=self.folder, env=environment, stderr=subprocess.PIPE, text=True)

    def finish(self) -> tuple[str, str]:
        """What it tells, and a digest of what it makes."""
        process = self.start()
        _, told = process.communicate(timeout=120)
        assert process.returncode == 0, told
        return told, tree_digest(self.folder / "out", "**/*.*")


@pytest.fixture(scope="module")
def undisturbed(processed: Path, smoke: Params, tmp_path_factory: pytest.TempPathFactory) -> str:
    return Stage(tmp_path_factory.mktemp("undisturbed"), processed, smoke).finish()[1]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_an_ended_stage_goes_on_where_it_was(
    undisturbed: str, processed: Path, smoke: Params, tmp_path: Path, signum: signal.Signals
) -> None:
    stage = Stage(tmp_path, processed, smoke)
    process = stage.start()
    for _ in range(600):
        if list(tmp_path.glob(".work/trials/*.unfinished/0*.safetensors")):
            break
        time.sleep(0.05)
    process.send_signal(signum)  # to the parent only: its trainings must end too
    process.communicate(timeout=30)  # until none of them holds stderr any more
    assert process.returncode == (143 if signum == signal.SIGTERM else -9)
    told, made = stage.finish()
    assert "going on from step" in told
    assert made == undisturbed


def test_data_of_another_repository_is_not_taken_for_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = set()
    for name in ("one", "other"):
        write_bytes(tmp_path / name / "data" / "real.npy", name.encode())
        monkeypatch.chdir(tmp_path / name)
        found.add(trials.digest(Path("data"), "*.npy"))
    assert len(found) == 2
