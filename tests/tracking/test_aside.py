"""The process beside a sync: it works elsewhere, and is gone when its parent is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from repligan.tracking.aside import aside

PARENT = """
import os
from repligan.tracking.aside import aside
if __name__ == "__main__":
    with aside() as helper:
        print(helper.executor.submit(os.getpid).result(), flush=True)
        input()
"""


def ended(pid: int) -> bool:
    """Whether a process is gone, or only waits to be asked how it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_calls_are_made_in_another_process_one_after_the_other() -> None:
    with aside() as helper:
        found = {helper.executor.submit(os.getpid).result() for _ in range(2)}
        assert found != {os.getpid()}
        assert len(found) == 1
        assert helper.folder.is_dir()
    assert ended(*found)
    assert not helper.folder.exists()


def test_what_goes_wrong_there_is_raised_here() -> None:
    with aside() as helper, pytest.raises(FileNotFoundError):
        helper.executor.submit(os.listdir, "no such folder").result()


def test_it_ends_with_a_killed_parent(tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(PARENT)
    with subprocess.Popen(
        [sys.executable, tmp_path / "parent.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        assert not ended(child)
        parent.send_signal(signal.SIGKILL)
    until = time.monotonic() + 30
    while not ended(child) and time.monotonic() < until:
        time.sleep(0.05)
    assert ended(child)
