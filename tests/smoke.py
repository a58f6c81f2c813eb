"""The smoke scale's pipeline in this process: its stages as functions, and all that they make."""

from __future__ import annotations

import importlib.util
import shutil
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner
from emulated import ROOT

from repligan.engines import ThisProcess
from repligan.params import Params

NOWHERE = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}


@cache
def stage(name: str) -> ModuleType:
    """A stage script as a module, whose jobs run in this process."""
    spec = importlib.util.spec_from_file_location(f"stage_{name}", ROOT / "stages" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if hasattr(module, "chosen"):
        module.chosen = lambda *shared, **options: ThisProcess()  # type: ignore[attr-defined]
    return module


def prepare(folder: Path, params: Path) -> None:
    """params.yaml and the claims, as the repository has them."""
    (folder / "conf").mkdir()
    shutil.copy(params, folder / "params.yaml")
    shutil.copy(ROOT / "conf" / "claims.yaml", folder / "conf")


def run(patch: pytest.MonkeyPatch, folder: Path, name: str, *arguments: str, ends_with: int = 0) -> None:
    """Run a stage in this process."""
    patch.chdir(folder)
    for key, value in NOWHERE.items():
        patch.setenv(key, value)
    shown = CliRunner().invoke(stage(name).main, arguments)
    assert shown.exit_code == ends_with, (shown.output, shown.exception)


def reproduce(folder: Path, store: Path, params_file: Path, params: Params) -> None:
    """Make in `folder` all that the pipeline makes; the finished trials lie in `store`."""
    prepare(folder, params_file)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(action="ignore"):  # MLflow's own
        patch.setenv("REPLIGAN_TRIALS", str(store))
        for name, *arguments in commands(params):
            run(patch, folder, name, *arguments)
    shutil.rmtree(store / "locks")
    shutil.rmtree(folder / ".work")


def commands(params: Params) -> Sequence[Sequence[str]]:
    """Each stage's name and arguments, in order."""
    found: list[Sequence[str]] = []
    for name in params.datasets:
        found.append(("fetch", name, f"data/raw/{name}"))
        found.append(("preprocess", name, f"data/raw/{name}", f"data/processed/{name}"))
        found.append(("reference", name, f"data/processed/{name}", f"data/reference/{name}"))
    for name in params.experiments:
        dataset = params.published(name).dataset
        runs, processed, reference = f"data/runs/{name}", f"data/processed/{dataset}", f"data/reference/{dataset}"
        measured = (f"data/evaluations/{name}", f"reports/metrics/{name}.json")
        found.append(("train", name, processed, runs))
        found.append(("evaluate", name, runs, processed, reference, *measured))
    found.append(("claims", "data/evaluations", "data/claims/values.safetensors", "reports/claims.json"))
    return [*found, ("report", "data", "reports")]
