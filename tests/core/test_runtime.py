from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT
from emulated import QEMU

from repligan.core import runtime
from repligan.core.errors import InputError
from repligan.core.runtime import Runtime

CPU = Runtime(device="cpu", precision="portable", deterministic=True)
FAST = Runtime(device="cpu", precision="fast", deterministic=True)


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    bare = {key: value for key, value in os.environ.items() if key not in runtime.PORTABLE}
    return subprocess.run(
        [sys.executable, "-c", code], env=bare, capture_output=True, text=True, check=False, timeout=60
    )


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


@pytest.fixture
def cgroup(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A place of its own for the files of cgroups, without any."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(runtime, "CGROUPS", tmp_path)
    monkeypatch.setattr(runtime, "CGROUP", tmp_path / "self")
    return tmp_path


@pytest.mark.parametrize("affinity", [1, 5])
@pytest.mark.usefixtures("cgroup")
def test_cores_are_those_of_the_affinity(monkeypatch: pytest.MonkeyPatch, affinity: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(affinity)), raising=False)
    assert runtime.cores() == affinity


@pytest.mark.usefixtures("cgroup")
def test_without_affinity_all_cores_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    for count, found in ((7, 7), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda count=count: count)
        assert runtime.cores() == found


@pytest.mark.parametrize(
    ("quota", "found"),
    [("max 100000", 8), ("200000 100000", 2), ("250000 100000", 2), ("50000 100000", 1), ("1600000 100000", 8)],
)
@pytest.mark.parametrize("place", [".", "user.slice", "user.slice/job.scope"])
def test_a_quota_is_heeded_of_the_own_cgroup_and_those_around_it(
    cgroup: Path, place: str, quota: str, found: int
) -> None:
    (cgroup / "self").write_text("0::/user.slice/job.scope\n")
    (cgroup / place).mkdir(parents=True, exist_ok=True)
    (cgroup / place / "cpu.max").write_text(f"{quota}\n")
    assert runtime.cores() == found


@pytest.mark.parametrize(("quota", "found"), [("-1", 8), ("300000", 3), ("", 8)])
def test_so_is_a_quota_of_version_1(cgroup: Path, quota: str, found: int) -> None:
    (cgroup / "self").write_text("4:memory:/a\n3:cpu,cpuacct:/docker/abc\n1:name=systemd:/\n")
    (cgroup / "cpu,cpuacct").mkdir()  # where a container sees its own
    (cgroup / "cpu,cpuacct" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (cgroup / "cpu,cpuacct" / "cpu.cfs_period_us").write_text("100000\n")
    assert runtime.cores() == found


FOREIGN = {
    "ATEN_CPU_CAPABILITY": "default",
    "KMP_AFFINITY": "compact",
    "MKL_NUM_THREADS": "7",
    "NPY_DISABLE_CPU_FEATURES": "FMA3",
    "OMP_THREAD_LIMIT": "1",
    "OMP_WAIT_POLICY": "ACTIVE",
    "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
}


@pytest.mark.skipif(os.cpu_count() == 1, reason="needs two threads")
def test_the_environment_neither_stops_threads_nor_says_how_to_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    """With OMP_THREAD_LIMIT=1 two threads would wait for each other for ever."""
    for name, value in FOREIGN.items():
        monkeypatch.setenv(name, value)
    code = (
        "import os; runtime.apply(R(device='cpu', precision='portable', deterministic=True)); import torch; "
        "torch.set_num_threads(2); net = torch.nn.Conv2d(3, 8, 3); net(torch.ones(16, 3, 64, 64)).sum().backward(); "
        "print({name: one for name, one in os.environ.items() if name.startswith(runtime.DECIDING)} "
        "== {n: one for n, one in (runtime.ALWAYS | runtime.PORTABLE).items() if n.startswith(runtime.DECIDING)})"
    )
    assert run_python(PRELUDE + code).stdout.strip() == "True"


def test_this_cpu_has_avx2() -> None:
    """Or no test of portable arithmetic could pass; Linux and glibc must agree."""
    assert runtime.has_avx2()
    assert "avx2" in runtime.cpu_flags() or sys.platform != "linux"


@pytest.mark.skipif(QEMU is None, reason="needs qemu-user")
def test_a_cpu_without_avx2_is_told_before_any_work(tmp_path: Path, smoke_file: Path) -> None:
    (tmp_path / "lock").touch()
    stage = [sys.executable, str(ROOT / "stages" / "rows.py"), "lock", "out", "--params", str(smoke_file)]
    command = [str(QEMU), "-cpu", "Nehalem", *stage]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    [said] = [line for line in done.stderr.splitlines() if not line.startswith("qemu-x86_64: warning")]
    wanted = "Error: params.yaml: runtime.precision: found 'portable' on a CPU without AVX2; allowed: fast"
    assert (done.returncode, said.startswith(wanted)) == (2, True), said
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_bits_are_promised_on_x86_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert runtime.promises(CPU)
    assert not runtime.promises(FAST)
    monkeypatch.setattr(runtime, "X86_64", False)
    assert not runtime.promises(CPU)
    monkeypatch.setattr(runtime, "has_avx2", lambda: False)
    runtime.refuse_unable(CPU)  # it runs, without the promise


def test_the_kind_of_device_is_that_of_the_device() -> None:
    assert runtime.kind_of_device(CPU) == "cpu"
    auto = runtime.kind_of_device(CPU.model_copy(update={"device": "auto"}))
    assert auto == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize(("here", "fits"), [(4, True), (3, False)])
def test_a_rank_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch, here: int, fits: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: here)
    four = CPU.model_copy(update={"ranks": runtime.Ranks(num=4, sync_norm=True)})
    runtime.refuse_few_gpus(four)
    on_gpus = four.model_copy(update={"device": "cuda"})
    if fits:
        runtime.refuse_few_gpus(on_gpus)
    else:
        with pytest.raises(InputError, match=r"runtime\.ranks\.num: found 4; allowed: at most 3"):
            runtime.refuse_few_gpus(on_gpus)
