"""Figures as PNG bytes that depend on the numbers only."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from math import isfinite
from multiprocessing import get_context
from typing import TYPE_CHECKING

import numpy as np

os.environ["MPLBACKEND"] = "agg"  # a notebook's terminal hands down one that is not installed

import matplotlib.pyplot as plt  # after the backend is chosen

from repligan.claims.ledger import Evidence, Ledger
from repligan.evaluation.rows import OPERATIONS
from repligan.metrics.metric import frechet, metric
from repligan.reporting.pictures import GAP, picture, sheet, spread
from repligan.reporting.results import Result

if TYPE_CHECKING:
    import pandas as pd
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


def draw(
    results: Sequence[Result],
    claims: Ledger,
    grown: Mapping[str, np.ndarray],
    processes: int = 2,
    meanwhile: Callable[[], object] = lambda: None,
) -> dict[str, bytes]:
    """All figures as PNG: overview, of each experiment losses, curves, samples and walks as "name-kind", of each
    measured claim "claim-name".

    Two processes draw, of a short pipeline's report most is layout; `meanwhile` is called here. They are forked, so a
    process that has used torch's threads has to draw by itself: with 1.
    """
    todo: dict[str, Callable[[], Figure]] = {"overview": partial(overview, results)}
    for result in results:
        kinds = (losses, curves, samples) if result.pictures else (losses,)
        todo |= {f"{result.name}-{kind.__name__}": partial(kind, result) for kind in kinds}
        walked = (traversal, interpolation, arithmetic) if result.walks else ()
        todo |= {f"{result.name}-{kind.__name__}": partial(kind, result.walks) for kind in walked}
    for entry in claims.claims:
        places = [(f"{entry.id}.{i}", test) for i, test in entry.tested.items() if test.rule]
        if decisive := [(test, grown[place]) for place, test in places if place in grown]:
            todo[f"claim-{entry.id}"] = partial(claim, decisive)
    if processes == 1:
        meanwhile()
        return {name: png(make) for name, make in todo.items()}
    with ProcessPoolExecutor(processes, get_context("fork")) as pool:
        drawn = pool.map(png, todo.values())
        meanwhile()
        return dict(zip(todo, drawn, strict=True))


def png(make: Callable[[], Figure]) -> bytes:
    """The figure that `make` gives, without the metadata that would name the program and its version."""
    with plt.rc_context():
        plt.rcdefaults()  # without a matplotlibrc of the user, or what another package has set
        plt.rcParams.update(STYLE)
        figure, buffer = make(), io.BytesIO()
        figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
        plt.close(figure)
    return buffer.getvalue()


def band(axes: Axes, table: pd.DataFrame, name: str, colour: str) -> None:
    """A mean over the steps; shaded where 90 % of the seeds lie, or the interval of the mean."""
    axes.plot(table["step"], table[name], color=colour, label=metric(name).label)
    for low, high in ((f"{name}_p05", f"{name}_p95"), (f"{name}_lo", f"{name}_hi")):
        if low in table:
            axes.fill_between(table["step"], table[low], table[high], color=colour, alpha=0.15, linewidth=0)
            return


def losses(result: Result) -> Figure:
    """Losses, and what D thinks of real and generated data, over the steps."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 2.8))
    for axes, names, title in ((left, ("loss_D", "loss_G"), "losses"), (right, ("D_real", "D_gen"), "output of D")):
        for name, colour in zip(names, (BLUE, ORANGE), strict=True):
            if name in result.losses:
                band(axes, result.losses, name, colour)
        axes.set(xlabel="step", title=title)
        axes.legend()
    right.axhline(0.5, color="grey", linewidth=0.8, linestyle=":")
    return figure


def curves(result: Result) -> Figure:
    """The metrics over the steps, in the panels that `panels` says, with the real-vs-real floor."""
    groups = panels(result.measured)
    figure, axes = plt.subplots(1, len(groups), figsize=(4.3 * len(groups), 3.5), squeeze=False)
    for ax, group in zip(axes[0], groups, strict=True):
        _panel(ax, result, group)
    return figure


