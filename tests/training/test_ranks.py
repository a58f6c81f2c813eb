"""One training by two processes: the gradients of one process, the same bits each time, no hang where one is lost."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
import pytest
import torch
from conftest import ROOT
from repository import environment
from ruamel.yaml import YAML

from repligan.core.errors import Fault
from repligan.core.files import from_file, to_bytes, tree_digest, write_bytes
from repligan.engines import in_ranks
from repligan.params import Params
from repligan.training import loop, ranks
from repligan.training.rows import Experiment, RowId

CPU = torch.device("cpu")
NAME = "dcgan-mnist"
NUM = 2
NEAR = 1e-5
LIMIT = 60  # seconds
LONGER = {"steps": 30, "snapshot_every": 15, "log_every": 5}
# Adam's first steps are as long for a gradient that is rounding only, such as that of a bias before a norm.
SGD = {"optimiser": {"kind": "sgd", "lr": 0.0002}}
CRITIC = {
    "G": {"kind": "resnet", "width": 4},
    "D": {"kind": "resnet", "width": 4},
    "loss": {"kind": "wgan-gp", "penalty": 10.0},
    "schedule": [{"update": "D", "sees": ["real", "fresh_z"], "times": 2}, {"update": "G", "sees": ["fresh_z"]}],
}


@dataclass(frozen=True)
class Case:
    """A training of some steps, after which the gradients of its last updates are looked at."""

    name: str
    params: Params
    processed: Path
    steps: int
    sync_norm: bool
    changes: dict[str, object]

    def start(self) -> loop.Training:
        torch.set_num_threads(1)
        row = self.params.rows[RowId(experiment=NAME)]
        experiment = Experiment.model_validate(row.model_dump() | self.changes)
        form = self.params.datasets[experiment.dataset].form
        return loop.start(self.name, experiment, form, self.processed, [0], CPU)

    def train(self, training: loop.Training, out: Path) -> None:
        """Take the steps and write gradients, buffers and what was told of the last one."""
        done = [loop.train_step(training, told=True) for _ in range(self.steps)][-1]
        found = {f"told.{key}": value for key, value in loop.summarised(training, done).items()}
        for name, net in training.networks():
            found |= {f"grad.{name}.{key}": weight.grad for key, weight in net.named_parameters()}
            found |= {f"buffer.{name}.{key}": value for key, value in net.named_buffers()}
        write_bytes(out / f"{self.name}.safetensors", to_bytes(found))


def learn(cases: Sequence[Case], out: Path) -> None:
    """All cases, by one rank."""
    with ranks.joined(on_gpu=False):
        for case in cases:
            training = case.start()
            ranks.together(training, case.sync_norm, partial(case.train, training, out))


@pytest.fixture(scope="module")
def cases(smoke: Params, processed: Path) -> list[Case]:
    data = processed / "mnist"
    return [
        Case("as published", smoke, data, 1, True, {}),
        Case("three steps", smoke, data, 3, True, SGD),
        Case("a critic with a penalty", smoke, data, 1, True, SGD | CRITIC),
        Case("norms of parts", smoke, data, 1, False, {}),
    ]


Found = dict[str, dict[str, torch.Tensor]]


def read(folder: Path, cases: Sequence[Case]) -> Found:
    return {case.name: from_file(folder / f"{case.name}.safetensors")[0] for case in cases}


@pytest.fixture(scope="module")
def by_one(cases: list[Case], tmp_path_factory: pytest.TempPathFactory) -> Found:
    out = tmp_path_factory.mktemp("one")
    for case in cases:
        case.train(case.start(), out)
    return read(out, cases)


@pytest.fixture(scope="module")
def by_two(cases: list[Case], tmp_path_factory: pytest.TempPathFactory) -> Found:
    out = tmp_path_factory.mktemp("two")
    in_ranks("two", NUM, partial(learn, cases, out))
    return read(out, cases)


def apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], prefix: str) -> float:
    """The length of the difference of all of these tensors together, by their own length."""
    keys = [key for key in one if key.startswith(prefix)]
    a, b = (torch.cat([found[key].double().flatten() for key in keys]) for found in (one, other))
    assert len(a) > 0
    return float((a - b).norm() / a.norm())


@pytest.mark.parametrize(
    ("name", "buffers"),
    [("as published", ()), ("three steps", ("buffer.",)), ("a critic with a penalty", ("buffer.",))],
)
def test_two_ranks_have_the_gradients_of_one_process(
    by_one: Found, by_two: Found, name: str, buffers: tuple[str, ...]
) -> None:
    one, two = by_one[name], by_two[name]
    assert one.keys() == two.keys()
    found = {prefix: apart(one, two, prefix) for prefix in ("grad.G.", "grad.D.", "told.", *buffers)}
    assert max(found.values()) < NEAR, found


def test_norms_of_parts_are_another_training(cases: list[Case], by_one: Found, by_two: Found) -> None:
    """Each rank normalises its half by itself: D's gradient is the mean of those of two small batches."""
    name = "norms of parts"
    assert apart(by_one[name], by_two[name], "grad.") > 1000 * NEAR
    training = cases[-1].start()
    (real_img,), (z, *_), _ = loop.draw(training)
    grads = []
    for half in range(NUM):
        gen_img = training.gradients.generate(z.chunk(NUM, dim=1)[half], kept=False)
        training.gradients.of_D(real_img.chunk(NUM, dim=1)[half], gen_img, None, told=False)
        grads.append({f"grad.D.{key}": weight.grad.clone() for key, weight in training.D.named_parameters()})
    mean = {key: (grads[0][key] + grads[1][key]) / NUM for key in grads[0]}
    found = {key: value for key, value in by_two[name].items() if key in mean}
    assert mean.keys() == found.keys()
    assert apart(mean, found, "grad.") < NEAR


