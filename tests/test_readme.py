"""The README's numbers are those of the metrics in git."""

from __future__ import annotations

import re

from conftest import ROOT

from repligan.core.files import read_json
from repligan.reporting import ledger
from repligan.reporting.words import with_interval

ROW = re.compile(r"^\| `([\w-]+)` \| [^|]+ \| ([^|]+) \| `([\w.]+)` \|$", re.MULTILINE)


def test_every_result_is_the_measured_one() -> None:
    rows = ROW.findall((ROOT / "README.md").read_text())
    assert len(rows) >= 8
    for name, shown, where in rows:
        value = read_json(ROOT / "reports" / "metrics" / f"{name}.json")
        for key in where.split("."):
            value = value[key]
        mean, interval = with_interval(where.split(".")[-1], value)
        assert shown == (f"{mean} ({interval})" if interval else mean), (name, where)


def test_the_ledger_is_the_committed_one() -> None:
    claims = ledger.read(ROOT / "reports")
    row = re.compile(r"^\| `([\w-]+)` \| ([^|]+) \| ([^|]+) \| ([^|`]+) \|$", re.MULTILINE)
    shown = [found for found in row.findall((ROOT / "README.md").read_text()) if found[0] in claims]
    first = {name: claim["tests"][0] for name, claim in claims.items()}
    said = {name: f"{test['label']}: {' '.join(ledger.measured(test)[:2])}" for name, test in first.items()}
    assert len(claims) == 24
    assert shown == [(name, claim["says"], said[name], ledger.verdict(claim)) for name, claim in claims.items()]
