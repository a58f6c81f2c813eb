from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from repligan.core.errors import InputError
from repligan.data.batches import ImageBatches, denormalise, normalise, real_batches
from repligan.params import Params


def test_even_batches_are_real_rows_and_uniform(smoke: Params, processed: Path) -> None:
    batches = real_batches(smoke.datasets["even"].form, processed / "even", range(3), 16)
    seen = torch.stack([batches[i] for i in range(300)])
    assert seen.shape == (300, 3, 16, 7)
    assert seen[..., -1].max() == 0
    assert abs(seen[..., :-1].float().mean() - 0.5) < 0.01


def test_box_batches_fill_the_box(smoke: Params, processed: Path) -> None:
    batches = real_batches(smoke.datasets["bits1010"].form, processed / "bits1010", range(50), 1)
    seen = torch.stack([batches[i] for i in range(100)]).reshape(-1, 4)
    torch.testing.assert_close(seen.amin(0), torch.tensor([0.8, 0, 0.8, 0]), atol=2e-3, rtol=0)
    torch.testing.assert_close(seen.amax(0), torch.tensor([1, 0.2, 1, 0.2]), atol=2e-3, rtol=0)
    torch.testing.assert_close(seen.mean(0), torch.tensor([0.9, 0.1, 0.9, 0.1]), atol=3e-3, rtol=0)


def test_image_batches_are_epochs(smoke: Params, processed: Path) -> None:
    batches = real_batches(smoke.datasets["mnist"].form, processed / "mnist", [0], 16)
    epochs = [{img.numpy().tobytes() for i in range(10) for img in batches[10 * epoch + i][0]} for epoch in range(2)]
    assert len(epochs[0]) == 160
    assert epochs[0] == epochs[1]
    assert not torch.equal(batches[0], batches[10])
    assert torch.equal(batches[3], real_batches(smoke.datasets["mnist"].form, processed / "mnist", [0], 16)[3])


class Mapped(np.ndarray):
    """An array that notes how many rows of it were read at once."""

    most = 0

    def __getitem__(self, key: object) -> np.ndarray:
        found = super().__getitem__(key)
        Mapped.most = max(Mapped.most, len(found))
        return np.asarray(found)

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        raise AssertionError("read whole")


def test_images_stay_on_the_disk(smoke: Params, processed: Path) -> None:
    batches = real_batches(smoke.datasets["mnist"].form, processed / "mnist", [0], 16)
    assert isinstance(batches.img, np.memmap)
    assert batches.img.filename == processed / "mnist" / "train.npy"
    batch = batches[0]
    assert not np.shares_memory(batch.numpy(), batches.img)
    before = batches.img.copy()
    batch.zero_()
    np.testing.assert_array_equal(batches.img, before)


def test_a_batch_reads_its_own_images_only(processed: Path) -> None:
    img = np.load(processed / "mnist" / "train.npy")
    batches, watched = ImageBatches(img, 0, 16), ImageBatches(img.view(Mapped), 0, 16)
    for index in (0, 9, 10, 25):
        assert torch.equal(watched[index], batches[index])
    assert Mapped.most == 16


def test_a_batch_larger_than_the_data(smoke: Params, processed: Path) -> None:
    with pytest.raises(InputError, match="found 161; allowed: at most the 160 training images"):
        real_batches(smoke.datasets["mnist"].form, processed / "mnist", [0], 161)


def test_missing_data_is_named(smoke: Params, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train.npy: not found"):
        real_batches(smoke.datasets["mnist"].form, tmp_path, [0], 16)


def test_normalise_and_back() -> None:
    levels = np.arange(256, dtype=np.uint8)
    img = normalise(levels)
    assert (img.min(), img.max()) == (-1, 1)
    assert denormalise(img).tolist() == levels.tolist()


def test_images_in_memory_come_in_the_order_of_those_on_the_disk(processed: Path) -> None:
    img = np.load(processed / "mnist" / "train.npy")
    there, here = (ImageBatches(img, 3, 16, resident=resident) for resident in (True, False))
    assert there.resident is not None
    assert there.resident.dtype == torch.uint8
    for index in (0, 9, 10, 25):
        assert torch.equal(there[index], here[index])
