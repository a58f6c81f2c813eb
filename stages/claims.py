"""DVC stage: test every claim on the results of the experiments and their ablations."""

from pathlib import Path

import click

from repligan.core import config
from repligan.core.errors import Command, run
from repligan.core.files import array_bytes, existing, write_bytes, write_json


@click.command(
    cls=Command, epilog="Example: python stages/claims.py data data/claims/values.safetensors reports/claims.json"
)
@click.argument("data", type=click.Path(path_type=Path))
@click.argument("values", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--params", type=click.Path(path_type=Path), default=Path("params.yaml"), show_default=True)
def main(data: Path, values: Path, out: Path, params: Path) -> None:
    """Test the claims of params.yaml on the results in the folder DATA.

    Writes the ledger to OUT, a JSON file, and the value of every seed to VALUES.
    """
    loaded = config.load(params)
    for folder in ("evaluations", "ablations"):
        existing(data / folder)

    from repligan import claims

    found, measured = claims.ledger(loaded, data)
    write_bytes(values, array_bytes(measured))
    write_json(out, {"scale": loaded.scale, "claims": [{"id": name, **claim} for name, claim in found.items()]})


if __name__ == "__main__":
    run(main)
