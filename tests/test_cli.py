from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from conftest import ROOT
from PIL import Image

from repligan import cli
from repligan.cli import main
from repligan.core.files import to_bytes, write_bytes
from repligan.models.weights import build, pack
from repligan.params import Params
from repligan.store import Store


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command."""
    for name, command in group.commands.items():
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


@pytest.mark.parametrize("command", [(), *commands(main)], ids=" ".join)
def test_help(command: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(main, [*command, "--help"])
    assert shown.exit_code == 0
    assert not command or "Example: " in shown.output


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with conf/ and params.yaml, whose composing is only noted."""
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").touch()
    (tmp_path / "params.yaml").write_text("scale: laptop")
    monkeypatch.chdir(tmp_path)
    chosen = ["laptop"]
    monkeypatch.setattr(cli.composing, "selected", lambda conf: chosen[-1])
    monkeypatch.setattr(cli.composing, "select", chosen.append)
    monkeypatch.setattr(cli.composing, "compose", lambda scale, out: out.write_text(f"scale: {scale}"))
    monkeypatch.setattr(cli.composing, "edited", lambda params, conf: [])
    return tmp_path


@pytest.mark.parametrize(("command", "scale"), [(["scale", "smoke"], "smoke"), (["compose"], "laptop")])
def test_params_are_composed(repo: Path, command: list[str], scale: str) -> None:
    shown = CliRunner().invoke(main, command)
    assert (shown.exit_code, shown.output) == (0, f"params.yaml: now at the {scale} scale\n")
    assert (repo / "params.yaml").read_text() == f"scale: {scale}"


