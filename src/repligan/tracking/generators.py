"""Snapshots of a generator as models in MLflow, ranked by what was measured of them; the best one is registered.

A model is a graph of torch.export with its weights ("pt2"): it loads where torch and MLflow are installed, without
this package, and holds no pickled code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch
from torch import nn

from repligan.core.files import from_file
from repligan.data.rows import Form
from repligan.models.noise import fixed_z
from repligan.models.weights import build, unpack
from repligan.reporting.pictures import spread
from repligan.reporting.results import Result
from repligan.tracking.store import Store
from repligan.training.loop import snapshot_name
from repligan.trials import Trial

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel

MOST = 20  # models a run
BEST = "best"  # alias of the registered version
GRAPH = Path("data", "model.pt2")
NEEDS = ("mlflow", "numpy", "torch")


class FromLatents(nn.Module):
    """G as others call it: z [B, dim] float32 -> images [B, C, H, W] in [-1, 1], of a stack [B, S, width] in [0, 1]."""

    def __init__(self, G: nn.Module, seeds: int, stacked: bool):
        super().__init__()
        self.G, self.seeds, self.stacked = G, seeds, stacked

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        made = self.G(z.expand(self.seeds, -1, -1))
        return made.transpose(0, 1) if self.stacked else made[0]


class _Folder:
    """A folder with a generator as MLflow keeps one, into which the weights of one step after the other are put.

    The graph is traced once: that takes longer than to save all snapshots.
    """

    def __init__(self, trial: Trial, form: Form, weights: Path, path: Path):
        import mlflow.pytorch

        row = trial.experiment
        self.weights, self.path = weights, path
        self.networks = build(row.G, row.D, row.z.dim, form, trial.seeds)
        self.net = FromLatents(self.networks[0], len(trial.seeds), row.stacked).eval().requires_grad_(False)
        example = fixed_z(row.z, trial.seeds[0], 2)[0].numpy()  # of one latent, the graph would take one only
        needs = [f"{name}=={version(name)}" for name in NEEDS]
        mlflow.pytorch.save_model(self.net, path, input_example=example, pip_requirements=needs)
        self.program = torch.export.load(path / GRAPH)

    @torch.no_grad()
    def hold(self, step: int, model: LoggedModel, run_id: str) -> None:
        """Put the weights after `step` into the folder, as those of `model`."""
        from mlflow.models import Model

        unpack(from_file(self.weights / snapshot_name(step))[0], *self.networks)
        for key, value in self.net.state_dict().items():
            self.program.state_dict[key].copy_(value)
        torch.export.save(self.program, self.path / GRAPH)
        said = Model.load(self.path)
        said.model_id, said.model_uuid, said.run_id = model.model_id, model.model_id, run_id
        said.artifact_path = model.artifact_location
        said.save(self.path / "MLmodel")


@dataclass(frozen=True)
class Snapshots:
    """The G of the first seeds of an experiment as published; the files of its weights lie in `weights`."""

    store: Store
    trial: Trial
    form: Form
    weights: Path
    result: Result
    tags: Mapping[str, str]

    def log(self, run_id: str) -> dict[int, str]:
        """Log to a run those that it lacks, and register the best one; step -> id of the model.

        Nothing where weights are missing: only these models need them.
        """
        if not all((self.weights / snapshot_name(step)).exists() for step in self.steps):
            return {}
        there = self._ready(run_id)
        found = {step: there[self._called(step)] for step in self.steps if self._called(step) in there}
        with TemporaryDirectory() as folder:
            saved: _Folder | None = None
            for step in self.steps:
                if step not in found:
                    saved = saved or _Folder(self.trial, self.form, self.weights, Path(folder, "model"))
                    found[step] = self._log_one(run_id, step, saved)
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

    def _log_one(self, run_id: str, step: int, saved: _Folder) -> str:
        from mlflow.entities import LoggedModelOutput, LoggedModelStatus

        client, z = self.store.client, self.trial.experiment.z
        params = {"step": str(step), "z": f"{z.kind} [N, {z.dim}]", "low": str(z.low), "high": str(z.high)}
        model = client.create_logged_model(
            self.store.experiment_id, self._called(step), run_id, dict(self.tags), params, "generator"
        )
        saved.hold(step, model, run_id)
        client.log_model_artifacts(model.model_id, str(saved.path))
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
