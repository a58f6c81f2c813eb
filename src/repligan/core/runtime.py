"""Device, threads and portable arithmetic; `apply` runs before numpy or torch is imported.

Portable arithmetic keeps every CPU library on one AVX2 code path, so that training gives the same bits on any x86-64
CPU that has AVX2. The libraries read these variables when they are loaded; `device` lets oneDNN forget the caches.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from repligan.core import caches
from repligan.core.errors import InputError
from repligan.core.rows import Strict

if TYPE_CHECKING:
    import torch

PORTABLE = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_CBWR": "COMPATIBLE",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
}
# For every process that computes, whatever its precision. Threads that spin while they wait take the cores that
# other processes need; that they sleep instead changes no bit.
ALWAYS = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "OMP_WAIT_POLICY": "PASSIVE"}
# Whatever else the libraries would read here, `apply` takes away: it changes bits, or how many threads there are,
# and params.yaml says both. torch waits for ever for threads that OMP_THREAD_LIMIT forbids.
DECIDING = (
    "ATEN_", "CUBLAS_", "DNNL_", "GOMP_", "GOTO_", "KMP_", "MKL_", "NPY_", "NVIDIA_TF32_", "OMP_", "ONEDNN_",
    "OPENBLAS_", "TORCH_ALLOW_TF32_", "TORCH_BLAS_", "TORCH_MKLDNN_",
)  # fmt: skip
X86_64 = platform.machine() in ("x86_64", "AMD64")
CGROUPS, CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
GPU_SHARE = 8 * 2**30  # bytes of a GPU's memory for one job: CUDA itself, networks, activations, data


class Ranks(Strict):
    """Processes that train one image GAN together, each on its part of every batch; on a GPU one each.

    `sync_norm`: batch normalisation by the statistics of the whole batch; else each rank has those of its part.
    """

    num: Annotated[int, Field(ge=2, le=1024)]
    sync_norm: bool


class Runtime(Strict):
    """Where and how precisely everything is computed.

    `portable`: float32, the same bits on every x86-64 CPU with AVX2. `fast`: all instructions, channels-last
    convolutions, bfloat16 where the device has it, TF32 on CUDA, no promise. `deterministic`: on CUDA, the same bits on
    the same GPU. `ranks`: image GANs are trained by several processes each, whose sums have other bits than one's.
    """

    device: Literal["cpu", "cuda", "auto"]
    precision: Literal["portable", "fast"]
    deterministic: bool
    ranks: Ranks | None = None

    def said(self) -> dict[str, Any]:
        """All that it says, JSON-able: nothing about ranks where there are none."""
        return self.model_dump(mode="json", exclude_none=True)


def apply(runtime: Runtime) -> None:
    """Let this process and those that it starts compute as `runtime` says, and nothing else in the environment.

    Raises InputError where the CPU cannot, RuntimeError where a library is already loaded.
    """
    refuse_unable(runtime)
    wanted = ALWAYS | (PORTABLE if runtime.precision == "portable" else {})
    late = [name for name in ("numpy", "torch") if name in sys.modules]
    if late and any(os.environ.get(key) != value for key, value in wanted.items()):
        raise RuntimeError(f"runtime.apply came after the import of {', '.join(late)}")
    for name in foreign() if not late else ():  # later on, they are what a library says to itself
        del os.environ[name]
    os.environ.update(wanted)


def foreign() -> list[str]:
    """Variables in the environment that would decide how this process computes, and that `apply` takes away."""
    return sorted(name for name in os.environ if name.startswith(DECIDING) and name not in ALWAYS | PORTABLE)


def refuse_unable(runtime: Runtime) -> None:
    """Raises InputError where portable arithmetic would end with an illegal instruction."""
    if runtime.precision == "portable" and X86_64 and not has_avx2():
        raise InputError(
            "params.yaml: runtime.precision: found 'portable' on a CPU without AVX2; allowed: fast, which promises no "
            "bits (in conf/config.yaml, then `repligan compose`)"
        )


def promises(runtime: Runtime) -> bool:
    """Whether a run here gives the committed bits."""
    return runtime.device == "cpu" and runtime.precision == "portable" and X86_64


def device(runtime: Runtime, threads: int) -> torch.device:
    """Pin torch to `threads` and deterministic algorithms; return the device that `runtime` asks for.

    The thread count is a parameter because it decides how sums are split, hence the bits.
    """
    import torch

    cuda = torch.cuda.is_available()
    if runtime.device == "cuda" and not cuda:
        raise InputError("params.yaml: runtime.device: found 'cuda', but no CUDA device is here; allowed: cpu, auto")
    torch.set_num_threads(threads)
    if runtime.device == "cpu" or not cuda:
        if runtime.precision == "portable" and X86_64:
            caches.forget()
        return torch.device("cpu")  # no operation used here is non-deterministic on a CPU
    choose_kernels(runtime)
    return torch.device("cuda")


def choose_kernels(runtime: Runtime) -> None:
    """On CUDA, algorithms that are deterministic or, by trying them, fastest; float32 products in TF32 where `fast`."""
    import torch

    torch.use_deterministic_algorithms(runtime.deterministic)
    # Nothing here reads uninitialised memory; filling it costs time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = not runtime.deterministic
    # torch's own choice for convolutions is TF32, which has 10 of the 23 bits of float32's fractions.
    for products in (torch.backends.cuda.matmul, torch.backends.cudnn.conv):  # type: ignore[attr-defined]
        products.fp32_precision = "tf32" if runtime.precision == "fast" else "ieee"


def sent(x: torch.Tensor, device: torch.device) -> torch.Tensor:
    """`x` on `device`; to a GPU through pinned memory, so that this process need not wait."""
    return x if x.device.type == device.type else x.pin_memory().to(device, non_blocking=True)


def kind_of_device(runtime: Runtime) -> str:
    """ "cpu" or "cuda": what `device` gives."""
    if runtime.device == "cpu":
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def refuse_few_gpus(runtime: Runtime) -> None:
    """Raises InputError where each rank is to have a GPU and there are fewer."""
    if runtime.ranks and kind_of_device(runtime) == "cuda":
        import torch

        if runtime.ranks.num > (found := torch.cuda.device_count()):
            raise InputError(
                f"params.yaml: runtime.ranks.num: found {runtime.ranks.num}; allowed: at most {found}, the CUDA devices"
            )


def cpu_flags() -> list[str]:
    """What this CPU can do, as Linux names it; nothing elsewhere."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split() for line in lines if line.startswith("flags")), [])


