"""Evidence: from values to entries, as JSON, and in words."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML
from small import BUDGETS, ROWS, rows_at, write_tables

from repligan.claims import ledger, registered, verdict
from repligan.claims.ledger import Entry, Evidence, Ledger, NotRun
from repligan.claims.rows import Claim, Claims, Registered, registry
from repligan.claims.values import Table
from repligan.core.errors import InputError
from repligan.core.files import read_json, write_json

ROOT = Path(__file__).parents[2]
EVEN, FAST = {"experiment": "even"}, {"experiment": "even", "variant": "fast"}
LAST = {"kind": "snapshot", "metric": "all_even"}
MOST = {"kind": "share", "most": 0.95}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tables(tmp_path)


def claim_of(needs: str = "smoke", **test: Any) -> Claim:
    asked = {"label": "", "row": EVEN, **test}
    return Claim.model_validate({"source": "", "place": "", "says": "", "needs": needs, "tests": [asked]})


def judge(folder: Path, scale: str, **claims: Claim) -> tuple[Ledger, dict[str, np.ndarray]]:
    """The ledger of claims that are registered as they stand."""
    registered = {name: Registered(rule=claim.rule_digest(), seeds=0) for name, claim in claims.items()}
    whole = Claims.model_validate({"budgets": BUDGETS, "claims": claims})
    return ledger.ledger(rows_at(scale), whole, registered, Table(folder))


def one(folder: Path, needs: str = "smoke", scale: str = "smoke", **test: Any) -> tuple[Entry, dict[str, np.ndarray]]:
    found, values = judge(folder, scale, one=claim_of(needs, **test))
    write_json(folder / "claims.json", found.to_json())  # whatever is measured can be written
    return found.by_name["one"], values


def evidence(entry: Entry) -> Evidence:
    found = entry.tests[0]
    assert isinstance(found, Evidence)
    return found


def test_the_last_snapshot_or_the_one_asked_for(folder: Path) -> None:
    last, _ = one(folder, value=LAST, rule=MOST)
    first, _ = one(folder, value=LAST | {"step": 0}, rule=MOST)
    assert (last.verdict, last.share, last.decided_by) == (verdict.SOME, 0.5, None)
    assert first.verdict == verdict.OPEN  # none of 40 leaves room for more than 5 %
    test = evidence(last)
    assert test.measured["mean"] == 0.5
    assert test.budget == ["seeds 0 to 39, 60 steps of batch 16, learning rate 0.001"]
    assert (test.num, test.rows, test.kind) == (40, ["even"], "share")


def test_a_number_makes_a_yes_or_no_and_the_published_value_has_a_quantile(folder: Path) -> None:
    rule = {"kind": "within", "low": 0.025, "high": 0.975}
    value = {"kind": "snapshot", "metric": "coverage"}
    found, values = one(folder, value=value, inside=[None, 0.25], published=0.25, rule=rule)
    test = evidence(found)
    assert test.quantile
    assert test.measured["mean"] == test.quantile["mean"] == pytest.approx(0.25)
    assert test.quantile["lo"] < 0.25 < test.quantile["hi"]
    assert values["one.0"][1, -1] == test.measured["mean"]  # what a picture shows: how the share grew


def test_against_real_and_against_the_seeds_in_common(folder: Path) -> None:
    value = {"kind": "snapshot", "metric": "coverage"}
    real, _ = one(folder, value=value, against="real", relation="ratio", rule={"kind": "below", "than": 2.0})
    assert evidence(real).measured["mean"] == pytest.approx(1.0)
    rule = {"kind": "above", "than": 0.5}
    pair, values = one(folder, value=value, against=FAST, relation="difference", rule=rule)
    assert values["one.0"][0, -1] == 30
    assert (evidence(pair).measured, pair.verdict) == ({"mean": 0.0}, verdict.OPEN)  # equal values have no spread
    assert evidence(pair).rows == ["even", "even/fast"]
    assert evidence(pair).budget[1] == "seeds 0 to 29, 60 steps of batch 16, learning rate 0.01"


def test_a_ratio_to_zero_is_shown_and_not_decided(folder: Path) -> None:
    value, rule = {"kind": "snapshot", "metric": "tv"}, {"kind": "below", "than": 1.0}
    found, values = one(folder, value=value, against="real", relation="ratio", rule=rule, published=1.0)
    assert (evidence(found).measured, evidence(found).num, found.verdict, values) == ({}, 0, verdict.OPEN, {})
    assert ledger.measured(evidence(found))[:2] == ("not finite", "(no interval)")


def test_one_seed_is_measured_and_not_decided(folder: Path) -> None:
    value, rule = {"kind": "snapshot", "metric": "fd"}, {"kind": "below", "than": 4.0}
    found, _ = one(folder, row={"experiment": "dcgan"}, value=value, against="real", relation="ratio", rule=rule)
    test = evidence(found)
    assert (test.measured, test.num, found.verdict) == ({"mean": pytest.approx(3.0)}, 1, verdict.OPEN)
    assert test.rows == ["dcgan on faces"]  # it says that faces are a stand-in
    assert test.budget == ["seed 0, 60 steps of batch 16, learning rate 0.001, 64 images, width 2 (G) and 3 (D)"]


def test_an_unmet_premise_is_not_tested_and_an_open_one_decides_nothing(folder: Path) -> None:
    test = {"label": "", "row": EVEN, "value": LAST, "rule": MOST}

    def under(metric: str, rule: Any) -> Entry:
        premise = {"label": "", "row": EVEN, "value": {"kind": "snapshot", "metric": metric}, "rule": rule}
        said = {"source": "", "place": "", "says": "", "needs": "smoke", "premise": [premise], "tests": [test]}
        return judge(folder, "smoke", one=Claim.model_validate(said))[0].by_name["one"]

    met = under("coverage", {"kind": "above", "than": 0.1})
    assert (met.verdict, met.premise, len(met.tests)) == (verdict.SOME, 1, 2)
    assert under("coverage", {"kind": "below", "than": 0.1}).verdict == verdict.UNMET
    open_one = under("coverage", {"kind": "below", "than": 0.5})
    assert (open_one.verdict, open_one.decided_by) == (verdict.OPEN, "more seeds")


@pytest.mark.parametrize(
    ("row", "reduced"),
    [(EVEN, False), (FAST, True), ({"experiment": "dcgan"}, True)],
    ids=["the source's", "another learning rate", "a stand-in"],
)
def test_a_budget_that_is_not_the_sources_is_said(folder: Path, row: Any, reduced: bool) -> None:
    value = {"kind": "during", "metric": "loss_D", "part": [0, 1]}
    found, _ = one(folder, row=row, value=value, inside=[0, 100], rule={"kind": "share", "most": 0.6})
    assert found.reduced == reduced
    if found.verdict == verdict.HOLDS:
        assert ledger.verdict(found) == "holds" + " at a reduced budget" * reduced


def test_a_rule_decides_only_by_seeds_that_it_has_not_seen(folder: Path) -> None:
    claim = claim_of(value=LAST, rule=MOST)
    whole = Claims.model_validate({"budgets": BUDGETS, "claims": {"one": claim}})

    def decided_by(registered: dict[str, Registered]) -> str | None:
        return ledger.ledger(rows_at("smoke"), whole, registered, Table(folder))[0].by_name["one"].decided_by

    assert decided_by({"one": Registered(rule=claim.rule_digest(), seeds=0)}) is None
    seen = decided_by({"one": Registered(rule=claim.rule_digest(), seeds=40)})
    assert seen == "seeds of even from 40 on, which the rule has not seen"
    assert "the rule has changed" in str(decided_by({"one": Registered(rule="0" * 16, seeds=0)}))
    assert "registered before its seeds" in str(decided_by({}))


def test_registering_keeps_what_stands_and_counts_from_new_seeds(folder: Path) -> None:
    first, second = claim_of(value=LAST, rule=MOST), claim_of(value=LAST, rule={"kind": "share", "most": 0.9})
    path, params = folder / "registered.yaml", rows_at("smoke")
    assert registered.register(path, {"one": first}, params, [], None)["one"].seeds == 40
    assert registered.register(path, {"one": first}, params, [], None) == {}
    assert registered.register(path, {"one": second}, params, ["one"], 7)["one"].seeds == 7
    assert registry(path) == {"one": Registered(rule=second.rule_digest(), seeds=7)}
    with pytest.raises(InputError, match="claim: found 'two'; allowed: one"):
        registered.register(path, {"one": first}, params, ["two"], None)


def test_below_its_scale_a_claim_is_measured_but_not_decided(folder: Path) -> None:
    found, _ = one(folder, "laptop", value=LAST, rule=MOST)
    assert (found.verdict, found.decided_by, found.here) == (verdict.OPEN, "the laptop scale", verdict.SOME)
    assert evidence(found).measured["mean"] == 0.5


@pytest.mark.parametrize(("scale", "by"), [("smoke", "more seeds"), ("full", "more seeds"), ("of-mine", "more seeds")])
def test_an_open_claim_says_what_would_decide_it(folder: Path, scale: str, by: str) -> None:
    found, _ = one(folder, scale=scale, value=LAST | {"step": 0}, rule=MOST)
    assert (found.verdict, found.decided_by) == (verdict.OPEN, by)


@pytest.mark.parametrize(
    ("row", "value"),
    [({"experiment": "even", "variant": "slow"}, LAST), (EVEN, LAST | {"step": 200})],
    ids=["row", "step"],
)
def test_below_its_scale_rows_and_snapshots_may_be_missing(folder: Path, row: Any, value: Any) -> None:
    found, values = one(folder, "laptop", row=row, value=value, rule=MOST)
    assert (found.verdict, found.here, values) == (verdict.OPEN, verdict.OPEN, {})
    assert isinstance(found.tests[0], NotRun)
    assert found.tests[0].not_run == ["even/slow" if "variant" in row else "even"]


def test_at_its_scale_a_missing_snapshot_is_named_with_the_file(folder: Path) -> None:
    said = "conf/claims.yaml: claims.one.tests.0.value.step: found 200; allowed: 0, 60"
    with pytest.raises(InputError, match=re.escape(said)):
        one(folder, value=LAST | {"step": 200}, rule=MOST)


def test_more_claims_that_can_be_decided_widen_every_interval(folder: Path) -> None:
    claim, many = claim_of(value=LAST, rule=MOST), 24
    alone, _ = judge(folder, "smoke", n0=claim)
    among, _ = judge(folder, "smoke", **{f"n{i}": claim for i in range(many)})
    later = {f"n{i}": claim_of("laptop", value=LAST, rule=MOST) for i in range(1, many)}
    beside, _ = judge(folder, "smoke", n0=claim, **later)
    narrow, wide, same = (evidence(found.by_name["n0"]) for found in (alone, among, beside))
    assert (narrow.alpha, wide.alpha) == (0.05, pytest.approx(0.05 / many))
    assert wide.measured["hi"] - wide.measured["lo"] > 1.2 * (narrow.measured["hi"] - narrow.measured["lo"])
    assert same.measured == narrow.measured  # what this scale cannot decide costs nothing


TEST = Evidence.model_validate(
    {
        "label": "seeds that do",
        "rule": MOST,
        "rows": ["even"],
        "budget": ["40 seeds"],
        "num": 1000,
        "alpha": 0.002,
        "kind": "share",
        "measured": {"mean": 0.473, "lo": 0.424, "hi": 0.522},
        "verdict": "holds for some seeds",
    }
)
RATIO = TEST.model_copy(
    update={
        "label": "so much larger",
        "kind": "ratio",
        "rows": ["a/b", "a"],
        "measured": {"mean": 2.0},
        "published": 3.0,
        "quantile": {"mean": 0.75, "lo": 0.5, "hi": 0.9},
    }
)
ELSEWHERE = NotRun(label="elsewhere", rule=None, not_run=["a/c"])
FOUND = Ledger(
    scale="laptop",
    claims=[
        Entry(id="some", source="S", place="p. 1", reading="stated", says="It does", tests=[TEST],
              verdict="holds for some seeds", here="holds for some seeds", share=0.473),
        Entry(id="open", source="S", place="p. 2", reading="implied", says="It is larger", premise=1,
              tests=[RATIO, ELSEWHERE],
              verdict="not decided at this budget", here="not decided at this budget", decided_by="the full scale"),
    ],
)  # fmt: skip


def telling(verdicts: list[str | None], here: str, premise: int = 0) -> int:
    tests = [TEST.model_copy(update={"verdict": one}) for one in verdicts]
    return FOUND.claims[0].model_copy(update={"tests": tests, "here": here, "premise": premise}).telling


def test_the_test_to_show_is_the_one_that_decides() -> None:
    holds, fails, unsure = verdict.HOLDS, verdict.FAILS, verdict.OPEN
    assert telling([holds, holds], holds) == 0
    assert telling([None, holds, fails, fails], fails) == 2
    assert telling([holds, fails, unsure], fails, premise=1) == 1
    assert telling([holds, fails, unsure], verdict.UNMET, premise=2) == 1
    assert telling([holds, holds, unsure], unsure, premise=1) == 2
    assert telling([holds, verdict.SOME, holds], verdict.UNMET, premise=2) == 1
    assert telling([unsure, holds], unsure, premise=1) == 0
    assert telling([holds, None, None], unsure, premise=1) == 1  # none has a verdict: the first that is no premise
    missing = ELSEWHERE.model_copy(update={"rule": TEST.rule})
    assert FOUND.claims[1].model_copy(update={"tests": [RATIO, TEST, missing]}).telling == 2


def test_the_ledger_in_the_terminal() -> None:
    assert list(ledger.lines(FOUND, [])) == [
        "some: holds for some seeds (47.3 %)",
        "    It does (S, p. 1)",
        "    - seeds that do: 47.3 % (42.4 % to 52.2 %) even; 1,000 seeds; holds for some seeds",
        "open: not decided at this budget; the full scale can decide",
        "    It is larger (S, p. 2; implied)",
        "    - premise: so much larger: 2 times (no interval) a/b against a; 1,000 seeds; published 3, "
        "above 75.0 % of them; holds for some seeds",
        "    - elsewhere: not run at this scale",
        "2 claims. holds for some seeds: 1, not decided at this budget: 1",
    ]
    assert len(list(ledger.lines(FOUND, ["some"]))) == 3
    with pytest.raises(InputError, match="claim: found 'any'; allowed: some, open"):
        list(ledger.lines(FOUND, ["some", "any"]))


def test_the_table_has_a_row_a_test() -> None:
    table = ledger.table(FOUND)
    assert {len(column) for column in table.values()} == {3}
    assert table["claim"] == ["some", "open", "open"]
    assert table["mean"] == [0.473, 2.0, None]
    assert table["published above"] == [None, 0.75, None]


@pytest.mark.parametrize(
    "content", ["{}", "[]", '{"scale": "laptop", "claims": [{"id": "a", "verdict": "perhaps"}]}', "{", "[" * 100_000]
)
def test_a_damaged_ledger_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "claims.json").write_text(content)
    with pytest.raises(InputError, match=r"claims\.json: (damaged|not JSON)"):
        ledger.read(tmp_path)


def test_a_ledger_is_read_as_written(tmp_path: Path) -> None:
    write_json(tmp_path / "claims.json", FOUND.to_json())
    assert ledger.read(tmp_path) == FOUND
    written = read_json(tmp_path / "claims.json")["claims"]
    assert written[0].keys() == {"id", "source", "place", "reading", "says", "tests", "verdict", "here", "share"}
    assert written[1]["tests"][1] == {"label": "elsewhere", "rule": None, "not_run": ["a/c"]}


def test_the_stage_writes_ledger_and_values(folder: Path) -> None:
    (folder / "params.yaml").write_text(json.dumps(ROWS))
    claims = {"one": claim_of(value=LAST, rule=MOST).model_dump(mode="json")}
    YAML().dump({"budgets": BUDGETS, "claims": claims}, folder / "claims.yaml")
    rule = claim_of(value=LAST, rule=MOST).rule_digest()
    YAML().dump({"registered": {"one": {"rule": rule, "seeds": 0}}}, folder / "registered.yaml")
    options = ["--params", "params.yaml", "--claims", "claims.yaml", "--registered", "registered.yaml"]
    command = [sys.executable, str(ROOT / "stages" / "claims.py"), ".", "values.safetensors", "claims.json", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert ledger.read(folder).by_name["one"].verdict == verdict.SOME
    assert (folder / "values.safetensors").exists()


def test_testing_claims_needs_no_torch_and_no_pandas() -> None:
    code = "import sys; from repligan.claims import ledger; print({'torch', 'pandas'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "set()"
