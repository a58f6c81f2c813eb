"""The ablations of one experiment: every row's seeds trained and measured, as many at a time as there are cores.

Each training is a process of its own with its own threads, so that how many run at a time changes no bit. What is
finished, and the checkpoints of what is not, lies in a work folder: a killed run goes on from there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from signal import SIGTERM
from typing import TYPE_CHECKING, Any

import click

from repligan.core import runtime
from repligan.core.config import REAL, DrawsReference, Experiment, Params, fingerprint
from repligan.core.errors import Fault
from repligan.core.files import array_bytes, arrays, existing, load_array, to_bytes, whole_dir, write_bytes
from repligan.core.progress import Progress
from repligan.core.signals import Stop, stop_on_signal

if TYPE_CHECKING:
    import torch

    from repligan.evaluation import images

HISTORY, STATS, SAMPLES = "history.safetensors", "stats.safetensors", "samples.safetensors"
# Imported once, by the process that the others are forked from; this one, with threads or not, is never forked.
SHARED = ["repligan.evaluation.evaluate", "repligan.training.loop", "scipy.linalg", "scipy.special"]


@dataclass(frozen=True)
class Task:
    """One training, of all seeds of a stack or of a single one; its result will lie in `done`.

    Without an experiment: real images measured against real ones, once for each of `seeds`.
    """

    row: str
    experiment: Experiment | None
    seeds: Sequence[int]
    done: Path


@dataclass(frozen=True)
class Ablation:
    """ablations.<name> of `params`, with the folders of its dataset's arrays and of their reference.

    `work` keeps what is done; it counts as long as it is of the same `belongs_to`, whatever else the result depends on.
    """

    name: str
    params: Params
    processed: Path
    reference: Path
    work: Path
    belongs_to: dict[str, Any]

    def run(self, out: Path) -> None:
        """Train and measure all rows and write a folder each, named as the row, to `out`.

        history.safetensors: what training recorded, [L, S]; stats.safetensors: metrics, [T, S]; samples.safetensors:
        what the first seed's G makes in the end. Of images also `real`, stats only: real against real, [1, S].
        """
        tasks = list(self._tasks())
        todo = [task for task in tasks if not task.done.exists()]
        progress = Progress(f"{self.name}: ablations", len(tasks))
        self.work.mkdir(parents=True, exist_ok=True)
        with stop_on_signal() as stop:
            for left in _processes([partial(self.do, task) for task in todo], self._at_once(todo), stop):
                progress(len(tasks) - left)
        with whole_dir(out) as whole:
            for row in dict.fromkeys(task.row for task in tasks):
                _join([task.done for task in tasks if task.row == row], whole / row)
        shutil.rmtree(self.work)

    def _tasks(self) -> Iterator[Task]:
        group, most = self.params.ablations[self.name], 0
        for row in group.rows:
            experiment = self.params.row(f"{self.name}/{row}")
            every, most = range(experiment.seeds), max(most, experiment.seeds)
            for seeds in [every] if experiment.stacked else [every[i : i + 1] for i in every]:
                values = {"row": experiment.model_dump(mode="json"), "seeds": list(seeds)}
                yield Task(row, experiment, seeds, self._folder(f"{row}-{seeds[0]}", values))
        if group.num is not None:
            yield Task(REAL, None, range(most), self._folder(REAL, {"seeds": most}))

    def _folder(self, name: str, values: dict[str, Any]) -> Path:
        num = self.params.ablations[self.name].num
        return self.work / f"{name}-{fingerprint(self.belongs_to | values | {'num': num})}"

    def _at_once(self, tasks: Sequence[Task]) -> int:
        threads = max((task.experiment.threads for task in tasks if task.experiment), default=1)
        return max(1, (os.cpu_count() or 1) // threads)

    def do(self, task: Task) -> None:
        """Do one task; ends early, with a checkpoint, at a signal or when its parent process is gone."""
        from repligan.evaluation import tables
        from repligan.evaluation.evaluate import evaluate, image_measure, measure_of
        from repligan.training import loop

        parent = parent_process()
        form = self.params.datasets[self.params.ablations[self.name].dataset].form
        if task.experiment is None:
            self._do_real(task)
            return
        experiment = task.experiment.model_copy(update={"seeds": len(task.seeds)})
        device = runtime.device(self.params.runtime, experiment.threads)
        name, run = f"{self.name}/{task.row} seed {task.seeds[0]}", task.done.with_suffix(".run")
        with stop_on_signal() as stop:

            def report(*_: object) -> None:
                if parent and not parent.is_alive():  # killed: nobody will take what comes of this
                    stop.signal = SIGTERM

            if not run.exists():
                precision = self.params.runtime.precision
                training = loop.start(name, experiment, form, self.processed, task.seeds, device, precision)
                loop.train(training, run, task.done.with_suffix(".training"), {}, report, stop)
            if experiment.stacked:
                reference = self.params.references[experiment.dataset]
                measure, steps = measure_of(experiment, form, reference, self.processed, self.reference, device), None
            else:
                heldout = load_array(self.processed / "heldout.npy")
                measure, steps = image_measure(experiment, self._protocol(device, 1), heldout), [experiment.steps]
            found = evaluate(name, experiment, form, run, measure, device, steps)
        with whole_dir(task.done) as folder:
            shutil.copy(run / HISTORY, folder / HISTORY)
            write_bytes(folder / STATS, to_bytes(tables.stats(found), {"steps": found.steps}))
            write_bytes(folder / SAMPLES, to_bytes(dict(list(found.pictures.items())[-1:])))
        shutil.rmtree(run)

    def _do_real(self, task: Task) -> None:
        import torch

        floor = self._protocol(runtime.device(self.params.runtime, 1), len(task.seeds)).floor()
        with whole_dir(task.done) as folder:
            stats = {key: torch.from_numpy(values)[None] for key, values in floor.items()}
            write_bytes(folder / STATS, to_bytes(stats, {"steps": [0]}))

    def _protocol(self, device: torch.device, repeats: int) -> images.Protocol:
        from repligan.evaluation import images

        group = self.params.ablations[self.name]
        reference = self.params.references[group.dataset]
        assert not isinstance(reference, DrawsReference)
        protocol = images.read(reference, self.reference, device)
        return replace(protocol, config=reference.model_copy(update={"num": group.num, "repeats": repeats}))


def _processes(jobs: Sequence[Callable[[], None]], at_once: int, stop: Stop) -> Iterator[int]:
    """Run each job in a process, `at_once` at a time; yields how many are left. All end with this one."""
    context = get_context("forkserver")
    context.set_forkserver_preload(SHARED)
    todo, running = list(reversed(jobs)), list[BaseProcess]()
    try:
        while (todo or running) and not stop.signal:
            while todo and len(running) < at_once:
                running.append(context.Process(target=_speaking, args=(todo.pop(),)))
                running[-1].start()
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


def _speaking(job: Callable[[], None]) -> None:
    try:
        job()
    except click.ClickException as error:
        error.show()
        raise SystemExit(error.exit_code) from None


def _refuse_failed(exitcode: int | None) -> None:
    if exitcode is not None and exitcode < 0:
        raise Fault(f"a training was ended by signal {-exitcode}; the same command goes on from there")
    if exitcode:
        raise SystemExit(exitcode)  # it has said why


def _join(parts: Sequence[Path], out: Path) -> None:
    """Put the results of a row's trainings side by side along the seeds; samples are the first one's."""
    import numpy as np

    for first in sorted(existing(parts[0]).iterdir()):
        if first.name == SAMPLES:
            write_bytes(out / first.name, first.read_bytes())
            continue
        found = [arrays(part / first.name) for part in parts]
        joined = {key: np.concatenate([values[key] for values, _ in found], axis=1) for key in found[0][0]}
        write_bytes(out / first.name, array_bytes(joined, found[0][1]))
