"""MLflow as a projection of the files that DVC tracks; the only importer of mlflow.

A run is found again by its result (a digest of its weights and metrics), so that `sync` can be called
any number of times. No failure here ever stops the pipeline: the files are the truth.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import queue
import re
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repligan.core.config import Experiment, Params, flatten
from repligan.core.errors import InputError
from repligan.core.files import arrays, existing, read_json, sha256, tree_digest, usable, write_json

if TYPE_CHECKING:
    import numpy as np
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from repligan.reporting.results import Result

Series = dict[str, list[tuple[int, float]]]
EXPERIMENT = "repligan"
FINGERPRINT, RESULT = "repligan.fingerprint", "repligan.result"
BATCH = 1000  # metrics MLflow takes in one call
MOST_PICTURES = 20  # steps that MLflow's slider can show
LIVE_AFTER = 20.0  # seconds, unless REPLIGAN_LIVE_AFTER says otherwise
PATIENCE = 10.0  # seconds that a finished training waits for MLflow to catch up
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "GIT_PYTHON_REFRESH": "quiet",
}


def root() -> Path:
    """The repository's folder, also inside an experiment that DVC runs in a temporary copy."""
    return Path(os.environ.get("DVC_ROOT", Path.cwd()))


def uri() -> str:
    """MLFLOW_TRACKING_URI, or an SQLite file at the repository's root."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root()}/mlflow.db"


@dataclass
class Store:
    """An open MLflow store and the id of our experiment in it."""

    client: MlflowClient
    experiment_id: str

    def find(self, tag: str, value: str) -> Run | None:
        """The newest run with this tag."""
        found = self.client.search_runs([self.experiment_id], f"tags.`{tag}` = '{value}'", max_results=1)
        return found[0] if found else None

    def logged_steps(self, run_id: str, keys: Iterable[str]) -> dict[str, set[int]]:
        """metric -> the steps that the run has."""
        return {key: {metric.step for metric in self.client.get_metric_history(run_id, key)} for key in keys}

    def shown_steps(self, run_id: str) -> set[int]:
        """The steps of the run's sample images, read from how MLflow names them."""
        paths = [artifact.path for artifact in self.client.list_artifacts(run_id, "images")]
        return {int(match[1]) for path in paths if (match := re.search(r"samples[+%]step[+%](\d+)", path))}

    def log_scalars(self, run_id: str, values: Iterable[tuple[str, int, float]]) -> None:
        """Log (key, step, value) triples."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(key, value, now, step) for key, step, value in values]
        for start in range(0, len(metrics), BATCH):
            self.client.log_batch(run_id, metrics=metrics[start : start + BATCH])

    def log_picture(self, run_id: str, step: int, made: np.ndarray) -> None:
        """Log what G made, as `pictures.picture` shows it, to the run's step slider."""
        from repligan.reporting.pictures import picture

        self.client.log_image(run_id, picture(made), key="samples", step=step)


