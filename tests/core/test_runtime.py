from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

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


@pytest.mark.parametrize(("precision", "products"), [("portable", "ieee"), ("fast", "tf32")])
@pytest.mark.parametrize("deterministic", [True, False])
def test_kernels_on_cuda_are_the_same_each_time_or_the_fastest(
    precision: str, products: str, deterministic: bool
) -> None:
    """The settings only, which torch takes without a GPU."""
    b, fill = torch.backends, torch.utils.deterministic
    kept = b.cudnn.benchmark, b.cuda.matmul.fp32_precision, b.cudnn.conv.fp32_precision, fill.fill_uninitialized_memory
    assert b.cudnn.conv.fp32_precision == "tf32"  # torch's own choice
    try:
        runtime.choose_kernels(Runtime(device="cuda", precision=precision, deterministic=deterministic))
        assert torch.are_deterministic_algorithms_enabled() == deterministic
        assert b.cudnn.benchmark != deterministic
        assert (b.cuda.matmul.fp32_precision, b.cudnn.conv.fp32_precision) == (products, products)
        assert b.mkldnn.conv.fp32_precision == "none"  # the CPU's
        assert not fill.fill_uninitialized_memory
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        torch.use_deterministic_algorithms(False)
        b.cudnn.benchmark, b.cuda.matmul.fp32_precision, b.cudnn.conv.fp32_precision = kept[:3]
        fill.fill_uninitialized_memory = kept[3]


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_missing_cuda_is_bad_input() -> None:
    with pytest.raises(InputError, match="found 'cuda', but no CUDA device is here; allowed: cpu, auto"):
        runtime.device(Runtime(device="cuda", precision="portable", deterministic=True), 1)


@pytest.mark.parametrize(("threads", "gigabytes", "found"), [(1, None, 8), (2, None, 4), (16, None, 1), (2, 80, 4)])
def test_jobs_at_a_time_fit_into_the_cores(
    monkeypatch: pytest.MonkeyPatch, threads: int, gigabytes: int | None, found: int
) -> None:
    monkeypatch.setattr(runtime, "cores", lambda: 8)
    set_memory(monkeypatch, gigabytes)
    assert runtime.at_once(threads, on_gpu=gigabytes is not None) == found


@pytest.mark.parametrize(("gigabytes", "found"), [(4, 1), (8, 1), (24, 3), (80, 8)])
def test_jobs_at_a_time_fit_into_the_gpu(monkeypatch: pytest.MonkeyPatch, gigabytes: int, found: int) -> None:
    monkeypatch.setattr(runtime, "cores", lambda: 8)
    set_memory(monkeypatch, gigabytes)
    assert runtime.at_once(1, on_gpu=True) == found
    assert runtime.at_once(1, on_gpu=False) == 8


def set_memory(monkeypatch: pytest.MonkeyPatch, gigabytes: int | None) -> None:
    """A GPU of so much memory, as torch describes it."""
    described = SimpleNamespace(total_memory=(gigabytes or 0) * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: described)


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
