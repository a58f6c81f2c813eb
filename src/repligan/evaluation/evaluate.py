"""The snapshots of some seeds of a row -> statistics [steps, repeats].

A repeat is a seed where an experiment has many, else a draw of z and of the real half (see images).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from repligan.core.files import from_file, load_array, usable
from repligan.core.progress import Progress
from repligan.core.randomness import rng
from repligan.data.batches import denormalise, normalise
from repligan.data.rows import Dataset, Form
from repligan.evaluation import comparison
from repligan.evaluation.comparison import Comparison
from repligan.evaluation.extractor import AT_ONCE
from repligan.evaluation.rows import DrawsReference, Reference
from repligan.metrics import toys
from repligan.models.noise import draw, fixed_z
from repligan.models.rows import Noise
from repligan.models.weights import build, sample, unpack
from repligan.training.loop import GRID
from repligan.training.rows import Experiment, snapshot_name

Stats = dict[str, np.ndarray]
Measure = Callable[[torch.nn.Module, torch.nn.Module], tuple[Stats, torch.Tensor]]
"""G, D -> statistics [R] and what a figure needs: a histogram, points, or sample images."""
JUDGED = 500  # images of each kind that D is tried on


@dataclass
class Measured:
    """stats: metric -> [T, R] at `steps` [T]; pictures: step -> what G made."""

    steps: list[int]
    stats: Stats
    pictures: dict[str, torch.Tensor]


def evaluate(
    name: str,
    experiment: Experiment,
    form: Form,
    seeds: range,
    run: Path,
    measure: Measure,
    device: torch.device,
    steps: Sequence[int],
) -> Measured:
    """Measure the weights of `seeds` after each of `steps` in the folder `run`; a G that learns nothing has none."""
    pictures: dict[str, torch.Tensor] = {}
    steps = list(steps) if experiment.G.learns else []
    rows: list[Stats] = []
    progress = Progress(f"{name}: evaluating", len(steps))
    for i, step in enumerate(steps):
        nets = networks_at(step, experiment, form, seeds, run)
        stats, picture = measure(*(net.to(device) for net in nets))
        rows.append(stats)
        pictures[f"{step:08d}"] = picture
        progress(i + 1)
    return Measured(steps, {key: np.stack([row[key] for row in rows]) for key in (rows[0] if rows else {})}, pictures)


def networks_at(
    step: int, experiment: Experiment, form: Form, seeds: Sequence[int], run: Path
) -> tuple[torch.nn.Module, torch.nn.Module]:
    """(G, D) of `seeds` with the weights after `step`, on the CPU; raises InputError if missing or damaged."""
    G, D = build(experiment.G, experiment.D, experiment.z.dim, form, seeds)
    with usable(run / snapshot_name(step)):
        unpack(from_file(run / snapshot_name(step))[0], G, D)
    return G, D


def last_step(run: Path) -> int:
    """The step after which the training in the folder `run` ended."""
    return int(from_file(run / "history.safetensors")[1]["last"])


def measure_of(
    experiment: Experiment,
    dataset: Dataset,
    seeds: range,
    reference: Reference,
    processed: Path,
    folder: Path,
    device: torch.device,
) -> Measure:
    """The measurement that the dataset names, by the reference in `folder`."""
    match dataset.metrics:
        case "even":
            return _even(experiment, seeds, toys.decode(load_array(processed / "train.npy")), reference.num)
        case "bits1010":
            return _pattern(experiment, seeds, load_array(processed / "bounds.npy"), reference.num)
        case "images":
            assert not isinstance(reference, DrawsReference)
            compared = comparison.read(reference, folder, device)
            train, heldout = (load_array(processed / f"{part}.npy")[:JUDGED] for part in ("train", "heldout"))
            return image_measure(experiment, compared, train, heldout)


def _even(experiment: Experiment, seeds: range, real: np.ndarray, num: int) -> Measure:
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


def _pattern(experiment: Experiment, seeds: range, bounds: np.ndarray, num: int) -> Measure:
    z = _stack(experiment.z, seeds, 1 if experiment.z.kind == "constant" else num)

    def measure(G: torch.nn.Module, D: torch.nn.Module) -> tuple[Stats, torch.Tensor]:
        points = sample(G, z)
        return toys.pattern_statistics(points.numpy(), bounds), points.mean(dim=1)

    return measure


def image_measure(experiment: Experiment, compared: Comparison, train: np.ndarray, heldout: np.ndarray) -> Measure:
    """The measurement of an image GAN; D is tried on images uint8 [M, C, H, W] that it saw and never saw."""
    num, repeats = compared.config.num, compared.config.repeats
    fixed = fixed_z(experiment.z, 0, GRID)
    seen, unseen = (normalise(img[: min(num, len(heldout), len(train))])[None] for img in (train, heldout))

    def measure(G: torch.nn.Module, D: torch.nn.Module) -> tuple[Stats, torch.Tensor]:
        def generate(repeat: int) -> torch.Tensor:
            z = fixed_z(experiment.z, 0, num, "evaluation_z", repeat)
            return torch.cat([sample(G, chunk)[0] for chunk in z.split(AT_ONCE, dim=1)])

        made = [generate(repeat) for repeat in range(repeats)]
        stats = compared.score(made)
        if experiment.loss.is_probability:
            judged = [judge(D, seen, unseen, one[None, : unseen.shape[1]], experiment.batch) for one in made]
            stats |= {key: np.array([one[key] for one in judged]) for key in judged[0]}
        return stats, denormalise(sample(G, fixed)[0])

    return measure


def judge(
    D: torch.nn.Module, seen: torch.Tensor, unseen: torch.Tensor, gen_img: torch.Tensor, batch: int
) -> dict[str, float]:
    """How D, whose logits tell probabilities, does on real images that it saw and never saw and on generated ones.

    All [1, N, C, H, W]. acc_D_heldout: share of unseen and generated ones that it tells right, either weighing the
    same; gap_D: share of seen real ones that it calls real, less that of unseen ones; extreme_D: mean size of its
    logits of unseen and generated ones; steep_D: mean norm of the gradient of its logit by a generated image, which is
    what G learns from; dead_D: share of its units that hand no gradient on for any generated image.
    In whole batches of one kind and with their statistics in batch normalisation, as D was trained.
    """
    device, size = next(D.parameters()).device, min(batch, unseen.shape[1])

    def whole(img: torch.Tensor) -> torch.Tensor:
        return img[:, : img.shape[1] // size * size].detach().to(device)

    def logits(img: torch.Tensor) -> torch.Tensor:
        return torch.cat([D(part) for part in img.split(size, dim=1)], dim=1)

    with torch.no_grad():
        of_seen, of_unseen = logits(whole(seen)), logits(whole(unseen))
    gen_img = whole(gen_img).requires_grad_()
    alive, hooks = _watch_units(D)
    of_gen = logits(gen_img)
    (slopes,) = torch.autograd.grad(of_gen.sum(), gen_img)
    for hook in hooks:
        hook.remove()
    right = [(side > 0) == is_real for side, is_real in ((of_unseen, True), (of_gen, False))]
    norms = slopes[0].detach().double().square().sum(dim=(1, 2, 3)).cpu().numpy() ** 0.5
    units = np.concatenate([one.flatten().numpy() for one in alive.values()]) if alive else np.ones(1)
    return {
        "acc_D_heldout": float(np.mean([one.double().mean().item() for one in right])),
        "gap_D": float((of_seen > 0).double().mean() - (of_unseen > 0).double().mean()),
        "extreme_D": float(np.mean([one.detach().double().abs().mean().item() for one in (of_unseen, of_gen)])),
        "steep_D": float(norms.mean()),
        "dead_D": float(1 - units.mean()),
    }


def _watch_units(D: torch.nn.Module) -> tuple[dict[str, torch.Tensor], list[Any]]:
    """Of each rectifier of D by name, whether its units [C, H, W] hand a gradient on for any image from now on."""
    alive: dict[str, torch.Tensor] = {}

    def watch(name: str, slope: float) -> Callable[..., None]:
        def hook(layer: torch.nn.Module, inputs: tuple[torch.Tensor], out: torch.Tensor) -> None:
            passes = (inputs[0].detach() > 0).any(dim=0).cpu() | (slope > 0)
            alive[name] = alive[name] | passes if name in alive else passes

        return hook

    rectifiers = [(name, one) for name, one in D.named_modules() if isinstance(one, torch.nn.LeakyReLU | torch.nn.ReLU)]
    hooks = [one.register_forward_hook(watch(name, getattr(one, "negative_slope", 0.0))) for name, one in rectifiers]
    return alive, hooks


def every_z(noise: Noise) -> torch.Tensor | None:
    """All of a finite input space, float32 [1, 2^dim, dim], in counting order; None if it is not finite."""
    if noise.kind != "bits":
        return None
    counting = np.arange(2**noise.dim)[:, None] >> np.arange(noise.dim)[::-1] & 1
    return torch.from_numpy(counting.astype(np.float32))[None]


def _stack(noise: Noise, seeds: range, num: int) -> torch.Tensor:
    return torch.from_numpy(np.stack([draw(noise, rng(seed, "sample_z"), num) for seed in seeds])).float()
