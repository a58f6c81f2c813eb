"""CPU time: pauses do not count, what went before does."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from repligan.core.cputime import SPENT, cpu_time


def _work(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def test_work_counts_and_a_pause_does_not(tmp_path: Path) -> None:
    with cpu_time(tmp_path / "none") as spent:
        time.sleep(0.5)
        assert spent() < 0.3
        _work(0.5)
        assert spent() >= 0.4


def test_a_process_that_was_waited_for_counts(tmp_path: Path) -> None:
    with cpu_time(tmp_path / "none") as spent:
        work = "import time\nwhile time.process_time() < 0.5: pass"
        subprocess.run([sys.executable, "-c", work], check=True)
        assert spent() >= 0.4


def test_an_interrupted_part_is_added_to_the_next(tmp_path: Path) -> None:
    (tmp_path / SPENT).write_text("100.0\n")
    with pytest.raises(KeyboardInterrupt), cpu_time(tmp_path):
        _work(0.5)
        raise KeyboardInterrupt
    kept = float((tmp_path / SPENT).read_text())
    assert 100.4 <= kept < 110
    with cpu_time(tmp_path) as spent:
        assert kept <= spent() < kept + 10


@pytest.mark.parametrize("left", [None, "", "half"])
def test_after_a_part_that_left_nothing_the_cost_is_unknown(tmp_path: Path, left: str | None) -> None:
    if left is not None:
        (tmp_path / SPENT).write_text(left)
    with cpu_time(tmp_path) as spent:
        assert spent() is None
    assert [one.read_text() for one in tmp_path.iterdir()] == ([] if left is None else [left])


def test_what_left_no_folder_leaves_no_time(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), cpu_time(tmp_path / "none"):
        raise KeyboardInterrupt
    assert not (tmp_path / "none").exists()
