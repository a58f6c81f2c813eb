"""Reproduce a commit from scratch in a temporary clone, and compare every output with its dvc.lock."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from repligan.core import runtime
from repligan.core.errors import Fault, InputError
from repligan.core.files import read_json, write_bytes, write_json
from repligan.core.git import ELSEWHERE, git, reason
from repligan.core.rows import flatten, pick
from repligan.metrics.metric import metric
from repligan.params import Params, load

LEADING_OUT = ("DVC_ROOT", "MLFLOW_TRACKING_URI", "REPLIGAN_TRIALS", *ELSEWHERE)  # of the clone
IDENTICAL, WITHIN, DRIFTED, UNPROMISED = "identical", "within the band", "drifted", "other bits, none promised"


@dataclass(frozen=True)
class Row:
    """One output: its stage, its path, how it compares, and for metrics the value that moved furthest."""

    stage: str
    output: str
    status: str
    detail: str = ""


def verify(root: Path, commit: str, targets: Sequence[str], out: Path) -> list[Row]:
    """Clone `root` at `commit`, run the pipeline (or `targets` and what they need) there and compare.

    Writes verify.json, verify.md and the reproduced index.html to the folder `out`.
    Raises InputError if there is no such commit, Fault if the pipeline fails.
    """
    with tempfile.TemporaryDirectory(prefix="repligan-verify-") as folder:
        clone = Path(folder) / "repository"
        _git(root, "clone", "--quiet", "--no-checkout", str(root), str(clone))
        _git(clone, "checkout", "--quiet", "--detach", _git(root, "rev-parse", "--verify", f"{commit}^{{commit}}"))
        params = load(clone / "params.yaml")
        committed, metrics = _lock(clone), _metrics(clone)
        for target in targets:
            kin = {name: row for name, row in committed.items() if name.split("@")[0] == target.split("@")[0]}
            pick(kin or committed, "dvc.lock: stages", target)
        ran = _reproduce(clone, targets)
        rows = compare(params, committed, _lock(clone), metrics, _metrics(clone), ran)
        page = clone / "reports" / "index.html"
        if page.exists():
            write_bytes(out / page.name, page.read_bytes())
    write(rows, commit, out)
    return rows


def compare(
    params: Params,
    committed: dict[str, Any],
    reproduced: dict[str, Any],
    committed_metrics: dict[str, Any],
    reproduced_metrics: dict[str, Any],
    ran: Sequence[str],
) -> list[Row]:
    """A row for every output of the stages that `ran`; the locks are stage -> outputs -> hash."""
    rows = []
    for stage in ran:
        for output, found in sorted(reproduced.get(stage, {}).items()):
            if committed.get(stage, {}).get(output) == found:
                rows.append(Row(stage, output, IDENTICAL))
            elif runtime.promises(params.runtime):
                rows.append(Row(stage, output, DRIFTED, "another hash"))
            elif output in committed_metrics:
                rows.append(_banded(stage, output, committed_metrics[output], reproduced_metrics[output]))
            else:
                rows.append(Row(stage, output, UNPROMISED))
    return rows


def holds(rows: Sequence[Row]) -> bool:
    """Whether anything was compared and nothing drifted."""
    return bool(rows) and all(row.status != DRIFTED for row in rows)


def markdown(rows: Sequence[Row], commit: str) -> str:
    """The comparison as a table."""
    verdict = "holds" if holds(rows) else "does not hold"
    lines = [f"The reproduction of `{commit}` **{verdict}**.", "", "| stage | output | | |", "|---|---|---|---|"]
    return "\n".join(lines + [f"| {r.stage} | {r.output} | {r.status} | {r.detail} |" for r in rows]) + "\n"


def write(rows: Sequence[Row], commit: str, out: Path) -> None:
    """verify.json and verify.md in the folder `out`."""
    write_json(out / "verify.json", {"commit": commit, "holds": holds(rows), "rows": [asdict(row) for row in rows]})
    write_bytes(out / "verify.md", markdown(rows, commit).encode())


def _banded(stage: str, output: str, committed: dict[str, Any], found: dict[str, Any]) -> Row:
    worst, detail = 0.0, ""
    was, now = _means(committed), _means(found)
    if was.keys() != now.keys():
        return Row(stage, output, DRIFTED, f"other metrics: {', '.join(sorted(was.keys() ^ now.keys()))}")
    for key, value in was.items():
        band = metric(key.rsplit(".", 1)[-1])
        used = abs(now[key] - value) / max(band.absolute + band.relative * abs(value), 1e-12)
        if used >= worst:
            worst, detail = used, f"{key}: {value:g} was committed, {now[key]:g} found"
    return Row(stage, output, WITHIN if worst <= 1 else DRIFTED, detail)


def _means(metrics: dict[str, Any]) -> dict[str, float]:
    flat = flatten({key: value for key, value in metrics.items() if key != "protocol"})
    return {key.removesuffix(".mean"): float(value) for key, value in flat if key.endswith(".mean")}


def _lock(repo: Path) -> dict[str, dict[str, str]]:
    path = repo / "dvc.lock"
    if not path.exists():
        raise InputError(f"{path.name}: not in that commit; allowed: a commit with a reproduced pipeline")
    stages = YAML(typ="safe").load(path.read_text(encoding="utf-8"))["stages"]
    return {name: {out["path"]: out["md5"] for out in stage.get("outs", [])} for name, stage in stages.items()}


def _metrics(repo: Path) -> dict[str, Any]:
    return {
        f"reports/metrics/{path.name}": read_json(path) for path in sorted((repo / "reports/metrics").glob("*.json"))
    }


def _reproduce(clone: Path, targets: Sequence[str]) -> list[str]:
    """Run everything anew, without finished trials or any cache of earlier runs; the names of the stages that ran."""
    command = [sys.executable, "-m", "dvc", "repro", "--force", "--no-run-cache", *targets]
    keep = {key: value for key, value in os.environ.items() if key not in LEADING_OUT}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    env = keep | {"PYTHONPATH": str(clone / "src"), "PATH": path}
    ran = []
    with subprocess.Popen(command, cwd=clone, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            sys.stderr.write(line)
            if match := re.match(r"Running stage '(.*)'", line):
                ran.append(match[1])
    if process.returncode:
        raise Fault(f"the pipeline failed with code {process.returncode} in stage {ran[-1] if ran else 'none'}")
    return ran


def _git(repo: Path, *arguments: str) -> str:
    done = git(repo, *arguments)
    if done.returncode:
        raise InputError(f"git {' '.join(arguments)}: {reason(done)}; allowed: a commit of a git repository")
    return done.stdout.decode().strip()