def open_store() -> Store:
    """Connect, creating the database and the experiment once, however many processes ask at the same time."""
    for key, value in QUIET.items():
        os.environ.setdefault(key, value)
    from mlflow import MlflowClient

    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    lock = root() / ".work" / "mlflow.lock"
    lock.parent.mkdir(exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        client = MlflowClient(uri())
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment:
            return Store(client, experiment.experiment_id)
        where = f"{root().resolve().as_uri()}/mlartifacts" if uri().startswith("sqlite:") else None
        return Store(client, client.create_experiment(EXPERIMENT, artifact_location=where))


def artifact_location() -> str:
    """Where the files of our runs are, an absolute address that does not follow a moved folder."""
    store = open_store()
    return str(store.client.get_experiment(store.experiment_id).artifact_location)


class Live:
    """A training seen in MLflow while it runs: called like a report, works in a thread, never fails or blocks.

    It begins LIVE_AFTER seconds into the training: a short one is over before MLflow is imported, and the report
    stage adds its run.
    """

    def __init__(self, name: str, fingerprint: str):
        self.name, self.fingerprint = name, fingerprint
        self.run_id: str | None = None
        self.waiting: queue.Queue[tuple[int, dict[str, float], np.ndarray | None] | None] = queue.Queue()
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.due = time.monotonic() + float(os.environ.get("REPLIGAN_LIVE_AFTER", LIVE_AFTER))

    def __call__(self, step: int, scalars: dict[str, float], img: np.ndarray | None) -> None:
        """Log means over the seeds, and sample images uint8 [N, C, H, W]."""
        if scalars or img is not None:
            self.waiting.put((step, scalars, img))
        if self.thread.ident is None and time.monotonic() > self.due:
            self.thread.start()

    def close(self) -> None:
        """Wait a little for what is still to be logged."""
        if self.thread.ident is None:
            return
        self.waiting.put(None)
        self.thread.join(PATIENCE)
        if self.thread.is_alive():
            _warn(f"{self.name}: MLflow is slow; `repligan sync` adds the rest")

    def _work(self) -> None:
        try:
            store = open_store()
            run = store.find(FINGERPRINT, self.fingerprint) or store.client.create_run(
                store.experiment_id, tags={FINGERPRINT: self.fingerprint}, run_name=self.name
            )
            self.run_id = run.info.run_id
            # A training that goes on from a checkpoint passes some steps for the second time.
            logged = store.logged_steps(self.run_id, list(run.data.metrics))
            shown = store.shown_steps(self.run_id)
            while (item := self.waiting.get()) is not None:
                step, scalars, img = item
                new = [(key, step, value) for key, value in scalars.items() if step not in logged.get(key, ())]
                store.log_scalars(self.run_id, new)
                if img is not None and step not in shown and len(shown) < MOST_PICTURES:
                    store.log_picture(self.run_id, step, img)
                    shown.add(step)
        except Exception as error:  # whatever a server does, the training goes on
            _warn(f"{self.name}: MLflow: {short(error)}; `repligan sync` adds the run later")


def record(name: str, run: Path, notes: dict[str, Any]) -> None:
    """Remember, outside of DVC, where and how long the weights in the folder `run` were trained."""
    try:
        write_json(_record_file(name), notes | {"weights": tree_digest(run, "*")})
    except OSError as error:
        _warn(f"{name}: where it was trained is not recorded: {short(error)}")


def sync(params: Params, data: Path, reports: Path) -> dict[str, str]:
    """Write the runs that MLflow lacks and complete those it has in part; name -> what was done.

    `data` and `reports` are the folders that the pipeline writes. Twice over gives the same.
    Raises InputError where a result is missing, and what MLflow raises where its store cannot be reached.
    """
    from repligan.reporting import ledger, results

    found, claims = results.read(params, data, reports), ledger.read(reports)
    series = {result.name: _series(result, data / "runs" / result.name) for result in found}
    rows = [f"{base}/{row}" for base, group in params.ablations.items() for row in group.rows]
    ablated = {row: _ablated(params, row, data / "ablations" / row) for row in rows}
    store = open_store()
    done = {result.name: _sync_one(store, params, result, series[result.name], data, reports) for result in found}
    done |= {row: _sync_ablation(store, params, row, ablated[row], data) for row in rows}
    return done | {"claims": _sync_claims(store, params, ledger.table(claims), reports)}


def sync_or_warn(params: Params, data: Path, reports: Path) -> None:
    """`sync`, but a store that cannot be reached is one line, not an error."""
    try:
        sync(params, data, reports)
    except InputError:
        raise
    except Exception as error:  # the results are in files: nothing is lost
        _warn(f"MLflow: {short(error)}; `repligan sync` adds the runs later")


def _sync_one(store: Store, params: Params, result: Result, series: Series, data: Path, reports: Path) -> str:
    from repligan.reporting.pictures import sheet

    weights = tree_digest(data / "runs" / result.name, "*")
    key = f"{weights[:32]}-{tree_digest(reports / 'metrics', f'{result.name}.json')[:32]}"
    run = store.find(RESULT, key)
    if run and run.info.status == "FINISHED":
        return "was there"
    file = _record_file(result.name)
    notes = read_json(file) if file.exists() else {}
    if notes.get("weights") != weights:
        notes = {"environment": "unknown: trained on another machine, or restored from a cache"}
    if run is None and "fingerprint" in notes:
        run = store.find(FINGERPRINT, notes["fingerprint"])
    if run is None or run.data.tags.get(RESULT, key) != key:
        run = store.client.create_run(store.experiment_id, run_name=result.called)
    run_id = run.info.run_id
    tags = {RESULT: key, "source": result.report.source}
    if "alarms" in result.metrics:
        tags["alarms"] = ", ".join(sorted({alarm["kind"] for alarm in result.metrics["alarms"]})) or "none"
    _log_identity(store, run_id, params, result.experiment, data / "processed" / result.experiment.dataset, tags)
    _log_missing(store, run_id, series)
    _log_pictures(store, run_id, result)
    store.client.log_dict(run_id, result.metrics, "metrics.json")
    store.client.log_dict(run_id, notes, "training.json")
    if result.walks:
        store.client.log_dict(run_id, result.scores, "latent/scores.json")
    for walk, img in result.walks.items():
        store.client.log_image(run_id, sheet(img), artifact_file=f"latent/{walk}.png")
    store.client.set_terminated(run_id)
    return "written"


@dataclass
class Ablated:
    """One ablation: means over the seeds of what it recorded and measured, and what each seed came to."""

    series: Series
    table: dict[str, list[float]]


def _ablated(params: Params, row: str, folder: Path) -> Ablated:
    every = params.row(row).log_every
    history, _ = arrays(folder / "history.safetensors")
    stats, note = arrays(folder / "stats.safetensors")
    series = {key: [((i + 1) * every, float(one.mean())) for i, one in enumerate(v)] for key, v in history.items()}
    for key, values in stats.items():
        series[key] = [(step, float(one.mean())) for step, one in zip(note["steps"], values, strict=True)]
    last = {key: values[-1].astype(float).tolist() for key, values in (history | stats).items()}
    return Ablated(series, {"seed": list(range(params.row(row).seeds)), **last})


def _sync_ablation(store: Store, params: Params, row: str, found: Ablated, data: Path) -> str:
    key = f"{row}-{tree_digest(data / 'ablations' / row, '*')[:32]}"
    if store.find(RESULT, key):
        return "was there"
    base, experiment = row.partition("/")[0], params.row(row)
    run_id = store.client.create_run(store.experiment_id, run_name=params.called(row)).info.run_id
    tags = {"ablation_of": params.called(base), "source": params.reports[base].source}
    _log_identity(store, run_id, params, experiment, data / "processed" / experiment.dataset, tags)
    _log_missing(store, run_id, found.series)
    store.client.log_table(run_id, found.table, "seeds.json")
    store.client.set_tag(run_id, RESULT, key)  # last: a run without it is written again
    store.client.set_terminated(run_id)
    return "written"


def _sync_claims(store: Store, params: Params, table: dict[str, list[Any]], reports: Path) -> str:
    key = f"claims-{sha256(reports / 'claims.json')[:32]}"
    if store.find(RESULT, key):
        return "was there"
    tags = {"scale": params.scale, "mlflow.note.content": "Do the claims of the sources hold? See claims.json."}
    run_id = store.client.create_run(store.experiment_id, run_name="claims", tags=tags).info.run_id
    store.client.log_table(run_id, table, "claims.json")
    store.client.set_tag(run_id, RESULT, key)
    store.client.set_terminated(run_id)
    return "written"


def _log_identity(
    store: Store, run_id: str, params: Params, experiment: Experiment, processed: Path, tags: dict[str, str]
) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag

    name = experiment.dataset
    tags = tags | {"scale": params.scale, "dataset": name}
    if params.datasets[name].standin_for:
        tags["standin_for"] = str(params.datasets[name].standin_for)
    values = {"scale": params.scale, **_flat(experiment), **_flat(params.runtime, "runtime")}
    store.client.log_batch(
        run_id,
        params=[Param(name, str(value)) for name, value in values.items()],
        tags=[RunTag(name, value) for name, value in tags.items()],
    )
    source = json.dumps(params.datasets[name].source.model_dump(mode="json"), sort_keys=True)
    dataset = Dataset(name, tree_digest(processed, "*")[:32], "repligan", source)
    store.client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])


