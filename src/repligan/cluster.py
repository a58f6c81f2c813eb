"""Which engine runs the jobs: processes of this machine, or a Ray cluster.

The environment says so and params.yaml does not: where a trial runs changes no bit, so it must not change dvc.lock.

On a node each trial is a process like on this machine. What it reads comes there once, and what it made comes back
whole. A node whose versions, data, code or machine would make it otherwise is left out.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pickle
import platform
import shutil
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from multiprocessing import forkserver
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repligan import engines
from repligan.core import runtime
from repligan.core.errors import Fault, InputError
from repligan.core.files import alone, sha256, whole_dir, write_bytes
from repligan.core.progress import Progress
from repligan.core.rows import differing, fingerprint
from repligan.core.signals import stop_on_signal
from repligan.store import ENTRY, Key, Store

if TYPE_CHECKING:
    from ray import ObjectRef

    from repligan.trials import Watch, Work

ENGINE, ADDRESS, NODE_FOLDER = "REPLIGAN_ENGINE", "REPLIGAN_RAY_ADDRESS", "REPLIGAN_NODE_FOLDER"
PROCESSES, RAY = "processes", "ray"
ENGINES = (PROCESSES, RAY)
TRIES = 4  # of a trial whose node or process is lost
LOOK = 2.0  # seconds between two looks at which nodes there are
PATIENCE = 20.0  # seconds that trials have to save what they have, when the sweep is stopped
KEPT = 3600.0  # seconds that a node keeps what it has finished: then it has been fetched, or nobody waits for it
TOLD = ("MLFLOW_", "REPLIGAN_CHECKPOINT", "REPLIGAN_LIVE")  # what the environment says to trials on nodes too
ID = "ray.io/node-id"
TOKEN = Path.home() / ".ray" / "auth_token"


def chosen(shared: Sequence[str] = (), early: bool = False, watch: Watch | None = None) -> engines.Engine:
    """The engine that REPLIGAN_ENGINE names; raises InputError where it is not to be had.

    `shared` and `early` as in `LocalProcesses`; `watch`: who sees a sweep on a cluster.
    """
    refuse_unknown()
    if os.environ.get(ENGINE) != RAY:
        return engines.LocalProcesses(shared, early)
    return RayTasks(shared, watch)


def choose(name: str | None, address: str | None) -> None:
    """Let this process and those that it starts use an engine; raises InputError where it is not to be had."""
    os.environ.update({key: said for key, said in ((ENGINE, name), (ADDRESS, address)) if said})
    if address and os.environ.get(ENGINE) != RAY:
        raise InputError(f"--address: found {address!r} without Ray; allowed: with --engine {RAY}")
    refuse_unknown()


def refuse_unknown() -> None:
    """Raises InputError where REPLIGAN_ENGINE names no engine, or one that is not installed."""
    name = os.environ.get(ENGINE) or PROCESSES
    if name not in ENGINES:
        raise InputError(f"{ENGINE}: found {name!r}; allowed: {', '.join(ENGINES)}")
    if name == RAY and find_spec("ray") is None:
        raise InputError(
            f"{ENGINE}: found 'ray', which is not installed; allowed: {PROCESSES}, or ray after "
            "`.venv/bin/uv pip install --python .venv/bin/python 'ray>=2.50'`"
        )


@dataclass(frozen=True)
class Task:
    """A job as it goes to a node: its `work`, pickled, and what the driver expects the node to be like."""

    work: bytes
    key: Key
    promise: Mapping[str, str]
    set_up: runtime.Runtime
    env: Mapping[str, str]
    shared: Sequence[str]
    folders: Mapping[str, tuple[str, tuple[ObjectRef[Any], ...]]]  # field -> digest, its files' contents in Ray's store
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class Made:
    """An entry that came to be on a node: file -> sha256, file -> content, notes."""

    digests: Mapping[str, str]
    content: Mapping[str, bytes]
    notes: Mapping[str, Any]


@dataclass(frozen=True)
class Unfit:
    """The node `node` would make other bits, and why."""

    node: str
    why: str


@dataclass(frozen=True)
class Failed:
    """The job itself failed, as it would anywhere."""

    message: str
    code: int


@dataclass(frozen=True)
class Lost:
    """The job's process was ended from outside."""

    why: str


