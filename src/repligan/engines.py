"""Engines run jobs, which are independent of each other; where and how many at a time changes no result."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import traceback
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import forkserver, get_context
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Protocol

import click

from repligan.core import runtime
from repligan.core.errors import Fault
from repligan.core.progress import Progress
from repligan.core.signals import ENDING, Stop, heeded, stop_on_signal

GOES_ON = "the same command goes on from the last checkpoint"
LOST = os.EX_TEMPFAIL  # the exit code of a rank that waits for another one in vain
LONGEST_TEMPORARY = 65  # bytes: 104 on macOS, less what Python appends
# What each kind of job needs, imported once, by the process that all are forked from; this one is never forked.
TRAINING = ("repligan.trials", "repligan.tracking", "repligan.training.loop")
MEASURING = ("repligan.trials", "repligan.evaluation.evaluate", "scipy.linalg", "scipy.special")


@dataclass(frozen=True)
class Job:
    """`call` something that can be pickled, with so many threads; told whether it is `alone`, to speak often."""

    call: Callable[[bool], object]
    threads: int
    on_gpu: bool = False


class Engine(Protocol):
    """Runs jobs; returns when all are done, raises SystemExit or Fault when one fails or a signal comes."""

    def run(self, label: str, jobs: Sequence[Job]) -> None: ...


class ThisProcess:
    """One job after another, here: for a debugger, and for an emulated CPU."""

    def __init__(self, shared: Sequence[str] = (), early: bool = False):
        """Nothing is `shared`: it takes what LocalProcesses takes."""

    def run(self, label: str, jobs: Sequence[Job]) -> None:
        """Run the jobs in order."""
        for job in jobs:
            job.call(True)


class LocalProcesses:
    """A process a job, as many at a time as fit into the cores of this machine and, where they use it, its GPU."""

    def __init__(self, shared: Sequence[str] = (), early: bool = False):
        """`shared`: modules that the jobs import; `early`: now, while this process finds out what there is to do."""
        forkserver.set_forkserver_preload(list(shared))
        if early:
            forkserver.ensure_running()

    def run(self, label: str, jobs: Sequence[Job]) -> None:
        """Run the jobs, those with the same threads together; all their processes end with this one."""
        progress, finished = Progress(label, len(jobs)), 0
        with stop_on_signal() as stop:
            for threads in sorted({job.threads for job in jobs}, reverse=True):
                alike = [job for job in jobs if job.threads == threads]
                at_once = runtime.at_once(threads, any(job.on_gpu for job in alike))
                alone = len(alike) == 1 or at_once == 1
                for left in processes([(job.call, (alone,)) for job in alike], at_once, stop):
                    if not alone:
                        progress(finished + len(alike) - left)
                finished += len(alike)


Call = tuple[Callable[..., object], tuple[object, ...]]


def processes(calls: Sequence[Call], at_once: int, stop: Stop) -> Iterator[int]:
    """Make each call in a process of its own, `at_once` at a time; yields how many are left."""
    if not calls:
        return
    _shorten_temporary()
    context = get_context("forkserver")
    todo, running = list(reversed(calls)), list[BaseProcess]()
    try:
        while (todo or running) and not stop.signal:
            while todo and len(running) < at_once:
                started = context.Process(target=_telling, args=todo.pop())
                started.start()
                running.append(started)
            wait([process.sentinel for process in running], timeout=0.2)
            for process in running:
                _refuse_failed(process.exitcode)
            running = [process for process in running if process.exitcode is None]
            yield len(todo) + len(running)
    finally:
        for process in running:
            process.terminate()  # trainings save what they have
        for process in running:
            process.join()
    if stop.signal:
        raise SystemExit(128 + stop.signal)


def in_ranks(name: str, num: int, call: Callable[[], None]) -> None:
    """Make a call in each of `num` processes that need each other, on this machine: torchrun, called from Python.

    All end with the first that does not end well, and with this process. Raises Fault where one is lost, SystemExit
    where one has told why or a signal comes.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    with tempfile.TemporaryDirectory(prefix="repligan-ranks-") as folder, _undisturbed():
        here = {"rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0", "local_addr": "localhost"}
        logs = DefaultLogsSpecs(log_dir=folder)
        config = LaunchConfig(1, 1, num, logs_specs=logs, run_id=uuid.uuid4().hex, max_restarts=0, **here)  # type: ignore[arg-type]
        try:
            elastic_launch(config, _rank)(call)
        except SignalException as stopped:
            raise SystemExit(128 + stopped.sigval) from None
        except ChildFailedError as failed:
            rank, failure = failed.get_first_failure()
            if failure.exitcode == LOST:
                raise Fault(f"{name}: found a rank of {num} lost; {GOES_ON}") from None
            if failure.exitcode < 0:
                raise Fault(
                    f"{name}: rank {rank} of {num} was ended by signal {-failure.exitcode}; {GOES_ON}"
                ) from None
            raise SystemExit(failure.exitcode) from None  # it has told why


@contextmanager
def _undisturbed() -> Iterator[None]:
    """torchrun says what goes wrong in many lines, and leaves its own signal handlers behind."""
    before = {one: signal.getsignal(one) for one in (*heeded(), signal.SIGQUIT)}
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(disabled)
        for one, handler in before.items():
            signal.signal(one, handler)


def _rank(call: Callable[[], None]) -> None:
    """A call whose end is a code of its process, with a traceback only where it is no other rank's fault."""
    code = 0
    try:
        _telling(call, ())
    except SystemExit as left:
        code = int(left.code or 0)
    except Exception as error:
        code = LOST if _is_loss(error) else 1
        if code != LOST:
            traceback.print_exc()
    finally:
        for one in ENDING:  # it is done, and ends without a word where what started it has gone
            signal.signal(one, signal.SIG_DFL)
    if code:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # an ordinary end would abort where threads still wait for a rank


def _is_loss(error: Exception) -> bool:
    """Whether it says that another rank does not answer."""
    from torch.distributed import DistError

    return isinstance(error, DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))


def _shorten_temporary() -> None:
    """A server of processes listens at a file in TMPDIR, whose address the system keeps short."""
    if len(os.fsencode(tempfile.gettempdir())) > LONGEST_TEMPORARY:
        tempfile.tempdir = "/tmp"


def _telling(call: Callable[..., object], arguments: tuple[object, ...]) -> None:
    try:
        call(*arguments)
    except click.ClickException as error:
        error.show()
        raise SystemExit(error.exit_code) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        Fault(f"{where}{error.strerror or error}; fix it and run the same command again").show()
        raise SystemExit(1) from None


def _refuse_failed(exitcode: int | None) -> None:
    if exitcode is not None and exitcode < 0:
        raise Fault(f"a job was ended by signal {-exitcode}; the same command goes on from there")
    if exitcode:
        raise SystemExit(exitcode)  # it has told why
