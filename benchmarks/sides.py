"""What is measured: trainings of repligan and of plain PyTorch, metrics, the CPU itself; each in a fresh process."""

from __future__ import annotations

import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, redirect_stdout
from importlib import import_module, metadata
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from repligan.compose import compose
from repligan.core import runtime
from repligan.core.runtime import Runtime
from repligan.data.rows import Dataset, ImagesForm
from repligan.params import Params, load
from repligan.training.rows import Experiment

if TYPE_CHECKING:
    from repligan.training.loop import Training

ROOT = Path(__file__).parents[1]
INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
YARDSTICKS = {"products": ((2048, 2048), (2048, 2048)), "convolutions": ((8, 512, 32, 32), (512, 512, 3, 3))}
Table = dict[str, Any]
T = TypeVar("T")


def fresh(side: Callable[[], T]) -> T:
    """What `side` returns in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(side).result()


def machine() -> Table:
    """What was measured on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = fields.get("flags", "").split()
    return {
        "cpu": fields.get("model name", platform.machine()),
        "instructions": [one for one in INSTRUCTIONS if one in flags],
        "cores": runtime.cores(),
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in ("torch", "numpy")},
        **({"gpu": runtime.in_force()["gpu"]} if has_gpu() else {}),
    }


def has_gpu() -> bool:
    """Whether there is a CUDA GPU."""
    return runtime.kind_of_device(Runtime(device="auto", precision="portable", deterministic=True)) == "cuda"


def compute_in(precision: str, device: str = "cpu") -> Runtime:
    """Set this process to an arithmetic; before numpy or torch is imported."""
    chosen = Runtime.model_validate({"device": device, "precision": precision, "deterministic": True})
    runtime.apply(chosen)
    return chosen


def full() -> Params:
    """All rows as published."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "params.yaml"
        compose("full", out, ROOT / "conf")
        return load(out)


def published(name: str, share: int = 1, **changed: int) -> tuple[Dataset, Experiment]:
    """An experiment and its data as published; networks of images with `width` divided by `share`."""
    params = full()
    row = params.published(name)
    narrow: Table = dict(changed)
    if share > 1:
        nets = {net: getattr(row, net) for net in "GD"}
        narrow |= {name: net.model_copy(update={"width": net.width // share}) for name, net in nets.items()}
    return params.datasets[row.dataset], row.model_copy(update=narrow)


@contextmanager
def ready(
    name: str, precision: str, seeds: int, share: int = 1, num: int = 10_000, device: str = "cpu", **changed: int
) -> Iterator[Training]:
    """A training before its first step; of images, from `num` random ones."""
    chosen = compute_in(precision, device)
    from repligan.data.arrays import preprocess
    from repligan.data.download import fetch
    from repligan.training import loop

    dataset, row = published(name, share, **changed)
    with tempfile.TemporaryDirectory() as folder:
        processed = Path(folder)
        if isinstance(form := dataset.form, ImagesForm):  # random, as the reference's: nothing is downloaded
            random_images(processed / "train.npy", num, form)
        else:
            fetch(row.dataset, dataset.source, processed, processed / "downloads")
            preprocess(dataset, processed, processed)
        where = runtime.device(chosen, row.threads)
        yield loop.start(name, row, form, processed, range(seeds), where, precision)


def random_images(path: Path, num: int, form: ImagesForm) -> None:
    """Write uint8 [num, C, H, W], a thousand in memory at a time."""
    import numpy as np

    shape, g = (form.channels, form.size, form.size), np.random.default_rng(0)
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (num, *shape)}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, num, 1000):
            file.write(g.integers(256, size=(min(1000, num - start), *shape), dtype=np.uint8).data)


def step_of(training: Training) -> Callable[[], None]:
    """One step, with its losses where the training records them."""
    from repligan.training import loop

    def step() -> None:
        told = (training.step + 1) % training.experiment.log_every == 0
        done = loop.train_step(training, told)
        if told:
            loop.summarised(training, done)

    return step


def ours(name: str, precision: str, seeds: int, steps: int, share: int = 1, device: str = "cpu") -> float:
    """Training steps per second of repligan, of all seeds together."""
    with ready(name, precision, seeds, share, device=device) as training:
        from benchmarks import reference

        return seeds * reference.rate(step_of(training), steps)


def gflop(name: str, share: int) -> float:
    """Billions of floating-point operations in the matrix products and convolutions of a training step."""
    with ready(name, "portable", 1, share) as training:
        from torch.utils.flop_counter import FlopCounterMode

        with FlopCounterMode(display=False) as counter:
            step_of(training)()
        return counter.get_total_flops() / 1e9


def theirs(name: str, threads: int, steps: int, held: bool = False, **size: Any) -> float:
    """Training steps per second of the reference loop; `held` to the instructions of `portable`."""
    if held:
        compute_in("portable")
    import torch

    from benchmarks import reference

    torch.set_num_threads(threads)
    return reference.rate(getattr(reference, name)(**size).step, steps)


def yardstick(kind: str, precision: str, threads: int) -> float:
    """Billions of operations per second of torch's products of 2,048 x 2,048, or convolutions 512 -> 512 channels."""
    compute_in(precision)
    import torch

    from benchmarks import reference

    torch.set_num_threads(threads)
    halved = precision == "fast" and runtime.native_bfloat16()
    x, w = (torch.randn(shape).to(torch.bfloat16 if halved else torch.float32) for shape in YARDSTICKS[kind])
    if kind == "products":
        return 2 * 2048**3 / 1e9 * reference.rate(lambda: x @ w, 20)
    if precision == "fast":
        x, w = (one.to(memory_format=torch.channels_last) for one in (x, w))
    flop = 2 * x.numel() * w[:, 0].numel() / 1e9
    return flop * reference.rate(lambda: torch.nn.functional.conv2d(x, w, padding=1), 10)