Answer = Made | Unfit | Failed | Lost


# On this machine.


class RayTasks:
    """A task of Ray a job, on all nodes of a cluster; jobs that are no `Work` are processes here."""

    def __init__(self, shared: Sequence[str] = (), watch: Watch | None = None):
        self.shared, self.watch = tuple(shared), watch

    def run(self, label: str, jobs: Sequence[engines.Job]) -> None:
        """Run the jobs; what they make is in their stores then."""
        if not jobs:
            return
        from repligan.trials import Work

        here = [job for job in jobs if not isinstance(job.call, Work)]
        engines.LocalProcesses(self.shared).run(label, here)
        if away := [job for job in jobs if isinstance(job.call, Work)]:
            with _connected():
                _Sweep(label, away, self.shared, self.watch).run()


@contextmanager
def _connected() -> Iterator[None]:
    """While inside, this process is a driver of the cluster; its own code goes to the nodes."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if TOKEN.exists():  # a head asks for it wherever there is one; a driver with an address would not show it
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    import ray

    address = os.environ.get(ADDRESS) or None
    if address:
        _refuse_silent(address)
    code = {"py_modules": [str(Path(__file__).resolve().parent)], "excludes": ["__pycache__"]}
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.WARNING, include_dashboard=False, runtime_env=code)
    except (ConnectionError, RuntimeError, ValueError, AssertionError) as error:
        raise InputError(f"{ADDRESS}: found {address!r}: {' '.join(str(error).split())[:200]}") from None
    try:
        yield
    finally:
        ray.shutdown()


def _refuse_silent(address: str) -> None:
    """Raises InputError where nobody listens: Ray itself would ask for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=PATIENCE).close()
    except (OSError, ValueError, OverflowError) as error:
        raise InputError(
            f"{ADDRESS}: found {address!r}, where no Ray cluster answers ({error}); allowed: HOST:PORT of one that "
            "this machine is a node of, or nothing to start one here"
        ) from None


