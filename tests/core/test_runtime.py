from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from repligan.core import runtime
from repligan.core.errors import InputError
from repligan.core.runtime import Runtime

CPU = Runtime(device="cpu", precision="portable", deterministic=True)
FAST = Runtime(device="cpu", precision="fast", deterministic=True)


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    bare = {key: value for key, value in os.environ.items() if key not in runtime.PORTABLE}
    return subprocess.run([sys.executable, "-c", code], env=bare, capture_output=True, text=True, check=False)


PRELUDE = "from repligan.core import runtime; R = runtime.Runtime\n"


def test_portable_arithmetic_is_in_force_in_torch() -> None:
    done = run_python(
        PRELUDE + "runtime.apply(R(device='cpu', precision='portable', deterministic=True)); import torch; "
        "print(torch.backends.cpu.get_cpu_capability())"
    )
    assert done.stdout.strip() == "AVX2", done.stderr


def test_fast_leaves_the_libraries_alone() -> None:
    done = run_python(
        PRELUDE + "import os; runtime.apply(R(device='cpu', precision='fast', deterministic=True)); "
        "print([key for key in runtime.PORTABLE if key in os.environ])"
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_too_late_is_an_error() -> None:
    done = run_python(
        "import numpy\n" + PRELUDE + "runtime.apply(R(device='cpu', precision='portable', deterministic=True))"
    )
    assert done.returncode == 1
    assert "after the import of numpy" in done.stderr


def test_rows_import_neither_numpy_nor_torch() -> None:
    done = run_python(
        "import repligan.params, sys; print([m for m in ('numpy', 'torch', 'mlflow') if m in sys.modules])"
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_device_pins_the_threads() -> None:
    before = torch.get_num_threads()
    try:
        assert runtime.device(CPU, 1) == torch.device("cpu")
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_missing_cuda_is_bad_input() -> None:
    with pytest.raises(InputError, match="found 'cuda', but no CUDA device is here; allowed: cpu, auto"):
        runtime.device(Runtime(device="cuda", precision="portable", deterministic=True), 1)


def test_in_force_names_the_capability() -> None:
    assert runtime.in_force()["cpu"] == "AVX2"


@pytest.mark.parametrize("affinity", [1, 5])
def test_cores_are_those_of_the_affinity(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, affinity: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(affinity)), raising=False)
    monkeypatch.setattr(runtime, "QUOTA", tmp_path / "none")
    assert runtime.cores() == affinity


def test_without_affinity_all_cores_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(runtime, "QUOTA", tmp_path / "none")
    for count, found in ((7, 7), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda count=count: count)
        assert runtime.cores() == found


@pytest.mark.parametrize(
    ("quota", "found"),
    [("max 100000", 8), ("200000 100000", 2), ("250000 100000", 2), ("50000 100000", 1), ("1600000 100000", 8)],
)
def test_a_cgroups_quota_is_heeded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quota: str, found: int) -> None:
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(runtime, "QUOTA", tmp_path / "cpu.max")
    assert runtime.cores() == found


def test_the_kind_of_device_is_that_of_the_device() -> None:
    assert runtime.kind_of_device(CPU) == "cpu"
    auto = runtime.kind_of_device(CPU.model_copy(update={"device": "auto"}))
    assert auto == ("cuda" if torch.cuda.is_available() else "cpu")
