"""Every case of failures.py for real, against its row in docs/failures.md, which REPLIGAN_WRITE_FAILURES=1 writes."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from conftest import ROOT
from failures import CASES, GROUPS, NAMES, PARAMS, Bench, Case, Done, kill_child
from smoke import prepare, run

from repligan import trials
from repligan.core.files import sha256

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own

TABLE = ROOT / "docs" / "failures.md"
WRITE = os.environ.get("REPLIGAN_WRITE_FAILURES") == "1"
INTRODUCTION = """\
Each row is a bad input or a fault that `tests/test_failures.py` brings about for real, and what the command then
says on stderr, ends with and leaves on disk. `make failures` runs all of them and writes this file anew.

Exit codes: 2 for bad input, 1 for a fault of the machine, 129, 130 and 143 for a closed terminal, Ctrl-C and
SIGTERM, 0 where the program copes; 255 is DVC's own. Nothing is ever left half-written. Where a row names no other
MLflow server, none answers (`MLFLOW_TRACKING_URI=http://127.0.0.1:9`); `<...>` stands for what differs from run to run.
"""
HEADER = "| case | command | message | code | left on disk |\n|---|---|---|---|---|\n"
LONGEST_MESSAGE = 500  # characters: more is not read
MOST_LINES = 3  # of any message but DVC's: a line of progress, a warning and an error
TRIALS = (".work", "trials")
STEPS = (20, 40)  # where the training that some cases continue was stopped
PASSING = re.compile(r"^\S.*  step \d+/\d+  .*$|^resizing .*$")  # progress: says only how fast the machine is


@dataclass(frozen=True)
class Row:
    """What a case ended with, as the table has it."""

    case: str
    command: str
    message: str
    code: str
    left: str

    def markdown(self) -> str:
        """The row's line."""
        cells = (self.case, code(self.command), code(self.message), self.code, self.left)
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def code(words: str) -> str:
    """Words as code in a cell; they may hold backticks themselves."""
    fence = "``" if "`" in words else "`"
    space = " " if words.startswith("`") or words.endswith("`") else ""
    return f"{fence}{space}{words}{space}{fence}" if words else "nothing"


def committed_rows() -> dict[str, str]:
    """case -> its line in the committed table."""
    lines = TABLE.read_text().splitlines() if TABLE.exists() else []
    return {line.split(" | ")[0].removeprefix("| "): line for line in lines if line.startswith("| ")}


@pytest.fixture(scope="session")
def rows() -> Iterator[dict[str, str]]:
    """case -> its line, as observed; the table is written from them at the end of the session, where asked for."""
    observed: dict[str, str] = {}
    committed = committed_rows()
    yield observed
    if WRITE:
        parts = [f"# What goes wrong, and what you get\n\n{INTRODUCTION}"]
        for title, cases in GROUPS.items():
            lines = [observed.get(case.what) or committed.get(case.what) for case in cases]
            parts.append(f"## {title}\n\n{HEADER}" + "\n".join(filter(None, lines)) + "\n")
        TABLE.write_text("\n".join(parts))


@pytest.fixture(scope="session")
def store(reproduced: Path) -> Path:
    """Most cases are about what is done without the finished trials."""
    return reproduced / "store"


