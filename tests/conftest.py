"""Portable arithmetic is set before anything imports numpy or torch; small real data for all tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from repligan.compose import compose
from repligan.core import runtime
from repligan.params import Params, load

ROOT = Path(__file__).parents[1]
os.environ["PYTHONDONTWRITEBYTECODE"] = ""
runtime.apply(runtime.Runtime(device="cpu", precision="portable", deterministic=True))


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
