"""DVC stage: the real-vs-real floor of one dataset, and the extractor that distances need."""

from pathlib import Path
from typing import Any

import click

import this_tree  # noqa: F401
from repligan.core import runtime
from repligan.core.errors import Command, run
from repligan.core.files import existing, root, whole_dir, write_json
from repligan.core.rows import pick
from repligan.data.rows import FilesSource
from repligan.evaluation.rows import DrawsReference, InceptionReference
from repligan.params import load


@click.command(
    cls=Command, epilog="Example: python stages/reference.py mnist data/processed/mnist data/reference/mnist"
)
@click.argument("name")
@click.argument("processed", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--params", type=click.Path(path_type=Path), default=Path("params.yaml"), show_default=True)
def main(name: str, processed: Path, out: Path, params: Path) -> None:
    """Measure dataset NAME in PROCESSED against itself; write card.json and the extractor to the folder OUT."""
    loaded = load(params)
    reference = pick(loaded.references, "references", name)
    existing(processed)
    runtime.apply(loaded.runtime)

    from repligan.metrics.intervals import summary

    dataset = loaded.datasets[name]
    card: dict[str, Any] = reference.model_dump(mode="json")
    with whole_dir(out) as folder:
        if isinstance(reference, DrawsReference):
            from repligan.evaluation import draws

            floor = draws.floor(reference, dataset, processed)
        else:
            from repligan.evaluation import comparison

            if isinstance(reference, InceptionReference):
                from repligan.data.download import fetch

                weights = FilesSource(kind="files", layout="images", files=[reference.weights])
                fetch("inception", weights, folder, root() / "downloads")
                (folder / reference.weights.name).rename(folder / comparison.STANDARD)
            device = runtime.device(loaded.runtime, reference.threads)
            compared, learned = comparison.make(reference, processed, folder, device)
            form = dataset.form
            ceiling = compared.ceiling((form.channels, form.size, form.size))  # type: ignore[union-attr]
            card |= learned | {"ceiling": summary(ceiling), "blurred": summary(compared.blurred())}
            floor = compared.floor()
        write_json(folder / "card.json", card | {"floor": summary(floor)})


if __name__ == "__main__":
    run(main)