def _series(result: Result, run: Path) -> Series:
    """Every metric of a result over the steps: means over the seeds or repeats."""
    from safetensors.numpy import load_file

    every = result.experiment.log_every
    with usable(existing(run / "history.safetensors")):
        series = {
            key: [((i + 1) * every, float(row.mean())) for i, row in enumerate(values)]
            for key, values in load_file(run / "history.safetensors").items()
        }
    for key in result.measured:
        series[key] = [(int(step), float(value)) for step, value in result.curves[["step", key]].to_numpy()]
    return series


def _log_missing(store: Store, run_id: str, series: Series) -> None:
    have = store.logged_steps(run_id, series)
    missing = [(key, *point) for key, points in series.items() for point in points if point[0] not in have[key]]
    store.log_scalars(run_id, missing)


def _log_pictures(store: Store, run_id: str, result: Result) -> None:
    from repligan.reporting.pictures import spread

    there = store.shown_steps(run_id)
    for step in spread(sorted(result.pictures), MOST_PICTURES):
        if step not in there:
            store.log_picture(run_id, step, result.pictures[step])


def _flat(model: Any, prefix: str = "") -> dict[str, Any]:
    return dict(flatten(model.model_dump(mode="json"), prefix))


def _record_file(name: str) -> Path:
    return root() / ".work" / "trained" / f"{name}.json"


def short(error: Exception) -> str:
    """An exception's message on one line of at most 200 characters."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)
