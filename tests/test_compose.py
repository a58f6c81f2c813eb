"""params.yaml from conf/, and who edited which of the two."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import ROOT

from repligan import compose
from repligan.core.errors import InputError
from repligan.params import SCALES, load


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    return tmp_path / "conf"


def edit(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))


def test_params_are_the_selected_scale_as_composed(tmp_path: Path, conf: Path) -> None:
    compose.compose(None, tmp_path / "params.yaml", conf)
    assert (tmp_path / "params.yaml").read_text() == (ROOT / "params.yaml").read_text()
    assert load(tmp_path / "params.yaml").scale == compose.selected(conf) == "laptop"
    assert len((ROOT / "params.yaml").read_text().splitlines()) < 500


@pytest.mark.parametrize("scale", SCALES)
def test_a_selected_scale_stays(tmp_path: Path, conf: Path, scale: str) -> None:
    before = (conf / "config.yaml").read_text().splitlines()
    compose.select(scale, conf)
    after = (conf / "config.yaml").read_text().splitlines()
    assert sum(a != b for a, b in zip(before, after, strict=True)) == (scale != "laptop")
    compose.compose(None, tmp_path / "params.yaml", conf)
    assert load(tmp_path / "params.yaml").scale == scale


def test_it_is_said_which_of_the_two_was_edited(tmp_path: Path, conf: Path) -> None:
    params = tmp_path / "params.yaml"
    compose.compose(None, params, conf)
    assert (compose.is_edited(params), compose.edited(params, conf)) == (False, [])
    edit(conf / "experiments" / "even.yaml", "lr: 0.001", "lr: 0.0077")
    told = "experiments.even.optimiser.lr: found 0.001, conf/ has 0.0077"
    assert compose.edited(params, conf) == [f"{told} (conf/ was edited: `repligan compose`)"]
    compose.compose(None, params, conf)
    edit(params, "lr: 0.0077", "lr: 0.0078")
    told = "experiments.even.optimiser.lr: found 0.0078, conf/ has 0.0077"
    assert compose.is_edited(params)
    assert compose.edited(params, conf) == [f"{told} (params.yaml was edited by hand)"]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("lr: 0.001", "lr: fast", "conf: experiments.even.optimiser.lr: found 'fast'; allowed: a valid number"),
        ("# @package _global_", "- [", "conf: "),
    ],
)
def test_what_does_not_compose_is_one_line_and_writes_nothing(
    tmp_path: Path, conf: Path, old: str, new: str, told: str
) -> None:
    edit(conf / "experiments" / "even.yaml", old, new)
    with pytest.raises(InputError) as error:
        compose.compose(None, tmp_path / "params.yaml", conf)
    assert error.value.message.startswith(told)
    assert "\n" not in error.value.message
    assert not (tmp_path / "params.yaml").exists()


def test_a_config_without_a_scale_is_named(conf: Path) -> None:
    edit(conf / "config.yaml", "- scale: laptop", "")
    with pytest.raises(InputError, match="found no scale; allowed: one line `- scale: NAME`, of smoke, laptop, full"):
        compose.selected(conf)
