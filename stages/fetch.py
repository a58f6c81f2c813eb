"""DVC stage: raw data of one dataset."""

from pathlib import Path

import click

import this_tree  # noqa: F401
from repligan.core import runtime
from repligan.core.errors import Command, run
from repligan.core.files import root, whole_dir
from repligan.core.rows import pick
from repligan.params import load


@click.command(cls=Command, epilog="Example: python stages/fetch.py mnist data/raw/mnist")
@click.argument("name")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--params", type=click.Path(path_type=Path), default=Path("params.yaml"), show_default=True)
def main(name: str, out: Path, params: Path) -> None:
    """Write the raw files of dataset NAME to the folder OUT."""
    loaded = load(params)
    dataset = pick(loaded.datasets, "datasets", name)
    runtime.apply(loaded.runtime)

    from repligan.data.download import fetch

    with whole_dir(out) as folder:
        fetch(name, dataset.source, folder, root() / "downloads")


if __name__ == "__main__":
    run(main)
