"""The README's numbers are those of the published results in git."""

from __future__ import annotations

import re

from conftest import ROOT

from repligan.claims import ledger
from repligan.core.files import read_json
from repligan.metrics.metric import metric

FOUND = ROOT / "published" / "overnight"
ROW = re.compile(r"^\| `([\w-]+)` \| [^|]+ \| ([^|]+) \| `([\w.]+)` \|$", re.MULTILINE)


def test_every_result_is_the_measured_one() -> None:
    rows = ROW.findall((ROOT / "README.md").read_text())
    assert len(rows) >= 8
    for name, shown, where in rows:
        value = read_json(FOUND / "metrics" / f"{name}.json")
        for key in where.split("."):
            value = value[key]
        mean, interval = metric(where.split(".")[-1]).with_interval(value)
        assert shown == (f"{mean} ({interval})" if interval else mean), (name, where)


def test_decided_claims_are_those_of_the_published_ledger() -> None:
    claims = ledger.read(FOUND).by_name
    row = re.compile(r"^\| `([\w-]+)` \| ([^|]+) \| ([^|]+) \| ([^|`]+) \|$", re.MULTILINE)
    shown = [found for found in row.findall((ROOT / "README.md").read_text()) if found[0] in claims]
    tests = {name: entry.tests[entry.telling] for name, entry in claims.items()}
    said = {name: f"{test.label}: {' '.join(ledger.measured(test)[:2])}" for name, test in tests.items()}
    decided = {name: entry for name, entry in claims.items() if not entry.decided_by}
    assert len(claims) == 32
    assert shown == [(name, entry.says, said[name], ledger.verdict(entry)) for name, entry in decided.items()]
