"""Ablations: every seed of every row, in as many processes as there is room for."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from repligan import ablations
from repligan.ablations import Ablation
from repligan.core import config
from repligan.core.errors import Fault, InputError
from repligan.core.files import arrays, tree_digest
from repligan.core.signals import Stop
from repligan.evaluation import images
from repligan.training import loop

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits(smoke: config.Params, processed: Path, tmp_path_factory: pytest.TempPathFactory) -> Ablation:
    """dcgan-mnist's ablations at the smoke scale."""
    reference = tmp_path_factory.mktemp("reference")
    row = smoke.references["mnist"]
    assert isinstance(row, config.CnnReference)
    images.make(row, processed / "mnist", reference, CPU)
    work = tmp_path_factory.mktemp("work") / "ablations"
    return Ablation("dcgan-mnist", smoke, processed / "mnist", reference, work, {"code": "as it is"})


@pytest.fixture(scope="module")
def result(digits: Ablation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "dcgan-mnist"
    digits.run(out)
    return out


def test_a_folder_a_row_with_a_column_a_seed(digits: Ablation, result: Path) -> None:
    assert sorted(path.name for path in result.iterdir()) == ["as-published", "hard-labels", "real"]
    for row in ("as-published", "hard-labels"):
        stats, note = arrays(result / row / "stats.safetensors")
        history, header = arrays(result / row / "history.safetensors")
        assert note["steps"] == [4]
        assert {values.shape for values in stats.values()} == {(1, 2)}
        assert {"fd_cnn_64", "covered", "acc_D_heldout"} <= stats.keys()
        assert {values.shape for values in history.values()} == {(2, 2)}
        assert {"acc_D", "auc_D", "grad_G", "spread"} <= history.keys()
        assert header["experiment"]["loss"]["smoothing"] == (0.1 if row == "as-published" else 0.0)
        assert (stats["fd_cnn_64"][0, 0] != stats["fd_cnn_64"][0, 1]).all()
    assert arrays(result / "as-published" / "samples.safetensors")[0]["00000004"].shape == (36, 1, 32, 32)
    assert arrays(result / "real" / "stats.safetensors")[0]["fd_cnn_64"].shape == (1, 2)
    assert not digits.work.exists()


def test_rows_start_alike_and_part_by_what_they_change(result: Path) -> None:
    smooth, hard = (
        arrays(result / row / "history.safetensors")[0]["loss_D"] for row in ("as-published", "hard-labels")
    )
    assert (smooth != hard).all()
    assert np.allclose(smooth, hard, rtol=0.3)


def test_how_many_run_at_a_time_changes_no_bit(
    digits: Ablation, result: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    replace(digits, work=tmp_path / "work").run(tmp_path / "out")
    assert tree_digest(tmp_path / "out", "*/*") == tree_digest(result, "*/*")


def test_a_seed_of_a_row_is_the_training_alone(digits: Ablation, result: Path, tmp_path: Path) -> None:
    experiment = digits.params.row("dcgan-mnist/hard-labels")
    form = digits.params.datasets["mnist"].form
    training = loop.start("alone", experiment, form, digits.processed, [1], CPU)
    torch.set_num_threads(experiment.threads)
    loop.train(training, tmp_path / "run", tmp_path / "work", {}, lambda *_: None, Stop())
    alone = arrays(tmp_path / "run" / "history.safetensors")[0]
    among = arrays(result / "hard-labels" / "history.safetensors")[0]
    assert all((among[key][:, 1:] == alone[key]).all() for key in alone)


def test_what_is_done_is_not_done_again(
    digits: Ablation, result: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = replace(digits, work=tmp_path / "work")

    def only(wanted: Callable[[str], bool]) -> None:
        monkeypatch.setattr(
            ablations, "_processes", lambda jobs, *_: (job() or 0 for job in jobs if wanted(job.args[0].row))
        )

    only(lambda row: row != "real")
    with pytest.raises(InputError, match=r"real-\w+: not found"):
        again.run(tmp_path / "out")
    kept = sorted(path.name for path in again.work.iterdir())
    assert [name.rsplit("-", 1)[0] for name in kept] == [
        "as-published-0",
        "as-published-1",
        "hard-labels-0",
        "hard-labels-1",
    ]
    only(lambda row: row == "real")
    again.run(tmp_path / "out")
    assert tree_digest(tmp_path / "out", "*/*") == tree_digest(result, "*/*")
    other = replace(digits, belongs_to={"code": "another"}, work=tmp_path / "work")
    assert not {task.done.name for task in other._tasks()} & {*kept}


def fails() -> None:
    raise loop.TrainingError("the loss is not finite at step 3")


def is_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_failing_training_ends_all_with_its_code() -> None:
    began = time.monotonic()
    with pytest.raises(SystemExit) as left:
        list(ablations._processes([partial(time.sleep, 60), fails], 2, Stop()))
    assert left.value.code == 1
    assert time.monotonic() - began < 30
    code = "import test_ablations as t; list(t.ablations._processes([t.fails], 1, t.Stop()))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "Error: the loss is not finite at step 3\n")
    with pytest.raises(Fault, match="ended by signal 9; the same command goes on"):
        list(ablations._processes([is_killed], 2, Stop()))


class Stage:
    """Ablations of `even` that take some seconds, in a folder of their own."""

    def __init__(self, folder: Path, processed: Path, params: Path):
        self.folder = folder
        text = params.read_text().replace("      snapshot_every: 30\n", "      snapshot_every: 30\n      steps: 1500\n")
        (folder / "params.yaml").write_text(text)
        shutil.copytree(processed / "even", folder / "data")
        (folder / "reference").mkdir()

    def start(self) -> subprocess.Popen[str]:
        code = Path(__file__).parents[1] / "stages" / "ablate.py"
        command = [sys.executable, str(code), "even", "data", "reference", "out"]
        environment = os.environ | {"REPLIGAN_CHECKPOINT_SECONDS": "0.2"}
        return subprocess.Popen(command, cwd=self.folder, env=environment, stderr=subprocess.PIPE, text=True)

    def finish(self) -> tuple[str, str]:
        """What it says, and a digest of what it makes."""
        process = self.start()
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
        return said, tree_digest(self.folder / "out", "*/*")


@pytest.fixture(scope="module")
def undisturbed(processed: Path, smoke_file: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return Stage(tmp_path_factory.mktemp("undisturbed"), processed, smoke_file).finish()[1]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_an_ended_stage_goes_on_where_it_was(
    undisturbed: str, processed: Path, smoke_file: Path, tmp_path: Path, signum: signal.Signals
) -> None:
    stage = Stage(tmp_path, processed, smoke_file)
    process = stage.start()
    for _ in range(600):
        if list(tmp_path.glob(".work/ablations/even/*.training/0*.safetensors")):
            break
        time.sleep(0.05)
    process.send_signal(signum)  # to the parent only: its trainings must end too
    process.communicate(timeout=30)  # until none of them holds stderr any more
    assert process.returncode == (143 if signum == signal.SIGTERM else -9)
    said, made = stage.finish()
    assert "going on from step" in said
    assert made == undisturbed
