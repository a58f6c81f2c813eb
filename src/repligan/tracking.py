"""MLflow as a projection of the files that DVC tracks; the only importer of mlflow.

Each row of params.yaml has a run, found again by its result (a digest of its values and metrics), so that `sync`
can be called any number of times. No failure here ever stops the pipeline: the files are the truth.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import re
import sqlite3
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from repligan.core.errors import Fault, InputError
from repligan.core.files import alone, arrays, root, sha256, usable, write_bytes
from repligan.core.rows import flatten
from repligan.params import Params
from repligan.training.rows import PUBLISHED, Experiment, RowId

if TYPE_CHECKING:
    import numpy as np
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from repligan.reporting.results import Result

Series = dict[str, list[tuple[int, float]]]
EXPERIMENT, FILE, DATABASE = "repligan", "sqlite:///", "mlflow.db"
FINGERPRINT, RESULT = "repligan.fingerprint", "repligan.result"
IN_TABLES = ("kid_se", "gap_D", "extreme_D", "steep_D", "dead_D")  # only there: more than 25 curves are too many
BATCH = 1000  # metrics MLflow takes in one call
MOST_PICTURES = 20  # steps that MLflow's slider can show
LIVE_AFTER = 20.0  # seconds, unless REPLIGAN_LIVE_AFTER says otherwise
ELSEWHERE = "unknown: trained on another machine, or restored from a cache"
LOCKED = 5.0  # seconds that a database file which another process writes to is waited for
RAISED = logging.CRITICAL + 1  # for what logs the exceptions that it raises, with their tracebacks
PATIENCE = 10.0  # seconds that a finished training waits for MLflow to catch up
MEMORY = Path("/dev/shm")  # a folder in memory, on Linux
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "GIT_PYTHON_REFRESH": "quiet",
}


def uri() -> str:
    """MLFLOW_TRACKING_URI, by default mlflow.db; a relative path of a file begins at the repository's folder."""
    found = os.environ.get("MLFLOW_TRACKING_URI") or f"{FILE}{DATABASE}"
    return f"{FILE}{root() / found.removeprefix(FILE)}" if found.startswith(FILE) else found


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

    def log_table_once(self, run_id: str, table: dict[str, list[Any]], file: str) -> None:
        """Log a table unless the run has it: MLflow would add its rows to those that are there."""
        if file not in {artifact.path for artifact in self.client.list_artifacts(run_id)}:
            self.client.log_table(run_id, table, file)

    def log_picture(self, run_id: str, step: int, made: np.ndarray) -> None:
        """Log what G made, as `pictures.picture` shows it, to the run's step slider."""
        from repligan.reporting.pictures import picture

        self.client.log_image(run_id, picture(made), key="samples", step=step)


def open_store() -> Store:
    """Connect, creating the database and the experiment once, however many processes ask at the same time."""
    for key, value in QUIET.items():
        os.environ.setdefault(key, value)
    from mlflow import MlflowClient

    for noisy, level in {"mlflow": logging.WARNING, "alembic": logging.WARNING, "mlflow.store.db": RAISED}.items():
        logging.getLogger(noisy).setLevel(level)
    with alone(root() / ".work" / "mlflow.lock"):
        if uri() == f"{FILE}{root() / DATABASE}" and not (root() / DATABASE).exists():
            _create(root() / DATABASE)
        _refuse_useless_file()
        client = MlflowClient(uri())
        where = f"{root().resolve().as_uri()}/mlartifacts" if uri().startswith("sqlite:") else None
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            return Store(client, client.create_experiment(EXPERIMENT, artifact_location=where))
        if not os.environ.get("MLFLOW_TRACKING_URI") and experiment.artifact_location != where:
            _follow(experiment.artifact_location, str(where))
        return Store(client, experiment.experiment_id)


def _refuse_useless_file() -> None:
    """Raise what SQLite says of a file that it cannot read: MLflow would try again for minutes."""
    if uri().startswith(FILE):
        with closing(sqlite3.connect(uri().removeprefix(FILE), timeout=LOCKED)) as database:
            database.execute("SELECT name FROM sqlite_master")


