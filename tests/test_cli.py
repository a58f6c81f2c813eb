from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from repligan.cli import main
from repligan.core import config
from repligan.core.files import to_bytes, write_bytes
from repligan.models import build, pack


@pytest.mark.parametrize("command", [[], ["sync"], ["ui"], ["explore"]])
def test_help(command: list[str]) -> None:
    shown = CliRunner().invoke(main, [*command, "--help"])
    assert shown.exit_code == 0
    assert not command or "Example: " in shown.output


def test_sync_without_results_is_one_line(smoke_file: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from repligan.cli import main; main()", "sync", "--params", str(smoke_file)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "Error: reports/metrics/even.json: not found; allowed: an output of an earlier stage, made by `dvc repro`\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_ui_names_a_server_of_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example.org")
    shown = CliRunner().invoke(main, ["ui"])
    assert (shown.exit_code, shown.output) == (0, "the runs are at MLFLOW_TRACKING_URI, http://mlflow.example.org\n")


def test_ui_refuses_a_port_that_cannot_be() -> None:
    shown = CliRunner().invoke(main, ["ui", "--port", "70000"])
    assert shown.exit_code == 2
    assert "70000" in shown.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["even"], "explorations: found no 'even'; allowed: dcgan-anime, dcgan-celeba, dcgan-mnist, dcgan-svhn"),
        (["dcgan-anime", "--component", "64"], "explorations.dcgan-anime.components: found 64; allowed: 0 to 63"),
        (["dcgan-anime", "--component", "-1"], "explorations.dcgan-anime.components.0: found -1; allowed: greater"),
        (["dcgan-anime", "--component", "x"], "'x' is not a valid integer"),
        (["dcgan-anime", "--frames", "1"], "explorations.dcgan-anime.frames: found 1; allowed: greater than or equal"),
        (["dcgan-anime", "--reach", "-2"], "explorations.dcgan-anime.reach: found -2.0; allowed: greater than 0"),
        (["dcgan-anime", "--seed", "-1"], "-1 is not in the range"),
        (["dcgan-anime", "--what", "dream"], "'dream' is not one of 'traversal', 'interpolation', 'arithmetic'"),
        (["dcgan-anime", "--out", "walk.jpg"], "--out: found walk.jpg; allowed: a .png file in a folder that exists"),
        (["dcgan-anime", "--out", "no/walk.png"], "--out: found no/walk.png; allowed: a .png file in a folder"),
        (["dcgan-anime", "--component", "63"], "data/runs/dcgan-anime/history.safetensors: not found"),
    ],
)
def test_explore_says_in_one_line_what_is_wrong(
    smoke_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = CliRunner().invoke(main, ["explore", *arguments, "--params", str(smoke_file)])
    assert shown.exit_code == 2
    assert shown.output.startswith("Error: ")
    assert said in shown.output
    assert shown.output.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["traversal", "interpolation", "arithmetic"])
def test_explore_draws_a_walk(
    smoke: config.Params, smoke_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    row = smoke.experiments["dcgan-mnist"]
    weights = pack(*build(row, smoke.datasets["mnist"].form, [0]), 1)
    write_bytes(tmp_path / "data/runs/dcgan-mnist/step_00000012.safetensors", to_bytes(weights))
    write_bytes(tmp_path / "data/runs/dcgan-mnist/history.safetensors", to_bytes({}, {"last": 12}))
    monkeypatch.chdir(tmp_path)

    def drawn(*arguments: str) -> bytes:
        command = ["explore", "dcgan-mnist", "--what", what, "--params", str(smoke_file), "--out", "x.png", *arguments]
        shown = CliRunner().invoke(main, command)
        assert (shown.exit_code, shown.output) == (0, f"x.png: {what} of dcgan-mnist\n")
        return (tmp_path / "x.png").read_bytes()

    first = drawn()
    with Image.open(tmp_path / "x.png") as img:
        assert img.format == "PNG"
    assert drawn() == first
    assert drawn("--seed", "3") != first
