"""Portable arithmetic is set before anything imports numpy or torch; small real data for all tests."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import emulated
import pytest

from repligan.compose import compose
from repligan.core import runtime
from repligan.core.git import ELSEWHERE
from repligan.params import Params, load

ROOT = emulated.ROOT
os.environ["PYTHONDONTWRITEBYTECODE"] = ""
runtime.apply(runtime.Runtime(device="cpu", precision="portable", deterministic=True))
# A git hook hands down which repository is meant: tests have others, and would commit into that one.
for name in ELSEWHERE:
    os.environ.pop(name, None)
# A shell's background jobs ignore Ctrl-C, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


COMPUTING = pytest.StashKey[dict[str, emulated.Computing]]()
FOLDER = pytest.StashKey[Path]()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The emulated CPUs come last: they compute beside all the rest."""
    items.sort(key=lambda item: item.path.name == "test_portable.py")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start them, where they are asked for."""
    if session.items and session.items[-1].path.name == "test_portable.py" and not session.config.option.collectonly:
        session.config.stash[FOLDER] = folder = Path(tempfile.mkdtemp(prefix="repligan-emulated-"))
        session.config.stash[COMPUTING] = emulated.start_all(folder)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """End those that nobody waited for."""
    for computing in session.config.stash.get(COMPUTING, {}).values():
        computing.process.kill()
        computing.process.wait()
    if folder := session.config.stash.get(FOLDER, None):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def computing(pytestconfig: pytest.Config) -> dict[str, emulated.Computing]:
    return pytestconfig.stash[COMPUTING]


@pytest.fixture(scope="session")
def smoke_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("params") / "params.yaml"
    compose("smoke", out, ROOT / "conf")
    return out


@pytest.fixture(scope="session")
def smoke(smoke_file: Path) -> Params:
    return load(smoke_file)


@pytest.fixture(scope="session")
def processed(smoke: Params, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The processed data of all datasets at the smoke scale: a folder each."""
    from repligan.data.arrays import preprocess
    from repligan.data.download import fetch

    folder = tmp_path_factory.mktemp("data")
    for name, dataset in smoke.datasets.items():
        raw, out = folder / "raw" / name, folder / "processed" / name
        raw.mkdir(parents=True)
        out.mkdir(parents=True)
        fetch(name, dataset.source, raw, folder / "downloads")
        preprocess(dataset, raw, out)
    return folder / "processed"


@pytest.fixture
def stage(smoke_file: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a stage script as DVC does, in `tmp_path` with the smoke-scale params.yaml."""
    shutil.copy(smoke_file, tmp_path / "params.yaml")

    def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "stages" / f"{name}.py"), *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    return run