def at_work(repo: Path) -> list[psutil.Process]:
    """The ranks that train in a repository: processes that were spawned, the first is rank 0."""
    found = [one for one in psutil.process_iter(["cmdline", "cwd"]) if one.info["cwd"] == str(repo)]
    ranks = [one for one in found if any("spawn_main" in word for word in one.info["cmdline"])]
    return sorted(ranks, key=lambda one: one.pid)


class Stage:
    """The stage `train` of one experiment that two ranks train, in a folder of its own."""

    def __init__(self, smoke: Params, processed: Path, folder: Path, **changes: object):
        tables = smoke.model_dump(mode="json")
        tables["runtime"]["ranks"] = {"num": NUM, "sync_norm": True}
        tables["experiments"][NAME] |= {"threads": 1, "variants": {}, **changes}
        tables["evaluations"][NAME] |= {"milestones": []}
        folder.mkdir()
        with (folder / "params.yaml").open("w") as file:
            YAML(typ="safe").dump(Params.model_validate(tables).model_dump(mode="json"), file)
        self.folder, self.processed = folder, processed / "mnist"

    def start(self) -> subprocess.Popen[str]:
        """Begin, or go on."""
        command = [sys.executable, str(ROOT / "stages" / "train.py"), NAME, str(self.processed), "runs"]
        env = environment(ROOT) | {"REPLIGAN_CHECKPOINT_SECONDS": "0", "DVC_ROOT": str(self.folder)}
        return subprocess.Popen(
            command, cwd=self.folder, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def digest(self) -> str:
        """Train to the end; what came of it."""
        done = self.start()
        _, said = done.communicate(timeout=5 * LIMIT)
        assert done.returncode == 0, said
        assert not at_work(self.folder)
        return tree_digest(self.folder / "runs", "**/*.*")

    def checkpoints(self) -> set[Path]:
        return set((self.folder / ".work" / "trials").glob("*.unfinished/[0-9]*-*.safetensors"))

    def in_the_middle(self) -> subprocess.Popen[str]:
        """A run that has left a checkpoint of its own."""
        before = self.checkpoints()
        process = self.start()
        until(lambda: bool(self.checkpoints() - before), 3 * LIMIT)
        return process


def until(holds: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture(scope="module")
def stage(smoke: Params, processed: Path, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """A training that is interrupted in one way after another, and goes on each time."""
    return Stage(smoke, processed, tmp_path_factory.mktemp("interrupted") / "repo", **LONGER)


@pytest.mark.parametrize("victim", range(NUM), ids=["rank 0", "rank 1"])
def test_a_lost_rank_ends_the_run_in_one_line(stage: Stage, victim: int) -> None:
    process = stage.in_the_middle()
    at_work(stage.folder)[victim].kill()
    began = time.monotonic()
    _, said = process.communicate(timeout=LIMIT)
    assert time.monotonic() - began < LIMIT
    assert process.returncode == 1
    lines = [line for line in said.splitlines() if line.startswith("Error: ")]
    assert re.fullmatch(rf"Error: {NAME} seed 0: .*rank.*; the same command goes on from the last checkpoint", lines[0])
    assert len(lines) == 1
    assert "Traceback" not in said
    assert stage.checkpoints()
    assert not at_work(stage.folder)


def test_a_signal_ends_all_ranks_with_a_checkpoint(stage: Stage) -> None:
    process = stage.in_the_middle()
    process.terminate()
    _, said = process.communicate(timeout=LIMIT)
    assert process.returncode == 128 + signal.SIGTERM
    assert "the same command goes on from there" in said
    assert "rror" not in said
    assert not at_work(stage.folder)


def test_no_rank_outlives_what_started_it(stage: Stage) -> None:
    process = stage.in_the_middle()
    at_work(stage.folder)[0].parent().kill()  # type: ignore[union-attr]
    _, said = process.communicate(timeout=LIMIT)
    assert process.returncode == 1
    assert "Error: a job was ended by signal 9" in said
    until(lambda: not at_work(stage.folder), LIMIT)
    assert stage.checkpoints()


def test_interrupted_or_not_the_hash_is_the_same(stage: Stage, smoke: Params, processed: Path, tmp_path: Path) -> None:
    assert stage.checkpoints()  # the tests above have interrupted it
    assert stage.digest() == Stage(smoke, processed, tmp_path / "whole", **LONGER).digest()


def breaks(rank: int) -> None:
    """A fault of one rank, for which the other one waits."""
    with ranks.joined(on_gpu=False):
        if torch.distributed.get_rank() == rank:
            raise ValueError("a fault of the code")
        torch.distributed.barrier()


def test_a_fault_of_one_rank_is_shown_with_its_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises((SystemExit, Fault)):
        in_ranks("two", NUM, partial(breaks, 1))
    said = capfd.readouterr().err
    assert said.count("Traceback") == said.count("ValueError: a fault of the code") == 1
