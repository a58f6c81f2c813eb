"""DVC stage: test every claim on the values of the trials."""

from pathlib import Path

import click

import this_tree  # noqa: F401
from repligan.claims import rows
from repligan.core import runtime
from repligan.core.errors import Command, run
from repligan.core.files import array_bytes, existing, write_bytes, write_json
from repligan.params import load


@click.command(
    cls=Command,
    epilog="Example: python stages/claims.py data/evaluations data/claims/values.safetensors reports/claims.json",
)
@click.argument("evaluations", type=click.Path(path_type=Path))
@click.argument("values", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--params", type=click.Path(path_type=Path), default=Path("params.yaml"), show_default=True)
@click.option("--claims", type=click.Path(path_type=Path), default=rows.CLAIMS, show_default=True)
@click.option("--registered", type=click.Path(path_type=Path), default=rows.REGISTERED, show_default=True)
def main(evaluations: Path, values: Path, out: Path, params: Path, claims: Path, registered: Path) -> None:
    """Test the claims on the tables of values in the folder EVALUATIONS.

    Writes the ledger to OUT, a JSON file, and how the evidence grew with the seeds to VALUES, for the pictures.
    """
    loaded = load(params)
    runtime.apply(loaded.runtime)

    from repligan.claims import ledger
    from repligan.claims.values import Table

    found = rows.load(claims, loaded)
    rules = rows.registry(registered)
    judged, measured = ledger.ledger(loaded, found, rules, Table(existing(evaluations)), claims)
    write_bytes(values, array_bytes(measured))
    write_json(out, judged.to_json())


if __name__ == "__main__":
    run(main)
