from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from repligan import config
from repligan.datasets.batches import normalise
from repligan.errors import InputError
from repligan.evaluation import images
from repligan.evaluation.extractor import accuracy, extract

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def reference(smoke: config.Params) -> config.CnnReference:
    return smoke.references["mnist"].model_copy(update={"epochs": 40, "width": 8})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reference")


@pytest.fixture(scope="module")
def protocol(reference: config.CnnReference, processed: Path, folder: Path) -> images.Protocol:
    return images.make(reference, processed / "mnist", folder, CPU)[0]


@pytest.fixture(scope="module")
def train_img(processed: Path) -> torch.Tensor:
    return normalise(np.load(processed / "mnist" / "train.npy"))


def test_the_extractor_learns_the_digits(protocol: images.Protocol, processed: Path) -> None:
    data = {name: np.load(processed / "mnist" / f"{name}.npy") for name in ("train", "train_labels", "heldout")}
    assert accuracy(protocol.net, data["train"], data["train_labels"]) > 0.9
    labels = np.load(processed / "mnist" / "heldout_labels.npy")
    assert accuracy(protocol.net, data["heldout"], labels) > 0.5  # 160 images teach that much; chance is 0.1


def test_what_is_written_is_read_back(
    protocol: images.Protocol, reference: config.CnnReference, folder: Path, train_img: torch.Tensor
) -> None:
    again = images.read(reference, folder, CPU)
    assert torch.equal(again.features, protocol.features)
    assert torch.equal(extract(again.net, train_img)[0], protocol.features)
    for key, values in protocol.floor().items():
        np.testing.assert_array_equal(again.floor()[key], values)


def test_the_same_images_are_at_no_distance(protocol: images.Protocol, train_img: torch.Tensor) -> None:
    own = [train_img[protocol_rows(repeat)] for repeat in range(2)]
    scores = protocol.score(own)
    np.testing.assert_allclose(scores["fd_cnn_64"], 0, atol=1e-4)
    np.testing.assert_allclose(scores["class_tv"], 0)


def protocol_rows(repeat: int) -> torch.Tensor:
    from repligan.randomness import rng

    return torch.from_numpy(rng(repeat, "halves").permutation(160)[:64])


def test_noise_and_a_dropped_class_are_seen(protocol: images.Protocol, train_img: torch.Tensor) -> None:
    floor = protocol.floor()
    noise = protocol.score([torch.rand(64, 1, 32, 32) * 2 - 1 for _ in range(2)])
    assert noise["fd_cnn_64"].min() > 5 * floor["fd_cnn_64"].max()
    one_digit = train_img[protocol.classes == 1][:1].expand(64, -1, -1, -1)
    collapsed = protocol.score([one_digit] * 2)
    assert collapsed["class_tv"].min() > 0.8 > 2 * floor["class_tv"].max()


def test_more_images_than_there_are(reference: config.CnnReference, processed: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found num 81; allowed: at most half of 160 images"):
        images.make(reference.model_copy(update={"num": 81}), processed / "mnist", tmp_path, CPU)


def test_total_variation() -> None:
    a, b = torch.tensor([0, 0, 1, 1]), torch.tensor([1, 1, 2, 2])
    assert images.total_variation(a, a) == 0
    assert images.total_variation(a, b) == 0.5
    assert images.total_variation(a, torch.tensor([5])) == 1
