"""How time and memory grow with seeds, batch, width and images: a process for each point, `portable` arithmetic."""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from benchmarks.bench import joined
from benchmarks.sides import ROOT, Table, compute_in, fresh, full, machine, random_images, ready, step_of
from repligan.core.files import load_array, write_bytes
from repligan.data.rows import ImagesForm
from repligan.evaluation.rows import CnnReference

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure

RESULTS = Path(__file__).parent / "growth.json"
PICTURES = {"seconds": ROOT / "docs" / "growth-time.png", "mb": ROOT / "docs" / "growth-memory.png"}
LABELS = {"seconds": "seconds", "mb": "MB beyond the import of torch"}
SECONDS = 1.0  # that the steps of one point take together
GENERATED = 10_000  # images whose nearest training image is looked for
WARM = 2_000  # images of a first measurement that does not count


class Line(NamedTuple):
    """Sizes along one axis; `side(size)` gives seconds, in proportion to size^power where only the work counts."""

    axis: str
    title: str
    sizes: tuple[int, ...]
    power: int
    side: Callable[[int], float]


def step_seconds(name: str, seeds: int = 1, share: int = 1, num: int = 10_000, **changed: int) -> float:
    """Seconds of a training step, after all images were seen once."""
    with ready(name, "portable", seeds, share, num, "cpu", **changed) as training:
        from benchmarks.reference import rate

        for i in range(getattr(training.real, "per_epoch", 0)):
            training.real[i]
        step = step_of(training)
        return 1 / rate(step, max(3, round(SECONDS * rate(step, 3))))


def evaluated(what: str, size: int) -> float:
    """Seconds of one part of the evaluation of `size` images of 32 x 32, with the published reference."""
    import torch

    params = full()
    config, form = params.references["mnist"], params.datasets["mnist"].form
    assert isinstance(config, CnnReference)
    assert isinstance(form, ImagesForm)
    torch.set_num_threads(config.threads)
    PARTS[what](WARM, config, form)()
    once = PARTS[what](size, config, form)
    began = time.perf_counter()
    once()
    return time.perf_counter() - began


def _features(size: int, config: CnnReference, form: ImagesForm) -> Callable[[], object]:
    from repligan.evaluation.extractor import Extractor, extract

    with tempfile.TemporaryDirectory() as folder:
        random_images(Path(folder) / "train.npy", size, form)
        img = load_array(Path(folder) / "train.npy")  # stays mapped when its name is gone
    return partial(extract, Extractor(config, form.channels, form.size, [10]), img)


def _frechet(size: int, config: CnnReference, form: ImagesForm) -> Callable[[], object]:
    from repligan.metrics.frechet import frechet_distance, gaussian

    sides = _sides(size, size, config.features)
    return lambda: frechet_distance(*map(gaussian, sides))


def _prdc(size: int, config: CnnReference, form: ImagesForm) -> Callable[[], object]:
    from repligan.metrics.neighbours import prdc

    gen, real = _sides(size, size, config.features)
    return partial(prdc, gen, real)


def _copies(size: int, config: CnnReference, form: ImagesForm) -> Callable[[], object]:
    from repligan.metrics.neighbours import nearest

    gen, real = _sides(GENERATED, size, config.features)
    return partial(nearest, gen, real)


def _sides(gen: int, real: int, dim: int) -> list[torch.Tensor]:
    import torch

    g = torch.Generator().manual_seed(0)
    return [torch.randn(num, dim, generator=g) for num in (gen, real)]


