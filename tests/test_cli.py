from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from repligan.cli import main


@pytest.mark.parametrize("command", [[], ["sync"], ["ui"]])
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