def panels(names: Sequence[str]) -> list[list[str]]:
    """Which metrics share a panel: all shares; those that differ only in a number at the end; others stand alone.

    A metric that is nothing of this is in tables only.
    """
    families: dict[str, list[str]] = {}
    for name in names:
        families.setdefault(name.rstrip("0123456789"), []).append(name)
    numbered = [family for family in families.values() if len(family) > 1]
    single = [name for name in names if not any(name in family for family in numbered)]
    alone = [[name] for name in single if metric(name).alone]
    return [group for group in (_shares(single), *numbered, *alone) if group]


def _shares(names: Sequence[str]) -> list[str]:
    return [name for name in names if metric(name).unit == "share"]


def _panel(axes: Axes, result: Result, names: Sequence[str]) -> None:
    for name, colour in zip(names, COLOURS, strict=False):
        band(axes, result.curves, name, colour)
        floor = result.floor[name]["mean"]
        axes.axhline(
            floor, color=colour, linewidth=0.8, linestyle="--", label="real against real" if len(names) == 1 else None
        )
    axes.set(xlabel="step")
    first = metric(names[0])
    if first.log:
        axes.set_yscale("log")
    if first.unit == "share":
        axes.set_ylim(-0.03, 1.03)
    axes.legend(fontsize=7.5, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)  # above: hides no curve


def samples(result: Result, most: int = 5) -> Figure:
    """What G makes at up to `most` snapshots, the first and the last among them."""
    chosen = spread(sorted(result.pictures), most)
    figure, axes = plt.subplots(1, len(chosen), figsize=(1.9 * len(chosen), 2.4), squeeze=False)
    for ax, step in zip(axes[0], chosen, strict=True):
        show(ax, result, step)
        ax.set_title(f"step {step}", fontsize=9)
    return figure


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
        _panel(curve, result, [distance] if distance else panels(result.measured)[0])
    return figure


def claim(tests: Sequence[tuple[Evidence, np.ndarray]]) -> Figure:
    """How the evidence of each test grew: estimate and bounds against the number of seeds, and what the rule asks."""
    figure, panels = plt.subplots(len(tests), 1, figsize=(2.6, 0.3 + 0.85 * len(tests)), squeeze=False, sharex=True)
    for axes, (test, grown) in zip(panels[:, 0], tests, strict=True):
        _growth(axes, test, grown)
    panels[-1, 0].set_xlabel("seeds", fontsize=6.5, labelpad=1)
    return figure


def _growth(axes: Axes, test: Evidence, grown: np.ndarray) -> None:
    num, estimate, low, high = grown
    axes.tick_params(labelsize=6.5, length=2)
    bounds = [one for one in (test.rule.model_dump().values() if test.rule else ()) if isinstance(one, float)]
    if test.rule and test.rule.kind == "share":
        bounds += [1 - one for one in bounds]
    shown = [*estimate, *bounds, *(one for one in (low[-1], high[-1]) if isfinite(one))]
    reach = 0.6 * (max(shown) - min(shown)) or 0.5
    below, above = min(shown) - reach, max(shown) + reach
    if test.kind == "share":
        below, above = -0.05, 1.05
    elif test.kind == "ratio":
        below = max(below, 0.0)
    axes.set(xscale="log", xlim=(num[0] / 1.15, num[-1] * 1.15), ylim=(below, above))
    ends = [one.copy() for one in (low, high)]
    for one, end in zip(ends, (below, above), strict=True):
        one[~np.isfinite(one)] = end
    if len(num) == 1:
        axes.vlines(num, *ends, color=BLUE, alpha=0.35, linewidth=6)  # a band would have no width
    axes.fill_between(num, *ends, color=BLUE, alpha=0.2, linewidth=0)
    axes.plot(num, estimate, color=BLUE, linewidth=1.2, marker="o" if len(num) < 3 else "", markersize=3)
    for bound in bounds:
        axes.axhline(bound, color="grey", linewidth=0.9, linestyle=":")
    ticks = sorted({int(num[0]), *(one for one in (16, 100, 1000) if num[0] < one < 0.7 * num[-1]), int(num[-1])})
    axes.set_xticks(ticks, [f"{one:,}" for one in ticks])
    axes.minorticks_off()
    axes.locator_params(axis="y", nbins=4)