def seconds(name: str) -> float:
    """Seconds that one metric of two sides of 10,000 random features takes on all cores, from features to value."""
    if name.startswith("repligan"):
        compute_in("portable")
    import numpy as np

    of, dim = METRICS[name]
    g = np.random.default_rng(0)
    mixed = g.normal(size=(dim, dim)).astype(np.float32)
    gen, real = (g.normal(size=(10_000, dim)).astype(np.float32) @ mixed for _ in range(2))
    of(gen, real)  # the first time pays for imports and fresh memory
    began = time.perf_counter()
    of(gen, real)
    return time.perf_counter() - began


def by_repligan(gen: Any, real: Any) -> None:
    """The Frechet distance."""
    import torch

    from repligan.metrics.frechet import frechet_distance, gaussian

    frechet_distance(*(gaussian(torch.from_numpy(side)) for side in (gen, real)))


def by_sqrtm(gen: Any, real: Any) -> float:
    """The Frechet distance as Heusel et al. 2017 computed it."""
    import numpy as np
    from scipy.linalg import sqrtm

    means = [side.mean(axis=0, dtype=np.float64) for side in (gen, real)]
    covs = [np.cov(side, rowvar=False, dtype=np.float64) for side in (gen, real)]
    cross = np.trace(sqrtm(covs[0] @ covs[1])).real
    return float(((means[0] - means[1]) ** 2).sum() + np.trace(covs[0]) + np.trace(covs[1]) - 2 * cross)


def neighbours(gen: Any, real: Any) -> None:
    """Precision, recall, density and coverage."""
    import torch

    from repligan.metrics.neighbours import prdc

    prdc(torch.from_numpy(gen), torch.from_numpy(real), k=5)


def by_fidelity(gen: Any, real: Any) -> None:
    """Precision and recall by torch-fidelity, which has no density and no coverage."""
    import torch
    from torch_fidelity.metric_prc import prc_features_to_metric

    sides = torch.from_numpy(gen), torch.from_numpy(real)
    prc_features_to_metric(*sides, prc_neighborhood=5, prc_batch_size=10_000, save_cpu_ram=False, verbose=False)


def by_prdc(gen: Any, real: Any) -> None:
    """All four by the package of Naeem et al. 2020."""
    with redirect_stdout(None):
        import_module("prdc").compute_prdc(real_features=real, fake_features=gen, nearest_k=5)


METRICS: dict[str, tuple[Callable[[Any, Any], object], int]] = {
    "repligan's Frechet distance": (by_repligan, 2048),
    "scipy's sqrtm": (by_sqrtm, 2048),
    "repligan's prdc": (neighbours, 256),
    "torch-fidelity": (by_fidelity, 256),
    "prdc": (by_prdc, 256),
}
