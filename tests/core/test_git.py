from __future__ import annotations

import os
from pathlib import Path

import pytest

from repligan.core.git import ELSEWHERE, git, reason


def test_the_environment_leads_to_no_other_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As within a hook, or `git rebase --exec`."""
    assert not [name for name in ELSEWHERE if name in os.environ]
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        assert git(tmp_path / name, "init", "-q").returncode == 0
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "one" / ".git"))
    found = git(tmp_path / "other", "rev-parse", "--absolute-git-dir").stdout.decode().strip()
    assert Path(found).resolve() == (tmp_path / "other" / ".git").resolve()


def test_what_git_says_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = git(tmp_path, "log")
    assert done.returncode == 128
    assert reason(done).startswith("fatal: not a git repository")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert reason(git(tmp_path, "log")) == "git: not found"
