"""Ratios measured in one run: many seeds against one, portable against fast arithmetic.

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

import click

from repligan.core import config, runtime

ROUNDS = 3


def measure(experiment: str, precision: str, seeds: int, steps: int) -> float:
    """Training steps per second, in a fresh process."""
    arguments = [experiment, precision, str(seeds), str(steps)]
    done = subprocess.run([sys.executable, __file__, "worker", *arguments], capture_output=True, text=True, check=True)
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
    """Print every ratio; takes about three minutes."""
    if context.invoked_subcommand:
        return
    for name, steps in (("even", 200), ("bits1010", 500)):
        compare(
            f"{name}: seeds per second, 1,000 as a stack against one alone",
            (name, "portable", 1000, steps),
            (name, "portable", 1, steps),
            weight=1000,
        )
    for name, seeds, steps in (("dcgan-mnist", 1, 20), ("bits1010", 1000, 500)):
        compare(f"{name}: portable against fast", (name, "portable", seeds, steps), (name, "fast", seeds, steps))


@main.command(hidden=True)
@click.argument("name")
@click.argument("precision")
@click.argument("seeds", type=int)
@click.argument("steps", type=int)
def worker(name: str, precision: str, seeds: int, steps: int) -> None:
    """Print the training steps per second of one experiment."""
    params = config.load(Path("params.yaml"))
    row = params.experiments[name].model_copy(update={"seeds": seeds})
    chosen = config.Runtime.model_validate({"device": "cpu", "precision": precision, "deterministic": True})
    runtime.apply(chosen)

    from repligan.datasets.forms import preprocess
    from repligan.datasets.sources import fetch
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
