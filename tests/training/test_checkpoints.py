from __future__ import annotations

from pathlib import Path

import pytest
import torch

from repligan.core.errors import InputError
from repligan.training.checkpoints import Checkpoints


def test_the_newest_comes_first_and_two_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, {"lr": 0.1})
    for step in (5, 10, 15):
        checkpoints.save(step, {"w": torch.full((2,), float(step))})
    found = list(checkpoints.newest_first())
    assert [(step, tensors["w"].tolist()) for step, tensors in found] == [(15, [15, 15]), (10, [10, 10])]


@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda content: content[:-1] + b"\1"])
def test_a_damaged_one_gives_way_to_the_one_before(
    tmp_path: Path, damage: object, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints = Checkpoints(tmp_path, {})
    for step in (5, 10):
        checkpoints.save(step, {"w": torch.zeros(2)})
    newest = max(tmp_path.iterdir())
    newest.write_bytes(damage(newest.read_bytes()))
    assert [step for step, _ in checkpoints.newest_first()] == [5]
    assert "damaged" in capsys.readouterr().err


def test_another_config_is_refused_with_the_differing_keys(tmp_path: Path) -> None:
    Checkpoints(tmp_path, {"a": {"lr": 0.1, "batch": 16}}).save(5, {"w": torch.zeros(2)})
    assert list(Checkpoints(tmp_path, {"a": {"lr": 0.1, "batch": 16}}).newest_first())
    with pytest.raises(InputError, match=r"found a.lr 0.1 \(allowed: 0.2\); put that back") as error:
        list(Checkpoints(tmp_path, {"a": {"lr": 0.2, "batch": 16}}).newest_first())
    assert "batch" not in error.value.message


def test_what_lies_beyond_the_resumed_step_does_not_outlive_newer_ones(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, {})
    for step in (800, 900):
        checkpoints.save(step, {"w": torch.zeros(2)})
    checkpoints.forget_after(0)
    checkpoints.save(100, {"w": torch.zeros(2)})
    assert [step for step, _ in checkpoints.newest_first()] == [100]


def test_without_any(tmp_path: Path) -> None:
    assert list(Checkpoints(tmp_path / "none", {}).newest_first()) == []