@dataclass
class _Sweep:
    """Jobs on their way to the nodes and back."""

    label: str
    jobs: Sequence[engines.Job]
    shared: Sequence[str]
    watch: Watch | None
    unfit: dict[str, str] = field(default_factory=dict)  # id of a node -> why it is left out
    lost: Counter[str] = field(default_factory=Counter)
    packed: dict[Path, tuple[str, tuple[Any, ...]]] = field(default_factory=dict)
    running: dict[Any, engines.Job] = field(default_factory=dict)
    looked: float = -LOOK
    cores: int = 0

    def run(self) -> None:
        """Run them all."""
        import ray

        self.todo = list(reversed(self.jobs))
        progress = Progress(self.label, len(self.jobs))
        names = sorted(fingerprint(self._work(job).key) for job in self.jobs)
        watcher = self.watch(f"{self.label} on Ray", fingerprint({"sweep": names})) if self.watch else None
        with stop_on_signal() as stop:
            try:
                while (self.todo or self.running) and not stop.signal:
                    self._look()
                    while self.todo and len(self.running) < 2 * self.cores:  # one waits for each that runs
                        job = self.todo.pop()
                        self.running[self._submitted(job)] = job
                    ready, _ = ray.wait(list(self.running), timeout=0.2)
                    for ref in ready:
                        self._take(ref, self.running.pop(ref))
                    finished = len(self.jobs) - len(self.todo) - len(self.running)
                    progress(finished)
                    if watcher and ready:
                        watcher(finished, {"finished": finished, "waiting": len(self.todo)}, None)
            finally:
                self._cancel()
                if watcher:
                    watcher.close()
        if stop.signal:
            raise SystemExit(128 + stop.signal)

    def _cancel(self) -> None:
        import ray

        for ref in self.running:
            ray.cancel(ref)
        if self.running:  # trainings save what they have
            ray.wait(list(self.running), num_returns=len(self.running), timeout=PATIENCE)

    def _look(self) -> None:
        """See which nodes there are; raises Fault where none is left for a job that waits."""
        import ray

        if time.monotonic() < self.looked + LOOK:
            return
        self.looked = time.monotonic()
        alive = [one for one in ray.nodes() if one["Alive"]]
        sizes = [int(one["Resources"].get("CPU", 0)) for one in alive if one["NodeID"] not in self.unfit]
        self.cores, threads = sum(sizes), max(job.threads for job in self.jobs)
        if max(sizes, default=0) < threads:
            why = next(iter(self.unfit.values()), f"found {sizes or 'no'} cores")
            raise InputError(f"{ADDRESS}: no node that is fit has the {threads} cores of a trial ({why}); allowed: one")

    @staticmethod
    def _work(job: engines.Job) -> Work:
        return job.call  # type: ignore[return-value]

    def _submitted(self, job: engines.Job) -> Any:
        import ray

        work = self._work(job)
        shop = work.workshop
        if not os.environ.get("MLFLOW_TRACKING_URI", "").startswith("http"):  # a file here, which nodes do not see
            work = replace(work, workshop=replace(shop, watch=None))
        task = Task(
            work=pickle.dumps(work),
            key=json.loads(json.dumps(work.key)),
            promise=_promise(shop.params.runtime),
            set_up=shop.params.runtime,
            env={key: one for key, one in os.environ.items() if key in _ARITHMETIC or key.startswith(TOLD)},
            shared=self.shared,
            folders={name: self._packed(folder) for name, folder in work.folders().items()},
            files={name: path.read_bytes() for name, path in work.files().items()},
        )
        gpus = {"num_gpus": 1 / runtime.at_once(job.threads, on_gpu=True)} if job.on_gpu else {}
        away = {"label_selector": {ID: f"!in({','.join(self.unfit)})"}} if self.unfit else {}
        # What is lost is begun again here, and what fails is not.
        options = {"num_cpus": job.threads, "max_retries": 0, "name": work.name, **gpus, **away}
        return ray.remote(there).options(**options).remote(task)

    def _packed(self, folder: Path) -> tuple[str, tuple[Any, ...]]:
        """Digest of a folder, and its files in Ray's store, from where each node fetches them once."""
        import numpy as np
        import ray

        if folder not in self.packed:
            paths = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
            digest = fingerprint({name: sha256(path) for name, path in paths.items()})
            content = {name: np.fromfile(path, np.uint8) for name, path in paths.items()}
            self.packed[folder] = digest, (ray.put(content),)
        return self.packed[folder]

    def _take(self, ref: Any, job: engines.Job) -> None:
        import ray

        work = self._work(job)
        try:
            answer: Answer = ray.get(ref)
        except (ray.exceptions.RayTaskError, ray.exceptions.RuntimeEnvSetupError) as error:
            raise Fault(f"{work.name}: {' '.join(str(error).split())[-300:]}") from None
        except ray.exceptions.RayError as error:
            answer = Lost(type(error).__name__)
        match answer:
            case Made(digests, content, notes):
                if wrong := [name for name, one in content.items() if hashlib.sha256(one).hexdigest() != digests[name]]:
                    raise Fault(f"{work.name}: found another sha256 of {wrong[0]} than on its node")
                work.take(content, notes)
            case Failed(message, code):
                raise (InputError if code == InputError.exit_code else Fault)(message)
            case Unfit(node, why):
                if node not in self.unfit:
                    _say(f"node {node[:8]} is left out: {why}")
                    self.unfit[node], self.looked = why, -LOOK
                self.todo.append(job)
            case Lost(why):
                self.lost[work.name] += 1
                if self.lost[work.name] == TRIES:
                    raise Fault(f"{work.name}: lost {TRIES} times ({why}); the same command goes on from there")
                _say(f"{work.name}: lost ({why}), begun again")
                self.todo.append(job)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


