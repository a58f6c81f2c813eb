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

from repligan import trials
from repligan.core import code
from repligan.params import Params

STAGES = sorted({path.stem for path in (ROOT / "stages").glob("*.py")} - {"this_tree"})
Run = Callable[..., subprocess.CompletedProcess[str]]
# What changes no output by itself: the command line, where work is done and kept, MLflow; trials.py is added by hand.
INDECISIVE = {"cli", "cluster", "engines", "params", "store", "tracking", "trials"}
OF_TABLES = ("RowResult", "curves", "joined", "losses", "metrics", "to_csv", "values")
HEAVY = {"matplotlib", "matplotlib.pyplot", "torch", "torchvision", "mlflow", "scipy"}


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
        ("train", ["odd", "data", "out"], "params.yaml: experiments: found no 'odd'; allowed: bits1010, dcgan-anime"),
        ("train", ["even", "nowhere", "out"], "nowhere: not found"),
        ("evaluate", ["even", "run", "data", "reference", "out", "out.json"], "run: not found"),
        ("evaluate", ["even", ".", "data", "reference", "out", "out.json"], "data: not found"),
        ("evaluate", ["even", ".", ".", "reference", "out", "out.json"], "reference: not found"),
        ("evaluate", ["even", ".", ".", ".", "out", "out.json"], "trials.json: not found; allowed: an output of an"),
        ("claims", ["data", "out", "out.json"], "conf/claims.yaml: No such file or directory; allowed: a readable"),
        ("claims", ["data", "out", "out.json", "--claims", str(ROOT / "conf/claims.yaml")], "data: not found"),
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
    params.write_text(params.read_text().replace("batch: 1\n", "batch: none\n", 1))
    done = subprocess.run(
        [sys.executable, str(ROOT / "stages" / "fetch.py"), "even", "later"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "experiments.bits1010.batch: found 'none'; allowed: a valid integer" in done.stderr
    assert (tmp_path / "out").exists()
    assert not (tmp_path / "later").exists()


@pytest.mark.parametrize("dataset", ["even", "mnist", "drawn-digits"])
def test_light_stages_import_no_torch(stage: Run, tmp_path: Path, dataset: str) -> None:
    assert stage("fetch", dataset, "raw").returncode == 0
    for arguments in (["fetch", dataset, "again"], ["preprocess", dataset, "raw", "out"]):
        script = ROOT / "stages" / f"{arguments[0]}.py"
        drawing = (arguments[0], dataset) == ("fetch", "drawn-digits")  # takes fonts from the folder of matplotlib
        assert loaded(script, arguments[1:], tmp_path) <= ({"matplotlib"} if drawing else set())
        assert (tmp_path / arguments[-1]).is_dir()


def loaded(script: Path, arguments: list[str], cwd: Path) -> set[str]:
    """Which of the heavy packages the process of a stage loads; those of its jobs are others."""
    code = (
        f"import runpy, sys\nsys.path.insert(0, {str(script.parent)!r})\nfrom repligan.core import errors\n"
        f"errors.run = lambda command: command({arguments}, standalone_mode=False)\n"
        f"runpy.run_path({str(script)!r}, run_name='__main__')\nprint(*(sys.modules.keys() & {HEAVY}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_only_the_jobs_of_a_toy_import_torch(stage: Run, tmp_path: Path, processed: Path) -> None:
    data = str(processed / "even")
    for name, arguments in {
        "reference": ["even", data, "reference"],
        "train": ["even", data, "run"],
        "evaluate": ["even", "run", data, "reference", "out", "metrics.json"],
    }.items():
        assert "torch" not in loaded(ROOT / "stages" / f"{name}.py", arguments, tmp_path), name


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


def used(path: Path) -> set[code.Definition]:
    """What a stage script takes from the package: names, and names in modules that it imports."""
    tree = ast.parse(path.read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    taken = {alias.name: f"{node.module}" for node in imports for alias in node.names}
    taken = {name: module for name, module in taken.items() if module.startswith("repligan")}
    modules = {name: f"{module}.{name}" for name, module in taken.items() if is_module(f"{module}.{name}")}
    return {(module, name) for name, module in taken.items() if name not in modules} | {
        (modules[node.value.id], node.attr)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules
    }


def is_module(name: str) -> bool:
    path = ROOT / "src" / Path(*name.split("."))
    return path.with_suffix(".py").exists() or path.is_dir()


def file_of(module: str) -> Path:
    path = ROOT / "src" / Path(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def decisive(name: str, params: Params) -> set[Path]:
    """The modules with code that a stage's outputs come from; what trials do is known by their keys."""
    roots = {one for one in used(ROOT / "stages" / f"{name}.py") if one[0].split(".")[1] not in INDECISIVE}
    if name in ("train", "evaluate"):
        roots |= {("repligan.evaluation.tables", one) for one in OF_TABLES if name == "evaluate"}
        for row in params.rows.values():
            measuring = trials.measuring_roots(row, walks=not row.stacked)
            roots |= {*(trials.training_roots(row) if name == "train" else measuring)}
    modules = {module for module, _ in code.reached(roots)}
    found = {file_of(module) for module in modules if module.split(".")[1] not in INDECISIVE}
    # What rows say are params; layouts/__init__.py is the table that they are checked by.
    found = {file for file in found if file.name != "rows.py" and file.parent.name != "layouts"}
    # The weights that a reference may fetch are the file of a given sha256 or none.
    fetching = ("download.py", "faults.py", "standins.py") if name == "reference" else ()
    return {file for file in found if file.name not in fetching}


@pytest.mark.parametrize("name", sorted({*STAGES} - {"rows"}))
def test_dvc_knows_every_module_that_decides_a_stage(name: str, smoke: Params) -> None:
    block = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"][name]
    deps = [ROOT / dep for dep in block.get("do", block)["deps"] if dep.startswith(("src/", "stages/"))]
    wanted = {ROOT / "stages" / f"{name}.py", *decisive(name, smoke)}
    if name in ("train", "evaluate"):
        wanted.add(ROOT / "src" / "repligan" / "trials.py")
    missing = {str(file.relative_to(ROOT)) for file in wanted if not any(file.is_relative_to(dep) for dep in deps)}
    idle = {str(dep.relative_to(ROOT)) for dep in deps if not any(file.is_relative_to(dep) for file in wanted)}
    assert (missing, idle) == (set(), set())


def test_only_stages_the_command_line_and_its_doctor_import_tracking() -> None:
    users = {
        file.name
        for file in (ROOT / "src").rglob("*.py")
        if ROOT / "src/repligan/tracking/__init__.py" in modules_of(file) and file.parent.name != "tracking"
    }
    assert users == {"cli.py", "doctor.py"}
