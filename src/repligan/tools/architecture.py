"""The picture of the architecture: rooms and the imports between them, drawn from the code as it is."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["MPLBACKEND"] = "agg"

import matplotlib.pyplot as plt  # after the backend is chosen
import networkx as nx

from repligan.core.code import rooms

plt.rcdefaults()


def graph() -> nx.DiGraph:
    """Room -> the rooms that it imports. Raises ValueError if they go in a circle."""
    found = nx.DiGraph(list(rooms(Path(__file__).parents[1])))
    if not nx.is_directed_acyclic_graph(found):
        raise ValueError(f"imports: found a circle, {nx.find_cycle(found)}; allowed: one direction")
    return found


def draw(out: Path) -> None:
    """Write the picture to `out`; an arrow that follows from two others is left out."""
    whole = graph()
    shown = nx.DiGraph(sorted(nx.transitive_reduction(whole).edges))  # sorted: sets have an order of their own
    place = {}
    for level, names in enumerate(nx.topological_generations(whole)):
        for i, name in enumerate(sorted(names)):
            # Shifted from level to level, so that a long arrow does not run behind the rooms between.
            place[name] = (i - (len(names) - 1) / 2 + 0.3 * (level % 3 - 1), -level)
    figure, axes = plt.subplots(figsize=(7, 8), layout="constrained")
    boxes = {"boxstyle": "round,pad=0.35", "facecolor": "#e8eef6", "edgecolor": "#2f6fb3"}
    nx.draw_networkx_edges(shown, place, ax=axes, edge_color="#888888", node_size=1600, arrowsize=11)
    nx.draw_networkx_labels(shown, place, ax=axes, font_size=9, bbox=boxes)
    axes.set_axis_off()
    axes.margins(0.12, 0.05)
    figure.savefig(out, dpi=90, metadata={"Software": None})


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
