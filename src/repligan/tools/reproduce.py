"""Run the pipeline by DVC, which runs one stage at a time: experiments that share no data side by side."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Protocol

import click

from repligan.core import runtime
from repligan.core.errors import Fault
from repligan.core.signals import stop_on_signal
from repligan.params import Params
from repligan.tools.repair import repair

OF_DATA, OF_GANS = ("fetch", "preprocess", "reference"), ("train", "evaluate")
SHARED = ("rows",)  # what all chains begin with


def chains(params: Params) -> dict[str, list[str]]:
    """Dataset -> the stages of its data and of the experiments that learn from it, in order; no two share any."""
    found: dict[str, list[str]] = {}
    for name in params.experiments:
        dataset = params.published(name).dataset
        targets = found.setdefault(dataset, [f"{stage}@{dataset}" for stage in OF_DATA])
        targets += [f"{stage}@{name}" for stage in OF_GANS]
    return found


def reproduce(root: Path, params: Params) -> None:
    """`dvc repro` in the repository `root`: as many chains at a time as there are cores, one where a GPU may be.

    Raises Fault where a stage fails, SystemExit where a signal comes.
    """
    apart = chains(params)
    at_once = min(runtime.cores(), len(apart)) if params.runtime.device == "cpu" else 1
    with pipeline(root) as repro:
        if at_once > 1:
            repro({"dvc repro rows": SHARED})
            # `-s`: else DVC would lock what comes before a target too, and each chain the stages that all share.
            repro({name: ["-s", *targets] for name, targets in apart.items()}, at_once)
        repro({"dvc repro": ()})


class Repro(Protocol):
    """`dvc repro` with the arguments of each command, `at_once` at a time; what more than one say begins with its name.

    Where one fails or a signal comes, the others are interrupted, as by Ctrl-C: their stages keep what they have. Then
    raises Fault or SystemExit.
    """

    def __call__(self, commands: Mapping[str, Sequence[str]], at_once: int = 1) -> None: ...


@contextmanager
def pipeline(root: Path, quiet: bool = False) -> Iterator[Repro]:
    """Runs DVC in the repository `root` whenever called; waits for one that a killed command left, and repairs.

    `quiet`: only what goes to stderr is said.
    """
    path = root / ".work" / "repro.lock"
    path.parent.mkdir(exist_ok=True)
    with path.open("w") as lock:  # DVC has it open too: it is held until both have ended
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            click.echo("waiting for another `repligan repro` or `decide`, or for what a killed one began", err=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        for line in repair(root):
            click.echo(line, err=True)
        yield partial(_repro, root, lock.fileno(), quiet)


def _repro(root: Path, lock: int, quiet: bool, commands: Mapping[str, Sequence[str]], at_once: int = 1) -> None:
    env = os.environ | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])}
    todo, running, failed, told = list(commands.items()), dict[str, subprocess.Popen[str]](), "", False
    out = subprocess.DEVNULL if quiet else None
    with stop_on_signal() as stop, ThreadPoolExecutor(2 * at_once) as telling:
        while running or (todo and not told):
            while todo and len(running) < at_once and not told:
                name, arguments = todo.pop(0)
                running[name] = process = subprocess.Popen(
                    [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", *arguments],
                    cwd=root, env=env, text=True, process_group=0, pass_fds=[lock],
                    stdout=subprocess.PIPE if at_once > 1 else out, stderr=subprocess.PIPE if at_once > 1 else None,
                )  # fmt: skip
                for said, where in ((process.stdout, sys.stdout), (process.stderr, sys.stderr)):
                    if said:
                        telling.submit(_tell, name, said, where)
            time.sleep(0.1)
            for name in [name for name, process in running.items() if process.poll() is not None]:
                if code := running.pop(name).returncode:
                    failed = failed or f"{name}: exit code {code}; mend it and run the same command again"
            if (failed or stop.signal) and not told:
                told = True
                for process in running.values():
                    os.killpg(process.pid, signal.SIGINT)
    if stop.signal:
        click.echo("stopped; the same command goes on from there", err=True)
        raise SystemExit(128 + stop.signal)
    if failed:
        raise Fault(failed)


def _tell(name: str, said: IO[str], where: IO[str]) -> None:
    """Pass whole lines on, since those of others come between them."""
    with said:
        for line in said:
            if line.strip():
                print(f"{name}: {line}", end="", file=where, flush=True)
