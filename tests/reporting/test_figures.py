from __future__ import annotations

import os
import struct
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from outputs import make

from repligan.reporting import figures, results


def test_the_overview_is_a_png_of_the_numbers_only(tmp_path: Path) -> None:
    made = make(tmp_path)
    found = results.read(made.params, made.data, made.reports)
    png = figures.png(partial(figures.overview, found))
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert min(struct.unpack(">II", png[16:24])) > 200
    assert b"Software" not in png
    assert figures.png(partial(figures.overview, found)) == png


@pytest.mark.parametrize("kind", ["traversal", "interpolation", "arithmetic"])
def test_a_walk_is_drawn_with_every_image(tmp_path: Path, kind: str) -> None:
    made = make(tmp_path)
    walks = results.read(made.params, made.data, made.reports)[1].walks
    figure = getattr(figures, kind)(walks)
    shown = [axes.images[0].get_array().shape for axes in figure.axes]
    figures.plt.close(figure)
    assert shown == {"traversal": [(20, 30)] * 2, "interpolation": [(20, 30)] * 2, "arithmetic": [(20, 50)]}[kind]


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
