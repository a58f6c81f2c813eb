from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from repligan import config
from repligan.datasets.forms import preprocess, resize, to_bits
from repligan.datasets.sources import fetch
from repligan.errors import InputError


def test_56_is_0111000() -> None:
    assert to_bits(np.array([56]), 7).tolist() == [[0, 1, 1, 1, 0, 0, 0]]


def test_an_integer_that_does_not_fit_is_refused() -> None:
    assert to_bits(np.array([127]), 7).tolist() == [[1] * 7]
    with pytest.raises(InputError, match="found integer 128; allowed: 0 to 127 in 7 bits"):
        to_bits(np.array([128]), 7)


def test_even_is_all_64_even_numbers(processed: Path) -> None:
    bits = np.load(processed / "even" / "train.npy")
    assert bits.shape == (64, 7)
    assert sorted(bits @ 2 ** np.arange(7)[::-1]) == list(range(0, 128, 2))


def test_bounds_are_low_and_high(processed: Path) -> None:
    np.testing.assert_allclose(np.load(processed / "bits1010" / "bounds.npy"), [[0.8, 0, 0.8, 0], [1, 0.2, 1, 0.2]])


def test_mnist_is_split_and_32_wide(processed: Path) -> None:
    train, heldout = (np.load(processed / "mnist" / f"{name}.npy") for name in ("train", "heldout"))
    assert (train.shape, heldout.shape, train.dtype) == ((160, 1, 32, 32), (40, 1, 32, 32), np.uint8)
    assert not {img.tobytes() for img in train} & {img.tobytes() for img in heldout}
    assert len(set(np.load(processed / "mnist" / "train_labels.npy"))) == 10


def test_resize_keeps_the_picture() -> None:
    img = np.zeros((1, 28, 28), np.uint8)
    img[0, 7:21, 7:21] = 255
    big = resize(img, 32)
    assert big.shape == (1, 1, 32, 32)
    assert (big[0, 0, 16, 16], big[0, 0, 2, 2]) == (255, 0)
    assert big.mean() == pytest.approx(img.mean(), rel=0.02)


def test_the_same_bytes_every_time(smoke: config.Params, processed: Path, tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    out.mkdir()
    fetch(smoke.datasets["mnist"].source, raw)
    preprocess(smoke.datasets["mnist"], raw, out)
    for path in sorted(out.iterdir()):
        assert path.read_bytes() == (processed / "mnist" / path.name).read_bytes()


def test_too_many_images_wanted(smoke: config.Params, tmp_path: Path) -> None:
    dataset = smoke.datasets["mnist"]
    greedy = dataset.model_copy(update={"form": dataset.form.model_copy(update={"train": 5000})})
    fetch(dataset.source, tmp_path)
    with pytest.raises(InputError, match=r"found train \+ heldout = 5040; allowed: at most 5000"):
        preprocess(greedy, tmp_path, tmp_path)


def test_missing_raw_data(smoke: config.Params, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"integers\.csv: not found"):
        preprocess(smoke.datasets["even"], tmp_path, tmp_path)
