"""Inception-v3 with weights of its own making: the published ones are 96 MB and not here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from repligan.core.errors import InputError
from repligan.core.files import sha256
from repligan.core.rows import File
from repligan.evaluation import comparison
from repligan.evaluation.extractor import extract
from repligan.evaluation.inception import Inception
from repligan.evaluation.rows import InceptionReference

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as the published one: the same names and shapes."""
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(torch.nn.Module, "load_state_dict", lambda *_: None)
        net = FeatureExtractorInceptionV3("random", ["2048"])
    torch.save(net.state_dict(), path)
    return path


def test_it_is_torch_fidelitys_own_network(weights: Path) -> None:
    img = np.random.default_rng(0).integers(256, size=(3, 3, 32, 32), dtype=np.uint8)
    theirs = FeatureExtractorInceptionV3("theirs", ["2048", "logits_unbiased"], str(weights))
    features, logits = theirs(torch.from_numpy(img))
    seen = extract(Inception(weights, CPU), img)
    torch.testing.assert_close(seen.features, features)
    torch.testing.assert_close(seen.logits[0], logits)
    grey = extract(Inception(weights, CPU), img[:, :1])
    torch.testing.assert_close(grey.features, theirs(torch.from_numpy(img[:, :1].repeat(3, axis=1)))[0])


def test_a_comparison_by_inception(weights: Path, processed: Path, tmp_path: Path) -> None:
    file = File(name="random.pth", places=[str(weights)], sha256=sha256(weights))
    reference = InceptionReference(kind="inception", weights=file, num=6, repeats=2, threads=2)
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("train", "heldout"):
        np.save(folder / f"{name}.npy", np.load(processed / "mnist" / f"{name}.npy")[:12])
    (tmp_path / comparison.STANDARD).write_bytes(weights.read_bytes())
    compared, card = comparison.make(reference, folder, tmp_path, CPU)
    assert (card["extractor"], card["layer"]) == ("inception", "pool3, 2048 features")
    assert card["extractor_sha256"] == sha256(weights)
    floor = compared.floor()
    assert {"fd_inception_6", "kid", "class_score"} <= set(floor)
    assert not {"class_tv", "modes"} & set(floor)
    np.testing.assert_array_equal(comparison.read(reference, tmp_path, CPU).floor()["kid"], floor["kid"])


def test_damaged_weights_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad.pth").write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"bad.pth: damaged"):
        Inception(tmp_path / "bad.pth", CPU)


def test_weights_need_their_hash() -> None:
    row = {"kind": "inception", "weights": {"name": "a.pth", "places": ["a.pth"]}, "num": 6, "repeats": 2, "threads": 1}
    with pytest.raises(ValueError, match="sha256: found none; allowed: the file's"):
        InceptionReference.model_validate(row)
