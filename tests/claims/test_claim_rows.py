"""conf/claims.yaml: typed rows, and one line for what does not fit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from small import rows_at

from repligan.claims import rows
from repligan.claims.ledger import lacking
from repligan.claims.verdict import LEAST
from repligan.compose import compose
from repligan.core.errors import InputError
from repligan.core.rows import checked, read_yaml
from repligan.params import load as load_params
from repligan.training.rows import RowId

GOOD = """budgets:
  even: {steps: 60, batch: 16, lr: 0.001}
  dcgan: {steps: 60, batch: 16, lr: 0.001}
claims:
  one:
    source: S
    place: p. 1
    says: It does
    needs: laptop
    tests:
      - label: so much larger
        value: {kind: snapshot, metric: fd, step: 3}
        row: {experiment: even, variant: fast}
        against: {experiment: even}
        relation: ratio
        rule: {kind: above, than: 1.0}
"""


PREMISE = "{label: p, value: {kind: snapshot, metric: tv}, row: {experiment: even}}"


def claims_of(folder: Path, text: str, scale: str = "laptop") -> dict[str, rows.Claim]:
    (folder / "claims.yaml").write_text(text)
    return rows.load(folder / "claims.yaml", rows_at(scale)).claims


def test_rows_are_typed(tmp_path: Path) -> None:
    (test,) = claims_of(tmp_path, GOOD)["one"].tests
    assert test.rows == [RowId(experiment="even", variant="fast"), RowId(experiment="even")]
    (real,) = claims_of(tmp_path, GOOD.replace("{experiment: even}", "real"))["one"].tests
    assert (real.against, real.rows) == (rows.REAL, [RowId(experiment="even", variant="fast")])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("variant: fast", "variant: slow", "claims.one.tests.0: found row 'even/slow'; allowed: dcgan, dcgan/other,"),
        ("{experiment: even}", "{experiment: odd}", "claims.one.tests.0: found row 'odd'; allowed: "),
        ("experiment: even, variant: fast", "experiment: dcgan",
         "claims.one.needs: found 'laptop' with dcgan on a stand-in for celeba; allowed: a scale with the real data"),
        ("metric: fd", "metric: odd", "value.metric: found 'odd'; allowed: the metrics of metrics/metric.py, such"),
        ("  dcgan: {", "  dgan: {", "budgets: found none of 'dcgan'; allowed: one of each experiment"),
        ("{experiment: even}", "even", "against.experiment: found none in 'even'; allowed: real, blurred, or a table"),
        ("{experiment: even}", "{experiment: E}", "tests.0.against.experiment: found 'E'; allowed: a name of"),
        ("{experiment: even}", "{name: even}", "tests.0.against.name: found an unknown key; allowed: experiment, var"),
        ("{experiment: even, variant: fast}", "even", "claims.one.tests.0.row: found 'even'; allowed: "),
        ("        relation: ratio\n", "", "tests.0.relation: found None; allowed: difference or ratio, just"),
        ("relation: ratio", "relation: ratio\n        inside: [1.0, 0.5]", "inside: found [1.0, 0.5]; allowed: [low,"),
        ("relation: ratio", "relation: ratio\n        inside: [null, null]", "inside: found [None, None]; allowed: "),
        ("relation: ratio", "relation: ratio\n        by: bounded", "by: found 'bounded' of values without a range;"),
        ("    tests:", f"    premise: [{PREMISE}]\n    tests:",
         "claims.one.premise: found a test without a rule; allowed: tests with a rule"),
        ("{kind: above, than: 1.0}", "{kind: share, most: 0.9}", "rule.kind: found 'share' of a relation; allowed:"),
        ("{kind: above, than: 1.0}", "{kind: within, low: 1.0, high: 1.0}", "rule.high: found 1.0; allowed: above"),
        ("        rule: {kind: above, than: 1.0}\n", "", "claims.one.tests: found no rule; allowed: at least one test"),
        ("needs: laptop", "needs: tiny", "claims.one.needs: found 'tiny'; allowed: 'smoke', 'laptop', "),
        ("says:", "sais:", "claims.one.sais: found an unknown key; allowed: source, place, says,"),
        ("one:", "One:", "claims.One: found 'One'; allowed: a name of lower-case letters"),
        ("claims:", "claim:", "claim: found an unknown key; allowed: budgets, claims"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_in_one_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in GOOD
    with pytest.raises(InputError, match=re.escape(said)) as error:
        claims_of(tmp_path, GOOD.replace(old, new, 1))
    assert error.value.message.startswith(f"{tmp_path / 'claims.yaml'}: ")


def test_below_its_scale_rows_may_be_missing(tmp_path: Path) -> None:
    assert claims_of(tmp_path, GOOD.replace("variant: fast", "variant: slow"), "smoke")


@pytest.mark.parametrize(
    ("needs", "scale", "decided"),
    [("smoke", "smoke", True), ("laptop", "smoke", False), ("laptop", "full", True), ("full", "of-mine", True)],
)
def test_a_scale_decides_what_needs_no_larger_one(needs: Any, scale: str, decided: bool) -> None:
    test = {"label": "", "value": {"kind": "snapshot", "metric": "tv"}, "row": {"experiment": "even"},
            "rule": {"kind": "above", "than": 0.0}}  # fmt: skip
    claim = rows.Claim.model_validate({"source": "", "place": "", "says": "", "needs": needs, "tests": [test]})
    assert claim.decided_at(scale) == decided


def test_the_claims_of_the_repository_are_well_formed() -> None:
    path = ROOT / "conf" / "claims.yaml"
    assert checked(path, rows.Claims, read_yaml(path)).claims


@pytest.mark.parametrize("scale", ["laptop", "overnight", "full"])
def test_every_row_that_the_claims_need_is_there(tmp_path: Path, scale: str) -> None:
    compose(scale, tmp_path / "params.yaml", ROOT / "conf")
    params = load_params(tmp_path / "params.yaml")
    claims = rows.load(ROOT / "conf" / "claims.yaml", params).claims
    needed = {row for claim in claims.values() if claim.decided_at(scale) for test in claim.tests for row in test.rows}
    assert needed - params.rows.keys() == set()
    assert all(claim.decided_at(scale) for claim in claims.values()) == (scale == "full")
    one = {row.variant: experiment for row, experiment in params.rows.items() if row.variant != "published"}
    assert (one["hard-labels"].loss.smoothing, one["relu"].D.slope) == (0, 0)
    assert {"gaussian-z", "ten-d", "ten-g"} & set(one) == (
        {"gaussian-z", "ten-d", "ten-g"} if scale != "laptop" else set()
    )
    assert [u.update for u in one["one-g"].updates] == ["D", "G"]
    assert [one[f"input-{name}"].z.low for name in ("0-05", "5", "50")] == [0.05, 5, 50]
    assert one["fast"].optimiser.lr == 0.01


def test_a_rule_has_a_digest_of_what_decides(tmp_path: Path) -> None:
    def digest(old: str, new: str) -> str:
        return claims_of(tmp_path, GOOD.replace(old, new, 1))["one"].rule_digest()

    same = [digest("so much larger", "larger"), digest("says: It does", "says: So it is"), digest("p. 1", "p. 2")]
    other = [
        digest("than: 1.0", "than: 1.1"),
        digest("step: 3", "step: 4"),
        digest("relation: ratio", "relation: difference"),
    ]
    assert len({digest("", ""), *same}) == 1
    assert len({digest("", ""), *other}) == 4


def test_every_rule_of_the_repository_is_registered_before_its_seeds() -> None:
    claims = checked(ROOT / "conf" / "claims.yaml", rows.Claims, read_yaml(ROOT / "conf" / "claims.yaml")).claims
    registered = rows.registry(ROOT / "conf" / "registered.yaml")
    assert {name: one.rule for name, one in registered.items()} == {
        name: claim.rule_digest() for name, claim in claims.items()
    }


def test_the_full_scale_lacks_nothing_that_a_verdict_takes(tmp_path: Path) -> None:
    compose("full", tmp_path / "params.yaml", ROOT / "conf")
    params, conf = load_params(tmp_path / "params.yaml"), ROOT / "conf"
    claims, registered = rows.load(conf / "claims.yaml", params).claims, rows.registry(conf / "registered.yaml")
    lacks = {name: lacking(claim, params, registered.get(name)) for name, claim in claims.items()}
    assert {name: lack for name, lack in lacks.items() if lack} == {}
    few = {row for claim in claims.values() for test in claim.deciding for row in test.rows
           if params.rows[row].seeds < LEAST}  # fmt: skip
    assert few == set()
