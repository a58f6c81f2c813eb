"""Snapshots of a generator as folders that MLflow loads; the only module of this room that imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from shutil import copytree

import mlflow.pytorch
import torch
import torch.export
from torch import nn

from repligan.core.files import from_file
from repligan.data.rows import Form
from repligan.models.noise import fixed_z
from repligan.models.weights import build, unpack
from repligan.training.rows import snapshot_name
from repligan.trials import Trial

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


def export(trial: Trial, form: Form, weights: Path, steps: Sequence[int], out: Path) -> None:
    """Write the G of a trial after each of `steps`, whose weights lie in `weights`, to the folder `out`/step.

    The graph is traced once: that takes longer than to save all snapshots.
    """
    row = trial.experiment
    networks = build(row.G, row.D, row.z.dim, form, trial.seeds)
    net = FromLatents(networks[0], len(trial.seeds), row.stacked).eval().requires_grad_(False)
    example = fixed_z(row.z, trial.seeds[0], 2)[0].numpy()  # of one latent, the graph would take one only
    needs = [f"{name}=={version(name)}" for name in NEEDS]
    first, *others = (out / str(step) for step in steps)
    mlflow.pytorch.save_model(net, first, input_example=example, pip_requirements=needs)
    program = torch.export.load(first / GRAPH)
    for path in others:
        copytree(first, path)
    for step in steps:
        unpack(from_file(weights / snapshot_name(step))[0], *networks)
        for key, value in net.state_dict().items():
            program.state_dict[key].copy_(value)
        torch.export.save(program, out / str(step) / GRAPH)
