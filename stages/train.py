"""DVC stage: train one experiment, all its seeds."""

import time
from pathlib import Path

import click

from repligan import tracking
from repligan.core import config, runtime
from repligan.core.errors import Command, run
from repligan.core.files import code_digest, existing, tree_digest
from repligan.core.progress import Progress
from repligan.core.signals import stop_on_signal


@click.command(cls=Command, epilog="Example: python stages/train.py even data/processed/even data/runs/even")
@click.argument("name")
@click.argument("processed", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--params", type=click.Path(path_type=Path), default=Path("params.yaml"), show_default=True)
def main(name: str, processed: Path, out: Path, params: Path) -> None:
    """Train experiment NAME on the arrays in PROCESSED; write weights and losses to the folder OUT.

    A killed or interrupted training goes on when the same command runs again.
    """
    loaded = config.load(params)
    experiment = config.pick(loaded.experiments, "experiments", name)
    existing(processed)
    runtime.apply(loaded.runtime)

    import torch

    from repligan.training import loop

    device = runtime.device(loaded.runtime, experiment.threads)
    form = loaded.datasets[experiment.dataset].form
    belongs_to = {
        "name": name,
        "experiment": experiment.model_dump(mode="json"),
        "runtime": loaded.runtime.model_dump(mode="json"),
        "data": tree_digest(processed, "*.npy"),
        "code": code_digest(),
        "torch": torch.__version__,
    }
    fingerprint = config.fingerprint(belongs_to)
    training = loop.start(name, experiment, form, processed, range(experiment.seeds), device, loaded.runtime.precision)
    live = tracking.Live(loaded.called(name), fingerprint)
    progress = Progress(name, experiment.steps)

    def report(step: int, scalars: dict[str, float], img: torch.Tensor | None) -> None:
        progress(step, **scalars)
        live(step, scalars, None if img is None else img.cpu().numpy())

    began = time.monotonic()
    try:
        with stop_on_signal() as stop:
            loop.train(training, out, Path(".work") / "trainings" / name, belongs_to, report, stop)
    finally:
        live.close()
    seconds = round(time.monotonic() - began, 1)
    tracking.record(name, out, {"fingerprint": fingerprint, "environment": runtime.in_force(), "seconds": seconds})


if __name__ == "__main__":
    run(main)
