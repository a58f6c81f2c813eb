"""Figures as PNG bytes that depend on the numbers only."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

os.environ["MPLBACKEND"] = "agg"  # a notebook's terminal hands down one that is not installed

import matplotlib.pyplot as plt  # after the backend is chosen

from repligan.evaluation.rows import OPERATIONS
from repligan.metrics.metric import frechet, metric
from repligan.reporting import charts
from repligan.reporting.pictures import GAP, picture, sheet
from repligan.reporting.results import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED = "#2f6fb3", "#d9822b", "#3a8f5c", "#b8433f"
Walks = Mapping[str, np.ndarray]
COLOURS = (BLUE, ORANGE, GREEN, RED)
DPI = 110
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


def png(make: Callable[[], Figure]) -> bytes:
    """The figure that `make` gives, without the metadata that would name the program and its version."""
    with plt.rc_context():
        plt.rcdefaults()  # without a matplotlibrc of the user, or what another package has set
        plt.rcParams.update(STYLE)
        figure, buffer = make(), io.BytesIO()
        figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
        plt.close(figure)
    return buffer.getvalue()


def show(axes: Axes, result: Result, step: int) -> None:
    """One picture without axes."""
    plain(axes, picture(result.pictures[step]))


def plain(axes: Axes, img: np.ndarray) -> None:
    """An image without ticks, frame and grid."""
    axes.imshow(img, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.grid(visible=False)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def traversal(walks: Walks) -> Figure:
    """A panel for each swept component: rows are latents, columns the component's values from end to end."""
    swept = {name: img for name, img in walks.items() if name.startswith("component")}
    return _strips(swept, [f"{name} of z" for name in swept], "from end to end")


def interpolation(walks: Walks) -> Figure:
    """Two panels, linear and spherical: a row for each pair."""
    return _strips({name: walks[name] for name in ("linear", "spherical")}, ["linear", "spherical"], "from A to B")


def arithmetic(walks: Walks) -> Figure:
    """Rows are pairs of latents, columns A, B and what is computed of them."""
    img = walks["arithmetic"]
    figure, axes = plt.subplots(figsize=(0.85 * img.shape[1], 0.85 * len(img) + 0.3))
    plain(axes, sheet(img))
    size = img.shape[-1] + GAP
    axes.set_xticks([size * (i + 0.5) for i in range(img.shape[1])], OPERATIONS)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    return figure


def _strips(walks: Walks, titles: Sequence[str], across: str) -> Figure:
    rows, columns = next(iter(walks.values())).shape[:2]
    figure, axes = plt.subplots(
        len(walks), 1, figsize=(0.62 * columns, (0.62 * rows + 0.35) * len(walks)), squeeze=False
    )
    for ax, img, title in zip(axes[:, 0], walks.values(), titles, strict=True):
        plain(ax, sheet(img))
        ax.set_title(f"{title}, {across}", fontsize=9, loc="left")
    return figure


def overview(results: Sequence[Result]) -> Figure:
    """One row a GAN: what it made first and last, and its first metric in between."""
    shown = [result for result in results if result.pictures]
    figure, axes = plt.subplots(len(shown), 3, figsize=(8.2, 2.5 * len(shown)), width_ratios=(1, 1, 2), squeeze=False)
    for (first, last, curve), result in zip(axes, shown, strict=True):
        steps = sorted(result.pictures)
        for ax, step in ((first, steps[0]), (last, steps[-1])):
            show(ax, result, step)
            ax.set_title(f"{result.called}\nstep {step}", fontsize=8)
        distance = frechet(result.measured)
        _panel(curve, result, [distance] if distance else charts.panels(result.measured)[0])
    return figure


def _panel(axes: Axes, result: Result, names: Sequence[str]) -> None:
    table, first = result.curves, metric(names[0])
    for name, colour in zip(names, COLOURS, strict=False):
        axes.plot(table["step"], table[name], color=colour, label=metric(name).label)
        if ends := charts.band(table, name):
            axes.fill_between(table["step"], *(table[end] for end in ends), color=colour, alpha=0.15, linewidth=0)
        floor = result.floor[name]["mean"]
        axes.axhline(
            floor, color=colour, linewidth=0.8, linestyle="--", label="real against real" if len(names) == 1 else None
        )
    axes.set(xlabel="step")
    if first.log:
        axes.set_yscale("log")
    if first.unit == "share":
        axes.set_ylim(-0.03, 1.03)
    axes.legend(fontsize=7.5, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)  # above: hides no curve
