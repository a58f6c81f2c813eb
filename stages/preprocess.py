"""DVC stage: raw data of one dataset -> arrays."""

from pathlib import Path

import click

import this_tree  # noqa: F401
from repligan.core import runtime
from repligan.core.errors import Command, run
from repligan.core.files import existing, usable, whole_dir
from repligan.core.rows import pick
from repligan.params import load


@click.command(cls=Command, epilog="Example: python stages/preprocess.py mnist data/raw/mnist data/processed/mnist")
@click.argument("name")
@click.argument("raw", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--params", type=click.Path(path_type=Path), default=Path("params.yaml"), show_default=True)
def main(name: str, raw: Path, out: Path, params: Path) -> None:
    """Turn the raw files of dataset NAME in the folder RAW into the arrays of the folder OUT."""
    loaded = load(params)
    dataset = pick(loaded.datasets, "datasets", name)
    existing(raw)
    runtime.apply(loaded.runtime)

    from repligan.data.arrays import preprocess

    with whole_dir(out) as folder, usable(raw):
        preprocess(dataset, raw, folder)


if __name__ == "__main__":
    run(main)
