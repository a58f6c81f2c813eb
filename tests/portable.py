"""Train, evaluate and report next to nothing of everything; print a hash of every output.

`python tests/portable.py OUT` on one CPU and `qemu-x86_64 -cpu Haswell python tests/portable.py OUT` on
another must print the same. One process, since an emulated import of torch takes long.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from repligan.core import config, runtime
from repligan.core.files import array_bytes, read_json, sha256, write_bytes, write_json
from repligan.core.signals import Stop

CHANGES = {
    "even": {"seeds": 33, "steps": 12, "snapshot_every": 6},
    "bits1010": {"seeds": 33, "steps": 12, "snapshot_every": 6},
    "bits1010-d-alone": {"seeds": 33, "steps": 12, "snapshot_every": 6},
    "dcgan-mnist": {"steps": 3, "snapshot_every": 3, "log_every": 1},
    "dcgan-anime": {"steps": 3, "snapshot_every": 3, "log_every": 1},
}


ABLATED: dict[str, dict[str, Any]] = {
    "dcgan-mnist": {"num": 16, "budget": {"seeds": 1, "steps": 2}, "rows": {"as-published": {}}}
}
PICTURED = ("bits1010", "dcgan-anime")


def main(params_file: Path, out: Path) -> None:
    params = config.load(params_file)
    rows = {name: params.experiments[name].model_copy(update=changes) for name, changes in CHANGES.items()}
    reports = {
        name: params.reports[name].model_copy(update={"milestones": row.snapshot_steps()}) for name, row in rows.items()
    }
    explorations = {
        name: row.model_copy(update={"num": 2, "midpoints": 1, "pairs": 1, "frames": 3})
        for name, row in params.explorations.items()
        if name in rows
    }
    datasets = {name: few(row) for name, row in params.datasets.items()}
    ablations = {name: params.ablations[name].model_copy(update=changes) for name, changes in ABLATED.items()}
    tables = {"datasets": datasets, "experiments": rows, "reports": reports, "explorations": explorations}
    tables["ablations"] = ablations
    params = params.model_copy(update=tables)
    runtime.apply(params.runtime)

    from repligan import ablations
    from repligan.claims import ledger
    from repligan.reporting import figures, page, results

    for name in params.datasets:
        learned = any(row.dataset == name for row in rows.values())
        prepare(params, name, out / "data", learned)
    for name in params.experiments:
        reproduce(params, name, out / "data", out / "reports")
    # In this process: others would be started by the machine's own CPU, not by the emulated one.
    ablations._processes = lambda jobs, *_: (job() or 0 for job in jobs)
    for name, group in params.ablations.items():
        folders = (out / "data" / kind / group.dataset for kind in ("processed", "reference"))
        ablations.Ablation(name, params, *folders, out / "work", {}).run(out / "data" / "ablations" / name)
    claims, values = ledger(params, out / "data")
    write_json(out / "reports" / "claims.json", claims)
    write_bytes(out / "data" / "values.safetensors", array_bytes(values))
    found = results.read(params, out / "data", out / "reports")
    found = [result for result in found if result.name in PICTURED]  # emulated, a figure takes seconds
    drawn = figures.draw(
        found, {name: claims[name] for name in ("even-start", "img-smoothing") if name in claims}, values
    )
    for name, content in drawn.items():
        write_bytes(out / "reports" / "figures" / f"{name}.png", content)
    write_bytes(out / "reports" / "index.html", page.render(params, found, claims, drawn).encode())
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        print(sha256(path), path.relative_to(out))


def few(row: config.Dataset) -> config.Dataset:
    """A dataset that is drawn, but from which nothing is learned here: a few of its images will do."""
    if not isinstance(row.source, config.DrawnSource) or row.source.subject == "anime":
        return row
    form = row.form.model_copy(update={"train": 16, "heldout": 4})
    return row.model_copy(update={"source": row.source.model_copy(update={"count": 20}), "form": form})


def prepare(params: config.Params, name: str, data: Path, learned: bool) -> None:
    """fetch, preprocess and, where a GAN learns from it here, reference."""
    from repligan.datasets.forms import preprocess
    from repligan.datasets.sources import fetch
    from repligan.evaluation import images, toys
    from repligan.evaluation.intervals import interval

    dataset, reference = params.datasets[name], params.references[name]
    raw, processed, folder = (data / kind / name for kind in ("raw", "processed", "reference"))
    for made in (raw, processed, folder):
        made.mkdir(parents=True)
    fetch(name, dataset.source, raw, data / "downloads")
    preprocess(dataset, raw, processed)
    if not learned:
        return
    card = reference.model_dump(mode="json")
    if isinstance(reference, config.CnnReference):
        device = runtime.device(params.runtime, reference.threads)
        protocol, learned = images.make(reference, processed, folder, device)
        floor, card = protocol.floor(), card | learned
    else:
        floor = toys.floor(reference, dataset.form, processed)
    write_json(folder / "card.json", card | {"floor": {key: interval(values) for key, values in floor.items()}})


def reproduce(params: config.Params, name: str, data: Path, reports: Path) -> None:
    """train and evaluate."""
    from repligan.evaluation import tables
    from repligan.evaluation.evaluate import evaluate, measure_of
    from repligan.training import loop

    row = params.experiments[name]
    form, reference = params.datasets[row.dataset].form, params.references[row.dataset]
    processed, folder, run = data / "processed" / row.dataset, data / "reference" / row.dataset, data / "runs" / name
    device = runtime.device(params.runtime, row.threads)
    training = loop.start(name, row, form, processed, range(row.seeds), device)
    loop.train(training, run, data / "work", {}, lambda *_: None, Stop())
    measure = measure_of(row, form, reference, processed, folder, device)
    evaluation = evaluate(name, row, form, run, measure, device)
    card = read_json(folder / "card.json")
    write_json(
        reports / "metrics" / f"{name}.json",
        tables.metrics(row, params.datasets[row.dataset], params.reports[name], params.scale, evaluation, card),
    )
    tables.write(data / "evaluations" / name, row, evaluation)
    if name in params.explorations:
        explore(params, name, run, folder, data / "explorations" / name)


def explore(params: config.Params, name: str, run: Path, folder: Path, out: Path) -> None:
    """explore."""
    from repligan.core.files import to_bytes
    from repligan.evaluation import images, latent
    from repligan.evaluation.evaluate import networks_at

    row, exploration = params.experiments[name], params.explorations[name]
    device = runtime.device(params.runtime, row.threads)
    G = networks_at(None, row, params.datasets[row.dataset].form, run)[0]
    protocol = images.read(params.references[row.dataset], folder, device)
    write_bytes(out / "pictures.safetensors", to_bytes(latent.pictures(G, row, exploration)))
    scores, values = latent.scores(G, row, exploration, protocol)
    write_json(out / "scores.json", scores)
    write_bytes(out / "values.safetensors", to_bytes(values))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
