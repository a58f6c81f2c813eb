"""DVC stage: the real-vs-real floor of one dataset, and the extractor that distances need."""

from pathlib import Path
from typing import Any

import click

from repligan.core import config, runtime
from repligan.core.errors import Command, run
from repligan.core.files import existing, whole_dir, write_json


@click.command(
    cls=Command, epilog="Example: python stages/reference.py mnist data/processed/mnist data/reference/mnist"
)
@click.argument("name")
@click.argument("processed", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--params", type=click.Path(path_type=Path), default=Path("params.yaml"), show_default=True)
def main(name: str, processed: Path, out: Path, params: Path) -> None:
    """Measure dataset NAME in PROCESSED against itself; write card.json and the extractor to the folder OUT."""
    loaded = config.load(params)
    reference = config.pick(loaded.references, "references", name)
    existing(processed)
    runtime.apply(loaded.runtime)

    from repligan.datasets.sources import fetch
    from repligan.evaluation.intervals import summary

    card: dict[str, Any] = reference.model_dump(mode="json")
    with whole_dir(out) as folder:
        if isinstance(reference, config.DrawsReference):
            from repligan.evaluation import toys

            floor = toys.floor(reference, loaded.datasets[name].form, processed)
        else:
            from repligan.evaluation import images

            if isinstance(reference, config.InceptionReference):
                weights = config.FilesSource(kind="files", layout="images", files=[reference.weights])
                fetch("inception", weights, folder, Path("downloads"))
                (folder / reference.weights.name).rename(folder / images.STANDARD)
            device = runtime.device(loaded.runtime, reference.threads)
            protocol, learned = images.make(reference, processed, folder, device)
            form = loaded.datasets[name].form
            ceiling = protocol.ceiling((form.channels, form.size, form.size))  # type: ignore[union-attr]
            card |= learned | {"ceiling": summary(ceiling)}
            floor = protocol.floor()
        write_json(folder / "card.json", card | {"floor": summary(floor)})


if __name__ == "__main__":
    run(main)
