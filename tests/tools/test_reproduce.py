"""Side by side, by a real DVC in a repository of a few stages; the whole pipeline is made so in test_pipeline.py."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT
from repository import environment, run
from ruamel.yaml import YAML

from repligan.core.errors import Fault
from repligan.params import Params
from repligan.tools.reproduce import chains, pipeline

LIMIT = 60  # seconds, of what should take some
# Stages that write a file named like themselves; the first two of them end only beside each other.
BESIDE = """import pathlib, time, sys
pathlib.Path("{0}.begun").touch()
until = time.monotonic() + {2}
while not pathlib.Path("{1}.begun").exists() and time.monotonic() < until: time.sleep(0.05)
sys.exit("alone" if not pathlib.Path("{1}.begun").exists() else pathlib.Path("{0}").touch())
"""
LONG = """import pathlib, time
pathlib.Path("long.begun").touch()
try: time.sleep({0})
except KeyboardInterrupt: pathlib.Path("long.kept").touch(); raise SystemExit(130)
pathlib.Path("long").touch()
"""
BAD = """import pathlib, time, sys
while not pathlib.Path("long.begun").exists(): time.sleep(0.05)
sys.exit(3)
"""


@pytest.fixture
def repository(tmp_path: Path) -> Callable[..., Path]:
    """A repository of DVC with these stages, each a Python program that may write a file of the stage's name."""

    def make(**stages: str) -> Path:
        repo = tmp_path / "repository"
        repo.mkdir()
        assert run(repo, "git", "init", "-q").returncode == 0
        (repo / ".dvc").mkdir()
        shutil.copy(ROOT / ".dvc" / "config", repo / ".dvc")
        table = {}
        for name, program in stages.items():
            (repo / f"{name}.py").write_text(program)
            table[name] = {"cmd": f"{sys.executable} {name}.py", "outs": [{name: {"cache": False}}]}
        YAML().dump({"stages": table}, repo / "dvc.yaml")
        return repo

    return make


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for key, value in environment(tmp_path / "repository").items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))


def test_each_stage_of_an_experiment_is_in_one_chain(smoke: Params) -> None:
    found = chains(smoke)
    stages = [stage for targets in found.values() for stage in targets]
    assert len(stages) == len(set(stages))
    learned = {smoke.published(name).dataset for name in smoke.experiments}
    assert set(found) == learned
    wanted = {f"{stage}@{name}" for stage in ("train", "evaluate") for name in smoke.experiments}
    assert set(stages) == wanted | {
        f"{stage}@{name}" for stage in ("fetch", "preprocess", "reference") for name in learned
    }


def test_experiments_that_share_data_are_in_one_chain(smoke: Params) -> None:
    tables, dataset = smoke.model_dump(mode="json"), smoke.published("dcgan-celeba").dataset
    tables["experiments"]["dcgan-svhn"]["dataset"] = dataset
    both = chains(Params.model_validate(tables))
    trained = [one for one in both[dataset] if one.startswith("train@")]
    assert trained == ["train@dcgan-svhn", "train@dcgan-celeba"]
    assert len(both) == len(chains(smoke)) - 1


def test_two_run_beside_each_other(repository: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    repo = repository(a=BESIDE.format("a", "b", LIMIT), b=BESIDE.format("b", "a", LIMIT))
    with pipeline(repo) as repro:
        repro({"one": ["-s", "a"], "other": ["-s", "b"]}, 2)
    assert (repo / "a").exists()
    assert (repo / "b").exists()
    assert set(YAML(typ="safe").load((repo / "dvc.lock").read_text())["stages"]) == {"a", "b"}
    said = capsys.readouterr().out.splitlines()
    assert "one: Running stage 'a':" in said
    assert "other: Running stage 'b':" in said


def test_one_at_a_time_does_not(repository: Callable[..., Path]) -> None:
    repo = repository(a=BESIDE.format("a", "b", 1), b=BESIDE.format("b", "a", 1))
    with (
        pytest.raises(Fault, match=r"^one: exit code 255; mend it and run the same command again$"),
        pipeline(repo) as repro,
    ):
        repro({"one": ["-s", "a"], "other": ["-s", "b"]})
    assert not (repo / "b.begun").exists()


def test_a_failure_interrupts_the_others(repository: Callable[..., Path]) -> None:
    repo = repository(long=LONG.format(LIMIT), bad=BAD)
    with pytest.raises(Fault, match=r"^second: exit code 255"), pipeline(repo) as repro:
        repro({"first": ["-s", "long"], "second": ["-s", "bad"], "third": ["-s", "long"]}, 2)
    assert (repo / "long.kept").exists()
    assert not (repo / "long").exists()


PROGRAM = """import sys
from pathlib import Path
from repligan.tools.reproduce import pipeline
with pipeline(Path(sys.argv[1]), quiet=True) as repro:
    repro({"all": ["long"]})
"""


def begun(repo: Path) -> subprocess.Popen[bytes]:
    """A process that runs the stage `long`, which has begun."""
    with (repo / "said").open("w") as said:
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(repo)], stderr=said)
    until = time.monotonic() + LIMIT
    while not (repo / "long.begun").exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert (repo / "long.begun").exists()
    return process


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all(repository: Callable[..., Path], signum: signal.Signals) -> None:
    repo = repository(long=LONG.format(LIMIT))
    process = begun(repo)
    process.send_signal(signum)
    assert process.wait(LIMIT) == 128 + signum
    assert (repo / "said").read_text().endswith("stopped; the same command goes on from there\n")
    assert (repo / "long.kept").exists()


def test_the_next_one_waits_for_what_a_killed_one_began(
    repository: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    repo = repository(long=LONG.format(5))
    process = begun(repo)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (repo / "long").exists()
    with pipeline(repo) as repro:
        assert (repo / "long").exists()
        repro({"all": ["long"]})
    assert "waiting for another `repligan repro` or `decide`, or for what a killed one began" in capsys.readouterr().err
