"""The training loop of every experiment: a schedule of updates, one clock called `step`.

Goodfellow et al. 2014, "Generative adversarial nets", algorithm 1, with the updates, their order and
their batches taken from the experiment's row. All random draws are functions of (seed, stream, step),
so that a killed training goes on from its last checkpoint to the same bits.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from click import ClickException
from torch import nn

from repligan.core.config import Experiment, Form
from repligan.core.files import move_dir, to_bytes, write_bytes
from repligan.core.signals import Stop
from repligan.models import build, pack, sample
from repligan.training.alarms import signs, standing
from repligan.training.batches import Batches, denormalise, real_batches
from repligan.training.checkpoints import Checkpoints
from repligan.training.losses import LOSSES
from repligan.training.noise import TrainingNoise, fixed_z
from repligan.training.optimisers import Optimiser

# torch computes the last elements of a tensor that do not fill a vector with other instructions than the
# rest. Stacks of a multiple of 32 networks have no such rest, so no seed's bits depend on its company.
LANES = 32
CHECKPOINT_SECONDS = float(os.environ.get("REPLIGAN_CHECKPOINT_SECONDS", "20"))
SAMPLES = 36  # images of a sample grid
NEVER = 2**62  # a step that no training reaches

Seen = dict[str, list[torch.Tensor]]
Report = Callable[[int, dict[str, float], torch.Tensor | None], None]
"""`report(step, scalars, images)`: means over the seeds; uint8 [N, C, H, W] at snapshots of image GANs."""


class TrainingError(ClickException):
    """Training cannot go on; the message names the experiment and the step. Exit code 1."""


@dataclass
class Training:
    """All that one training changes: networks, optimisers, step, recorded values."""

    name: str
    experiment: Experiment
    seeds: Sequence[int]
    G: nn.Module
    D: nn.Module
    real: Batches
    noise: TrainingNoise
    device: torch.device
    stack: int
    fast: bool = False
    frozen: bool = False
    step: int = 0
    alarms: set[str] = field(default_factory=set)
    history: dict[str, list[torch.Tensor]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        trained = {name: list(net.parameters()) for name, net in self.networks()}
        self.optimisers = {name: Optimiser(self.experiment.optimiser, w) for name, w in trained.items() if w}
        self.loss = LOSSES[self.experiment.loss.kind]
        self.divisor = 2 if self.experiment.loss.halves == "mean" else 1
        self.first_bad = torch.tensor(NEVER, device=self.device)
        self.updates = self.experiment.updates
        sights = [sight for update in self.updates for sight in update.sees]
        self.num_real, self.num_z = sights.count("real"), sights.count("fresh_z")

    def forward(self, net: nn.Module, x: torch.Tensor) -> torch.Tensor:
        """net(x) in float32; convolutions in bfloat16 where precision is fast."""
        if not self.fast:
            return net(x)
        with torch.autocast(self.device.type, torch.bfloat16):
            return net(x).float()

    def freeze_D(self, frozen: bool) -> None:
        """Spare D's weight gradients in G's update."""
        if frozen != self.frozen:
            self.D.requires_grad_(not frozen)
            self.frozen = frozen

    def networks(self) -> tuple[tuple[str, nn.Module], tuple[str, nn.Module]]:
        return ("G", self.G), ("D", self.D)

    def state(self) -> dict[str, torch.Tensor]:
        """Everything trained or recorded, as named tensors."""
        tensors = {f"{name}.{key}": value for name, net in self.networks() for key, value in net.state_dict().items()}
        for name, optimiser in self.optimisers.items():
            tensors |= {f"opt_{name}.{key}": value for key, value in optimiser.state().items()}
        return tensors | {f"history.{key}": torch.stack(rows) for key, rows in self.history.items()}

    def load_state(self, step: int, tensors: dict[str, torch.Tensor]) -> None:
        """Continue from what `state` gave after `step`."""
        self.step = step
        for name, net in self.networks():
            net.load_state_dict({key: tensors[f"{name}.{key}"] for key in net.state_dict()})
        for name, optimiser in self.optimisers.items():
            prefix = f"opt_{name}."
            optimiser.load_state({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
        for key, value in tensors.items():
            if key.startswith("history."):
                self.history[key.removeprefix("history.")] = list(value)


def start(
    name: str,
    experiment: Experiment,
    form: Form,
    processed: Path,
    seeds: Sequence[int],
    device: torch.device,
    precision: str = "portable",
) -> Training:
    """A training before its first step, on the arrays in `processed`."""
    stack = list(seeds)
    if experiment.stacked:
        stack += [stack[-1]] * (-len(stack) % LANES)
    fast = precision == "fast" and not experiment.stacked
    G, D = (net.to(device) for net in build(experiment, form, stack))
    if fast:
        G, D = (net.to(memory_format=torch.channels_last) for net in (G, D))
    real = real_batches(form, processed, stack, experiment.batch)
    noise = TrainingNoise(experiment.z, stack, experiment.batch)
    return Training(name, experiment, seeds, G, D, real, noise, device, len(stack), fast)


def train_step(training: Training) -> Seen:
    """The schedule's updates, once; returns of each loss_G, loss_D [S], D's logits D_real, D_gen [S, B, 1], images."""
    t, config = training, training.experiment
    num_real, num_z = t.step * t.num_real, t.step * t.num_z
    seen: Seen = defaultdict(list)
    alive = False  # whether gen_img still carries the graph of G as it is now
    for update, following in zip(t.updates, [*t.updates[1:], None], strict=True):
        # D maximises log D(x) + log(1 - D(G(z))), G maximises log D(G(z)) (the non-saturating form).
        for_G = update.update == "G"
        t.freeze_D(for_G)
        halves = []
        for sight in update.sees:
            if sight == "real":
                real_img = t.real[num_real].to(t.device)
                logits = t.forward(t.D, real_img)
                seen["real_img"] = [real_img]
                target, num_real = 1 - config.loss.smoothing, num_real + 1
            else:
                if sight == "fresh_z":
                    z, num_z = t.noise[num_z].to(t.device), num_z + 1
                if sight == "fresh_z" or (sight == "same_z" and not alive):
                    alive = for_G or (following is not None and following.sees == ["same_z"])
                    with torch.set_grad_enabled(alive):
                        gen_img = t.forward(t.G, z)
                logits = t.forward(t.D, gen_img if for_G else gen_img.detach())
                seen["gen_img"] = [gen_img.detach()]
                target = float(for_G)
            halves.append(t.loss(logits, target).mean(dim=(1, 2)))
            if not for_G:
                seen["D_real" if sight == "real" else "D_gen"].append(logits.detach())
        loss = halves[0] if len(halves) == 1 else torch.stack(halves).sum(dim=0) / t.divisor
        optimiser = t.optimisers[update.update]
        optimiser.zero_grad()
        # The sum over seeds leaves each its own gradient; backward(ones) would do, and import sympy for it, 0.5 s.
        total = loss.sum()
        total.backward()
        # Not read here: on a GPU that would wait for it.
        t.first_bad = torch.where(total.isfinite(), t.first_bad, t.first_bad.clamp(max=t.step + 1))
        optimiser.step()
        alive = alive and not for_G
        seen[f"loss_{update.update}"].append(loss.detach())
    t.step += 1
    return seen


def summarised(training: Training, seen: Seen) -> dict[str, torch.Tensor]:
    """Per seed [num_seeds] on the CPU, averaged over a step's updates: losses, mean probabilities, acc_D.

    acc_D: share of what D saw in its own updates that it told right, real and generated data weighing the same;
    auc_D: how well its logits order the two; of image GANs also `alarms.signs`.
    """
    t, judged = training, [key for key in ("D_real", "D_gen") if key in seen]
    values = {key: torch.stack(several).mean(dim=0) for key, several in seen.items() if key.startswith("loss")}
    values |= {key: torch.stack([torch.sigmoid(v).mean(dim=(1, 2)) for v in seen[key]]).mean(dim=0) for key in judged}
    right = [((v > 0) == (key == "D_real")).float().mean(dim=(1, 2)) for key in judged for v in seen[key]]
    values["acc_D"] = torch.stack(right).mean(dim=0)
    if len(judged) == 2:
        pairs = zip(seen["D_real"], seen["D_gen"], strict=True)
        values["auc_D"] = torch.stack([auc(real, gen) for real, gen in pairs]).mean(dim=0)
    if not t.experiment.stacked:
        values |= signs(seen["real_img"][0][0], seen["gen_img"][0][0], t.G.parameters())
    return {key: value[: len(t.seeds)].cpu() for key, value in sorted(values.items())}


def auc(real: torch.Tensor, gen: torch.Tensor) -> torch.Tensor:
    """[S]: how often a real logit is above a generated one, both [S, B, 1], a tie counting half."""
    diff = real - gen.transpose(1, 2)
    return ((diff > 0).float() + (diff == 0).float() / 2).mean(dim=(1, 2))


def train(training: Training, out: Path, work: Path, config: dict[str, Any], report: Report, stop: Stop) -> None:
    """Train to the end and write `out`: a safetensors file per snapshot and history.safetensors.

    Continues from the newest checkpoint in `work`, and removes `work` when done. Once `stop.signal` is set,
    writes a checkpoint and raises SystemExit(128 + signal); raises TrainingError on a non-finite loss. Ends early,
    with a last snapshot, where `experiment.alarms` says so.
    """
    t, experiment = training, training.experiment
    checkpoints = Checkpoints(work, config)
    snapshots = work / "snapshots"
    _resume(t, checkpoints, snapshots)
    if t.step == 0:
        _snapshot(t, snapshots, report)
    due = time.monotonic() + CHECKPOINT_SECONDS
    at_snapshot = set(experiment.snapshot_steps())
    ended = False
    while t.step < experiment.steps and not ended:
        seen = train_step(t)
        scalars: dict[str, float] = {}
        logged, kept = t.step % experiment.log_every == 0, t.step in at_snapshot
        saved = stop.signal != 0 or time.monotonic() > due
        if logged or kept or saved:
            values = summarised(t, seen)
            _refuse_non_finite(t, checkpoints)
        if logged:
            scalars = _record(t, values)
            ended = _heed_alarms(t)
        report(t.step, scalars, None)
        if kept or ended:
            _snapshot(t, snapshots, report)
        if saved and not ended:
            checkpoints.save(t.step, t.state())
            due = time.monotonic() + CHECKPOINT_SECONDS
        if stop.signal and saved and not ended:
            print(f"{t.name}: stopped at step {t.step}; the same command goes on from there", file=sys.stderr)
            raise SystemExit(128 + stop.signal)
    recorded = {key: torch.stack(rows) for key, rows in t.history.items()}
    # The row in the header: whatever reads the weights depends on it through them.
    note = {"experiment": experiment.model_dump(mode="json"), "last": t.step}
    write_bytes(snapshots / "history.safetensors", to_bytes(recorded, note))
    move_dir(snapshots, out)
    shutil.rmtree(work)


def _resume(t: Training, checkpoints: Checkpoints, snapshots: Path) -> None:
    for step, tensors in checkpoints.newest_first():
        wanted = [at for at in t.experiment.snapshot_steps() if at <= step]
        if all((snapshots / snapshot_name(at)).exists() for at in wanted):
            t.load_state(step, tensors)
            print(f"{t.name}: going on from step {step}", file=sys.stderr)
            break
    checkpoints.forget_after(t.step)


def snapshot_name(step: int) -> str:
    """File name of the weights after `step`."""
    return f"step_{step:08d}.safetensors"


def _snapshot(t: Training, folder: Path, report: Report) -> None:
    write_bytes(folder / snapshot_name(t.step), to_bytes(pack(t.G, t.D, len(t.seeds)), {"step": t.step}))
    if not t.experiment.stacked:
        img = sample(t.G, fixed_z(t.experiment.z, t.seeds[0], SAMPLES))
        report(t.step, {}, denormalise(img[0]))


def _refuse_non_finite(t: Training, checkpoints: Checkpoints) -> None:
    if (bad := int(t.first_bad)) <= t.step:
        good = next((step for step, _ in checkpoints.newest_first()), 0)
        raise TrainingError(
            f"{t.name}: the loss is not finite at step {bad}; the state of step {good} is kept in "
            f"{checkpoints.folder}; try a lower optimiser.lr"
        )


def _heed_alarms(t: Training) -> bool:
    """Say which alarms begin or end; whether training is to end."""
    limits = t.experiment.alarms
    if limits is None:
        return False
    now = standing(t.history, limits, t.experiment.log_every)
    for kind in sorted(now ^ t.alarms):
        print(f"{t.name}: step {t.step}: {kind}{' no more' if kind in t.alarms else ''}", file=sys.stderr)
    t.alarms = now
    return limits.stop and bool(now)


def _record(t: Training, values: dict[str, torch.Tensor]) -> dict[str, float]:
    for key, value in values.items():
        t.history[key].append(value)
    return {key: float(value.mean()) for key, value in values.items()}
