"""Stages from outside: help, bad input, and what they import."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT
from ruamel.yaml import YAML

STAGES = sorted(path.stem for path in (ROOT / "stages").glob("*.py"))
Run = Callable[..., subprocess.CompletedProcess[str]]
# What cannot change an output: words on a terminal, errors, MLflow, and pictures made for it.
SILENT = {"cli", "errors", "progress", "tracking"}
HEAVY = ("matplotlib", "matplotlib.pyplot", "torch", "torchvision", "mlflow", "scipy")


@pytest.mark.parametrize("name", STAGES)
def test_help_has_an_example(stage: Run, name: str) -> None:
    done = stage(name, "--help")
    assert done.returncode == 0
    assert f"Example: python stages/{name}.py" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("fetch", ["cifar", "out"], "params.yaml: datasets: found no 'cifar'; allowed: bits1010, drawn-anime"),
        ("preprocess", ["even", "nowhere", "out"], "nowhere: not found; allowed: an output of an earlier stage"),
        ("reference", ["mnist", "nowhere", "out"], "nowhere: not found"),
        (
            "train",
            ["odd", "data", "out"],
            "params.yaml: experiments: found no 'odd'; allowed: bits1010, bits1010-d-alone",
        ),
        ("train", ["even", "nowhere", "out"], "nowhere: not found"),
        ("evaluate", ["even", "run", "data", "reference", "out", "out.json"], "run: not found"),
        ("explore", ["even", "run", "reference", "out"], "params.yaml: explorations: found no 'even'; allowed: dcgan-"),
        ("explore", ["dcgan-mnist", "run", "reference", "out"], "run: not found; allowed: an output of an earlier"),
        ("explore", ["dcgan-mnist", ".", "reference", "out"], "reference: not found"),
        ("explore", ["dcgan-mnist", ".", ".", "out"], "history.safetensors: not found"),
        ("report", ["data", "reports"], "data/evaluations: not found"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    stage: Run, tmp_path: Path, name: str, arguments: list[str], said: str
) -> None:
    before = sorted(tmp_path.iterdir())
    done = stage(name, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f"Error: {said}")
    assert done.stderr.count("\n") == 1
    assert sorted(path for path in tmp_path.iterdir()) in (before, [*before, tmp_path / "params.yaml"])


def test_a_bad_value_stops_every_stage_before_any_work(stage: Run, tmp_path: Path) -> None:
    stage("fetch", "even", "out")
    params = tmp_path / "params.yaml"
    params.write_text(params.read_text().replace("batch: 16", "batch: none", 1))
    done = subprocess.run(
        [sys.executable, str(ROOT / "stages" / "fetch.py"), "even", "later"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "experiments.even.batch: found 'none'; allowed: a valid integer" in done.stderr
    assert (tmp_path / "out").exists()
    assert not (tmp_path / "later").exists()


@pytest.mark.parametrize("dataset", ["even", "mnist", "drawn-digits"])
def test_light_stages_import_no_torch(stage: Run, tmp_path: Path, dataset: str) -> None:
    assert stage("fetch", dataset, "raw").returncode == 0
    for arguments in (["fetch", dataset, "again"], ["preprocess", dataset, "raw", "out"]):
        script = ROOT / "stages" / f"{arguments[0]}.py"
        drawing = (arguments[0], dataset) == ("fetch", "drawn-digits")  # takes fonts from the folder of matplotlib
        code = (
            f"import runpy, sys\n"
            f"runpy.run_path({str(script)!r})['main']({arguments[1:]}, standalone_mode=False)\n"
            f"print([m for m in {HEAVY[drawing:]} if m in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.stdout.strip() == "[]", done.stderr
        assert (tmp_path / arguments[-1]).is_dir()


def modules_of(path: Path) -> set[Path]:
    """The repligan modules that a file imports anywhere, functions included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("repligan"):
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("repligan")]
        for name in names:
            base = ROOT / "src" / Path(*name.split("."))
            found |= {file for file in (base.with_suffix(".py"), base / "__init__.py") if file.exists()}
    return found


def closure(path: Path) -> set[Path]:
    seen: set[Path] = set()
    todo = {path}
    while todo:
        file = todo.pop()
        seen.add(file)
        todo |= {found for found in modules_of(file) if found.stem not in SILENT} - seen
    return seen


@pytest.mark.parametrize("name", STAGES)
def test_dvc_knows_every_module_that_a_stage_uses(name: str) -> None:
    block = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"][name]
    deps = [ROOT / dep for dep in block.get("do", block)["deps"] if dep.startswith(("src/", "stages/"))]
    used = closure(ROOT / "stages" / f"{name}.py")
    empty = {file for file in used if file.name == "__init__.py" and "import" not in file.read_text()}
    missing = {
        str(file.relative_to(ROOT)) for file in used - empty if not any(file.is_relative_to(dep) for dep in deps)
    }
    idle = {str(dep.relative_to(ROOT)) for dep in deps if not any(file.is_relative_to(dep) for file in used)}
    assert (missing, idle) == (set(), set())


def test_only_stages_the_command_line_and_its_doctor_import_tracking() -> None:
    users = {
        file.name for file in (ROOT / "src").rglob("*.py") if ROOT / "src/repligan/tracking.py" in modules_of(file)
    }
    assert users == {"cli.py", "doctor.py"}
    others = [
        file for file in (ROOT / "src").rglob("*.py") if "mlflow" in file.read_text() and file.name != "tracking.py"
    ]
    assert [file for file in others if "import mlflow" in file.read_text() or "from mlflow" in file.read_text()] == []
