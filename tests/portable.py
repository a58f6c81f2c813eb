"""Train, evaluate and report next to nothing of everything; print a hash of every output.

`python tests/portable.py OUT` on one CPU and `qemu-x86_64 -cpu Haswell python tests/portable.py OUT` on
another must print the same. One process, since an emulated import of torch takes long.
"""

from __future__ import annotations

import gc
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

from repligan.core import runtime
from repligan.core.files import array_bytes, read_json, sha256, write_bytes, write_json
from repligan.core.rows import merged
from repligan.data.rows import DrawnSource, ImagesForm
from repligan.engines import ThisProcess
from repligan.evaluation.rows import CnnReference
from repligan.params import Params, load
from repligan.store import Store

TOY = {"seeds": 33, "steps": 12, "snapshot_every": 6}
# A z of 6: emulated, walking along 100 components takes minutes.
# Widths stay: with fewer channels a convolution takes another path through oneDNN than in any real training.
IMAGES = {"steps": 2, "snapshot_every": 2, "log_every": 1, "batch": 8, "z": {"dim": 6}}
VARIANT = {"seeds": 1, "steps": 1, "snapshot_every": 1, "log_every": 1, "batch": 4}
EXPERIMENTS = {
    "even": TOY | {"variants": {}},
    "bits1010": TOY,
    "dcgan-mnist": IMAGES,
    "dcgan-anime": IMAGES | {"batch": 4},
}
CLOCK = {name: {key: row[key] for key in ("steps", "snapshot_every")} for name, row in EXPERIMENTS.items()}
VARIANTS = ("d-alone", "control", "wgan-gp", "resnet")  # each with other code; the rest differ in values
FEWEST = 6  # images a side
WALK = {"num": 2, "midpoints": 1, "pairs": 1, "frames": 3, "components": [0, 5]}
PICTURED = ("bits1010", "dcgan-anime")
GRID = 4  # pictures a snapshot
# The first tests of claims about toys that stay: the others take the same way through the same code.
TESTS = {"bits-start": 0, "bits-match": 0, "bits-value": 1, "bits-balance": 0, "bits-d-alone": 0}


def smaller(params: Params) -> Params:
    """`params` with a few steps of a few experiments."""
    tables: dict[str, Any] = params.model_dump(mode="json")
    experiments = {name: merged(tables["experiments"][name], changes) for name, changes in EXPERIMENTS.items()}
    for name, row in experiments.items():
        variants = {key: one for key, one in row.get("variants", {}).items() if key in VARIANTS}
        small = VARIANT if name.startswith("dcgan") else TOY
        row["variants"] = {key: merged(one, {} if "based_on" in one else small) for key, one in variants.items()}
        for update in row["variants"].get("wgan-gp", {}).get("schedule", []):
            update["times"] = 1  # emulated, a gradient of a gradient takes long
        if "resnet" in row["variants"]:
            row["variants"]["resnet"]["batch"] = 2  # and so do its convolutions, of which it has many
    tables["experiments"] = experiments
    for table in ("evaluations", "reports"):
        tables[table] = {name: tables[table][name] for name in experiments}
    for name, row in tables["evaluations"].items():
        row["milestones"] = params.published(name).model_copy(update=CLOCK[name]).snapshot_steps()
        if name.startswith("dcgan"):
            row |= {"variants_num": FEWEST, "walk": row.get("walk", {}) | WALK}
    for name, dataset in params.datasets.items():
        if isinstance(dataset.form, ImagesForm):  # emulated, an image takes as long as a hundred natively
            if isinstance(dataset.source, DrawnSource):
                tables["datasets"][name]["source"]["count"] = 20
            tables["datasets"][name]["form"] |= {"train": 16, "heldout": 4}
            tables["references"][name] |= {"num": FEWEST, "batch": 16, "epochs": 1}
    return Params.model_validate(tables)


