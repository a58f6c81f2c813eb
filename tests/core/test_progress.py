from __future__ import annotations

import pytest

from repligan.core import progress
from repligan.core.progress import Progress


def run(monkeypatch: pytest.MonkeyPatch, seconds_a_step: float, steps: int = 10, beside: bool = False) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    say = Progress("even", steps, beside)
    for step in range(1, steps + 1):
        clock[0] += seconds_a_step
        say(step, **({"loss_D": 0.5} if step == 1 else {}))


def test_short_work_is_silent(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run(monkeypatch, 0.1)
    assert capsys.readouterr().err == ""


def test_long_work_says_step_rate_rest_and_last_values(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, 3)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "even  step 1/10  0.3/s  27 s left  loss_D 0.500"
    assert lines[-1] == "even  step 10/10  0.3/s  0 s left  loss_D 0.500"
    assert len(lines) == 4  # every 10 s, and the last


def test_a_late_first_report_and_a_continued_training(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    say = Progress("even", 1000)
    clock[0] = 5
    say(0)
    say(901)
    assert capsys.readouterr().err == "even  step 901/1000  0.2/s  495 s left\n"
    clock[0] = 20
    say(1000)
    say(1000)
    assert capsys.readouterr().err.count("\n") == 1


def test_a_terminal_gets_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    run(monkeypatch, 3)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.count("\r") == 10


@pytest.mark.parametrize("terminal", [False, True])
def test_work_beside_other_work_says_a_plain_line_a_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], terminal: bool
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    run(monkeypatch, 5)
    alone = capsys.readouterr().err
    run(monkeypatch, 5, beside=True)
    assert capsys.readouterr().err == ""
    run(monkeypatch, 25, beside=True)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("step ")[1].split("/")[0] for line in lines if line] == ["3", "6", "9", "10"]
    assert "10/10" in alone
