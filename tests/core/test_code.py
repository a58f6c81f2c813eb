"""What changes the digest of a computation, and what does not: each edit on a copy of the package."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT

ROOTS = [
    ("repligan.training.loop", "start"),
    ("repligan.training.loop", "train"),
    ("repligan.models.rows", "DcganG"),
    ("repligan.models.rows", "DcganD"),
    ("repligan.training.rows", "Experiment"),
    ("repligan.training.rows", "Bce"),
    ("repligan.training.rows", "Adam"),
]
Edit = Callable[[Path], None]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    shutil.copytree(ROOT / "src" / "repligan", folder / "repligan", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def digest(package: Path) -> str:
    code = f"from repligan.core import code; print(code.digest({ROOTS}))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env={"PYTHONPATH": str(package)}, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def unedited(package: Path) -> str:
    return digest(package)


def replaced(file: str, old: str, new: str) -> Edit:
    def edit(package: Path) -> None:
        path = package / "repligan" / file
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    return edit


def moved(package: Path) -> None:
    """`normalise` into a file of its own."""
    path = package / "repligan" / "data" / "batches.py"
    text = path.read_text()
    start = text.index("def normalise(")
    end = text.index("def denormalise(")
    (path.parent / "pixels.py").write_text(f"import numpy as np\nimport torch\n\n\n{text[start:end]}")
    path.write_text(text[:start].rstrip() + "\n\n\n" + text[end:])
    replaced("data/batches.py", "import torch\n", "import torch\n\nfrom repligan.data.pixels import normalise\n")(
        package
    )


LOOP, LOSSES, ROWS = "training/loop.py", "training/losses.py", "training/rows.py"
FUTURE = "from __future__ import annotations\n"
FIELDS = ("    step: int = 0\n", "    alarms: set[str] = field(default_factory=set)\n")
SNAPSHOTS = "range({}, last, self.snapshot_every)"
SAME: dict[str, Edit] = {
    "a comment": replaced(LOOP, "def _snapshot(", "# Kept.\ndef _snapshot("),
    "a docstring": replaced(
        LOOP, '"""The schedule\'s updates, once; their losses where they are to be `told`."""', '"""One step."""'
    ),
    "a renamed local": replaced("training/alarms.py", "variance", "spread_of_real"),
    "an annotation": replaced(LOOP, "-> dict[str, torch.Tensor]:", "-> object:"),
    "a function in another file": moved,
    "another loss": replaced(LOSSES, "(torch.sigmoid(logits) - target).square()", "logits - target"),
    "a network that the row does not have": replaced("models/resnet.py", "padding=kernel // 2", "padding=0"),
    "a claim": replaced("claims/verdict.py", FUTURE, f"{FUTURE}X = 1\n"),
    "a new kind of row": replaced(ROWS, "Annotated[Bce | Mse | WganGp,", "Annotated[Bce | Mse,"),
}
OTHER: dict[str, Edit] = {
    "a factor in the loss": replaced(LOSSES, "(1 - target) * softplus(logits)", "2 * (1 - target) * softplus(logits)"),
    "a constant": replaced(LOOP, "LANES = 32", "LANES = 64"),
    "a default": replaced("core/randomness.py", "index: int = 0)", "index: int = 1)"),
    "a layer": replaced("models/dcgan.py", "nn.Tanh(),", "nn.Tanh(), nn.Identity(),"),
    "an argument's name": replaced("models/noise.py", "num: int", "count: int"),
    "an optimiser": replaced("training/optimisers.py", "eps=1e-8", "eps=1e-7"),
    "the order of a dataclass": replaced(LOOP, "".join(FIELDS), "".join(FIELDS[::-1])),
    "an import of something else": replaced(LOSSES, "import softplus", "import relu as softplus"),
    "a statement of a module": replaced(
        LOSSES, "class Loss(ABC)", "torch.set_flush_denormal(True)\n\n\nclass Loss(ABC)"
    ),
    "a method of a row": replaced(ROWS, SNAPSHOTS.format(0), SNAPSHOTS.format(1)),
}


@pytest.mark.parametrize("edit", SAME.values(), ids=SAME.keys())
def test_what_can_change_no_bit_keeps_the_digest(package: Path, unedited: str, tmp_path: Path, edit: Edit) -> None:
    shutil.copytree(package, tmp_path / "copy")
    edit(tmp_path / "copy")
    assert digest(tmp_path / "copy") == unedited


@pytest.mark.parametrize("edit", OTHER.values(), ids=OTHER.keys())
def test_what_can_change_a_bit_changes_it(package: Path, unedited: str, tmp_path: Path, edit: Edit) -> None:
    shutil.copytree(package, tmp_path / "copy")
    edit(tmp_path / "copy")
    assert digest(tmp_path / "copy") != unedited
