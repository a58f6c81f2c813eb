"""Speed as ratios measured side by side: trainings against plain PyTorch, metrics against other packages.

Every measurement is a process of its own; the sides of a ratio take turns, so that a machine that
slows down slows them all.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import import_module, metadata
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import click

from repligan.compose import compose
from repligan.core import runtime
from repligan.core.runtime import PORTABLE, Runtime
from repligan.data.rows import Dataset, ImagesForm
from repligan.params import load
from repligan.training.rows import Experiment

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # run as a file, this one finds benchmarks.reference; stages has a reference too
RESULTS = Path(__file__).parent / "results.json"
PAGE = ROOT / "docs" / "performance.md"
MARKS = ("<!-- table from benchmarks/results.json -->", "<!-- end of table -->")
INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
SEEDS = 1000
Table = dict[str, Any]


class Row(NamedTuple):
    """Sides that are measured in turns, and which are compared: `pairs` of (ours, theirs)."""

    title: str
    unit: str  # steps/s of all seeds together, or s
    sides: Mapping[str, Callable[[], float]]
    pairs: list[tuple[str, str]]


def published(name: str, share: int = 1) -> tuple[Dataset, Experiment]:
    """An experiment and its data as published; networks of images with `width` divided by `share`."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "params.yaml"
        compose("full", out, ROOT / "conf")
        params = load(out)
    row = params.published(name)
    if share > 1:
        narrow = {net: getattr(row, net).model_copy(update={"width": getattr(row, net).width // share}) for net in "GD"}
        row = row.model_copy(update=narrow)
    return params.datasets[row.dataset], row


def ours(name: str, precision: str, seeds: int, steps: int, share: int = 1, device: str = "cpu") -> float:
    """Training steps per second of repligan, of all seeds together."""
    chosen = Runtime.model_validate({"device": device, "precision": precision, "deterministic": True})
    runtime.apply(chosen)
    import numpy as np

    from benchmarks import reference
    from repligan.data.arrays import preprocess
    from repligan.data.download import fetch
    from repligan.training import loop

    dataset, row = published(name, share)
    with tempfile.TemporaryDirectory() as folder:
        processed = Path(folder)
        if isinstance(form := dataset.form, ImagesForm):  # random, as the reference's: nothing is downloaded
            shape = (reference.IMAGES, form.channels, form.size, form.size)
            np.save(processed / "train.npy", np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8))
        else:
            fetch(row.dataset, dataset.source, processed, processed / "downloads")
            preprocess(dataset, processed, processed)
        where = runtime.device(chosen, row.threads)
        training = loop.start(name, row, form, processed, range(seeds), where, precision)

        def step() -> None:
            told = (training.step + 1) % row.log_every == 0
            done = loop.train_step(training, told)
            if told:
                loop.summarised(training, done)

        return seeds * reference.rate(step, steps)


def theirs(name: str, threads: int, steps: int, **size: Any) -> float:
    """Training steps per second of the reference loop."""
    import torch

    from benchmarks import reference

    torch.set_num_threads(threads)
    return reference.rate(getattr(reference, name)(**size).step, steps)


def seconds(name: str) -> float:
    """Seconds that one metric of two sides of 10,000 random features takes on all cores, from features to value."""
    if name.startswith("repligan"):
        runtime.apply(Runtime.model_validate({"device": "cpu", "precision": "portable", "deterministic": True}))
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
    import_module("prdc").compute_prdc(real_features=real, fake_features=gen, nearest_k=5)


METRICS: dict[str, tuple[Callable[[Any, Any], object], int]] = {
    "repligan's Frechet distance": (by_repligan, 2048),
    "scipy's sqrtm": (by_sqrtm, 2048),
    "repligan's prdc": (neighbours, 256),
    "torch-fidelity": (by_fidelity, 256),
    "prdc": (by_prdc, 256),
}


def toy(name: str, our_steps: int, their_steps: int) -> Row:
    """Many seeds as one stack against one seed after another, on one thread."""
    sides = {
        "plain PyTorch": partial(theirs, name, 1, their_steps),
        "portable": partial(ours, name, "portable", SEEDS, our_steps),
    }
    return Row(f"{name}, {SEEDS:,} seeds, one thread", "steps/s", sides, [("portable", "plain PyTorch")])


def images(title: str, share: int, steps: int, device: str = "cpu") -> Row:
    """dcgan-mnist, one seed, batch 128, two threads."""
    sides: dict[str, Callable[[], float]] = {
        "plain PyTorch": partial(theirs, "dcgan_mnist", 2, steps, width=64 // share, device=device),
        **{one: partial(ours, "dcgan-mnist", one, 1, steps, share, device) for one in ("portable", "fast")},
    }
    pairs = [("portable", "plain PyTorch"), ("fast", "plain PyTorch"), ("fast", "portable")]
    return Row(f"dcgan-mnist, {title}, batch 128, two threads", "steps/s", sides, pairs)


def metric(title: str, names: list[str]) -> Row:
    """The first of `names` against each of the others."""
    sides = {name: partial(seconds, name) for name in names}
    return Row(title, "s", sides, [(names[0], name) for name in names[1:]])


PEERS = [name for name, module in (("torch-fidelity", "torch_fidelity"), ("prdc", "prdc")) if find_spec(module)]
ON_GPU = "dcgan-mnist-cuda"
ROWS = {
    "bits1010": toy("bits1010", 500, 1500),
    "even": toy("even", 200, 1500),
    "dcgan-mnist-quarter": images("a quarter of the width", 4, 20),
    "dcgan-mnist": images("published width", 1, 5),
    ON_GPU: images("published width, on a GPU", 1, 500, "cuda"),
    "frechet": metric("Frechet distance of 2,048 features", ["repligan's Frechet distance", "scipy's sqrtm"]),
    "prdc": metric("precision and recall of 256 features", ["repligan's prdc", *PEERS]),
}


def fresh(side: Callable[[], float]) -> float:
    """What `side` returns in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(side).result()


def measured(name: str, rounds: int) -> list[Table]:
    """The pairs of a row, each with the rates of both sides and the median and range of their ratio."""
    row = ROWS[name]
    rates: dict[str, list[float]] = {side: [] for side in row.sides}
    for i in range(rounds):
        # Back and forth, so that none is always the one that finds the machine warm.
        for side in list(row.sides)[:: 1 - 2 * (i % 2)]:
            rates[side].append(fresh(row.sides[side]))
    return [
        {"row": name, "title": row.title, "unit": row.unit, "ours": us, "theirs": them}
        | {"our_rates": rates[us], "their_rates": rates[them]}
        | spread(*((rates[them], rates[us]) if row.unit == "s" else (rates[us], rates[them])))
        for us, them in row.pairs
    ]


def spread(above: list[float], below: list[float]) -> Table:
    """How many times as fast: the median of the rounds' ratios, and their range."""
    found = sorted(a / b for a, b in zip(above, below, strict=True))
    return {"ratio": statistics.median(found), "range": [found[0], found[-1]]}


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


def joined(new: list[Table], described: Table, old: Table | None) -> Table:
    """`new` rows, and of `old` results from the same machine those that were not measured again."""
    again = {row["row"] for row in new}
    kept = old["rows"] if old and old["machine"] == described else []
    rows = [*(row for row in kept if row["row"] not in again), *new]
    return {"machine": described, "rows": sorted(rows, key=lambda row: list(ROWS).index(row["row"]))}


def table(results: Table) -> str:
    """The results in Markdown."""
    on = results["machine"]
    said = (
        f"{on['cpu']} ({', '.join(on['instructions']) or 'none of the named instruction sets'}), {on['cores']} cores; "
    )
    said += f"{on['gpu']}; " if "gpu" in on else ""
    said += f"Python {on['python']}, torch {on['torch']}, numpy {on['numpy']}."
    lines = ["| what | ours | against | times as fast | range |", "|---|---|---|---|---|"]
    for row in results["rows"]:
        us, them = (f"{short(statistics.median(row[key]))} {row['unit']}" for key in ("our_rates", "their_rates"))
        low, high = map(short, row["range"])
        lines.append(
            f"| {row['title']} | {row['ours']}: {us} | {row['theirs']}: {them} "
            f"| {short(row['ratio'])} | {low} to {high} |"
        )
    return f"{said}\n\n" + "\n".join(lines)


def short(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def written(page: str, results: Table) -> str:
    """`page` with the table of `results` between its marks."""
    before, _, rest = page.partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    return f"{before}{MARKS[0]}\n{table(results)}\n{MARKS[1]}{after}"


@click.command(epilog="Example: python benchmarks/bench.py even bits1010 --rounds 3")
@click.argument("rows", nargs=-1, type=click.Choice(list(ROWS)))
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Turns that each side takes.")
@click.option("--table", "only_table", is_flag=True, help="Measure nothing; write the results into the docs page.")
def main(rows: tuple[str, ...], rounds: int, only_table: bool) -> None:
    """Measure ROWS, or all, print them and write benchmarks/results.json."""
    old = json.loads(RESULTS.read_text()) if RESULTS.exists() else None
    if only_table:
        if old is None:
            raise click.ClickException(f"{RESULTS}: found nothing; run `python benchmarks/bench.py` first")
        PAGE.write_text(written(PAGE.read_text(), old))
        return
    for key in PORTABLE:  # else the references would be held back too
        os.environ.pop(key, None)
    chosen = [name for name in rows or ROWS if name != ON_GPU or has_gpu()]
    if len(chosen) < len(rows or ROWS):
        click.echo(f"{ON_GPU}: left out, there is no CUDA GPU here", err=True)
    if not chosen:
        return
    new = [pair for name in chosen for pair in measured(name, rounds)]
    described = machine()
    RESULTS.write_text(json.dumps(joined(new, described, old), indent=1) + "\n")
    click.echo(table({"machine": described, "rows": new}))


if __name__ == "__main__":
    main()