@contextmanager
def one_line() -> Iterator[None]:
    """While inside, what MLflow raises is one line: InputError for a file of another MLflow or of none, else Fault."""
    try:
        yield
    except (click.ClickException, OSError):
        raise
    except Exception as error:  # MLflow raises what its HTTP and SQL libraries raise
        said, file = short(error), uri().removeprefix(FILE)
        if uri().startswith(FILE) and "locked" in said:
            raise Fault(f"{file}: another process writes to it and does not end; end it, or try again later") from None
        if uri().startswith(FILE) and re.search("schema|revision|not a database", said):
            raise InputError(
                f"{file}: MLflow {version('mlflow')} cannot use it ({said.split('. ')[0]}); move it and mlartifacts "
                f"away, and `repligan sync` writes the runs anew; `mlflow db upgrade {uri()}` keeps an older one"
            ) from None
        raise Fault(f"MLFLOW_TRACKING_URI: {uri()}: {said}; allowed: a store that answers") from None


def _follow(old: str, new: str) -> None:
    """Let a store that was moved with its folder find its files: MLflow keeps absolute addresses of each run."""
    with closing(sqlite3.connect(root() / DATABASE)) as db, db:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            db.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column} || '/', 1, ?) = ?",
                (new, len(old) + 1, len(old) + 1, f"{old}/"),
            )


def _create(database: Path) -> None:
    """Put an empty database in its place, whole.

    MLflow makes one in hundreds of commits and waits for the disk after each: in memory that is a third of the time.
    """
    from mlflow import MlflowClient

    with TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as folder:
        aside = Path(folder) / database.name
        MlflowClient(f"sqlite:///{aside}")
        write_bytes(database, aside.read_bytes())


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


def sync(params: Params, data: Path, reports: Path) -> dict[str, str]:
    """Write the runs that MLflow lacks and complete those it has in part; name -> what was done.

    `data` and `reports` are the folders that the pipeline writes. Twice over gives the same.
    Raises InputError where a result is missing, and what MLflow raises where its store cannot be reached.
    """
    from repligan.claims import ledger
    from repligan.reporting import results

    published = {result.name: result for result in results.read(params, data, reports)}
    claims = ledger.read(reports)
    found = {row: _read_row(row, data, reports) for row in params.rows}
    store = open_store()
    done = {str(row): _sync_row(store, params, row, one, published[row.experiment], data) for row, one in found.items()}
    return done | {"claims": _sync_claims(store, params, ledger.table(claims), reports)} | _end_given_up(store)


def sync_or_warn(params: Params, data: Path, reports: Path) -> None:
    """`sync`, but a store that cannot be reached is one line, not an error."""
    try:
        sync(params, data, reports)
    except InputError:
        raise
    except Exception as error:  # the results are in files: nothing is lost
        _warn(f"MLflow: {short(error)}; `repligan sync` adds the runs later")


@dataclass
class _Row:
    """A row's table of values as MLflow takes it: means over the seeds per step, and what each seed came to last.

    `key` changes with all that its run shows of it.
    """

    key: str
    series: Series
    seeds: dict[str, list[Any]]


def _read_row(row: RowId, data: Path, reports: Path) -> _Row:
    path = data / "evaluations" / row.experiment / f"{row.variant}.safetensors"
    values, note = arrays(path)
    with usable(path):
        steps = note["steps"]
        series = {
            key: [(int(step), mean) for step, mean in zip(steps[key], found.mean(axis=1).tolist(), strict=True)]
            for key, found in values.items()
            if key not in IN_TABLES
        }
        last = {key: found[-1].astype(float).tolist() for key, found in values.items() if len(found)}
        seeds = {"seed": list(range(first := note["row"]["first_seed"], first + note["row"]["seeds"])), **last}
    key = f"{row}-{sha256(path)[:32]}"
    if row.variant == PUBLISHED:
        key += f"-{sha256(reports / 'metrics' / f'{row.experiment}.json')[:32]}"
    return _Row(key, series, seeds)