_ARITHMETIC = {*runtime.ALWAYS, *runtime.PORTABLE}


def _promise(set_up: runtime.Runtime) -> dict[str, str]:
    """What decides bits and is in no key."""
    if runtime.kind_of_device(set_up) == "cpu":
        return {"machine": platform.machine()}
    import torch

    return {"machine": platform.machine(), "gpu": torch.cuda.get_device_name()}


# On a node.


def there(task: Task) -> Answer:
    """Do a job in a process of its own, which has nothing of what Ray's own has loaded or set."""
    import ray

    home = Path(os.environ.get(NODE_FOLDER) or Path(tempfile.gettempdir(), f"repligan-node-{os.getuid()}"))
    store = Store(home / "trials")
    _forget(store)
    for name in runtime.foreign():
        del os.environ[name]
    os.environ.update(task.env)
    forkserver.set_forkserver_preload(list(task.shared))
    node = ray.get_runtime_context().get_node_id()
    folders = {name: _unpacked(home / "inputs", *packed) for name, packed in task.folders.items()}
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home) as temporary, stop_on_signal() as stop:
        files, answer = Path(temporary, "files"), Path(temporary, "answer")
        for name, content in task.files.items():
            write_bytes(files / name, content)
        call = replace(task, folders={}, files={}), folders, files, store, node, answer
        try:
            for _ in engines.processes([(_do, call)], 1, stop):
                pass
        except (Fault, SystemExit) as ended:
            return Lost(f"exit code {ended.code}" if isinstance(ended, SystemExit) else ended.message)
        if answer.exists():
            return pickle.loads(answer.read_bytes())
    entry = store.find(task.key, whole=True)
    if entry is None:
        return Lost("its entry is gone")
    return Made(entry.files, {name: (entry.path / name).read_bytes() for name in entry.files}, entry.notes)


def _do(task: Task, folders: Mapping[str, Path], files: Path, store: Store, node: str, answer: Path) -> None:
    """Make the entry in a node's store, or write to the file `answer` why not."""
    try:
        runtime.apply(task.set_up)
    except InputError as error:
        write_bytes(answer, pickle.dumps(Unfit(node, error.message)))
        return
    try:
        work: Work = pickle.loads(task.work).moved(folders, files, store)
        found = json.loads(json.dumps(work.key)) | _promise(task.set_up)
        if wrong := differing(found, {**task.key, **task.promise}):
            name, (one, other) = next(iter(wrong.items()))
            why = f"{name}: found {str(one)[:80]}; allowed: {str(other)[:80]}, as the driver has"
            write_bytes(answer, pickle.dumps(Unfit(node, why)))
        else:
            work(alone=False)
    except click.ClickException as error:
        write_bytes(answer, pickle.dumps(Failed(error.format_message(), error.exit_code)))


def _unpacked(home: Path, digest: str, packed: tuple[ObjectRef[Any], ...]) -> Path:
    """A folder of the driver on this node, fetched unless it is there."""
    import ray

    folder = home / digest
    with alone(home / "locks" / digest):
        if not folder.exists():
            with whole_dir(folder) as made:
                for name, content in ray.get(packed[0]).items():
                    write_bytes(made / name, content.data)
    return folder


def _forget(store: Store) -> None:
    """Remove what was finished long ago."""
    for path in store.folder.glob(f"*/{ENTRY}"):
        if time.time() - path.stat().st_mtime > KEPT:
            shutil.rmtree(path.parent, ignore_errors=True)
