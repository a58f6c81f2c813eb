"""Train the trials in a folder, or measure them, by the engine that REPLIGAN_ENGINE names: a driver to be killed.

`here` does the same in the process that calls it.

`python tests/sweep.py FOLDER [--measure]`: it has params.yaml, processed/ and reference/; store/ and runs/ are filled.
"""

from __future__ import annotations

from pathlib import Path

import click

from repligan.cluster import chosen
from repligan.core import runtime
from repligan.core.errors import Command, run
from repligan.engines import MEASURING, TRAINING, Engine, ThisProcess
from repligan.params import Params, load


@click.command(cls=Command)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--measure", is_flag=True)
def main(folder: Path, measure: bool) -> None:
    """Make what is missing."""
    params = load(folder / "params.yaml")
    runtime.apply(params.runtime)
    sweep(folder, params, chosen(MEASURING if measure else TRAINING), measure)


def sweep(folder: Path, params: Params, engine: Engine, measure: bool) -> None:
    """Train or measure what is missing in the folder's store."""
    from repligan.store import Store
    from repligan.trials import Workshop

    jobs = []
    for name in params.experiments:
        dataset = params.published(name).dataset
        workshop = Workshop(params, folder / "processed" / dataset, folder / "reference", Store(folder / "store"))
        if measure:
            workshop.write_runs(name, folder / "runs" / name)
        jobs += workshop.measuring_jobs(name, folder / "runs" / name) if measure else workshop.training_jobs(name)
    engine.run("sweep", jobs)


def here(folder: Path, measure: bool = False) -> None:
    """The same one by one, in this process."""
    sweep(folder, load(folder / "params.yaml"), ThisProcess(), measure)


if __name__ == "__main__":
    run(main)