def _sync_row(store: Store, params: Params, row: RowId, found: _Row, result: Result, data: Path) -> str:
    """`result`: that of the experiment as published, shown with its own row."""
    run = store.find(RESULT, found.key)
    if run and run.info.status == "FINISHED":
        return "was there"
    fingerprint, notes = _training(params, row, data)
    if run is None:
        run = store.find(FINGERPRINT, fingerprint)
    if run is None or run.data.tags.get(RESULT, found.key) != found.key:
        run = store.client.create_run(store.experiment_id, run_name=params.called(row))
    run_id, published = run.info.run_id, row.variant == PUBLISHED
    store.client.update_run(run_id, name=params.called(row))  # a live one is called after its first seeds
    tags = {RESULT: found.key, "source": result.report.source}
    if not published:
        tags |= {"variant": row.variant, "variant_of": result.called}
    elif "alarms" in result.metrics:
        tags["alarms"] = ", ".join(sorted({alarm["kind"] for alarm in result.metrics["alarms"]})) or "none"
    experiment = params.rows[row]
    _log_identity(store, run_id, params, experiment, data / "processed" / experiment.dataset, tags)
    _log_missing(store, run, found.series)
    store.log_table_once(run_id, found.seeds, "seeds.json")
    store.client.log_dict(run_id, notes, "training.json")
    if published:
        _log_published(store, run_id, result)
    store.client.set_terminated(run_id)
    return "written"


def _log_published(store: Store, run_id: str, result: Result) -> None:
    """What only an experiment as published has: pictures, walks and metrics of its milestones."""
    from repligan.reporting.pictures import sheet

    _log_pictures(store, run_id, result)
    store.client.log_dict(run_id, result.metrics, "metrics.json")
    if result.walks:
        store.client.log_dict(run_id, result.scores, "latent/scores.json")
    for walk, img in result.walks.items():
        store.client.log_image(run_id, sheet(img), artifact_file=f"latent/{walk}.png")


def _training(params: Params, row: RowId, data: Path) -> tuple[str, dict[str, Any]]:
    """(fingerprint of the row's first trial, where, when and for how long it was trained)."""
    from repligan.core.rows import fingerprint
    from repligan.store import Store as Finished
    from repligan.trials import Workshop, folder, trials_of

    experiment = params.rows[row]
    processed, reference = data / "processed" / experiment.dataset, data / "reference" / experiment.dataset
    workshop = Workshop(params, processed, reference, Finished(folder()))
    key = workshop.training_key(next(trials_of(row, experiment)))
    entry = workshop.store.find(key)
    return fingerprint(key), dict(entry.notes) if entry else {"environment": ELSEWHERE}


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


def _end_given_up(store: Store) -> dict[str, str]:
    """End the runs of trainings that were stopped and cannot go on: MLflow would show them as running for ever.

    A server may have runs of other machines; they are left.
    """
    from repligan.store import Store as Finished
    from repligan.trials import folder

    if not uri().startswith(FILE):
        return {}
    waiting = {path.stem for path in Finished(folder()).unfinished()}
    running = store.client.search_runs([store.experiment_id], "attributes.status = 'RUNNING'")
    given_up = [run for run in running if run.data.tags.get(FINGERPRINT, None) not in {None, *waiting}]
    for run in given_up:
        store.client.set_terminated(run.info.run_id, "KILLED")
    return {str(run.info.run_name): "ended, its training was given up" for run in given_up}


def _log_identity(
    store: Store, run_id: str, params: Params, experiment: Experiment, processed: Path, tags: dict[str, str]
) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag

    from repligan.trials import digest

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
    dataset = Dataset(name, digest(processed, "*")[:32], "repligan", source)
    store.client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])


def _log_missing(store: Store, run: Run, series: Series) -> None:
    have = store.logged_steps(run.info.run_id, run.data.metrics)
    missing = [(key, *point) for key, points in series.items() for point in points if point[0] not in have.get(key, ())]
    store.log_scalars(run.info.run_id, missing)


def _log_pictures(store: Store, run_id: str, result: Result) -> None:
    from repligan.reporting.pictures import spread

    there = store.shown_steps(run_id)
    for step in spread(sorted(result.pictures), MOST_PICTURES):
        if step not in there:
            store.log_picture(run_id, step, result.pictures[step])


def _flat(model: Any, prefix: str = "") -> dict[str, Any]:
    return dict(flatten(model.model_dump(mode="json"), prefix))


def short(error: Exception) -> str:
    """An exception's message on one line of at most 200 characters."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)
