"""Snapshots of a generator as models in MLflow, ranked by what was measured of them; the best one is registered.

A model is a graph of torch.export with its weights ("pt2"): it loads where torch and MLflow are installed, without
this package, and holds no pickled code.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING

from repligan.data.rows import Form
from repligan.reporting.pictures import spread
from repligan.reporting.results import Result
from repligan.tracking.store import Store, quiet
from repligan.training.rows import snapshot_name
from repligan.trials import Trial

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel

MOST = 20  # models a run
BEST = "best"  # alias of the registered version


@dataclass(frozen=True)
class Snapshots:
    """The G of the first seeds of an experiment as published; the files of its weights lie in `weights`."""

    store: Store
    trial: Trial
    form: Form
    weights: Path
    result: Result
    tags: Mapping[str, str]
    folder: Path
    """Where they are exported to, each to a folder of its own; they are removed from there once logged."""

    @property
    def there(self) -> bool:
        """Whether all weights are here, which only these models need."""
        return all((self.weights / snapshot_name(step)).exists() for step in self.steps)

    def begin(self, aside: Executor) -> Future[None]:
        """Export all to the folder, for `log` to find them there once that is done."""
        return aside.submit(_export, self.trial, self.form, self.weights, self.steps, self.folder)

    def log(self, exported: Future[None], run_id: str) -> dict[int, str]:
        """Log to a run those that it lacks, and register the best one; step -> id of the model."""
        exported.result()
        there = self._ready(run_id)
        found = {step: there[self._called(step)] for step in self.steps if self._called(step) in there}
        for step in self.steps:
            if step not in found:
                found[step] = self._log_one(run_id, step)
        rmtree(self.folder)
        self._register(run_id, found[self.best])
        return found

    @property
    def best(self) -> int:
        """The step with the lowest Frechet distance; of a toy, which has none, the last."""
        return int(self.result.metrics["best"]["step"] if BEST in self.result.metrics else max(self.result.pictures))

    @property
    def steps(self) -> list[int]:
        """Which ones: of a toy the last, else up to MOST, the best one among them."""
        spread_out = [] if self.trial.experiment.stacked else spread(sorted(self.result.pictures), MOST - 1)
        return sorted({*spread_out, self.best})

    def _called(self, step: int) -> str:
        return f"{self.result.called} step {step}"

    def _ready(self, run_id: str) -> dict[str, str]:
        """Name -> id of the models that a run has; what a stopped sync left behind is removed."""
        from mlflow.entities import LoggedModelStatus

        found = {}
        for model in self.store.client.search_logged_models([self.store.experiment_id], f"source_run_id = '{run_id}'"):
            if model.status == LoggedModelStatus.READY:
                found[model.name] = model.model_id
            else:
                self.store.client.delete_logged_model(model.model_id)
        return found

    def _log_one(self, run_id: str, step: int) -> str:
        from mlflow.entities import LoggedModelOutput, LoggedModelStatus

        client, z = self.store.client, self.trial.experiment.z
        params = {"step": str(step), "z": f"{z.kind} [N, {z.dim}]", "low": str(z.low), "high": str(z.high)}
        model = client.create_logged_model(
            self.store.experiment_id, self._called(step), run_id, dict(self.tags), params, "generator"
        )
        exported = self.folder / str(step)
        _say_of_which(exported, model, run_id)
        client.log_model_artifacts(model.model_id, str(exported))
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step)])
        client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        return model.model_id

    def _register(self, run_id: str, model_id: str) -> None:
        """Make a model the newest version of the registered model with the experiment's name, its alias BEST."""
        client, name = self.store.client, self.result.name
        source = client.get_logged_model(model_id).artifact_location
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name, description=f"G of {self.result.called}")
        made = next((one for one in client.search_model_versions(f"name = '{name}'") if one.source == source), None)
        if made is None:
            rule = self.result.metrics.get("best", {}).get("rule", "the last snapshot")
            said = f"{self.result.called} after step {self.best}: {rule}"
            made = client.create_model_version(
                name, source, run_id, description=said, await_creation_for=None, model_id=model_id
            )
        client.set_registered_model_alias(name, BEST, made.version)


def get_ready() -> None:
    """Import what exports need, which takes longer than they do."""
    quiet()
    from repligan.tracking import exports  # noqa: F401


def _export(trial: Trial, form: Form, weights: Path, steps: list[int], folder: Path) -> None:
    get_ready()
    from repligan.tracking.exports import export  # which imports torch: only the process that runs this needs it

    export(trial, form, weights, steps, folder)


def _say_of_which(exported: Path, model: LoggedModel, run_id: str) -> None:
    from mlflow.models import Model

    said = Model.load(exported)
    said.model_id, said.model_uuid, said.run_id = model.model_id, model.model_id, run_id
    said.artifact_path = model.artifact_location
    said.save(exported / "MLmodel")
