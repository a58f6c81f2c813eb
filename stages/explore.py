"""DVC stage: the latent space of one image GAN."""

from pathlib import Path

import click

from repligan.core import config, runtime
from repligan.core.errors import Command, run
from repligan.core.files import existing, to_bytes, whole_dir, write_bytes, write_json


@click.command(
    cls=Command,
    epilog="Example: python stages/explore.py dcgan-mnist data/runs/dcgan-mnist data/reference/mnist "
    "data/explorations/dcgan-mnist",
)
@click.argument("name")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("reference", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--params", type=click.Path(path_type=Path), default=Path("params.yaml"), show_default=True)
def main(name: str, run: Path, reference: Path, out: Path, params: Path) -> None:
    """Walk through the latent space of experiment NAME's last weights in RUN, scored by the extractor in REFERENCE.

    Writes pictures.safetensors, scores.json and values.safetensors to the folder OUT.
    """
    loaded = config.load(params)
    exploration = config.pick(loaded.explorations, "explorations", name)
    experiment = loaded.experiments[name]
    for folder in (run, reference):
        existing(folder)
    runtime.apply(loaded.runtime)

    from repligan.evaluation import images, latent
    from repligan.evaluation.evaluate import networks_at

    device = runtime.device(loaded.runtime, experiment.threads)
    G = networks_at(None, experiment, loaded.datasets[experiment.dataset].form, run)[0].to(device)
    protocol = images.read(loaded.references[experiment.dataset], reference, device)  # type: ignore[arg-type]
    scores, values = latent.scores(G, experiment, exploration, protocol)
    with whole_dir(out) as folder:
        write_bytes(folder / "pictures.safetensors", to_bytes(latent.pictures(G, experiment, exploration)))
        write_json(folder / "scores.json", scores)
        write_bytes(folder / "values.safetensors", to_bytes(values))


if __name__ == "__main__":
    run(main)
