"""One experiment's snapshots -> statistics [steps, repeats].

A repeat is a seed where an experiment has many, else a draw of z and of the real half (see images).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from repligan.core.config import (
    BitsForm,
    BoxForm,
    DrawsReference,
    Experiment,
    Form,
    Identity,
    ImagesForm,
    Noise,
    Reference,
)
from repligan.core.files import from_file, load_array, usable
from repligan.core.progress import Progress
from repligan.core.randomness import rng
from repligan.evaluation import images, toys
from repligan.evaluation.extractor import CHUNK
from repligan.evaluation.intervals import interval, summary
from repligan.models import build, sample, unpack
from repligan.training.alarms import Alarm, raised
from repligan.training.batches import denormalise, normalise
from repligan.training.loop import SAMPLES, snapshot_name
from repligan.training.noise import draw, fixed_z

Stats = dict[str, np.ndarray]
Measure = Callable[[torch.nn.Module, torch.nn.Module], tuple[Stats, torch.Tensor]]
"""G, D -> statistics [R] and what a figure needs: a histogram, points, or sample images."""
JUDGED = 500  # images of each kind that D is tried on
LAST = 0.1  # share of a training over which its final losses are averaged


@dataclass
class Evaluation:
    """stats: metric -> [T, R] at `steps` [T]; history: loss -> [L, S]; pictures: step -> what G made; alarms: those
    of an image GAN's training."""

    steps: list[int]
    stats: Stats
    history: Stats
    pictures: dict[str, torch.Tensor]
    alarms: list[Alarm] = field(default_factory=list)

    def best(self, metric: str) -> int:
        """The step of the snapshot with the lowest mean of `metric`."""
        return self.steps[int(self.stats[metric].mean(axis=1).argmin())]

    def at(self, step: int) -> dict[str, dict[str, float]]:
        """metric -> mean and interval at a snapshot."""
        row = self.steps.index(step)
        return summary({key: values[row] for key, values in self.stats.items()})

    def end(self) -> dict[str, dict[str, float]]:
        """loss -> mean and interval over the seeds, each averaged over the last tenth of its training."""
        return {key: interval(v[-max(1, round(LAST * len(v))) :].mean(axis=0)) for key, v in self.history.items()}


def evaluate(
    name: str,
    experiment: Experiment,
    form: Form,
    run: Path,
    measure: Measure,
    device: torch.device,
    steps: Sequence[int] | None = None,
) -> Evaluation:
    """Measure every snapshot in the folder `run`, or those after `steps`; a G without weights has only D's losses."""
    history, note = from_file(run / "history.safetensors")
    pictures: dict[str, torch.Tensor] = {}
    if isinstance(experiment.G, Identity):
        steps = []
    steps = experiment.snapshot_steps(note["last"]) if steps is None else list(steps)
    rows: list[Stats] = []
    progress = Progress(f"{name}: evaluating", len(steps))
    for i, step in enumerate(steps):
        stats, picture = measure(*(net.to(device) for net in networks_at(step, experiment, form, run)))
        rows.append(stats)
        pictures[f"{step:08d}"] = picture
        progress(i + 1)
    stats = {key: np.stack([row[key] for row in rows]) for key in (rows[0] if rows else {})}
    alarms = raised(history, experiment.alarms, experiment.log_every) if experiment.alarms else []
    return Evaluation(steps, stats, {key: value.numpy() for key, value in history.items()}, pictures, alarms)


def networks_at(
    step: int | None, experiment: Experiment, form: Form, run: Path
) -> tuple[torch.nn.Module, torch.nn.Module]:
    """(G, D) with the weights after `step`, None for the last, on the CPU; raises InputError if missing or damaged."""
    if step is None:
        step = int(from_file(run / "history.safetensors")[1]["last"])
    G, D = build(experiment, form, range(experiment.seeds))
    with usable(run / snapshot_name(step)):
        unpack(from_file(run / snapshot_name(step))[0], G, D)
    return G, D


