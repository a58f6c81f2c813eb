"""What a reproduction is about to fetch, write and compute, before it begins."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from repligan.core import runtime
from repligan.data.download import missing
from repligan.data.rows import Dataset, FilesSource, ImagesForm
from repligan.params import Params
from repligan.trials import Trial

if TYPE_CHECKING:
    from repligan.training.loop import Training

TIMED = 3  # seconds of training steps that an estimate is made from, or one step if that takes longer


def fetching(params: Params, downloads: Path) -> Iterator[str]:
    """A line for each dataset that comes in files: how many are to be fetched, how large, and what the arrays take."""
    for name, dataset in params.datasets.items():
        if not isinstance(dataset.source, FilesSource):
            continue
        wanted = missing(name, dataset.source, downloads)
        size = sum(file.size or 0 for file in wanted)
        unknown = [file.name for file in wanted if file.size is None]
        said = f"{len(wanted)} of {len(dataset.source.files)} files to fetch, {readable(size)}" if wanted else "fetched"
        said += f" and {', '.join(unknown)} of unknown size" if unknown else ""
        yield f"{name}: {said}; {readable(_array_bytes(dataset))} as arrays"


def training(params: Params) -> Iterator[str]:
    """A line for each image GAN and each of its variants: how long it will train here, by timing a few steps."""
    import numpy as np

    from repligan.training import loop

    total = 0.0
    for row, experiment in params.rows.items():
        form = params.datasets[experiment.dataset].form
        if not isinstance(form, ImagesForm):
            continue
        device = runtime.device(params.runtime, experiment.threads)
        with TemporaryDirectory() as folder:
            np.save(Path(folder) / "train.npy", np.zeros((experiment.batch, form.channels, form.size, form.size), "u1"))
            started = loop.start(str(row), experiment, form, Path(folder), [0], device, params.runtime.precision)
            seconds = _step_seconds(started) * experiment.steps * experiment.seeds
        total += seconds
        seeds = f"{experiment.seeds} seeds of " if experiment.seeds > 1 else ""
        yield f"{row}: {seeds}{experiment.steps:,} steps, about {duration(seconds)} on {device.type}"
    yield f"all image GANs: about {duration(total)} of training, one after another; evaluation comes on top"


def trial_seconds(params: Params, trial: Trial, processed: Path) -> float:
    """How long a trial will train here on the arrays in `processed`, by timing a few steps."""
    from repligan.training import loop

    row = trial.experiment
    device, form = runtime.device(params.runtime, row.threads), params.datasets[row.dataset].form
    started = loop.start(str(trial), row, form, processed, trial.seeds, device, params.runtime.precision)
    return _step_seconds(started) * row.steps


def _step_seconds(started: Training) -> float:
    from repligan.training import loop

    loop.summarised(started, loop.train_step(started))  # the first step also sets things up
    began, steps = time.monotonic(), 0
    while time.monotonic() - began < TIMED:
        loop.summarised(started, loop.train_step(started))  # brings values to the CPU: waits for the device
        steps += 1
    return (time.monotonic() - began) / steps


def _array_bytes(dataset: Dataset) -> int:
    form = dataset.form
    assert isinstance(form, ImagesForm)
    return (form.train + form.heldout) * form.channels * form.size**2


def readable(size: float) -> str:
    """Bytes in the largest unit that leaves at least 1."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


def duration(seconds: float) -> str:
    """Seconds in a unit that people count in."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