@pytest.fixture(scope="session")
def stopped(made: Path, smoke_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of `even` that was stopped at some steps: a checkpoint at each of them."""
    folder = tmp_path_factory.mktemp("stopped")
    prepare(folder, smoke_file)
    for at in STEPS:

        class Interrupted:
            """Progress that stops the training at a step."""

            def __init__(self, *_: object, at: int = at, **__: object):
                self.at = at

            def __call__(self, step: int, **_: float) -> None:
                if step == self.at - 1:  # noted after this step, saved with the next
                    signal.raise_signal(signal.SIGTERM)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(trials, "Progress", Interrupted)
            run(patch, folder, "train", "even", str(made / "data/processed/even"), "data/runs/even", ends_with=143)
    return folder


def listing(folder: Path) -> dict[str, str]:
    """path -> a file's digest, or what else is there; without what git, DVC and the store keep for themselves."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        locks = name.parts[:3] == (*TRIALS, "locks")  # empty, and never removed
        if (
            name.parts[0] in (".git", ".dvc")
            or "__pycache__" in name.parts
            or locks
            or name.parts in (TRIALS[:1], TRIALS)
        ):
            continue
        timed = name.parts[:2] == TRIALS and name.name == "entry.json"  # says when, and for how long
        found[str(name)] = "folder" if path.is_dir() else "timed" if timed else sha256(path)
    return found


def left(before: dict[str, str], after: dict[str, str]) -> str:
    """In words what a command changed: the topmost new and missing paths, and the files that differ."""
    new, missing = after.keys() - before.keys(), before.keys() - after.keys()
    differ = {name for name in after.keys() & before.keys() if after[name] != before[name]}
    parts = [
        f"{word}: {', '.join(dict.fromkeys(f'`{settled(name)}`' for name in topmost(names)))}"
        for word, names in (("new", new), ("changed", differ), ("gone", missing))
        if names
    ]
    return "; ".join(parts) or "nothing new"


def topmost(names: set[str]) -> list[str]:
    """The paths that lie in none of the others."""
    return sorted(name for name in names if not any(str(parent) in names for parent in Path(name).parents))


def settled(words: str) -> str:
    """Words without what differs from run to run."""
    words = re.sub(r"\b[0-9a-f]{64}\b", "<hash>", words)
    words = re.sub(r"\b[0-9a-f]{32}\b", "<key>", words)
    words = re.sub(r"\b0x[0-9a-f]+\b", "<address>", words)
    words = re.sub(r"\bPID \d+", "PID <number>", words)
    words = re.sub(r"\bMLflow \d+\.\d+\.\d+", "MLflow <version>", words)
    words = re.sub(r"\bexpected [0-9a-f]{12}\b", "expected <revision>", words)
    words = re.sub(r"\b(repligan-verify-)\w+", r"\1<random>", words)
    return re.sub(r"127\.0\.0\.1(:|', port=)\d{4,5}", r"127.0.0.1\1<port>", words)


def message(done: Done, bench: Bench) -> str:
    """What a command says on stderr, on one line, without progress."""
    lines = [line for line in done.stderr.splitlines() if line.strip() and not PASSING.match(line)]
    if "Traceback" in done.stderr:
        lines = ["Traceback", lines[-1]]
    words = " / ".join(" ".join(line.split()) for line in lines)
    words = (
        words.replace(str(bench.temporary), "<temporary>")
        .replace(str(bench.folder), "<folder>")
        .replace(sys.prefix, "<repository>/.venv")
        .replace(str(ROOT), "<repository>")
    )
    if done.code in (129, 130, 143):
        words = re.sub(r"\bstep \d+", "step <step>", words)
    for name, value in bench.params.items():
        words = words.replace(value, name)
    return settled(words)


def wrong(case: Case, done: Done, said: str, before: dict[str, str], after: dict[str, str]) -> list[str]:
    """What a command did that no command may do."""
    found = []
    if done.code != case.code:
        found.append(f"exit code {done.code}, not {case.code}")
    if case.says not in said:
        found.append(f"does not say {case.says!r}")
    if "Traceback" in done.stderr:
        found.append("a traceback")
    lines = said.split(" / ")
    errors = [line for line in lines if line.startswith("Error: ")]
    if case.code == 2 and not len(lines) == len(errors) == 1:
        found.append(f"{len(lines)} lines, not one that begins with Error:")
    if case.code == 1 and len(errors) != 1:
        found.append(f"{len(errors)} lines that begin with Error:, not one")
    if case.code != 255 and len(lines) > MOST_LINES:
        found.append(f"{len(lines)} lines, not {MOST_LINES} at most")
    if len(said) > LONGEST_MESSAGE:
        found.append(f"{len(said)} characters, not {LONGEST_MESSAGE} at most")
    killed = case.act is kill_child  # the next run removes what it left
    if partial := [name for name in after if name.endswith(".partial") and not killed]:
        found.append(f"left half-written: {partial}")
    touched = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    outside = {name for name in touched if Path(name).parts[0] != ".work"}
    if touched and case in (*PARAMS, *NAMES):
        found.append(f"a bad value changed {left(before, after)}")
    if case.code in (1, 2, 129, 130, 143) and outside:
        found.append(f"it changed {left(before, after)}")
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what.replace(" ", "-"))
def test_a_failure_is_as_its_row_says(
    case: Case,
    smoke_file: Path,
    made: Path,
    store: Path,
    stopped: Path,
    tmp_path: Path,
    rows: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "case"
    folder.mkdir()
    prepare(folder, smoke_file)
    with ExitStack() as undo:
        temporary = Path(undo.enter_context(TemporaryDirectory(prefix="case-")))
        bench = Bench(folder, temporary, made, store, stopped, monkeypatch, undo)
        for arrange in case.arrange:
            arrange(bench)
        before = listing(folder)
        done = case.act(bench, case.command)
        after = listing(folder)
        assert list(temporary.glob("repligan-*")) == []
    said = message(done, bench)
    row = Row(case.what, case.command, said, str(done.code), left(before, after)).markdown()
    rows[case.what] = row
    assert wrong(case, done, said, before, after) == [], done.stderr[-3000:]
    if not WRITE:
        assert row == committed_rows().get(case.what), "`make failures` writes the table anew"


def test_the_table_has_every_case_in_order_and_no_other() -> None:
    names = [case.what for case in CASES]
    assert len(set(names)) == len(names) >= 60
    if not WRITE:  # else it is written after the last test
        assert [name for name in committed_rows() if name != "case"] == names