def test_hand_edits_of_params_are_named(repo: Path, smoke_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = smoke_file.read_text() + "# By hand.\n"
    (repo / "params.yaml").write_text(text)
    monkeypatch.setattr(cli.composing, "edited", lambda params, conf: [f"{params}: batch: found 3"])
    assert CliRunner().invoke(main, ["repair"]).stderr == "warning: params.yaml: batch: found 3\n"
    assert (repo / "params.yaml").read_text() == text
    assert CliRunner().invoke(main, ["compose"]).stderr == "dropped: params.yaml: batch: found 3\n"


def test_the_command_of_another_folder_refuses(repo: Path) -> None:
    (repo / "src" / "repligan").mkdir(parents=True)
    shown = CliRunner().invoke(main, ["compose"])
    assert shown.exit_code == 2
    assert f"allowed: {repo}/src/repligan, by `PYTHONPATH=src repligan ...`" in shown.stderr
    assert (repo / "params.yaml").read_text() == "scale: laptop"


def test_composing_elsewhere_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = CliRunner().invoke(main, ["compose"])
    assert shown.exit_code == 2
    assert shown.output.startswith("Error: conf/config.yaml: not found; allowed: ")


def test_trials_are_listed_and_emptied(
    smoke: Params, smoke_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REPLIGAN_TRIALS", str(tmp_path / "kept"))
    Store(tmp_path / "kept").get({"what": "training"}, lambda out, unfinished: {})
    shown = CliRunner().invoke(main, ["trials", "list", "--params", str(smoke_file)])
    assert shown.exit_code == 0
    *rows, last = shown.output.splitlines()
    assert [line.split(":")[0] for line in rows] == [str(row) for row in smoke.rows]
    assert all(": 0 of " in line for line in rows)
    assert last.startswith(f"1 of other rows, code or data; {tmp_path / 'kept'}: 1 entries, ")
    shown = CliRunner().invoke(main, ["trials", "empty"])
    assert (shown.exit_code, shown.output) == (0, f"{tmp_path / 'kept'}: 1 entries removed\n")
    assert list(Store(tmp_path / "kept").entries()) == []


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the claims, none of whose rules is registered."""
    (tmp_path / "conf").mkdir()
    shutil.copy(ROOT / "conf" / "claims.yaml", tmp_path / "conf")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "conf" / "registered.yaml"


def test_rules_are_registered_once_and_again_where_they_change(smoke: Params, smoke_file: Path, rules: Path) -> None:
    def register(*arguments: str) -> list[str]:
        shown = CliRunner().invoke(main, ["register", *arguments, "--params", str(smoke_file)])
        assert shown.exit_code == 0, shown.output
        return shown.output.splitlines()

    claims = rules.with_name("claims.yaml")
    said = claims.read_text(encoding="utf-8")
    names = re.findall(r"^  ([a-z0-9-]+):$", said[said.index("\nclaims:") :], re.MULTILINE)
    lines = register()
    assert [line.split(": rule ")[0] for line in lines] == names
    first = smoke.published("even").seed_range.stop  # the next new one
    assert re.fullmatch(rf"even-start: rule [0-9a-f]{{16}}, seeds from {first:,} on", lines[0])
    written = rules.read_bytes()
    assert register() == []
    assert rules.read_bytes() == written
    claims.write_text(said.replace("label: ", "label: really ").replace("most: 0.9", "most: 0.95"), encoding="utf-8")
    changed = register("bits-d-alone", "--seeds-from", "70000")
    assert [line.split(": ")[0] for line in changed] == ["bits-d-alone"]
    assert changed[0].endswith("seeds from 70,000 on")
    kept = [line for line in written.decode().splitlines() if "bits-d-alone" not in line]
    assert [line for line in rules.read_text().splitlines() if "bits-d-alone" not in line] == kept


@pytest.mark.parametrize(
    ("arguments", "damage", "said"),
    [
        (["even"], None, "claim: found 'even'; allowed: even-start, "),
        ([], "registered: 3", "conf/registered.yaml: registered: found 3; allowed: "),
        ([], "registered: {even-start: {rule: a, seeds: -1}}", "registered.even-start.seeds: found -1; allowed: "),
    ],
)
def test_what_cannot_be_registered_is_one_line(
    smoke_file: Path, rules: Path, arguments: list[str], damage: str | None, said: str
) -> None:
    if damage:
        rules.write_text(damage)
    shown = CliRunner().invoke(main, ["register", *arguments, "--params", str(smoke_file)])
    assert (shown.exit_code, shown.output.count("\n")) == (2, 1)
    assert said in shown.output
    assert (rules.read_text() if rules.exists() else None) == damage


def test_sync_without_results_is_one_line(smoke_file: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from repligan.cli import command; command()", "sync", "--params", str(smoke_file)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: data/evaluations/")
    assert done.stderr.endswith(": not found; allowed: an output of an earlier stage, made by `dvc repro`\n")
    assert list(tmp_path.iterdir()) == []


def test_ui_names_a_server_of_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example.org")
    shown = CliRunner().invoke(main, ["ui"])
    assert (shown.exit_code, shown.output) == (0, "the runs are at MLFLOW_TRACKING_URI, http://mlflow.example.org\n")


def test_ui_refuses_a_port_that_cannot_be() -> None:
    shown = CliRunner().invoke(main, ["ui", "--port", "70000"])
    assert shown.exit_code == 2
    assert "70000" in shown.output


@pytest.fixture(scope="session")
def walked(smoke: Params) -> str:
    """The name of an image GAN."""
    return next(name for name, measure in smoke.measures.items() if measure.walk)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--component", "{dim}"], "evaluations.{name}.walk.components: found {dim}; allowed: 0 to"),
        (["--component", "-1"], "evaluations.{name}.walk.components.0: found -1; allowed: greater"),
        (["--component", "x"], "'x' is not a valid integer"),
        (["--frames", "1"], "evaluations.{name}.walk.frames: found 1; allowed: greater than or equal"),
        (["--reach", "-2"], "evaluations.{name}.walk.reach: found -2.0; allowed: greater than 0"),
        (["--seed", "-1"], "-1 is not in the range"),
        (["--what", "dream"], "'dream' is not one of 'traversal', 'interpolation', 'arithmetic'"),
        (["--out", "walk.jpg"], "--out: found walk.jpg; allowed: a .png file in a folder that exists"),
        (["--out", "no/walk.png"], "--out: found no/walk.png; allowed: a .png file in a folder"),
        (["--component", "0"], "data/runs/{name}/published/0-0/history.safetensors: not found"),
    ],
)
def test_explore_says_in_one_line_what_is_wrong(
    smoke: Params,
    smoke_file: Path,
    walked: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    values = {"name": walked, "dim": smoke.published(walked).z.dim}
    asked = [argument.format(**values) for argument in arguments]
    shown = CliRunner().invoke(main, ["explore", walked, *asked, "--params", str(smoke_file)])
    assert shown.exit_code == 2
    assert shown.output.startswith("Error: ")
    assert said.format(**values) in shown.output
    assert shown.output.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_explore_refuses_a_toy(smoke: Params, smoke_file: Path, walked: str) -> None:
    toy = next(name for name, measure in smoke.measures.items() if not measure.walk)
    shown = CliRunner().invoke(main, ["explore", toy, "--params", str(smoke_file)])
    assert shown.exit_code == 2
    assert f"found no {toy!r}; allowed: " in shown.output
    assert walked in shown.output


@pytest.mark.parametrize(
    ("what", "first"), [("traversal", 0), ("interpolation", 0), ("arithmetic", 0), ("traversal", 7)]
)
def test_explore_draws_a_walk_of_the_first_seed(
    smoke: Params, smoke_file: Path, walked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, first: int
) -> None:
    row = smoke.published(walked)
    weights = pack(*build(row.G, row.D, row.z.dim, smoke.dataset_of(walked).form, [first]), 1)
    run = tmp_path / "data/runs" / walked / f"published/{first}-{first}"
    tables = smoke.model_dump(mode="json")
    tables["experiments"][walked] |= {"first_seed": first}
    smoke_file = tmp_path / "params.yaml"
    smoke_file.write_text(json.dumps(tables))  # JSON is YAML
    write_bytes(run / "step_00000012.safetensors", to_bytes(weights))
    write_bytes(run / "history.safetensors", to_bytes({}, {"last": 12}))
    monkeypatch.chdir(tmp_path)

    def drawn(*arguments: str) -> bytes:
        command = ["explore", walked, "--what", what, "--params", str(smoke_file), "--out", "x.png", *arguments]
        shown = CliRunner().invoke(main, command)
        assert shown.exit_code == 0
        assert shown.output.startswith(f"x.png: {what} of {walked}")
        return (tmp_path / "x.png").read_bytes()

    once = drawn()
    with Image.open(tmp_path / "x.png") as img:
        assert img.format == "PNG"
    assert drawn() == once
    assert drawn("--seed", "3") != once
