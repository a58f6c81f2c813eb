from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from repligan.core import runtime
from repligan.core.config import Runtime
from repligan.core.errors import InputError

CPU = Runtime(device="cpu", precision="portable", deterministic=True)
FAST = Runtime(device="cpu", precision="fast", deterministic=True)


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    bare = {key: value for key, value in os.environ.items() if key not in runtime.PORTABLE}
    return subprocess.run([sys.executable, "-c", code], env=bare, capture_output=True, text=True, check=False)


PRELUDE = "from repligan.core import runtime, config; R = config.Runtime\n"


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


def test_config_imports_neither_numpy_nor_torch() -> None:
    done = run_python(PRELUDE + "import sys; print([m for m in ('numpy', 'torch', 'mlflow') if m in sys.modules])")
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
