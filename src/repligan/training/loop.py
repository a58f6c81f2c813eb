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
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from click import ClickException
from torch import nn

from repligan.core import runtime
from repligan.core.files import move_dir, to_bytes, write_bytes
from repligan.core.signals import Stop
from repligan.data.batches import Batches, denormalise, real_batches
from repligan.data.rows import Form
from repligan.metrics.classes import auc
from repligan.models.mlp import StackedMlp
from repligan.models.noise import TrainingNoise, fixed_z, training_noise
from repligan.models.weights import build, pack, sample
from repligan.training.alarms import diagnostics, standing
from repligan.training.checkpoints import Checkpoints
from repligan.training.gradients import Autograd, ClosedForm, Gradients
from repligan.training.graphs import Drawn, Replayed
from repligan.training.losses import OfD, Target
from repligan.training.optimisers import Optimiser
from repligan.training.rows import Experiment, Update, snapshot_name

# torch computes the last elements of a tensor that do not fill a vector with other instructions than the
# rest. Stacks of a multiple of 32 networks have no such rest, so no seed's bits depend on its company.
LANES = 32
CHECKPOINT_SECONDS = float(os.environ.get("REPLIGAN_CHECKPOINT_SECONDS", "20"))
GRID = 36  # images of a sample grid
MIX_STREAM = 2**20  # random draws of a loss in one step, one an update: fewer updates than this

Report = Callable[[int, dict[str, float], torch.Tensor | None], None]
"""`report(step, scalars, images)`: means over the seeds; uint8 [N, C, H, W] at snapshots of image GANs."""


