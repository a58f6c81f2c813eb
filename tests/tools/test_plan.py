from __future__ import annotations

from pathlib import Path

import pytest
from conftest import ROOT

from repligan.compose import compose
from repligan.data.rows import ImagesForm
from repligan.params import Params, load
from repligan.tools import plan


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Params:
    out = tmp_path_factory.mktemp("full") / "params.yaml"
    compose("full", out, ROOT / "conf")
    return load(out)


def test_what_is_to_be_fetched_and_how_large(full: Params, tmp_path: Path) -> None:
    told = dict(line.split(": ", 1) for line in plan.fetching(full, tmp_path))
    assert told == {
        "mnist": "4 of 4 files to fetch, 11.6 MB; 71.7 MB as arrays",
        "svhn": "2 of 2 files to fetch, 246 MB; 305 MB as arrays",
        "celeba": "3 of 3 files to fetch, 1.47 GB; 622 MB as arrays",
        "anime": "1 of 1 files to fetch, 0 bytes and anime-faces.zip of unknown size; 147 MB as arrays",
    }
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "train-images-idx3-ubyte.gz").touch()
    (tmp_path / "anime").mkdir()
    (tmp_path / "anime" / "anime-faces.zip").touch()
    told = dict(line.split(": ", 1) for line in plan.fetching(full, tmp_path))
    assert told["mnist"] == "3 of 4 files to fetch, 1.68 MB; 71.7 MB as arrays"
    assert told["anime"] == "fetched; 147 MB as arrays"


def test_offline_scales_fetch_nothing(smoke: Params, tmp_path: Path) -> None:
    assert list(plan.fetching(smoke, tmp_path)) == []


def test_every_row_of_images_is_timed(smoke: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "TIMED", 0.05)
    told = list(plan.training(smoke))
    gans = {
        str(row): experiment
        for row, experiment in smoke.rows.items()
        if isinstance(smoke.datasets[experiment.dataset].form, ImagesForm)
    }
    assert [line.split(":")[0] for line in told[:-1]] == list(gans)
    assert any("/" in name for name in gans)
    for line, experiment in zip(told, gans.values(), strict=False):
        seeds = f"{experiment.seeds} seeds of " if experiment.seeds > 1 else ""
        assert f": {seeds}{experiment.steps:,} steps, about" in line
        assert line.endswith("on cpu")


@pytest.mark.parametrize(
    ("seconds", "said"), [(3.4, "3 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2.0 h")]
)
def test_durations(seconds: float, said: str) -> None:
    assert plan.duration(seconds) == said


@pytest.mark.parametrize(("size", "said"), [(0, "0 bytes"), (999, "999 bytes"), (1000, "1 kB"), (2.5e9, "2.5 GB")])
def test_sizes(size: float, said: str) -> None:
    assert plan.readable(size) == said