def native_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 itself; where it does not, emulating it is ten times slower than float32."""
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(cpu_flags())


def has_avx2() -> bool:
    """Whether this CPU, also an emulated one, may be asked for AVX2."""
    leaf = getattr(ctypes.CDLL(None), "__x86_get_cpuid_feature_leaf", None)  # of glibc, since 2.33
    if leaf is None:
        return "avx2" in cpu_flags()
    leaf.restype = ctypes.POINTER(ctypes.c_uint32)
    return bool(leaf(1)[5] >> 5 & 1)  # CPUID leaf 7: four registers of the CPU, then four of what may be used; ebx


def at_once(threads: int, on_gpu: bool) -> int:
    """How many jobs to do at a time: as many as their threads fit into the cores, and they into the GPU's memory."""
    fitting = cores() // threads
    if on_gpu:
        import torch

        fitting = min(fitting, torch.cuda.get_device_properties(0).total_memory // GPU_SHARE)
    return max(1, fitting)


def cores() -> int:
    """Cores that this process may use: by affinity where there is one, and by the quotas of its cgroups."""
    affinity = getattr(os, "sched_getaffinity", None)
    found = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, int(min([found, *_quotas()])))


def _quotas() -> Iterator[float]:
    """Cores that the process's cgroup and those around it allow, of version 2 and 1."""
    lines = CGROUP.read_text().splitlines() if CGROUP.exists() else []
    for _, controllers, place in (line.split(":", 2) for line in lines):
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = CGROUPS / controllers if controllers else CGROUPS
        for folder in (root, *(root.joinpath(*parts) for parts in _prefixes(Path(place).parts[1:]))):
            yield from _quota(folder)


def _prefixes(parts: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    return (parts[: i + 1] for i in range(len(parts)))


def _quota(folder: Path) -> Iterator[float]:
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        if quota.strip() not in ("max", "-1"):
            yield int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # none is set, or this one is not ours to read
        return


def in_force() -> dict[str, str]:
    """What this process computes with, for MLflow only: it differs between machines."""
    import torch

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        **{key: os.environ.get(key, "unset") for key in PORTABLE},
    }