@dataclass
class Step:
    """What one step made: losses [S] of each update, what D saw in its own, the last images [S, B, ...]."""

    losses: dict[str, list[torch.Tensor]] = field(default_factory=lambda: {"D": [], "G": []})
    seen: list[OfD] = field(default_factory=list)
    real_img: torch.Tensor | None = None
    gen_img: torch.Tensor | None = None


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
    gradients: Gradients
    step: int = 0
    alarms: set[str] = field(default_factory=set)
    history: dict[str, list[torch.Tensor]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        trained = {name: list(net.parameters()) for name, net in self.networks()}
        self.optimisers = {name: Optimiser(self.experiment.optimiser, w) for name, w in trained.items() if w}
        self.updates = self.experiment.updates
        self.of_D = [i for i, update in enumerate(self.updates) if update.update == "D"]
        self.per_step = Counter(sight for update in self.updates for sight in update.sees)
        self.run: Callable[[Drawn, bool], Step] = partial(_run, self)
        if self.device.type == "cuda":
            self.run = Replayed(self.name, self.run, self.trained().values())

    def networks(self) -> tuple[tuple[str, nn.Module], tuple[str, nn.Module]]:
        return ("G", self.G), ("D", self.D)

    def trained(self) -> dict[str, torch.Tensor]:
        """Everything that a step changes, in place, as named tensors."""
        tensors = {f"{name}.{key}": value for name, net in self.networks() for key, value in net.state_dict().items()}
        for name, optimiser in self.optimisers.items():
            tensors |= {f"opt_{name}.{key}": value for key, value in optimiser.state().items()}
        return tensors

    def state(self) -> dict[str, torch.Tensor]:
        """Everything trained or recorded, as named tensors."""
        return self.trained() | {f"history.{key}": torch.stack(rows) for key, rows in self.history.items()}

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
    G, D = (net.to(device) for net in build(experiment.G, experiment.D, experiment.z.dim, form, stack))
    if fast:
        G, D = (net.to(memory_format=torch.channels_last) for net in (G, D))
    real = real_batches(form, processed, stack, experiment.batch, device)
    noise = training_noise(experiment.z, stack, experiment.batch)
    loss = experiment.loss.build()
    halved = fast and (device.type == "cuda" or runtime.native_bfloat16())
    gradients: Gradients = Autograd(G, D, loss, halved)
    if isinstance(D, StackedMlp) and isinstance(loss, Target):
        gradients = ClosedForm(G, D, loss, experiment.batch)
    return Training(name, experiment, seeds, G, D, real, noise, device, gradients)


class Inputs:
    """What the updates of one step see: the next real batch, the next z, and G's images while they are as G is."""

    def __init__(self, gradients: Gradients, drawn: Drawn):
        self.gradients = gradients
        self.real, self.fresh_z, self.of_loss = map(iter, drawn)
        self.z: torch.Tensor | None = None
        self.gen_img: torch.Tensor | None = None
        self.alive = False  # whether gen_img still carries the graph of G as it is now

    def real_img(self, update: Update) -> torch.Tensor | None:
        """A new real batch, where the update sees one."""
        return next(self.real) if "real" in update.sees else None

    def generated(self, update: Update, following: Update | None) -> torch.Tensor | None:
        """G's images, with its graph where this update is G's or the one `following` needs it."""
        sight = update.sees[-1]
        if sight == "real":
            return None
        if sight == "fresh_z":
            self.z = next(self.fresh_z)
        if sight == "fresh_z" or (sight == "same_z" and not self.alive):
            assert self.z is not None
            self.alive = update.update == "G" or (following is not None and following.sees == ["same_z"])
            self.gen_img = self.gradients.generate(self.z, self.alive)
        return self.gen_img


def train_step(training: Training, told: bool = True) -> Step:
    """The schedule's updates, once; their losses where they are to be `told`."""
    done = training.run(draw(training), told)
    training.step += 1
    return done


def draw(training: Training) -> Drawn:
    """All that the next step draws at random; what follows is arithmetic, which a graph can repeat."""
    t = training
    num_real, num_z = t.per_step["real"], t.per_step["fresh_z"]
    real = [t.real[t.step * num_real + i] for i in range(num_real)]
    fresh_z = [t.noise[t.step * num_z + i] for i in range(num_z)]
    of_loss = [t.gradients.loss.draw(t.experiment.batch, t.seeds[0], t.step * MIX_STREAM + i) for i in t.of_D]
    return [[runtime.sent(x, t.device) for x in part if x is not None] for part in (real, fresh_z, of_loss)]


def _run(training: Training, drawn: Drawn, told: bool) -> Step:
    t, done, inputs = training, Step(), Inputs(training.gradients, drawn)
    for update, following in zip(t.updates, [*t.updates[1:], None], strict=True):
        real_img, gen_img = inputs.real_img(update), inputs.generated(update, following)
        if update.update == "G":
            assert gen_img is not None
            loss = t.gradients.of_G(gen_img, told)
        else:
            of_D = t.gradients.of_D(real_img, gen_img, next(inputs.of_loss, None), told)
            loss = None if of_D is None else of_D.loss
            done.seen += [] if of_D is None else [of_D]
        t.optimisers[update.update].step()
        inputs.alive = inputs.alive and update.update == "D"
        done.losses[update.update] += [] if loss is None else [loss.detach()]
        done.real_img = done.real_img if real_img is None else real_img
        done.gen_img = done.gen_img if gen_img is None else gen_img.detach()
    return done


def summarised(training: Training, done: Step) -> dict[str, torch.Tensor]:
    """Per seed [num_seeds] on the CPU, averaged over a step's updates: losses, D's mean outputs, acc_D.

    acc_D: share of what D saw in its own updates that it told right, real and generated data weighing the same (not of
    a critic, whose output means nothing by itself); auc_D: how well its logits order the two; of image GANs also
    `alarms.diagnostics`.
    """
    t, values, is_probability = training, {}, training.experiment.loss.is_probability
    for name, losses in done.losses.items():
        if losses:
            values[f"loss_{name}"] = torch.stack(losses).mean(dim=0)
    sides = {
        "D_real": [one.real_logits.detach() for one in done.seen if one.real_logits is not None],
        "D_gen": [one.gen_logits.detach() for one in done.seen if one.gen_logits is not None],
    }
    sides = {key: logits for key, logits in sides.items() if logits}
    for key, logits in sides.items():
        outputs = [torch.sigmoid(one) if is_probability else one for one in logits]
        values[key] = torch.stack([one.mean(dim=(1, 2)) for one in outputs]).mean(dim=0)
    if is_probability:
        right = [((v > 0) == (key == "D_real")).float().mean(dim=(1, 2)) for key, vs in sides.items() for v in vs]
        values["acc_D"] = torch.stack(right).mean(dim=0)
    if len(sides) == 2:
        pairs = zip(*sides.values(), strict=False)  # one side may be seen more often
        values["auc_D"] = torch.stack([auc(real, gen) for real, gen in pairs]).mean(dim=0)
    if not t.experiment.stacked:
        assert done.real_img is not None
        assert done.gen_img is not None
        values |= diagnostics(done.real_img[0], done.gen_img[0], t.G.parameters())
    return {key: value[: len(t.seeds)].cpu() for key, value in sorted(values.items())}


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
        logged, kept = (t.step + 1) % experiment.log_every == 0, t.step + 1 in at_snapshot
        done = train_step(t, told=logged)
        scalars: dict[str, float] = {}
        saved = stop.signal != 0 or time.monotonic() > due
        if logged or kept or saved:
            _refuse_non_finite(t, checkpoints)
        if logged:
            scalars = _record(t, summarised(t, done))
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


def _snapshot(t: Training, folder: Path, report: Report) -> None:
    write_bytes(folder / snapshot_name(t.step), to_bytes(pack(t.G, t.D, len(t.seeds)), {"step": t.step}))
    if not t.experiment.stacked:
        img = sample(t.G, fixed_z(t.experiment.z, t.seeds[0], GRID))
        report(t.step, {}, denormalise(img[0]))


def _refuse_non_finite(t: Training, checkpoints: Checkpoints) -> None:
    # A loss that is not finite leaves no weight finite. Looked at now and then: on a GPU it waits for the device.
    if not all(weight.isfinite().all() for _, net in t.networks() for weight in net.parameters()):
        good = next((step for step, _ in checkpoints.newest_first()), 0)
        raise TrainingError(
            f"{t.name}: found weights that are not finite after step {t.step}; the state of step {good} is kept in "
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
