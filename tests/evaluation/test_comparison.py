from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from repligan.core.errors import InputError
from repligan.core.files import sha256
from repligan.data.batches import normalise
from repligan.evaluation import comparison
from repligan.evaluation.comparison import Comparison
from repligan.evaluation.extractor import accuracy, extract, not_images, pose
from repligan.evaluation.rows import CnnReference
from repligan.params import Params

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def reference(smoke: Params) -> CnnReference:
    return smoke.references["mnist"].model_copy(update={"epochs": 40, "width": 8})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reference")


@pytest.fixture(scope="module")
def made(reference: CnnReference, processed: Path, folder: Path) -> tuple[Comparison, dict[str, Any]]:
    return comparison.make(reference, processed / "mnist", folder, CPU)


@pytest.fixture(scope="module")
def compared(made: tuple[Comparison, dict[str, Any]]) -> Comparison:
    return made[0]


@pytest.fixture(scope="module")
def train_img(processed: Path) -> torch.Tensor:
    return normalise(np.load(processed / "mnist" / "train.npy"))


def split(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    return np.load(folder / f"{name}.npy"), np.load(folder / f"{name}_labels.npy")


def test_the_extractor_learns_the_digits(made: tuple[Comparison, dict[str, Any]], processed: Path) -> None:
    compared, card = made
    train, heldout = (accuracy(compared.net, *split(processed / "mnist", name)) for name in ("train", "heldout"))
    assert train[0] > 0.9
    assert heldout[0] > 0.5  # 160 images teach that much; chance is 0.1
    assert card["task"] == "factors"
    assert card["accuracy"] == {"train": train[0], "heldout": heldout[0], "by_factor": {"digit": heldout[0]}}


def test_the_card_says_what_a_value_depends_on(
    made: tuple[Comparison, dict[str, Any]], folder: Path, processed: Path, reference: CnnReference
) -> None:
    _, card = made
    assert card["extractor_sha256"] == sha256(folder / "extractor.safetensors")
    assert card["real_sha256"] == sha256(processed / "mnist" / "train.npy")
    assert (card["extractor"], card["layer"]) == ("cnn", "last hidden, 16 features")
    assert (card["num_real"], card["num_gen"]) == (64, 64)
    assert {"split", "resizer", "range", "bn", "seeds", "dtype"} <= card.keys()
    other = folder / "other"
    other.mkdir()
    changed = comparison.make(reference.model_copy(update={"epochs": 1}), processed / "mnist", other, CPU)[1]
    assert {key for key in card if card[key] != changed[key]} == {"extractor_sha256", "accuracy"}


@pytest.fixture(scope="module")
def several(
    reference: CnnReference, processed: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Comparison, dict[str, Any], Path]:
    """The extractor of drawn faces, which have eight factors, and where it was written."""
    folder = tmp_path_factory.mktemp("several")
    longer = reference.model_copy(update={"epochs": 120})
    return *comparison.make(longer, processed / "drawn-faces", folder, CPU), folder


def test_the_extractor_learns_every_factor(several: tuple[Comparison, dict[str, Any], Path], processed: Path) -> None:
    compared, card, _ = several
    img, labels = split(processed / "drawn-faces", "train")
    chance = np.array([np.bincount(column).max() / len(column) for column in labels.T])
    right = accuracy(compared.net, img, labels)
    assert right.shape == (len(compared.factors),) == (labels.shape[1],)
    assert (right > chance + 0.7 * (1 - chance)).all(), right
    assert (accuracy(compared.net, img, np.roll(labels, 1, axis=0)) < chance + 0.2).all()
    assert list(card["accuracy"]["by_factor"]) == list(compared.factors)
    assert card["accuracy"]["heldout"] == pytest.approx(np.mean(list(card["accuracy"]["by_factor"].values())))


def test_the_values_of_several_factors_are_read_back(
    several: tuple[Comparison, dict[str, Any], Path], reference: CnnReference, processed: Path
) -> None:
    compared, _, folder = several
    again = comparison.read(reference, folder, CPU)
    img, labels = split(processed / "drawn-faces", "train")
    seen = extract(again.net, img)
    assert torch.equal(seen.values, again.train.values)
    assert torch.equal(seen.features, compared.train.features)
    assert seen.values.shape == labels.shape
    assert list(again.factors.items()) == list(compared.factors.items())


def test_class_tv_is_the_mean_over_the_factors(
    several: tuple[Comparison, dict[str, Any], Path], processed: Path
) -> None:
    """One image alone: each factor's distance is 1 less the share of its value."""
    compared, _, _ = several
    img, _ = split(processed / "drawn-faces", "train")
    repeated = normalise(img[:1]).expand(64, -1, -1, -1)
    expected = []
    for repeat in range(2):
        real = compared.train.values[half(repeat)]
        expected.append((1 - (real == compared.train.values[0]).double().mean(dim=0)).mean().item())
    np.testing.assert_allclose(compared.score([repeated] * 2)["class_tv"], expected)


@pytest.fixture(scope="module")
def unlabelled(processed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unlabelled")
    for name in ("train.npy", "heldout.npy"):
        shutil.copy(processed / "drawn-faces" / name, folder)
    return folder


def test_without_labels_the_extractor_learns_rotations(
    reference: CnnReference, unlabelled: Path, tmp_path: Path
) -> None:
    compared, card = comparison.make(reference, unlabelled, tmp_path, CPU)
    assert (card["task"], compared.factors) == ("rotation", {})
    assert card["accuracy"]["train"] > 0.9
    assert card["accuracy"]["heldout"] > 0.5  # chance is 0.25
    assert card["accuracy"]["by_factor"] == {"rotation": card["accuracy"]["heldout"]}
    floor = compared.floor()
    assert not {"class_tv", "class_score", "modes"} & set(floor)
    assert set(comparison.read(reference, tmp_path, CPU).floor()) == set(floor)
    noise = compared.score([torch.rand(64, 3, 32, 32) * 2 - 1 for _ in range(2)])
    assert set(noise) == set(floor)
    assert noise["fd_cnn_64"].min() > 5 * floor["fd_cnn_64"].max()


def test_a_pose_is_as_many_quarter_turns_as_its_label(unlabelled: Path) -> None:
    img = np.load(unlabelled / "train.npy")
    rotated, turns = pose(img, None, 3)
    assert (rotated.shape, turns.shape, rotated.dtype) == (img.shape, (160, 1), np.uint8)
    for one, other, turn in zip(img, rotated, turns[:, 0], strict=True):
        np.testing.assert_array_equal(other.transpose(1, 2, 0), np.rot90(one.transpose(1, 2, 0), turn))
    assert np.bincount(turns[:, 0], minlength=4).min() > 20
    np.testing.assert_array_equal(pose(img, None, 3)[1], turns)
    assert not np.array_equal(pose(img, None, 4)[1], turns)


def test_what_is_no_image_has_the_pixels_of_images_in_other_places_or_is_noise(unlabelled: Path) -> None:
    img = np.load(unlabelled / "train.npy")[:36]
    none = not_images(img, 3)
    assert (none.shape, none.dtype) == ((12, *img.shape[1:]), np.uint8)
    np.testing.assert_array_equal(not_images(img, 3), none)
    assert not np.array_equal(not_images(img, 4), none)

    def colours(img: np.ndarray) -> list[bytes]:
        return [np.sort(one.reshape(3, -1).astype(int).T @ [1, 256, 65536]).tobytes() for one in img]

    def squares(img: np.ndarray) -> set[bytes]:
        parts = img.reshape(-1, 3, 4, 8, 4, 8).transpose(0, 2, 4, 1, 3, 5).reshape(-1, 3 * 8 * 8)
        return {one.tobytes() for one in parts}

    assert [one in colours(img) for one in colours(none)] == [False] * 4 + [True] * 8
    assert squares(none[8:]) <= squares(img)
    assert not squares(none[:4]) & squares(img)
    assert not {one.tobytes() for one in none} & {one.tobytes() for one in img}


def test_labelled_images_are_not_turned(processed: Path) -> None:
    img, labels = split(processed / "mnist", "train")
    seen, wanted = pose(img, labels, 3)
    assert seen is img
    assert wanted is labels


def test_labels_for_other_images_are_refused(reference: CnnReference, processed: Path, tmp_path: Path) -> None:
    shutil.copytree(processed / "mnist", tmp_path / "data")
    np.save(tmp_path / "data" / "heldout_labels.npy", np.zeros((39, 1), np.int64))
    with pytest.raises(InputError, match="found 39 labels for 40 images; allowed: one each"):
        comparison.make(reference, tmp_path / "data", tmp_path, CPU)


def test_the_extractor_learns_from_the_images_whose_labels_are_known(
    reference: CnnReference, processed: Path, tmp_path: Path
) -> None:
    short, factors = reference.model_copy(update={"epochs": 1}), processed / "mnist" / "factors.json"
    for name, known in (("part", slice(None)), ("known", slice(0, None, 2))):
        (tmp_path / name).mkdir()
        shutil.copy(factors, tmp_path / name)
        for which in ("train", "heldout"):
            img, labels = split(processed / "mnist", which)
            labels[1::2] = -1
            np.save(tmp_path / name / f"{which}.npy", img[known])
            np.save(tmp_path / name / f"{which}_labels.npy", labels[known])
    half = short.model_copy(update={"num": 32})
    part, card = comparison.make(half, tmp_path / "part", tmp_path / "part", CPU)
    known, same = comparison.make(half, tmp_path / "known", tmp_path / "known", CPU)
    assert (len(part.train.features), len(known.train.features)) == (160, 80)
    assert torch.equal(part.train.features[::2], known.train.features)
    assert {key for key in card if card[key] != same[key]} == {"real_sha256"}
    np.save(tmp_path / "part" / "heldout_labels.npy", np.full((40, 1), -1))
    with pytest.raises(InputError, match=r"part: found 0 heldout images with labels; allowed: at least 1$"):
        comparison.make(half, tmp_path / "part", tmp_path / "part", CPU)


def test_what_is_written_is_read_back(
    compared: Comparison, reference: CnnReference, folder: Path, processed: Path
) -> None:
    again = comparison.read(reference, folder, CPU)
    assert torch.equal(again.train.features, compared.train.features)
    seen = extract(again.net, split(processed / "mnist", "train")[0])
    assert torch.equal(seen.features, compared.train.features)
    assert torch.equal(again.heldout, compared.heldout)
    for side, known in ((again.floor(), compared.floor()), (again.blurred(), compared.blurred())):
        assert side.keys() == known.keys()
        for key, values in known.items():
            np.testing.assert_array_equal(side[key], values)


def test_the_same_images_are_at_no_distance(compared: Comparison, train_img: torch.Tensor) -> None:
    own = [train_img[half(repeat)] for repeat in range(2)]
    scores = compared.score(own)
    np.testing.assert_allclose(scores["fd_cnn_64"], 0, atol=1e-4)
    np.testing.assert_allclose(scores["class_tv"], 0)
    for metric in ("precision", "recall", "covered", "copied"):
        np.testing.assert_allclose(scores[metric], 1)


def half(repeat: int) -> torch.Tensor:
    from repligan.core.randomness import rng

    return torch.from_numpy(rng(repeat, "halves").permutation(160)[:64])


def test_noise_and_a_dropped_class_are_seen(compared: Comparison, train_img: torch.Tensor) -> None:
    floor = compared.floor()
    noise = compared.score([torch.rand(64, 1, 32, 32) * 2 - 1 for _ in range(2)])
    assert noise["fd_cnn_64"].min() > 5 * floor["fd_cnn_64"].max()
    one_digit = train_img[compared.train.values[:, 0] == 1][:1].expand(64, -1, -1, -1)
    collapsed = compared.score([one_digit] * 2)
    assert collapsed["class_tv"].min() > 0.8 > 2 * floor["class_tv"].max()


def test_blurring_replaces_four_pixels_by_their_mean_rounded_up_at_a_half() -> None:
    one = np.array([[0, 0, 255, 255], [0, 1, 255, 254], [1, 2, 0, 255], [2, 1, 255, 0]], np.uint8)
    small = np.array([[0, 255], [2, 128]], np.uint8)  # the means are 0.25, 254.75, 1.5, 127.5
    img = np.stack([one, one[::-1]])[:, None].repeat(3, axis=1)
    img[:, 1] = 7
    blurry = comparison.blur(img)
    assert (blurry.shape, blurry.dtype) == (img.shape, np.uint8)
    for channel in (0, 2):
        np.testing.assert_array_equal(blurry[0, channel], small.repeat(2, 0).repeat(2, 1))
        np.testing.assert_array_equal(blurry[1, channel], small[::-1].repeat(2, 0).repeat(2, 1))
    assert (blurry[:, 1] == 7).all()
    np.testing.assert_array_equal(comparison.blur(blurry), blurry)


def test_many_images_are_blurred_as_each_alone(processed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    img = np.load(processed / "mnist" / "train.npy")[:7]
    whole = comparison.blur(img)
    monkeypatch.setattr(comparison, "AT_ONCE", 3)
    np.testing.assert_array_equal(comparison.blur(img), whole)
    assert all((comparison.blur(one[None])[0] == blurry).all() for one, blurry in zip(img, whole, strict=True))
    assert not np.array_equal(whole, img)


def test_blurred_digits_are_what_is_measured_of_them_as_of_new_images(compared: Comparison, processed: Path) -> None:
    img = np.load(processed / "mnist" / "train.npy")
    others = [compared.rows(repeat, other=True).numpy() for repeat in range(2)]
    new = compared.score([normalise(comparison.blur(img[rows])) for rows in others])
    blurred = compared.blurred()
    assert new.keys() == blurred.keys()
    for key in new.keys() - {"copied"}:  # which means nothing for blurred training images
        np.testing.assert_allclose(blurred[key], new[key], rtol=1e-4, atol=1e-6, err_msg=key)


@pytest.mark.parametrize(
    ("middle", "border", "dark"), [(-1.0, -1.0, 1.0), (-1.0, 1.0, 1.0), (1.0, -1.0, 0.0), (1.0, 1.0, 0.0)]
)
def test_dark_images_are_those_with_a_dark_middle(
    compared: Comparison, middle: float, border: float, dark: float
) -> None:
    img = torch.full((64, 1, 32, 32), border)
    img[:, :, 8:24, 8:24] = middle
    img[:32] = -middle  # half are the other way round
    found = compared.score([img] * 2)["dark"]
    np.testing.assert_array_equal(found, [0.5] * 2)
    whole = compared.score([img[32:].repeat(2, 1, 1, 1)] * 2)["dark"]
    np.testing.assert_array_equal(whole, [dark] * 2)


def test_of_real_images_a_tenth_is_dark(compared: Comparison, train_img: torch.Tensor) -> None:
    own = compared.score([train_img[half(repeat)] for repeat in range(2)])["dark"]
    np.testing.assert_allclose(own, 0.1, atol=1 / 64)
    assert (compared.floor()["dark"] < 0.3).all()


def test_more_images_than_there_are(reference: CnnReference, processed: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found num 81; allowed: at most half of 160 images"):
        comparison.make(reference.model_copy(update={"num": 81}), processed / "mnist", tmp_path, CPU)


def test_luma_of_many_images_takes_little_memory() -> None:
    code = """
import numpy as np
from benchmarks.growth import peak
from repligan.evaluation.comparison import _luma
img = np.ones((20_000, 1, 32, 32), np.uint8)
before = peak()
assert abs(_luma(img) - 1 / 255).max() < 1e-12
print(peak() - before)
"""
    # By a shell: a process begins with the peak of the one that started it.
    words = ["sh", "-c", '"$0" -c "$1"; true', sys.executable, code]
    said = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(said.stdout) < 60  # one by one, the rest of each chunk is lost: 144