def measure_of(
    experiment: Experiment, form: Form, reference: Reference, processed: Path, folder: Path, device: torch.device
) -> Measure:
    """The measurement that fits the data, by the protocol in the reference's `folder`."""
    match form:
        case BitsForm():
            return _even(experiment, toys.decode(load_array(processed / "train.npy")), reference.num)
        case BoxForm():
            return _pattern(experiment, load_array(processed / "bounds.npy"), reference.num)
        case ImagesForm():
            assert not isinstance(reference, DrawsReference)
            return image_measure(
                experiment, images.read(reference, folder, device), load_array(processed / "heldout.npy")
            )


def _even(experiment: Experiment, real: np.ndarray, num: int) -> Measure:
    seeds = range(experiment.seeds)
    z = every_z(experiment.z)
    if z is None:
        z = _stack(experiment.z, seeds, num)
    few = _stack(experiment.z, seeds, toys.FEW)

    def measure(G: torch.nn.Module, D: torch.nn.Module) -> tuple[Stats, torch.Tensor]:
        values = toys.decode(sample(G, z.expand(len(seeds), -1, -1)).numpy())
        sampled = toys.decode(sample(G, few).numpy())
        counts = np.bincount(values.ravel(), minlength=2**experiment.z.dim)
        return toys.even_statistics(values, sampled, real), torch.from_numpy(counts)

    return measure


def _pattern(experiment: Experiment, bounds: np.ndarray, num: int) -> Measure:
    seeds = range(experiment.seeds)
    z = _stack(experiment.z, seeds, 1 if experiment.z.kind == "constant" else num)

    def measure(G: torch.nn.Module, D: torch.nn.Module) -> tuple[Stats, torch.Tensor]:
        points = sample(G, z)
        return toys.pattern_statistics(points.numpy(), bounds), points.mean(dim=1)

    return measure


def image_measure(experiment: Experiment, protocol: images.Protocol, heldout: np.ndarray) -> Measure:
    """The measurement of an image GAN; `heldout`: uint8 [M, C, H, W] that D never saw."""
    num, repeats = protocol.config.num, protocol.config.repeats
    fixed = fixed_z(experiment.z, 0, SAMPLES)
    unseen = normalise(heldout[: min(num, JUDGED)])[None]

    def measure(G: torch.nn.Module, D: torch.nn.Module) -> tuple[Stats, torch.Tensor]:
        def generate(repeat: int) -> torch.Tensor:
            z = fixed_z(experiment.z, 0, num, "evaluation_z", repeat)
            return torch.cat([sample(G, chunk)[0] for chunk in z.split(CHUNK, dim=1)])

        made = [generate(repeat) for repeat in range(repeats)]
        accuracy = [heldout_accuracy(D, unseen, one[None, : unseen.shape[1]], experiment.batch) for one in made]
        stats = protocol.score(made) | {"acc_D_heldout": np.array(accuracy)}
        return stats, denormalise(sample(G, fixed)[0])

    return measure


@torch.no_grad()
def heldout_accuracy(D: torch.nn.Module, real_img: torch.Tensor, gen_img: torch.Tensor, batch: int) -> float:
    """Share that D tells right of held-out and of generated images [1, N, C, H, W], either weighing the same.

    In whole batches of one kind and with their statistics in batch normalisation, as D was trained.
    """
    device, size = next(D.parameters()).device, min(batch, real_img.shape[1])
    sides = []
    for img, is_real in ((real_img, True), (gen_img, False)):
        whole = img[:, : img.shape[1] // size * size].split(size, dim=1)
        sides.append(np.mean([((D(part.to(device)) > 0) == is_real).double().mean().item() for part in whole]))
    return float(np.mean(sides))


def every_z(noise: Noise) -> torch.Tensor | None:
    """All of a finite input space, float32 [1, 2^dim, dim], in counting order; None if it is not finite."""
    if noise.kind != "bits":
        return None
    counting = np.arange(2**noise.dim)[:, None] >> np.arange(noise.dim)[::-1] & 1
    return torch.from_numpy(counting.astype(np.float32))[None]


def _stack(noise: Noise, seeds: range, num: int) -> torch.Tensor:
    return torch.from_numpy(np.stack([draw(noise, rng(seed, "sample_z"), num) for seed in seeds])).float()
