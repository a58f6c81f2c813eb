"""What a trained G makes: images as a grid, numbers and bits as text, all of them as an array."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from repligan.core import runtime
from repligan.core.errors import InputError
from repligan.core.files import write_bytes
from repligan.data.batches import denormalise
from repligan.data.rows import BitsForm, ImagesForm
from repligan.evaluation.evaluate import last_step, networks_at
from repligan.models.noise import fixed_z
from repligan.models.weights import sample
from repligan.params import Params
from repligan.reporting.pictures import sheet
from repligan.training.rows import RowId
from repligan.trials import trials_of

STREAM = "samples"  # of z: other draws than those of training and evaluation


def generated(params: Params, data: Path, name: str, num: int, seed: int) -> np.ndarray:
    """What the published G of `name`, of its first seed, makes of `num` z: of images uint8 [num, C, H, W], of bits
    uint8 [num, width] 0 or 1, else float32 [num, dim]. Raises InputError where it is not trained."""
    row = RowId(experiment=name)
    trial = next(trials_of(row, params.rows[row]))
    experiment, run = trial.experiment, data / "runs" / name / trial.place
    form = params.datasets[experiment.dataset].form
    if not run.is_dir():
        raise InputError(f"{run}: not found; allowed: a trained G (`dvc repro train@{name}`, or `dvc pull`)")
    device = runtime.device(params.runtime, experiment.threads)
    G = networks_at(last_step(run), experiment, form, trial.seeds, run)[0].to(device)
    z = fixed_z(experiment.z, seed, num, STREAM).expand(len(trial.seeds) if experiment.stacked else 1, -1, -1)
    out = sample(G, z.contiguous())[0].cpu()
    if isinstance(form, ImagesForm):
        return denormalise(out).numpy()
    return (out > 0.5).numpy().astype(np.uint8) if isinstance(form, BitsForm) else out.numpy()


def words(made: np.ndarray) -> Iterator[str]:
    """What a toy made, a line each: bits with the number that they are, other outputs as they are."""
    for one in made:
        if made.dtype == np.uint8:
            yield f"{int(''.join(map(str, one)), 2)}  {' '.join(map(str, one))}"
        else:
            yield " ".join(f"{value:.3f}" for value in one)


def save(made: np.ndarray, out: Path) -> None:
    """Write a .png grid of images, or an .npz with the array `samples`; raises InputError at a grid of no images."""
    if out.suffix == ".npz":
        packed = io.BytesIO()
        np.savez(packed, samples=made)
        write_bytes(out, packed.getvalue())
    elif made.ndim != 4:
        raise InputError(f"--out: found {out}, of a toy; allowed: a name that ends in .npz")
    else:
        from PIL import Image

        packed = io.BytesIO()
        side = int(np.ceil(np.sqrt(len(made))))
        full = np.concatenate([made, np.full((-len(made) % side, *made.shape[1:]), 255, np.uint8)])
        Image.fromarray(sheet(full.reshape(-1, side, *made.shape[1:]))).save(packed, "png")
        write_bytes(out, packed.getvalue())
