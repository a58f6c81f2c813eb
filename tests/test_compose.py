"""params.yaml from conf/, and who edited which of the two."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import ROOT

from repligan import compose
from repligan.core.errors import InputError
from repligan.params import SCALES, load
from repligan.training.rows import RowId


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


CONTROL = RowId(experiment="dcgan-mnist", variant="control")


def test_seeds_count_for_their_row_only_and_where_they_are_more(tmp_path: Path, conf: Path) -> None:
    params = tmp_path / "params.yaml"
    compose.compose("laptop", params, conf)
    before = {row: one.seeds for row, one in load(params).rows.items()}
    even = RowId(experiment="even")
    assert before[CONTROL] < 24 < before[even]
    compose.raise_seeds({CONTROL: 24, even: 24}, conf)
    compose.raise_seeds({CONTROL: 25}, conf)
    assert compose.seeds(conf) == {"laptop": {"dcgan-mnist/control": 25, "even": 24}}
    compose.compose("laptop", params, conf)
    after = {row: one.seeds for row, one in load(params).rows.items()}
    assert after == before | {CONTROL: 25}  # not those that are based on it
    compose.compose("smoke", params, conf)
    assert load(params).rows[CONTROL].seeds == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("seeds: {laptop: {even: many}}", "seeds.laptop.even: found 'many'; allowed: a valid integer"),
        ("seeds: {laptop: {even: 0}}", "seeds.laptop.even: found 0; allowed: greater than or equal to 1"),
        ("seeds: {laptop: {odd: 9}}", "seeds.laptop: found no 'odd'; allowed: bits1010, "),
        ("laptop: {even: 9}", "laptop: found an unknown key; allowed: seeds"),
        ("seeds: [", "line 2, column 1: "),
    ],
)
def test_bad_seeds_are_one_line_and_nothing_is_composed(tmp_path: Path, conf: Path, text: str, told: str) -> None:
    (conf / "seeds.yaml").write_text(text)
    with pytest.raises(InputError) as error:
        compose.compose(None, tmp_path / "params.yaml", conf)
    assert error.value.message.startswith(f"{conf / 'seeds.yaml'}: {told}")
    assert not (tmp_path / "params.yaml").exists()


def test_seeds_that_would_not_load_are_not_written(conf: Path) -> None:
    with pytest.raises(InputError, match="found no 'odd'"):
        compose.raise_seeds({RowId(experiment="odd"): 9}, conf)
    assert not (conf / "seeds.yaml").exists()


def test_a_config_without_a_scale_is_named(conf: Path) -> None:
    edit(conf / "config.yaml", "- scale: laptop", "")
    with pytest.raises(
        InputError, match="found no scale; allowed: one line `- scale: NAME`, of smoke, laptop, overnight, full"
    ):
        compose.selected(conf)
