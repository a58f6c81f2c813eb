"""An MLflow store: where it is, who makes it, what it has, and what it says when it cannot be used."""

from __future__ import annotations

import getpass
import logging
import os
import re
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

import click

from repligan.core.errors import Fault, InputError
from repligan.core.files import alone, root, write_bytes
from repligan.core.git import git

if TYPE_CHECKING:
    import numpy as np
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

EXPERIMENT, FILE, DATABASE, ARTIFACTS = "repligan", "sqlite:///", "mlflow.db", "mlartifacts"
FINGERPRINT, RESULT = "repligan.fingerprint", "repligan.result"
NOTE, PARENT, SOURCE = "mlflow.note.content", "mlflow.parentRunId", "mlflow.source.name"
EARLIER = "repligan, with files bound to a folder"  # what an experiment of an earlier version is called from then on
RELATIVE = "mlflow-artifacts"  # addresses of files that a moved folder and a server keep
# For MLflow's interface; 3.17 looks at its own switch instead, which `Store.page` sets.
KIND = {"mlflow.experimentKind": "custom_model_development"}
BATCH = 1000  # metrics MLflow takes in one call
LOCKED = 5.0  # seconds that a database file which another process writes to is waited for
RAISED = logging.CRITICAL + 1  # for what logs the exceptions that it raises, with their tracebacks
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


def is_missing() -> bool:
    """Whether the store is a database file that is not there yet."""
    return uri().startswith(FILE) and not Path(uri().removeprefix(FILE)).exists()


def artifacts() -> Path:
    """The folder of the runs' files, beside the database file."""
    return Path(uri().removeprefix(FILE)).absolute().parent / ARTIFACTS


@dataclass
class Store:
    """An open MLflow store and the id of our experiment in it."""

    client: MlflowClient
    experiment_id: str

    @property
    def page(self) -> str:
        """Where a server shows the runs: without the last part it opens its pages for language models."""
        return f"#/experiments/{self.experiment_id}/runs?workflowType=machine_learning"

    def describe(self, note: str) -> None:
        """Say what the experiment is, and how the browser is to show it, where somebody else made it."""
        said = self.client.get_experiment(self.experiment_id).tags
        for key, value in {**KIND, NOTE: note}.items():
            if said.get(key) != value:
                self.client.set_experiment_tag(self.experiment_id, key, value)

    def find(self, tag: str, value: str) -> Run | None:
        """The newest run with this tag."""
        found = self.client.search_runs([self.experiment_id], f"tags.`{tag}` = '{value}'", max_results=1)
        return found[0] if found else None

    def runs(self) -> list[Run]:
        """All runs of the experiment."""
        page = self.client.search_runs([self.experiment_id])
        found = list(page)
        while page.token:
            page = self.client.search_runs([self.experiment_id], page_token=page.token)
            found += page
        return found

    def logged_steps(self, run_id: str, keys: Iterable[str]) -> dict[str, set[int]]:
        """metric -> the steps that the run has."""
        return {key: {metric.step for metric in self.client.get_metric_history(run_id, key)} for key in keys}

    def shown(self, run_id: str) -> set[tuple[str, int]]:
        """(key, step) of the run's images on sliders, read from how MLflow names them."""
        paths = [artifact.path for artifact in self.client.list_artifacts(run_id, "images")]
        found = [re.search(r"images/(.+?)[+%]step[+%](\d+)[+%]", path) for path in paths]
        return {(match[1], int(match[2])) for match in found if match}

    def log(self, run_id: str, metrics: list[Metric]) -> None:
        """Log metrics, however many."""
        for start in range(0, len(metrics), BATCH):
            self.client.log_batch(run_id, metrics=metrics[start : start + BATCH])

    def log_table_once(self, run_id: str, table: Mapping[str, list[Any]], file: str) -> None:
        """Log a table unless the run has it: MLflow would add its rows to those that are there."""
        if file not in {artifact.path for artifact in self.client.list_artifacts(run_id)}:
            self.client.log_table(run_id, dict(table), file)

    def log_picture(self, run_id: str, step: int, made: np.ndarray) -> None:
        """Log what G made, as `pictures.picture` shows it, to the run's step slider."""
        from repligan.reporting.pictures import picture

        self.client.log_image(run_id, picture(made), key="samples", step=step)


