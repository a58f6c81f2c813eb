"""DVC stage: train the trials of one experiment, as published and in its variants."""

from pathlib import Path

import click

import this_tree  # noqa: F401
from repligan.cluster import chosen, refuse_unknown
from repligan.core import runtime
from repligan.core.errors import Command, run
from repligan.core.files import existing, whole_dir
from repligan.core.rows import pick
from repligan.engines import TRAINING
from repligan.params import load


@click.command(cls=Command, epilog="Example: python stages/train.py even data/processed/even data/runs/even")
@click.argument("name")
@click.argument("processed", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--params", type=click.Path(path_type=Path), default=Path("params.yaml"), show_default=True)
def main(name: str, processed: Path, out: Path, params: Path) -> None:
    """Train all trials of experiment NAME on the arrays in PROCESSED; write what they recorded to the folder OUT.

    Finished trials are kept in .work/trials; a killed or interrupted one goes on when the same command runs again.
    """
    loaded = load(params)
    pick(loaded.experiments, "experiments", name)
    existing(processed)
    refuse_unknown()
    runtime.apply(loaded.runtime)

    from repligan import tracking
    from repligan.store import Store
    from repligan.trials import Workshop, folder

    workshop = Workshop(loaded, processed, Path(), Store(folder()), tracking.Live)
    chosen(TRAINING, watch=tracking.Sweep).run(f"{name}: training", workshop.training_jobs(name))
    with whole_dir(out) as written:
        workshop.write_runs(name, written)


if __name__ == "__main__":
    run(main)
