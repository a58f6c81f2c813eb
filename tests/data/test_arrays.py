from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from repligan.core.errors import InputError
from repligan.core.files import read_json
from repligan.data.arrays import preprocess, to_bits
from repligan.data.download import fetch
from repligan.params import Params


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
    assert set(np.load(processed / "mnist" / "train_labels.npy").ravel()) == set(range(10))


@pytest.mark.parametrize(("name", "size"), [("drawn-digits", 32), ("drawn-faces", 32), ("drawn-anime", 64)])
def test_stand_ins_have_colours_and_several_factors(processed: Path, name: str, size: int) -> None:
    folder = processed / name
    factors = read_json(folder / "factors.json")
    for split, count in (("train", 160), ("heldout", 40)):
        img, labels = np.load(folder / f"{split}.npy"), np.load(folder / f"{split}_labels.npy")
        assert (img.shape, img.dtype) == ((count, 3, size, size), np.uint8)
        assert (labels.shape, labels.dtype) == ((count, len(factors)), np.int64)
        assert (labels.max(axis=0) < [len(values) for _, values in factors]).all()
        assert any(not np.array_equal(one[0], one[2]) for one in img)
    assert len(factors) > 1
    assert (folder / "unreadable.txt").read_bytes() == b""


@pytest.mark.parametrize("name", ["mnist", "drawn-digits"])
def test_the_same_bytes_every_time(smoke: Params, processed: Path, tmp_path: Path, name: str) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    out.mkdir()
    fetch(name, smoke.datasets[name].source, raw, tmp_path / "downloads")
    preprocess(smoke.datasets[name], raw, out)
    assert sorted(path.name for path in out.iterdir()) == [
        "factors.json", "heldout.npy", "heldout_labels.npy", "train.npy", "train_labels.npy", "unreadable.txt",
    ]  # fmt: skip
    for path in sorted(out.iterdir()):
        assert path.read_bytes() == (processed / name / path.name).read_bytes()


def test_too_many_images_wanted(smoke: Params, tmp_path: Path) -> None:
    dataset = smoke.datasets["mnist"]
    greedy = dataset.model_copy(update={"form": dataset.form.model_copy(update={"train": 5000})})
    fetch("mnist", dataset.source, tmp_path, tmp_path / "downloads")
    with pytest.raises(InputError, match=r"found train \+ heldout 5040; allowed: at most the 5000 images there are"):
        preprocess(greedy, tmp_path, tmp_path)


def test_missing_raw_data(smoke: Params, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"integers\.csv: not found"):
        preprocess(smoke.datasets["even"], tmp_path, tmp_path)
