"""Two commits side by side: metrics with their intervals, verdicts, and what the GANs made."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from repligan.claims.ledger import Entry, verdict
from repligan.core.errors import InputError
from repligan.core.git import git
from repligan.metrics.metric import Interval, metric

CLAIMS, METRICS, PICTURE = "reports/claims.json", "reports/metrics/", "reports/figures/overview.png"


@dataclass(frozen=True)
class Side:
    """What a commit holds: its ledger, metrics by row and name, and the picture of all systems where it can be had."""

    commit: str
    scale: str
    verdicts: dict[str, str]
    metrics: dict[tuple[str, str], Interval]
    picture: bytes | None


def side(root: Path, commit: str) -> Side:
    """Read a commit; raises InputError where there is none, or it has no results that this version reads."""
    found = git(root, "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}").stdout.decode().strip()
    if not found:
        raise InputError(f"commit: found {commit!r}; allowed: a commit, branch or tag of this repository")
    names = git(root, "ls-tree", "-r", "--name-only", found, METRICS).stdout.decode().split()
    try:
        ledger = json.loads(git(root, "show", f"{found}:{CLAIMS}").stdout)
        metrics = {name: json.loads(git(root, "show", f"{found}:{name}").stdout) for name in names}
        verdicts = dict(map(_verdict, ledger["claims"]))
        values = {key: value for name, one in metrics.items() for key, value in _last(Path(name).stem, one)}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{commit}: {CLAIMS}: damaged ({reason}); allowed: results of this pipeline") from None
    return Side(commit, ledger["scale"], verdicts, values, _picture(root, found))


def _verdict(claim: dict[str, Any]) -> tuple[str, str]:
    """(name, verdict) of a claim in a ledger, also one that an older version wrote."""
    try:
        return claim["id"], verdict(Entry.model_validate(claim))
    except ValidationError:
        return claim["id"], str(claim["verdict"])


def _last(name: str, found: dict[str, Any]) -> Iterator[tuple[tuple[str, str], Interval]]:
    """(row, metric) -> value at the last snapshot, of an experiment and its variants."""
    rows = {name: found} | {f"{name}/{key}": value for key, value in found.get("variants", {}).items()}
    for row, one in rows.items():
        steps = sorted((key for key in one if key.startswith("step_")), key=lambda key: int(key[5:]))
        for key, value in one[steps[-1]].items() if steps else ():
            yield (row, key), value


def _picture(root: Path, commit: str) -> bytes | None:
    """The picture of all systems: from DVC's cache, where it still is."""
    from dvc.api import read
    from dvc.exceptions import DvcException
    from dvc_data.index.index import DataIndexDirError

    try:
        return read(PICTURE, repo=str(root), rev=commit, mode="rb")
    except (DvcException, DataIndexDirError, OSError):
        return None


def differences(one: Side, other: Side) -> dict[str, list[list[str]]]:
    """What differs, as rows of text: `verdicts` [claim, here, there]; `metrics` [row, metric, here, there, apart]."""
    verdicts = [
        [name, *pair]
        for name in dict.fromkeys([*one.verdicts, *other.verdicts])
        if len(set(pair := [side.verdicts.get(name, "none") for side in (one, other)])) > 1
    ]
    metrics = []
    for key in dict.fromkeys([*one.metrics, *other.metrics]):
        values = [side.metrics.get(key) for side in (one, other)]
        if values[0] != values[1]:
            metrics.append([key[0], metric(key[1]).label, *(_said(key[1], value) for value in values), _apart(*values)])
    return {"verdicts": verdicts, "metrics": metrics}


def _said(name: str, value: Interval | None) -> str:
    if value is None:
        return "none"
    number, interval = metric(name).with_interval(value)
    return f"{number} ({interval})" if interval else number


def _apart(one: Interval | None, other: Interval | None) -> str:
    """Whether two intervals have nothing in common: then the commits, and not chance, make the difference."""
    if not one or not other or "lo" not in one or "lo" not in other:
        return ""
    return "apart" if one["hi"] < other["lo"] or other["hi"] < one["lo"] else "overlap"


def text(one: Side, other: Side) -> Iterator[str]:
    """The differences in lines."""
    found = differences(one, other)
    yield f"{one.commit} ({one.scale} scale) and {other.commit} ({other.scale} scale)"
    for name, here, there in found["verdicts"]:
        yield f"{name}: {here} -> {there}"
    for row, label, here, there, apart in found["metrics"]:
        yield f"{row}: {label}: {here} -> {there}" + f"; intervals {apart}" * bool(apart)
    counts = f"{len(found['verdicts'])} of {len(one.verdicts.keys() | other.verdicts.keys())} verdicts"
    yield f"{counts} and {len(found['metrics'])} of {len(one.metrics.keys() | other.metrics.keys())} values differ"


def page(one: Side, other: Side) -> str:
    """The same as one HTML page, with what the GANs of both made."""
    from jinja2 import Environment, PackageLoader

    sides = [{"commit": each.commit, "scale": each.scale, "picture": _inline(each.picture)} for each in (one, other)]
    template = Environment(loader=PackageLoader("repligan.tools", "."), autoescape=True).get_template("between.html")
    return template.render(sides=sides, **differences(one, other))


def _inline(picture: bytes | None) -> str | None:
    return None if picture is None else f"data:image/png;base64,{base64.b64encode(picture).decode()}"