def open_store() -> Store:
    """Connect, creating the database and the experiment once, however many processes ask at the same time."""
    quiet()
    from mlflow import MlflowClient
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    if not event.contains(Engine, "connect", _wait_for_no_disk):
        event.listen(Engine, "connect", _wait_for_no_disk)
    with alone(root() / ".work" / "mlflow.lock"):
        if uri() == f"{FILE}{root() / DATABASE}" and not (root() / DATABASE).exists():
            _create(root() / DATABASE)
        _refuse_useless_file()
        client = MlflowClient(uri())
        return Store(client, _experiment(client))


def quiet() -> None:
    """Let MLflow, which may not be imported yet, tell nobody else of itself, and people only what they need."""
    for key, value in QUIET.items():
        os.environ.setdefault(key, value)
    import mlflow  # noqa: F401

    for noisy, level in {"mlflow": logging.WARNING, "alembic": logging.WARNING, "mlflow.store.db": RAISED}.items():
        logging.getLogger(noisy).setLevel(level)


def _wait_for_no_disk(connection: Any, record: object) -> None:
    """Of a database file a power cut may take what was written last: `repligan sync` writes it again.

    MLflow commits a thousand times in a sync, and the disk takes longer than all else.
    """
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")


def _experiment(client: MlflowClient) -> str:
    """The id of our experiment. In a database file all addresses are relative to the folder beside it."""
    found = client.get_experiment_by_name(EXPERIMENT)
    if not uri().startswith(FILE):
        return found.experiment_id if found else client.create_experiment(EXPERIMENT, tags=KIND)
    _without_server()
    if found and not found.artifact_location.startswith(RELATIVE):
        client.rename_experiment(found.experiment_id, EARLIER)
        found = None
    if found:
        return found.experiment_id
    return client.create_experiment(EXPERIMENT, f"{RELATIVE}:/{EXPERIMENT}", KIND)


def _without_server() -> None:
    """Let this process read and write files with relative addresses itself: MLflow's client would ask a server."""
    from mlflow.store.artifact.artifact_repository_registry import get_registered_artifact_repositories
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
    from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository

    def repository(artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> Any:
        if not uri().startswith(FILE):
            return MlflowArtifactsRepository(artifact_uri, tracking_uri, registry_uri)
        return LocalArtifactRepository((artifacts() / urlparse(artifact_uri).path.lstrip("/")).as_uri())

    get_registered_artifact_repositories()[RELATIVE] = repository


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


def _create(database: Path) -> None:
    """Put an empty database in its place, whole.

    MLflow makes one in hundreds of commits and waits for the disk after each: in memory that is a third of the time.
    """
    from mlflow import MlflowClient

    with TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as folder:
        aside = Path(folder) / database.name
        MlflowClient(f"sqlite:///{aside}")
        write_bytes(database, aside.read_bytes())


def origin() -> dict[str, str]:
    """The tags of MLflow's columns Source and Created by: the stage that trains, the commit, the user."""
    tags = {"mlflow.source.type": "LOCAL", SOURCE: "stages/train.py"}
    head = git(Path.cwd(), "rev-parse", "HEAD")
    if head.returncode == 0:
        tags["mlflow.source.git.commit"] = head.stdout.decode().strip()
    try:
        tags["mlflow.user"] = getpass.getuser()
    except (ImportError, KeyError, OSError):  # a container's user without a name
        tags["mlflow.user"] = str(os.getuid())
    return tags


def short(error: Exception) -> str:
    """An exception's message on one line of at most 200 characters."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def warn(text: str) -> None:
    """One line on stderr."""
    print(f"warning: {text}", file=sys.stderr)
