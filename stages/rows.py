"""DVC stage: what params.yaml says to each of the other stages, a small file each, so that only a changed one runs."""

import json
from pathlib import Path

import click

import this_tree  # noqa: F401
from repligan.core import runtime
from repligan.core.errors import Command, run
from repligan.core.files import existing, sha256, whole_dir, write_bytes
from repligan.params import load


@click.command(cls=Command, epilog="Example: python stages/rows.py requirements.lock data/rows")
@click.argument("requirements", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--params", type=click.Path(path_type=Path), default=Path("params.yaml"), show_default=True)
def main(requirements: Path, out: Path, params: Path) -> None:
    """Write the rows that decide each stage, and the digest of REQUIREMENTS, to the folder OUT."""
    loaded = load(params)
    runtime.refuse_unable(loaded.runtime)  # before any stage works
    installed = sha256(existing(requirements))
    with whole_dir(out) as folder:
        for stage, rows in loaded.by_stage().items():
            for name, row in rows.items():
                content = json.dumps(row | {"requirements": installed}, indent=1, sort_keys=True)
                write_bytes(folder / stage / f"{name}.json", f"{content}\n".encode())


if __name__ == "__main__":
    run(main)
