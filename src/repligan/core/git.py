"""git, asked about one repository, whatever the environment says of another."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

# A hook, and `git rebase --exec`, hand them down; git heeds them more than the working directory.
ELSEWHERE = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX", "GIT_WORK_TREE",
)  # fmt: skip


def git(repo: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run git in the folder `repo`; a return code of 127 where there is no git."""
    env = {key: value for key, value in os.environ.items() if key not in ELSEWHERE}
    try:
        return subprocess.run(["git", *arguments], cwd=repo, env=env, capture_output=True, check=False)
    except FileNotFoundError:
        return subprocess.CompletedProcess(arguments, 127, b"", b"git: not found")


def reason(done: subprocess.CompletedProcess[bytes]) -> str:
    """What git said, on one line."""
    return " ".join(done.stderr.decode(errors="replace").split())
