"""The benchmark's opponents train the networks that they are compared with; its table says what was measured."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from benchmarks import bench, reference, sides
from click.testing import CliRunner
from torch import nn

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


def test_the_page_has_the_marks() -> None:
    assert [bench.PAGE.read_text().count(mark) for mark in bench.MARKS] == [1, 1]


def test_a_ratio_above_1_means_that_ours_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "fresh", lambda side: side())
    sides = {"theirs": lambda: 4.0, "ours": lambda: 2.0}
    for unit, ratio in (("s", 2.0), ("steps/s", 0.5)):
        monkeypatch.setitem(bench.ROWS, "even", bench.Row("even", unit, sides, [("ours", "theirs")]))
        assert [row["ratio"] for row in bench.measured("even", 2)] == [ratio]


def test_rows_of_another_machine_are_not_kept() -> None:
    new = [{"row": "bits1010"}]
    kept = bench.joined(new, RESULTS["machine"], RESULTS)["rows"]
    assert [row["row"] for row in kept] == ["bits1010", "even"]
    assert bench.joined(new, {"cpu": "another"}, RESULTS)["rows"] == new


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_without_a_gpu_its_row_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(bench, "PORTABLE", {})
    done = CliRunner().invoke(bench.main, [bench.ON_GPU])
    assert (done.exit_code, done.stderr) == (0, "dcgan-mnist-cuda: left out, there is no CUDA GPU here\n")
    assert not bench.RESULTS.exists()
