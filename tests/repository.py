"""Copies of this repository at the smoke scale, in which DVC runs for real."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from emulated import ROOT
from ruamel.yaml import YAML

from repligan.params import SCALES

OUTPUTS = (".venv", ".git", ".work", "data", "downloads", "mlartifacts")
MLFLOW = ("mlflow.db*", "mlartifacts")
LEFTOVERS = ("__pycache__", ".*_cache", "*.egg-info", "cache", "tmp", "config.local", "figures", "index.html", *MLFLOW)
CLAIMS = list(YAML(typ="safe").load((ROOT / "conf" / "claims.yaml").read_text())["claims"])


def environment(repo: Path) -> dict[str, str]:
    """A user's environment in a repository."""
    keep = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "MLFLOW_", "REPLIGAN_"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    author = {f"GIT_{who}_{what}": "test@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return keep | author | {"PATH": path, "PYTHONPATH": str(repo / "src"), "HOME": str(repo.parent)}


def run(repo: Path, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a repository to its end."""
    return subprocess.run(command, cwd=repo, env=environment(repo) | env, capture_output=True, text=True, check=False)


def copy(repo: Path) -> Path:
    """What is committed here, or would be, as a repository of its own, without what larger scales found."""
    leftovers = shutil.ignore_patterns(*LEFTOVERS)
    left = {ROOT: OUTPUTS, ROOT / "published": SCALES}
    shutil.copytree(ROOT, repo, ignore=lambda at, names: {*leftovers(at, names), *left.get(Path(at), ())})
    for command in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "a copy")):
        done = run(repo, "git", *command)
        assert done.returncode == 0, done.stderr
    return repo


def reproduce(repo: Path) -> Path:
    """A copy, reproduced by DVC at the smoke scale, as `make repro` does it."""
    copy(repo)
    assert run(repo, "repligan", "scale", "smoke").stdout == "params.yaml: now at the smoke scale\n"
    done = run(repo, "repligan", "repro")
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return repo


def move(repo: Path, to: Path) -> Path:
    """The same in another folder, all but the runs in MLflow, which are bound to a place."""
    return Path(shutil.copytree(repo, to, symlinks=True, ignore=shutil.ignore_patterns(*MLFLOW)))


def outs(repo: Path) -> dict[str, dict[str, str]]:
    """Stage -> its outputs and their hashes, as DVC noted them."""
    return outs_in((repo / "dvc.lock").read_text())


def outs_in(lock: str) -> dict[str, dict[str, str]]:
    """The same in the text of a dvc.lock."""
    stages = YAML(typ="safe").load(lock)["stages"]
    return {name: {out["path"]: out["md5"] for out in stage["outs"]} for name, stage in stages.items()}
