"""Portable arithmetic is set before anything imports numpy or torch; small real data for all tests."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import emulated
import pytest
import repository
from filelock import FileLock

from repligan.compose import compose
from repligan.core import runtime
from repligan.core.files import write_bytes
from repligan.core.git import ELSEWHERE
from repligan.params import Params, load

ROOT = emulated.ROOT
os.environ["PYTHONDONTWRITEBYTECODE"] = ""
gc.set_threshold(100_000)  # as in each stage: collecting garbage among what is imported takes a twentieth of all
# Threads that spin while they wait keep other workers and the emulated CPUs from running; it changes no bit.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
runtime.apply(runtime.Runtime(device="cpu", precision="portable", deterministic=True))
# A git hook hands down which repository is meant: tests have others, and would commit into that one.
for name in ELSEWHERE:
    os.environ.pop(name, None)
# A shell's background jobs ignore Ctrl-C, and under nohup a closing terminal; so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

MEMORY = 2 << 30  # bytes a worker: torch in it, and in the stages that it starts
# A file is one worker's; the longest begin first, so that none of them is left to one worker at the end.
FIRST = tuple(
    f"test_{name}.py"
    for name in (
        "pipeline",
        "failures",
        "cluster",
        "kill",
        "slurm",
        "edits",
        "trials",
        "remotes",
        "ranks",
        "mlflow_ui",
        "projection",
        "playground",
        "browser",
    )
)
LAST = "test_portable.py"  # reads what is computed beside all the rest
EMULATED = pytest.StashKey[Path]()
STARTED = pytest.StashKey[list[emulated.Computing]]()
Once = Callable[[str, Callable[[Path], None]], Path]


def is_worker(config: pytest.Config) -> bool:
    """Whether this is one of several processes that run tests for another."""
    return hasattr(config, "workerinput")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """As many workers as there are cores to use and memory for."""
    return max(1, min(runtime.cores(), memory() // MEMORY))


def memory() -> int:
    """Bytes of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files in the order in which workers take them."""
    order = {name: i for i, name in enumerate((*FIRST, "", LAST))}
    items.sort(key=lambda item: order.get(item.path.name, order[""]))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes by their argument: an archive holds the time at which it was packed, another in each worker."""
    return argname if isinstance(val, bytes) else None


def pytest_sessionstart(session: pytest.Session) -> None:
    """The emulated CPUs compute in one folder, whoever reads it."""
    given = (
        session.config.workerinput["emulated"]
        if is_worker(session.config)
        else tempfile.mkdtemp(prefix="repligan-emulated-")
    )
    session.config.stash[EMULATED] = Path(given)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker that folder."""
    node.workerinput["emulated"] = str(node.config.stash[EMULATED])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: list[str]) -> None:
    """A worker knows what will run."""
    start_emulated(node.config, ids)


def pytest_collection_finish(session: pytest.Session) -> None:
    """So does the only process."""
    if not is_worker(session.config) and not session.config.option.collectonly:
        start_emulated(session.config, [item.nodeid for item in session.items])


def start_emulated(config: pytest.Config, ids: list[str]) -> None:
    """Start the emulated CPUs once, where they are asked for."""
    if STARTED not in config.stash and any(LAST in name for name in ids):
        config.stash[STARTED] = emulated.start_all(config.stash[EMULATED])


def pytest_sessionfinish(session: pytest.Session) -> None:
    """End what still computes."""
    if not is_worker(session.config):
        for computing in session.config.stash.get(STARTED, []):
            computing.end()
        shutil.rmtree(session.config.stash[EMULATED], ignore_errors=True)


@pytest.fixture(scope="session")
def emulated_folder(pytestconfig: pytest.Config) -> Path:
    return pytestconfig.stash[EMULATED]


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Make a folder, unless another process has made it, or is about to: then wait for that."""
    done = folder.with_suffix(".done")
    with FileLock(folder.with_suffix(".lock")):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def once(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Once:
    """A folder of some name that all workers share: the first that asks for it makes it, the others wait."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if is_worker(pytestconfig) else base
    return lambda name, make: made_once(shared / name, make)


@pytest.fixture(scope="session", autouse=True)
def one_empty_store(once: Once) -> Iterator[None]:
    """A new mlflow.db is a copy of one that MLflow made: each takes it two seconds. Commands make their own."""
    from repligan.tracking import store

    create = store._create
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "_create", lambda file: write_bytes(file, emptied(once, create).read_bytes()))
        yield


def emptied(once: Once, create: Callable[[Path], None]) -> Path:
    return once("empty-store", lambda folder: create(folder / "mlflow.db")) / "mlflow.db"


@pytest.fixture(scope="session")
def smoke_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("params") / "params.yaml"
    compose("smoke", out, ROOT / "conf")
    return out


@pytest.fixture(scope="session")
def smoke(smoke_file: Path) -> Params:
    return load(smoke_file)


@pytest.fixture(scope="session")
def processed(smoke: Params, once: Once) -> Path:
    """The processed data of all datasets at the smoke scale: a folder each."""
    from repligan.data.arrays import preprocess
    from repligan.data.download import fetch

    def make(folder: Path) -> None:
        for name, dataset in smoke.datasets.items():
            raw, out = folder / "raw" / name, folder / "processed" / name
            raw.mkdir(parents=True)
            out.mkdir(parents=True)
            fetch(name, dataset.source, raw, folder / "downloads")
            preprocess(dataset, raw, out)

    return once("data", make) / "processed"


@pytest.fixture(scope="session")
def reproduced(smoke: Params, smoke_file: Path, once: Once) -> Path:
    """What the pipeline makes at the smoke scale ("made"), and apart from it the finished trials ("store")."""
    from smoke import reproduce

    def make(folder: Path) -> None:
        (folder / "made").mkdir()
        reproduce(folder / "made", folder / "store", smoke_file, smoke)

    return once("reproduced", make)


@pytest.fixture(scope="session")
def made(reproduced: Path) -> Path:
    """All that the pipeline makes at the smoke scale, by this process."""
    return reproduced / "made"


@pytest.fixture(scope="session")
def repos(once: Once) -> tuple[Path, Path]:
    """The same by DVC, in a copy of the repository; and that copy moved to a folder of another name, to be edited."""

    def paths(folder: Path) -> tuple[Path, Path]:
        return folder / "one" / "repo", folder / "quite-another" / "repo"

    def make(folder: Path) -> None:
        one, other = paths(folder)
        repository.move(repository.reproduce(one), other)

    return paths(once("repos", make))


@pytest.fixture(scope="session")
def repo(repos: tuple[Path, Path]) -> Path:
    """The one that nobody edits, with the runs of all that the pipeline made in its mlflow.db."""
    return repos[0]


@pytest.fixture
def stage(smoke_file: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a stage script as DVC does, in `tmp_path` with the smoke-scale params.yaml."""
    shutil.copy(smoke_file, tmp_path / "params.yaml")

    def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "stages" / f"{name}.py"), *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    return run
