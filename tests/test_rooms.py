"""The rooms of the package: imports go one way, heavy ones stay out of light rooms, the picture shows all of it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import networkx as nx
import pytest
from conftest import ROOT

from repligan.core.code import rooms
from repligan.core.runtime import PORTABLE
from repligan.tools import architecture

PACKAGE = ROOT / "src" / "repligan"
LIGHT = ("repligan.params", "repligan.claims.rows", "repligan.core.rows", "repligan.metrics.metric")
READS_VALUES = ("repligan.claims.ledger", "repligan.claims.values", "repligan.claims.verdict")  # arrays, no networks


def imported(path: Path) -> set[str]:
    """The packages that a module imports anywhere, functions included."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return {name.split(".")[0] for name in plain} | {
        (node.module or "").split(".")[0] for node in nodes if isinstance(node, ast.ImportFrom)
    }


def loaded(module: str) -> set[str]:
    """Which heavy packages the import of a module loads."""
    code = f"import sys, {module}; print(*(sys.modules.keys() & {{'torch', 'numpy', 'mlflow', 'matplotlib'}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_imports_go_one_way() -> None:
    graph = architecture.graph()
    assert nx.is_directed_acyclic_graph(graph)
    assert {"core", "data", "models", "training", "metrics", "evaluation", "claims", "reporting"} <= set(graph)
    assert set(graph) <= {path.stem for path in PACKAGE.iterdir()}


def test_a_circle_of_imports_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(architecture, "rooms", lambda folder: {("models", "data"): 1, ("data", "models"): 1})
    with pytest.raises(ValueError, match="imports: found a circle"):
        architecture.graph()


def test_an_import_is_an_arrow(tmp_path: Path) -> None:
    for name, text in {"a/x.py": "from repligan.b.y import z\n", "b/y.py": "from repligan import c\n"}.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    assert rooms(tmp_path) == {("a", "b"): 1, ("b", "c"): 1}


def test_only_tracking_imports_mlflow() -> None:
    assert {path.parent.name for path in PACKAGE.rglob("*.py") if "mlflow" in imported(path)} == {"tracking"}


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_import_neither_torch_nor_numpy(module: str) -> None:
    assert loaded(module) == set()


@pytest.mark.parametrize("module", READS_VALUES)
def test_claims_import_no_torch(module: str) -> None:
    assert loaded(module) <= {"numpy"}


def test_the_picture_of_the_architecture_is_the_one_of_this_code(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "repligan.tools.architecture", str(tmp_path / "drawn.png")]
    subprocess.run(command, env=os.environ | PORTABLE, check=True)
    committed = (ROOT / "docs" / "architecture.png").read_bytes()
    assert (tmp_path / "drawn.png").read_bytes() == committed, "draw it anew: python -m repligan.tools.architecture"
