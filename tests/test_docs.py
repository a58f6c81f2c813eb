"""Every command in the pages is run at the smoke scale; what cannot be is understood by its program, and says why."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from conftest import ROOT, Once
from dvc.cli import DvcParserError, parse_args
from repository import environment
from ruamel.yaml import YAML

from repligan.cli import main
from repligan.params import SCALES

RUN_ELSEWHERE = "failures.md"  # test_failures.py runs each of its commands; test_postgres.py MLflow's in server.md
COMMAND = re.compile(r"(?:[A-Z_]+=\S+ )*(?:repligan|dvc|make|python) ")
FORM = re.compile(
    r"<\w+>|\.\.\.|COMMAND|^(?:repligan trials (?:ex|im)port|python -m pip)$"
)  # of a command, not a whole one

# What is not run here, and why. Words in brackets: the tests that run it.
NOT_RUN = {
    "repligan verify": "makes everything anew (test_edits.py)",
    "repligan decide": "trains for hours (test_decide.py)",
    "repligan sync": "needs all results (test_pipeline.py)",
    "repligan ui": "serves until it is stopped (test_mlflow_ui.py)",
    "repligan plan": "times trainings (test_plan.py)",
    "repligan audit": "trains again (test_audit.py)",
    "repligan trials adopt": "trains a part of all rows (test_adopt.py)",
    "repligan trials import": "needs what other machines exported (test_evidence.py)",
    "repligan repro": "makes everything (test_pipeline.py)",
    "dvc repro": "makes everything, or a stage and what it needs (test_pipeline.py)",
    "dvc exp": "trains again (test_edits.py)",
    "dvc pull": "needs a remote (test_remotes.py)",
    "dvc push": "needs a remote (test_remotes.py)",
    "dvc remote": "names an address that a user has (test_remotes.py)",
    "make": "sets up an environment, then calls what is here by its own name (test_install.py)",
    "python -m repligan.tools.architecture": "draws for seconds (test_rooms.py)",
    "python -m repligan.goldens": "trains (test_goldens.py)",
    "python -m http.server": "serves until it is stopped (test_remotes.py)",
    "python -m benchmarks": "measures for minutes (test_bench.py)",
    "python tests/forge.py": "forges and audits for minutes (test_forge.py)",
}
ENDS_WITH = {"repligan doctor": {0, 1}}  # 1: something is wrong with the machine that the tests run on; else 0
YOURS = {"my-flowers": "even"}  # an example's name -> one that is here


def written(text: str) -> Iterator[str]:
    """The commands of a page: lines of blocks without a language or of `sh`, and code in the text."""
    blocks = re.findall(r"^```(?:sh)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"^    (\S.*)", rest, re.MULTILINE)
    for line in [*(re.sub(r"(^\$ |\s+#.*)", "", line) for line in lines), *re.findall(r"`([^`\n]+)`", rest)]:
        if COMMAND.match(line) and not FORM.search(line):
            yield line.strip()


def all_written() -> list[str]:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return sorted({one for page in pages if page.name != RUN_ELSEWHERE for one in written(page.read_text())})


def reason(command: str) -> str | None:
    """Why a command is not run, if it is not."""
    bare = re.sub(r"^(?:[A-Z_]+=\S+ )*", "", command)
    return next((why for start, why in NOT_RUN.items() if f"{bare} ".startswith((f"{start} ", f"{start}."))), None)


COMMANDS = all_written()


@pytest.fixture(scope="module")
def finished(reproduced: Path, once: Once) -> Path:
    """What the smoke scale makes in a folder under git with all that commands read beside it, and finished trials."""

    def make(folder: Path) -> None:
        here = Path(shutil.copytree(reproduced / "made", folder / "here"))
        shutil.copytree(ROOT / "conf", here / "conf", dirs_exist_ok=True)
        shutil.copytree(reproduced / "store", folder / "store")
        for name in ("dvc.yaml", "dvc.lock", "requirements.lock", "README.md"):
            shutil.copy(ROOT / name, here)
        (here / ".gitignore").write_text("/data\n")
        for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "one"], ["commit", "-qm", "2", "--allow-empty"]):
            subprocess.run(["git", *words], cwd=here, env=environment(here), check=True)

    return once("docs", make)


@pytest.mark.parametrize("command", [one for one in COMMANDS if not reason(one)])
def test_it_runs(command: str, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(finished, tmp_path / "copy", copy_function=os.link, symlinks=True)
    monkeypatch.chdir(tmp_path / "copy" / "here")
    monkeypatch.setenv("REPLIGAN_TRIALS", str(tmp_path / "copy" / "store"))
    program, *arguments = shlex.split(command)
    assert program == "repligan"
    shown = CliRunner().invoke(main, arguments)
    assert shown.exit_code in ENDS_WITH.get(command, {0}), (shown.output, shown.exception)
    assert shown.output or shown.exit_code == 0


def understood(command: str) -> None:
    """Raises what a program raises at words that it does not know, or AssertionError where nothing has such a name."""
    words = [word for word in shlex.split(command) if not re.match(r"[A-Z_]+=", word)]
    match words[0]:
        case "repligan":
            parsed(main, words[1:])
        case "make":
            said = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
            assert said.returncode == 0, said.stderr
            assert set(re.findall(r"\bSCALE=(\S+)", command)) <= set(SCALES)
        case "python":
            module = words[2] if words[1] == "-m" else None
            assert importlib.util.find_spec(module) if module else (ROOT / words[1]).exists(), command
        case "dvc":
            asked_of_dvc(words[1:])


def parsed(group: click.Command, words: list[str]) -> None:
    """Let a command of click, or one of its commands, read `words` without running it."""
    parent = None
    while isinstance(group, click.Group):
        name, group, words = group.resolve_command(click.Context(group, parent=parent), words)
        assert group, name
    group.make_context(group.name, words)


def asked_of_dvc(words: list[str]) -> None:
    asked: Any = parse_args(words)
    stages = YAML(typ="safe").load((ROOT / "dvc.lock").read_text())["stages"]
    known = {*stages, *(name.split("@")[0] for name in stages)}
    for target in getattr(asked, "targets", None) or []:
        assert re.sub("|".join(YOURS), lambda found: YOURS[found[0]], target) in known, target
    for change in getattr(asked, "set_param", None) or []:
        table = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
        for key in change.partition("=")[0].split("."):
            assert key in table, change
            table = table[key]


@pytest.mark.parametrize("command", [one for one in COMMANDS if reason(one)])
def test_what_is_not_run_is_understood(command: str) -> None:
    understood(command)


@pytest.mark.parametrize(
    "command",
    [
        "repligan verify --experimint even",
        "repligan decode --hours 2",
        "make repeat",
        "make repro SCALE=huge",
        "python -m repligan.tools.architect",
        "python tests/forget.py",
        "dvc repro --forces",
        "dvc repro train@evens",
        "dvc exp run -S experiments.even.optimiser.rate=1",
    ],
)
def test_what_no_program_knows_is_noticed(command: str) -> None:
    with pytest.raises((click.ClickException, DvcParserError, AssertionError)):
        understood(command)


def test_reasons_are_of_commands_that_are_written_and_name_tests_that_are_there() -> None:
    assert len(COMMANDS) > 50
    assert {reason(one) for one in COMMANDS} == {None, *NOT_RUN.values()}
    named = [re.search(r"\((test_\w+\.py)\)$", why) for why in NOT_RUN.values()]
    assert all(found and list((ROOT / "tests").rglob(found[1])) for found in named)
