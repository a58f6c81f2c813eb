"""DVC stage: train and measure the ablations of one experiment."""

from importlib.metadata import version
from pathlib import Path

import click

from repligan.core import config, runtime
from repligan.core.errors import Command, run
from repligan.core.files import code_digest, existing, tree_digest


@click.command(
    cls=Command,
    epilog="Example: python stages/ablate.py even data/processed/even data/reference/even data/ablations/even",
)
@click.argument("name")
@click.argument("processed", type=click.Path(path_type=Path))
@click.argument("reference", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--params", type=click.Path(path_type=Path), default=Path("params.yaml"), show_default=True)
def main(name: str, processed: Path, reference: Path, out: Path, params: Path) -> None:
    """Train every seed of every row of ablations.NAME on the arrays in PROCESSED; measure it as in REFERENCE.

    Writes a folder for each row to the folder OUT. A killed or interrupted run goes on when the same command runs
    again.
    """
    loaded = config.load(params)
    config.pick(loaded.ablations, "ablations", name)
    for folder in (processed, reference):
        existing(folder)
    runtime.apply(loaded.runtime)

    from repligan.ablations import Ablation

    belongs_to = {
        "runtime": loaded.runtime.model_dump(mode="json"),
        "data": tree_digest(processed, "*.npy"),
        "reference": tree_digest(reference, "*"),
        "code": code_digest("evaluation"),
        "torch": version("torch"),
    }
    Ablation(name, loaded, processed, reference, Path(".work") / "ablations" / name, belongs_to).run(out)


if __name__ == "__main__":
    run(main)
