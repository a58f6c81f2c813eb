from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from outputs import make

from repligan.claims import ledger
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
        "import hashlib; from repligan.reporting import figures; plt = figures.plt; fig, axes = plt.subplots(); "
        "axes.plot([1, 2], label='x'); axes.legend(); print(hashlib.sha256(figures.png(lambda: fig)).hexdigest())"
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
