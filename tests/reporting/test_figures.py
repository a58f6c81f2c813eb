from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from outputs import make

from repligan.claims import ledger
from repligan.claims.ledger import Evidence
from repligan.core.files import arrays
from repligan.reporting import figures, results


@pytest.mark.parametrize(
    ("names", "panels"),
    [
        (["even_rate", "tv", "coverage"], [["even_rate", "coverage"], ["tv"]]),
        (["out_0", "match", "out_1"], [["match"], ["out_0", "out_1"]]),
        (["kid", "fd_cnn_500", "recall"], [["recall"], ["fd_cnn_500"]]),
        (["kid", "something_new"], []),
    ],
)
def test_metrics_share_panels_as_their_descriptions_say(names: list[str], panels: list[list[str]]) -> None:
    assert figures.panels(names) == panels


def drawn(grown: np.ndarray, kind: str = "value", rule: dict[str, object] | None = None) -> Axes:
    """The panel of a test whose evidence grew so."""
    test = Evidence.model_validate(
        {"label": "", "rule": rule or {"kind": "above", "than": 0.5}, "rows": [], "budget": [], "num": 8, "alpha": 0.01,
         "kind": kind, "measured": {}}
    )  # fmt: skip
    return figures.claim([(test, grown)]).axes[0]


@pytest.mark.parametrize("num", [1, 2, 5])
def test_bounds_are_seen_however_few_looks_there_were(num: int) -> None:
    """A band over one number of seeds has no width."""
    grown = np.array([np.arange(8.0, 8 + num), np.full(num, 0.7), np.full(num, 0.6), np.full(num, 0.9)])

    def shaded(axes: Axes) -> int:
        axes.figure.canvas.draw()
        left, right = axes.transData.transform([(8, 0.8), (7 + num, 0.8)]).astype(int)
        pixels = np.asarray(axes.figure.canvas.buffer_rgba())[::-1]  # type: ignore[attr-defined]
        row = pixels[left[1], left[0] - 1 : right[0] + 2, :3].astype(int)
        return int((row[:, 2] - row[:, 0] > 20).sum())

    axes = drawn(grown)
    assert shaded(axes) >= 3
    plt.close("all")
    assert axes.get_xlim()[0] < 8 <= 7 + num < axes.get_xlim()[1]
    assert {one.get_ydata()[0] for one in axes.lines} >= {0.5}  # what the rule asks


@pytest.mark.parametrize(("kind", "low", "high"), [("share", -0.05, 1.05), ("ratio", 0.0, None), ("value", None, None)])
def test_an_axis_ends_where_values_do(kind: str, low: float | None, high: float | None) -> None:
    grown = np.array([[8.0, 9.0], [0.1, 0.2], [0.05, 0.1], [0.9, 0.3]])
    axes = drawn(grown, kind)
    plt.close("all")
    bottom, top = axes.get_ylim()
    assert bottom == low if low is not None else bottom < 0
    assert top == high if high is not None else top > 0.5


def test_every_figure_is_a_png_of_the_numbers_only(tmp_path: Path) -> None:
    made = make(tmp_path)
    found, claims = results.read(made.params, made.data, made.reports), ledger.read(made.reports)
    values, _ = arrays(made.data / "claims" / "values.safetensors")
    drawn = figures.draw(found, claims, values)
    walks = {f"pictures-{walk}" for walk in ("traversal", "interpolation", "arithmetic")}
    of_each = {f"{name}-{kind}" for name in made.params.experiments for kind in ("losses", "curves", "samples")}
    assert drawn.keys() == {"overview", "claim-most", *of_each, *walks}
    for png in drawn.values():
        assert png[:8] == b"\x89PNG\r\n\x1a\n"
        assert min(struct.unpack(">II", png[16:24])) > 20
        assert b"Software" not in png
    assert figures.draw(found, claims, values) == drawn


def test_neither_a_users_matplotlibrc_nor_a_notebooks_backend_is_heeded(tmp_path: Path) -> None:
    code = (
        "import hashlib\nfrom repligan.reporting import figures\n"
        "def make():\n    fig, axes = figures.plt.subplots()\n    axes.plot([1, 2], label='x')\n    axes.legend()\n"
        "    return fig\nprint(hashlib.sha256(figures.png(make)).hexdigest())"
    )
    hashes = []
    for rc in ("", "lines.linewidth: 9\naxes.facecolor: red\nsavefig.dpi: 33\n"):
        (tmp_path / "matplotlibrc").write_text(rc)
        env = os.environ | {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        hashes.append(done.stdout)
    assert hashes[0] == hashes[1]