PARTS = {"features": _features, "Frechet distance": _frechet, "precision, recall": _prdc, "copies": _copies}
SEEDS, IMAGES = (1, 10, 100, 1_000, 10_000), (5_000, 20_000, 50_000, 200_000)
DCGAN = partial(step_seconds, "dcgan-mnist", share=4)
LINES = [
    *(Line("seeds", name, SEEDS, 1, partial(step_seconds, name)) for name in ("bits1010", "even")),
    Line("batch", "dcgan-mnist", (16, 32, 64, 128, 256, 512), 1, lambda n: DCGAN(batch=n)),
    Line("width", "dcgan-mnist", (8, 16, 32, 64), 2, lambda n: step_seconds("dcgan-mnist", share=64 // n)),
    Line("images", "training step", IMAGES, 0, lambda n: DCGAN(num=n)),
    *(Line("images", part, IMAGES, 1, partial(evaluated, part)) for part in PARTS if part != "precision, recall"),
    Line("images", "precision, recall", IMAGES[:3], 2, partial(evaluated, "precision, recall")),
]


def point(index: int, size: int) -> Table:
    """What one line costs at one size: seconds, and the most memory beyond what torch takes when it is imported."""
    compute_in("portable")
    import torch  # noqa: F401 - what it takes does not count

    before = peak()
    return {"size": size, "seconds": LINES[index].side(size), "mb": peak() - before}


def peak() -> float:
    """The most memory that this process has had in use, in MB; at first that of the process that started it."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def measured(index: int) -> Table:
    """A line's points, each from a process of its own."""
    line = LINES[index]
    points = [fresh(partial(point, index, size)) for size in line.sizes]
    return {"row": f"{line.axis}: {line.title}"} | {key: [one[key] for one in points] for key in points[0]}


def figure(results: Table, key: str) -> Figure:
    """`key` of all lines over the size, an axis a panel; dotted: in proportion to the work, from the largest size."""
    from matplotlib import pyplot as plt

    from repligan.reporting.figures import COLOURS

    rows = {row["row"]: row for row in results["rows"]}
    axes = list(dict.fromkeys(line.axis for line in LINES))
    made, panels = plt.subplots(1, len(axes), figsize=(9.5, 2.8))
    for panel, axis in zip(panels, axes, strict=True):
        for line, colour in zip([one for one in LINES if one.axis == axis], [*COLOURS, "#777777"], strict=False):
            if row := rows.get(f"{axis}: {line.title}"):
                panel.plot(row["size"], row[key], "o-", markersize=3, linewidth=1.2, color=colour, label=line.title)
                if key == "seconds" and line.power:
                    ideal = [row[key][-1] * (size / row["size"][-1]) ** line.power for size in row["size"]]
                    panel.plot(row["size"], ideal, ":", linewidth=0.9, color=colour)
        sizes = max((line.sizes for line in LINES if line.axis == axis), key=len)
        panel.set(xscale="log", xlabel=axis)
        panel.set_xticks(sizes, [f"{size:,}" for size in sizes], fontsize=7, rotation=30)
        panel.minorticks_off()
        if key == "seconds":
            panel.set_yscale("log")
        else:
            panel.set_ylim(bottom=0)
        panel.legend(fontsize=7, **({"loc": "upper left", "bbox_to_anchor": (1, 1)} if axis == axes[-1] else {}))
    panels[0].set_ylabel(LABELS[key])
    return made


def draw(results: Table) -> dict[str, bytes]:
    """The PNG files of time and memory."""
    from repligan.reporting.figures import png

    return {key: png(partial(figure, results, key)) for key in PICTURES}


@click.command(epilog="Example: python -m benchmarks.growth seeds width")
@click.argument("axes", nargs=-1, type=click.Choice(list(dict.fromkeys(line.axis for line in LINES))))
def main(axes: tuple[str, ...]) -> None:
    """Measure along AXES, or all; write benchmarks/growth.json and the two pictures of docs/performance.md."""
    described = machine()
    for index in (i for i, line in enumerate(LINES) if not axes or line.axis in axes):
        old = json.loads(RESULTS.read_text()) if RESULTS.exists() else None
        new = measured(index)
        results = joined([new], described, old, [f"{line.axis}: {line.title}" for line in LINES])
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        click.echo(json.dumps(new))
    for key, png in draw(results).items():
        write_bytes(PICTURES[key], png)


if __name__ == "__main__":
    main()
