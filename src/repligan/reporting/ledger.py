"""The ledger of claims in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from repligan.core.errors import InputError
from repligan.core.files import read_json, usable
from repligan.reporting.words import number

CLASSES = {"holds": "yes", "holds for some seeds": "some", "does not hold": "no", "not decided at this budget": "open"}
Claims = dict[str, dict[str, Any]]


def read(reports: Path) -> Claims:
    """claim -> verdict and tests, as the claims stage wrote them; raises InputError if missing or damaged."""
    path = reports / "claims.json"
    with usable(path):
        found = {claim["id"]: claim for claim in read_json(path)["claims"]}
        if any(claim["verdict"] not in CLASSES for claim in found.values()):
            raise ValueError("a verdict that is none")
    return found


def lines(claims: Claims, wanted: Sequence[str]) -> Iterator[str]:
    """The ledger, or the `wanted` claims of it, as lines of text; raises InputError at an unknown one."""
    for name in wanted:
        if name not in claims:
            raise InputError(f"claim: found {name!r}; allowed: {', '.join(claims)}")
    for name in wanted or claims:
        claim = claims[name]
        yield f"{name}: {verdict(claim)}"
        yield f"    {claim['says']} ({claim['source']})"
        for test in claim["tests"]:
            yield f"    - {test['label']}: {' '.join(part for part in measured(test) if part)}"
    if not wanted:
        yield summary(claims)


def summary(claims: Claims) -> str:
    """How many claims have which verdict."""
    counts = Counter(claim["verdict"] for claim in claims.values())
    return f"{len(claims)} claims. " + ", ".join(f"{kind}: {counts[kind]}" for kind in CLASSES if counts[kind])


def verdict(claim: Mapping[str, Any]) -> str:
    """The verdict with what belongs to it: the share of seeds, or what would decide it."""
    if "share" in claim:
        return f"holds for some seeds ({number('match', claim['share'])})"
    return claim["verdict"] + (f"; {claim['decided_by']} would" if "decided_by" in claim else "")


def measured(test: Mapping[str, Any]) -> tuple[str, str, str]:
    """(value, its interval, what else to know), as text."""
    if "not_run" in test:
        return "not run at this scale", "", ""
    found, rows = test["measured"], " against ".join(test["rows"])
    bounds = f"({_said(test, found['lo'])} to {_said(test, found['hi'])})" if "lo" in found else "(no interval)"
    beside = [rows, f"{test['num']:,} {test['over']}"]
    if "quantile" in test:
        quantile = number("match", test["quantile"]["mean"])
        beside.append(f"published {test['published']:g}, above {quantile} of them")
    if "verdict" in test:
        beside.append(test["verdict"])
    return _said(test, found["mean"]) + " times" * (test["kind"] == "ratio"), bounds, "; ".join(beside)


def _said(test: Mapping[str, Any], value: float) -> str:
    return number("match" if test["kind"] == "share" else "", value)


def table(claims: Claims) -> dict[str, list[Any]]:
    """The ledger as columns, a row per test."""
    rows = [(name, claim, test) for name, claim in claims.items() for test in claim["tests"]]
    bounds = [test.get("measured", {}) for *_, test in rows]
    return {
        "claim": [name for name, *_ in rows],
        "says": [claim["says"] for _, claim, _ in rows],
        "source": [claim["source"] for _, claim, _ in rows],
        "verdict": [verdict(claim) for _, claim, _ in rows],
        "test": [test["label"] for *_, test in rows],
        "measured on": [", ".join(test.get("rows", ())) for *_, test in rows],
        **{end: [found.get(end) for found in bounds] for end in ("mean", "lo", "hi")},
        "values": [test.get("num") for *_, test in rows],
        "test says": [test.get("verdict", "") for *_, test in rows],
        "published": [test.get("published") for *_, test in rows],
        "published above": [test.get("quantile", {}).get("mean") for *_, test in rows],
    }
