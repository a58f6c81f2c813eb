"""Ratios measured in one run: many seeds against one, portable against fast arithmetic, metrics against others'.

Every measurement is a process of its own; the two sides of a ratio take turns, so that a machine that
slows down slows both.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click

from repligan.core import runtime
from repligan.core.runtime import Runtime
from repligan.params import load

ROUNDS = 3


def measure(experiment: str, precision: str, seeds: int, steps: int) -> float:
    """Training steps per second, in a fresh process."""
    return fresh("worker", experiment, precision, str(seeds), str(steps))


def fresh(*arguments: str) -> float:
    """The number that a hidden command prints, in a fresh process."""
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=True)
    return float(done.stdout)


def compare(title: str, a: tuple[str, str, int, int], b: tuple[str, str, int, int], weight: float = 1) -> None:
    """Print the median and range of rate(a) / rate(b) * weight over the rounds."""
    rates = [(measure(*a), measure(*b)) for _ in range(ROUNDS)]
    ratios = sorted(weight * x / y for x, y in rates)
    x, y = (statistics.median(side) for side in zip(*rates, strict=True))
    click.echo(
        f"{title}: {statistics.median(ratios):.3g} ({ratios[0]:.3g} to {ratios[-1]:.3g}; {x:.4g} and {y:.4g} steps/s)"
    )


@click.group(invoke_without_command=True, epilog="Example: python benchmarks/bench.py")
@click.pass_context
def main(context: click.Context) -> None:
    """Print every ratio; takes about six minutes."""
    if context.invoked_subcommand:
        return
    training()
    metrics()


def training() -> None:
    """Seeds per second and the price of portable arithmetic."""
    for name, steps in (("even", 200), ("bits1010", 500)):
        compare(
            f"{name}: seeds per second, 1,000 as a stack against one alone",
            (name, "portable", 1000, steps),
            (name, "portable", 1, steps),
            weight=1000,
        )
    for name, seeds, steps in (("dcgan-mnist", 1, 20), ("bits1010", 1000, 500)):
        compare(f"{name}: portable against fast", (name, "portable", seeds, steps), (name, "fast", seeds, steps))


@main.command("metrics", epilog="Example: python benchmarks/bench.py metrics")
def metrics_alone() -> None:
    """Print the metrics' alone; takes about two minutes and a half."""
    metrics()


def metrics() -> None:
    """Seconds of the metrics at 10,000 images a side, from features to value, and against the usual way."""
    pairs = [(fresh("metric", "sqrtm"), fresh("metric", "frechet")) for _ in range(ROUNDS)]
    ratios = sorted(usual / ours for usual, ours in pairs)
    usual, ours = (statistics.median(side) for side in zip(*pairs, strict=True))
    click.echo(
        f"Frechet distance of 2,048 features, against scipy's sqrtm: {statistics.median(ratios):.3g} "
        f"({ratios[0]:.3g} to {ratios[-1]:.3g}; {ours:.3g} and {usual:.3g} s)"
    )
    seconds = sorted(fresh("metric", "prdc") for _ in range(ROUNDS))
    click.echo(
        f"precision, recall, density, coverage of 256 features: {statistics.median(seconds):.3g} s "
        f"({seconds[0]:.3g} to {seconds[-1]:.3g})"
    )


@main.command(hidden=True)
@click.argument("name", type=click.Choice(["sqrtm", "frechet", "prdc"]))
def metric(name: str) -> None:
    """Print the seconds that one metric of two sides of random features takes on all cores."""
    runtime.apply(Runtime.model_validate({"device": "cpu", "precision": "portable", "deterministic": True}))
    import numpy as np
    import torch

    from repligan.metrics.frechet import frechet_distance, gaussian
    from repligan.metrics.neighbours import prdc

    def run(gen: Any, real: Any) -> float:
        if name == "sqrtm":
            return by_sqrtm(gen, real)
        sides = torch.from_numpy(gen), torch.from_numpy(real)
        return frechet_distance(*map(gaussian, sides)) if name == "frechet" else prdc(*sides)["precision"]

    dim = 256 if name == "prdc" else 2048
    g = np.random.default_rng(0)
    mixed = g.normal(size=(dim, dim)).astype(np.float32)
    gen, real = (g.normal(size=(10_000, dim)).astype(np.float32) @ mixed for _ in range(2))
    run(gen, real)  # the first time pays for imports and fresh memory
    began = time.monotonic()
    run(gen, real)
    click.echo(time.monotonic() - began)


def by_sqrtm(gen: Any, real: Any) -> float:
    """The Frechet distance as Heusel et al. 2017 computed it."""
    import numpy as np
    from scipy.linalg import sqrtm

    means = [side.mean(axis=0, dtype=np.float64) for side in (gen, real)]
    covs = [np.cov(side, rowvar=False, dtype=np.float64) for side in (gen, real)]
    cross = np.trace(sqrtm(covs[0] @ covs[1])).real
    return float(((means[0] - means[1]) ** 2).sum() + np.trace(covs[0]) + np.trace(covs[1]) - 2 * cross)


@main.command(hidden=True)
@click.argument("name")
@click.argument("precision")
@click.argument("seeds", type=int)
@click.argument("steps", type=int)
def worker(name: str, precision: str, seeds: int, steps: int) -> None:
    """Print the training steps per second of one experiment."""
    params = load(Path("params.yaml"))
    row = params.published(name).model_copy(update={"seeds": seeds})
    chosen = Runtime.model_validate({"device": "cpu", "precision": precision, "deterministic": True})
    runtime.apply(chosen)

    from repligan.data.arrays import preprocess
    from repligan.data.download import fetch
    from repligan.training import loop

    dataset = params.datasets[row.dataset]
    with tempfile.TemporaryDirectory() as folder:
        fetch(row.dataset, dataset.source, Path(folder), Path("downloads"))
        preprocess(dataset, Path(folder), Path(folder))
        device = runtime.device(chosen, row.threads)
        training = loop.start(name, row, dataset.form, Path(folder), range(seeds), device, precision)
        for _ in range(max(2, steps // 10)):
            loop.train_step(training)
        began = time.monotonic()
        for _ in range(steps):
            loop.train_step(training)
        click.echo(steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()