def main(params_file: Path, out: Path) -> None:
    params = smaller(load(params_file))
    runtime.apply(params.runtime)

    from repligan.claims import ledger as claims_ledger
    from repligan.claims.rows import load as load_claims
    from repligan.claims.rows import registry
    from repligan.claims.values import Table
    from repligan.evaluation import evaluate
    from repligan.reporting import figures, page, results

    evaluate.GRID = GRID
    data, reports = out / "data", out / "reports"
    learned = {params.published(name).dataset for name in params.experiments}
    for name in params.datasets:
        prepare(params, name, data, name in learned)
    for name in params.experiments:
        reproduce(params, name, data, reports)
    conf = Path(__file__).parents[1] / "conf"
    claims, registered = load_claims(conf / "claims.yaml", params), registry(conf / "registered.yaml")
    tested = {
        name: one.model_copy(update={"tests": one.tests[: TESTS.get(name)]}) for name, one in claims.claims.items()
    }
    claims = claims.model_copy(update={"claims": {name: one for name, one in tested.items() if one.tests}})
    found, values = claims_ledger.ledger(params, claims, registered, Table(data / "evaluations"))
    write_json(reports / "claims.json", found.to_json())
    write_bytes(data / "values.safetensors", array_bytes(values))
    read = [one for one in results.read(params, data, reports) if one.name in PICTURED]  # emulated, one takes seconds
    write_bytes(reports / "figures" / "overview.png", figures.png(partial(figures.overview, read)))
    # Without the script that draws charts: a text out of a package, which takes a minute to unpack when emulated.
    write_bytes(reports / "index.html", page.render(params, read, found, values, "").encode())
    for path in sorted(path for path in out.rglob("*") if path.is_file() and "store" not in path.parts):
        print(sha256(path), path.relative_to(out))


def prepare(params: Params, name: str, data: Path, learned: bool) -> None:
    """fetch, preprocess and, where a GAN learns from it here, reference."""
    from repligan.data.arrays import preprocess
    from repligan.data.download import fetch
    from repligan.evaluation import comparison, draws
    from repligan.metrics.intervals import summary

    dataset, reference = params.datasets[name], params.references[name]
    raw, processed, folder = (data / kind / name for kind in ("raw", "processed", "reference"))
    for made in (raw, processed, folder):
        made.mkdir(parents=True)
    fetch(name, dataset.source, raw, data / "downloads")
    preprocess(dataset, raw, processed)
    if not learned:
        return
    card = reference.model_dump(mode="json")
    if isinstance(reference, CnnReference):
        device = runtime.device(params.runtime, reference.threads)
        compared, taught = comparison.make(reference, processed, folder, device)
        floor, card = compared.floor(), card | taught | {"blurred": summary(compared.blurred())}
    else:
        floor = draws.floor(reference, dataset, processed)  # type: ignore[arg-type]
    write_json(folder / "card.json", card | {"floor": summary(floor)})


def reproduce(params: Params, name: str, data: Path, reports: Path) -> None:
    """train and evaluate in this process: others would be started by the machine's own CPU, not the emulated one."""
    from repligan.trials import Workshop

    dataset = params.published(name).dataset
    store = Store(data / "store")
    workshop = Workshop(params, data / "processed" / dataset, data / "reference" / dataset, store)
    runs, out = data / "runs" / name, data / "evaluations" / name
    for folder in (runs, out):
        folder.mkdir(parents=True)
    ThisProcess().run(name, workshop.training_jobs(name))
    workshop.write_runs(name, runs)
    ThisProcess().run(name, workshop.measuring_jobs(name, runs))
    write_json(reports / "metrics" / f"{name}.json", workshop.write_evaluation(name, runs, out))
    assert read_json(reports / "metrics" / f"{name}.json")


if __name__ == "__main__":
    gc.set_threshold(100_000)  # emulated, collecting garbage and taking torch apart take long
    main(Path(sys.argv[1]), Path(sys.argv[2]))
    sys.stdout.flush()
    os._exit(0)
