"""DVC stage: measure the trials of one experiment, as published and in its variants, and its latent space."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

import this_tree  # noqa: F401
from repligan.cluster import chosen
from repligan.core import runtime
from repligan.core.errors import Command, run
from repligan.core.files import existing, whole_dir, write_json
from repligan.core.rows import pick
from repligan.engines import MEASURING, Job
from repligan.params import load

if TYPE_CHECKING:
    from repligan.trials import Workshop


@click.command(
    cls=Command,
    epilog="Example: python stages/evaluate.py even data/runs/even data/processed/even data/reference/even "
    "data/evaluations/even reports/metrics/even.json",
)
@click.argument("name")
@click.argument("runs", type=click.Path(path_type=Path))
@click.argument("processed", type=click.Path(path_type=Path))
@click.argument("reference", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.argument("metrics", type=click.Path(path_type=Path))
@click.option("--params", type=click.Path(path_type=Path), default=Path("params.yaml"), show_default=True)
def main(name: str, runs: Path, processed: Path, reference: Path, out: Path, metrics: Path, params: Path) -> None:
    """Measure the trials of experiment NAME, recorded in the folder RUNS, by the protocol in the folder REFERENCE.

    Writes tables, pictures and walks to the folder OUT, and METRICS, a JSON file.
    """
    loaded = load(params)
    pick(loaded.experiments, "experiments", name)
    for needed in (runs, processed, reference):
        existing(needed)
    runtime.apply(loaded.runtime)
    engine = chosen(MEASURING, early=True)

    from repligan.store import Store
    from repligan.trials import Workshop, folder

    workshop = Workshop(loaded, processed, reference, Store(folder()))
    engine.run(f"{name}: measuring", workshop.measuring_jobs(name, runs))
    with whole_dir(out) as written:
        # A job too: the processes of jobs have torch, which this one need not import.
        engine.run(f"{name}: writing", [Job(partial(write, workshop, name, runs, written, metrics), threads=1)])


def write(workshop: Workshop, name: str, runs: Path, out: Path, metrics: Path, alone: bool) -> None:
    """Write what is measured of an experiment to the folder `out` and its `metrics`."""
    write_json(metrics, workshop.write_evaluation(name, runs, out))


if __name__ == "__main__":
    run(main)
