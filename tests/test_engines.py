"""Engines: jobs in processes, as many at a time as there is room for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from repligan import engines
from repligan.core import runtime
from repligan.core.errors import Fault
from repligan.core.signals import Stop
from repligan.engines import Job, LocalProcesses, ThisProcess
from repligan.training.loop import TrainingError


def touch(path: Path, alone: bool) -> None:
    path.write_text(f"{os.getpid()} {alone}")


def fails() -> None:
    raise TrainingError("the loss is not finite at step 3")


def is_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(("cores", "alone"), [(1, True), (4, False)])
def test_each_job_has_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int, alone: bool) -> None:
    monkeypatch.setattr(runtime, "cores", lambda: cores)
    LocalProcesses().run("jobs", [Job(partial(touch, tmp_path / str(i)), threads=1) for i in range(3)])
    told = [(tmp_path / str(i)).read_text().split() for i in range(3)]
    assert len({process for process, _ in told} | {str(os.getpid())}) == 4
    assert {word for _, word in told} == {str(alone)}


def test_no_job_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "get_context", None)
    LocalProcesses().run("jobs", [])


def test_this_process_runs_jobs_here_in_order(tmp_path: Path) -> None:
    ThisProcess().run("jobs", [Job(partial(touch, tmp_path / "a"), threads=1)])
    assert (tmp_path / "a").read_text() == f"{os.getpid()} True"


@pytest.mark.parametrize(
    ("threads", "at_once"), [(1, [(2, 4)]), (2, [(1, 2), (1, 4)]), (4, [(1, 1), (1, 4)]), (8, [(1, 1), (1, 4)])]
)
def test_jobs_of_as_many_threads_run_together_as_fit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, threads: int, at_once: list[tuple[int, int]]
) -> None:
    asked = []
    monkeypatch.setattr(runtime, "cores", lambda: 4)
    monkeypatch.setattr(
        engines, "processes", lambda calls, at_once, stop: asked.append((len(calls), at_once)) or iter(())
    )
    jobs = [Job(partial(touch, tmp_path), threads=1), Job(partial(touch, tmp_path), threads=threads)]
    LocalProcesses().run("jobs", jobs)
    assert asked == at_once  # a job of many threads does not leave cores idle while those of one run


def test_a_failing_job_ends_all_with_its_code() -> None:
    began = time.monotonic()
    with pytest.raises(SystemExit) as left:
        list(engines.processes([(time.sleep, (60,)), (fails, ())], 2, Stop()))
    assert left.value.code == 1
    assert time.monotonic() - began < 30
    code = "import test_engines as t; list(t.engines.processes([(t.fails, ())], 1, t.Stop()))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "Error: the loss is not finite at step 3\n")
    with pytest.raises(Fault, match="ended by signal 9; the same command goes on"):
        list(engines.processes([(is_killed, ())], 2, Stop()))


def test_a_long_temporary_folder_is_not_listened_in(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    code = "import test_engines as t; list(t.engines.processes([(print, ('ran',))], 1, t.Stop()))"
    env = os.environ | {"TMPDIR": str(long)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=Path(__file__).parent, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "ran\n"), done.stderr
