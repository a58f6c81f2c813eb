"""DVC stage: measure one experiment's snapshots."""

from pathlib import Path

import click

from repligan.core import config, runtime
from repligan.core.errors import Command, InputError, run
from repligan.core.files import existing, read_json, whole_dir, write_json


@click.command(
    cls=Command,
    epilog="Example: python stages/evaluate.py even data/runs/even data/processed/even data/reference/even "
    "data/evaluations/even reports/metrics/even.json",
)
@click.argument("name")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("processed", type=click.Path(path_type=Path))
@click.argument("reference", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.argument("metrics", type=click.Path(path_type=Path))
@click.option("--params", type=click.Path(path_type=Path), default=Path("params.yaml"), show_default=True)
def main(name: str, run: Path, processed: Path, reference: Path, out: Path, metrics: Path, params: Path) -> None:
    """Measure the weights of experiment NAME in the folder RUN, by the protocol in the folder REFERENCE.

    Writes tables and arrays to the folder OUT, and METRICS, a JSON file.
    """
    loaded = config.load(params)
    experiment = config.pick(loaded.experiments, "experiments", name)
    dataset = loaded.datasets[experiment.dataset]
    for folder in (run, processed, reference):
        existing(folder)
    card = read_json(reference / "card.json")
    if not isinstance(card, dict) or not {"floor", "kind", "num", "repeats"} <= card.keys():
        raise InputError(f"{reference / 'card.json'}: found no card; run `dvc repro` to make it again")
    runtime.apply(loaded.runtime)

    from repligan.evaluation import tables
    from repligan.evaluation.evaluate import evaluate, measure_of

    device = runtime.device(loaded.runtime, experiment.threads)
    protocol = loaded.references[experiment.dataset]
    measure = measure_of(experiment, dataset.form, protocol, processed, reference, device)
    evaluation = evaluate(name, experiment, dataset.form, run, measure, device)
    with whole_dir(out) as folder:
        tables.write(folder, experiment, evaluation)
    write_json(metrics, tables.metrics(experiment, dataset, loaded.reports[name], loaded.scale, evaluation, card))


if __name__ == "__main__":
    run(main)
