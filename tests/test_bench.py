"""The benchmark's opponents train the networks that they are compared with; its page says what was measured."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks import bench, growth, reference, sides
from click.testing import CliRunner
from PIL import Image
from torch import nn

from repligan.core import runtime
from repligan.models.weights import build

RESULTS = {
    "machine": {
        "cpu": "A CPU", "instructions": ["avx2"], "cores": 2, "python": "3.12.1", "torch": "2.11.0", "numpy": "2.0.0",
    },
    "rows": [
        {
            "row": "even", "title": "even, two seeds", "unit": "steps/s", "ours": "portable", "theirs": "plain PyTorch",
            "our_rates": [2e4, 1e4, 3e4], "their_rates": [10.0, 10.0, 10.0], "ratio": 2000.0, "range": [1000.0, 3000.0],
        }
    ],
}  # fmt: skip


def size(net: nn.Module) -> int:
    return sum(weight.numel() for weight in net.parameters())


@pytest.mark.parametrize(
    ("name", "share", "made"),
    [
        ("even", 1, reference.even),
        ("bits1010", 1, reference.bits1010),
        ("dcgan-mnist", 32, partial(reference.dcgan_mnist, width=2, batch=4)),
    ],
)
def test_a_reference_has_as_many_weights_as_ours_and_trains(
    name: str, share: int, made: Callable[[], reference.Loop]
) -> None:
    loop = made()
    dataset, row = sides.published(name, share)
    nets = build(row.G, row.D, row.z.dim, dataset.form, [0])
    assert [size(net) for net in (loop.G, loop.D)] == [size(net) for net in nets]
    before = [weight.detach().clone() for net in (loop.G, loop.D) for weight in net.parameters()]
    losses = [loss for _ in range(3) for loss in loop.step()]
    after = [weight for net in (loop.G, loop.D) for weight in net.parameters()]
    assert torch.stack(losses).isfinite().all()
    assert not any(torch.equal(*pair) for pair in zip(before, after, strict=True))


def test_the_table_stands_between_the_marks() -> None:
    page = bench.written(f"# Speed\n\n{bench.MARKS[0]}\nold\n{bench.MARKS[1]}\n\nend\n", RESULTS)
    assert "| even, two seeds | portable: 20,000 steps/s | plain PyTorch: 10 steps/s | 2,000 | 1,000 to 3,000 |" in page
    assert "A CPU (avx2), 2 cores; Python 3.12.1, torch 2.11.0, numpy 2.0.0." in page
    assert "old" not in page
    assert page.startswith("# Speed\n")
    assert page.endswith("\n\nend\n")
    assert bench.written(page, RESULTS) == page


def test_the_page_shows_the_committed_results() -> None:
    page = bench.PAGE.read_text()
    assert bench.written(page, json.loads(bench.RESULTS.read_text())) == page


def test_one_command_measures_prints_and_writes_the_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bench, "fresh", lambda side: side())
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(bench, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(bench, "PORTABLE", {})
    bench.PAGE.write_text(f"# Speed\n{bench.MARKS[0]}\n{bench.MARKS[1]}\n")
    sides = {"ours": lambda: 4.0, "theirs": lambda: 2.0}
    monkeypatch.setitem(bench.ROWS, "even", bench.Row("two seeds", "steps/s", sides, [("ours", "theirs")]))
    done = CliRunner().invoke(bench.main, ["even", "--rounds", "1"])
    line = "| two seeds | ours: 4 steps/s | theirs: 2 steps/s | 2 | 2 to 2 |"
    assert done.exit_code == 0
    assert line in done.output
    assert line in bench.PAGE.read_text()
    assert [row["ratio"] for row in json.loads(bench.RESULTS.read_text())["rows"]] == [2.0]


def test_a_ratio_above_1_means_that_ours_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "fresh", lambda side: side())
    sides = {"theirs": lambda: 4.0, "ours": lambda: 2.0}
    for unit, ratio in (("s", 2.0), ("steps/s", 0.5)):
        monkeypatch.setitem(bench.ROWS, "even", bench.Row("even", unit, sides, [("ours", "theirs")]))
        assert [row["ratio"] for row in bench.measured("even", 2)] == [ratio]


def test_a_share_of_the_machine_is_operations_over_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "fresh", lambda side: side())
    sides = {"portable": lambda: 5.0, "convolutions, portable": lambda: 200.0}
    row = bench.Row("images", "steps/s", sides, [("portable", "convolutions, portable")], lambda: 30.0)
    monkeypatch.setitem(bench.ROWS, "dcgan-mnist", row)
    (found,) = bench.measured("dcgan-mnist", 1)
    assert (found["unit"], found["our_rates"], found["ratio"]) == ("GFLOP/s", [150.0], 0.75)


def test_operations_of_a_step_are_those_of_its_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "apply", lambda _: None)  # any arithmetic will do
    _, row = sides.published("dcgan-mnist", 32)
    assert (row.G.width, row.D.width, row.batch) == (4, 2, 128)  # type: ignore[union-attr]
    # Multiplications of one image: input channels x output channels x 25 x places.
    first, D = 1 * 2 * 25 * 256, (1 * 2 * 256 + 2 * 4 * 64 + 4 * 8 * 16) * 25 + 8 * 16
    linear, G = 100 * 256, 100 * 256 + (16 * 8 * 16 + 8 * 4 * 64 + 4 * 1 * 256) * 25
    # D's weights learn from two batches, G's twice; neither images nor z need a gradient in that.
    passes = 10 * D - 2 * first + 6 * G - 2 * linear
    assert sides.gflop("dcgan-mnist", 32) == pytest.approx(2 * 128 * passes / 1e9)


def test_peak_memory_is_in_megabytes() -> None:
    code = "from benchmarks.growth import peak; a = peak(); b = b'1' * 200_000_000; print(peak() - a)"
    # By a shell: a process begins with the peak of the one that started it.
    words = ["sh", "-c", '"$0" -c "$1"; true', sys.executable, code]
    said = subprocess.run(words, cwd=sides.ROOT, capture_output=True, text=True, check=True)
    assert 180 < float(said.stdout) < 230


def test_the_pictures_of_growth_are_those_of_its_numbers() -> None:
    results = json.loads(growth.RESULTS.read_text())
    assert [row["row"] for row in results["rows"]] == [f"{line.axis}: {line.title}" for line in growth.LINES]
    turned = [row | {key: row[key][::-1] for key in ("seconds", "mb")} for row in results["rows"]]
    assert all(apart(key, png) < 0.1 for key, png in growth.draw(results).items())  # CPUs round a line's edge otherwise
    assert all(apart(key, png) > 0.1 for key, png in growth.draw(results | {"rows": turned}).items())
    assert all(growth.PICTURES[key].stat().st_size < 80_000 for key in growth.PICTURES)


def apart(key: str, png: bytes) -> float:
    """How far a picture is from the committed one, in mean levels of 256; infinite where it has another size."""
    one, other = (np.asarray(Image.open(io.BytesIO(img)), float) for img in (png, growth.PICTURES[key].read_bytes()))
    return float(np.abs(one - other).mean()) if one.shape == other.shape else np.inf


def test_rows_of_another_machine_are_not_kept() -> None:
    new = [{"row": "bits1010"}]
    kept = bench.joined(new, RESULTS["machine"], RESULTS, list(bench.ROWS))["rows"]
    assert [row["row"] for row in kept] == ["bits1010", "even"]
    assert bench.joined(new, {"cpu": "another"}, RESULTS, list(bench.ROWS))["rows"] == new


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_without_a_gpu_its_row_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(bench, "PORTABLE", {})
    done = CliRunner().invoke(bench.main, [bench.ON_GPU])
    assert (done.exit_code, done.stderr) == (0, "dcgan-mnist-cuda: left out, there is no CUDA GPU here\n")
    assert not bench.RESULTS.exists()
