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
from small import ROWS, rows_at, write_tables

from repligan.claims import ledger, verdict
from repligan.claims.ledger import Entry, Evidence, Ledger, NotRun
from repligan.claims.rows import Claim
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
    return Claim.model_validate({"source": "", "says": "", "needs": needs, "tests": [asked]})


def one(folder: Path, needs: str = "smoke", scale: str = "smoke", **test: Any) -> tuple[Entry, dict[str, np.ndarray]]:
    found, values = ledger.ledger(rows_at(scale), {"one": claim_of(needs, **test)}, Table(folder))
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
    assert test.budget == ["40 seeds, 60 steps of batch 16, learning rate 0.001"]
    assert (test.num, test.over, test.rows, test.kind) == (40, "seeds", ["even"], "share")


def test_a_number_makes_a_yes_or_no_and_the_published_value_has_a_quantile(folder: Path) -> None:
    rule = {"kind": "within", "low": 0.025, "high": 0.975}
    value = {"kind": "snapshot", "metric": "coverage"}
    found, values = one(folder, value=value, under=0.25, published=0.25, rule=rule)
    test = evidence(found)
    assert test.quantile
    assert test.measured["mean"] == test.quantile["mean"] == pytest.approx(0.25)
    assert test.quantile["lo"] < 0.25 < test.quantile["hi"]
    assert values["one.0"].dtype == float  # what a picture shows: the values, not the answers


def test_against_real_and_against_the_seeds_in_common(folder: Path) -> None:
    value = {"kind": "snapshot", "metric": "coverage"}
    real, _ = one(folder, value=value, against="real", relation="ratio", rule={"kind": "below", "than": 2.0})
    assert evidence(real).measured["mean"] == pytest.approx(1.0)
    rule = {"kind": "above", "than": 0.1}
    pair, values = one(folder, value=value, against=FAST, relation="difference", rule=rule)
    assert len(values["one.0"]) == 30
    assert (evidence(pair).measured["mean"], pair.verdict) == (0.0, verdict.FAILS)
    assert evidence(pair).rows == ["even", "even/fast"]
    assert evidence(pair).budget[1] == "30 seeds, 60 steps of batch 16, learning rate 0.01"


def test_a_ratio_to_zero_is_shown_and_not_decided(folder: Path) -> None:
    value, rule = {"kind": "snapshot", "metric": "tv"}, {"kind": "below", "than": 1.0}
    found, values = one(folder, value=value, against="real", relation="ratio", rule=rule, published=1.0)
    assert (evidence(found).measured, evidence(found).num, found.verdict, values) == ({}, 0, verdict.OPEN, {})
    assert ledger.measured(evidence(found))[:2] == ("not finite", "(no interval)")


def test_one_seed_is_measured_and_not_decided(folder: Path) -> None:
    value, rule = {"kind": "snapshot", "metric": "fd"}, {"kind": "below", "than": 4.0}
    found, _ = one(folder, row={"experiment": "dcgan"}, value=value, against="real", relation="ratio", rule=rule)
    test = evidence(found)
    assert (test.measured, test.over, test.num, found.verdict) == ({"mean": 3.0}, "seeds", 1, verdict.OPEN)
    assert test.rows == ["dcgan on faces"]  # it says that faces are a stand-in
    assert test.budget == ["1 seed, 60 steps of batch 16, learning rate 0.001, 64 images, width 2 (G) and 3 (D)"]


@pytest.mark.parametrize(
    ("metric", "over", "num"),
    [("factors_moved", "components of z, of one G", 4), ("nearer A + B", "pairs of z, of one G", 2)],
)
def test_scores_are_over_parts_of_one_latent_space(folder: Path, metric: str, over: str, num: int) -> None:
    value, rule = {"kind": "latent", "metric": metric}, {"kind": "above", "than": 0.0}
    found, _ = one(folder, row={"experiment": "dcgan"}, value=value, rule=rule)
    assert (evidence(found).over, evidence(found).num) == (over, num)


def test_below_its_scale_a_claim_is_measured_but_not_decided(folder: Path) -> None:
    found, _ = one(folder, "laptop", value=LAST, rule=MOST)
    assert (found.verdict, found.decided_by, found.here) == (verdict.OPEN, "the laptop scale", verdict.SOME)
    assert evidence(found).measured["mean"] == 0.5


@pytest.mark.parametrize(
    ("scale", "by"), [("smoke", "more seeds, or the laptop scale"), ("full", "more seeds"), ("of-mine", "more seeds")]
)
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


def test_more_claims_widen_every_interval(folder: Path) -> None:
    claim, many = claim_of(value=LAST, rule=MOST), 24
    alone, _ = ledger.ledger(rows_at("smoke"), {"n0": claim}, Table(folder))
    among, _ = ledger.ledger(rows_at("smoke"), {f"n{i}": claim for i in range(many)}, Table(folder))
    narrow, wide = (evidence(found.by_name["n0"]) for found in (alone, among))
    assert narrow.confidence == 0.95
    assert wide.confidence == pytest.approx(1 - 0.05 / many)
    assert wide.measured["hi"] - wide.measured["lo"] > 1.4 * (narrow.measured["hi"] - narrow.measured["lo"])


TEST = Evidence.model_validate(
    {
        "label": "seeds that do",
        "rule": MOST,
        "rows": ["even"],
        "budget": ["40 seeds"],
        "num": 1000,
        "over": "seeds",
        "confidence": 0.998,
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
        Entry(id="some", source="S", says="It does", tests=[TEST], verdict="holds for some seeds",
              here="holds for some seeds", share=0.473),
        Entry(id="open", source="S", says="It is larger", tests=[RATIO, ELSEWHERE],
              verdict="not decided at this budget", here="not decided at this budget", decided_by="the full scale"),
    ],
)  # fmt: skip


def test_the_ledger_in_the_terminal() -> None:
    assert list(ledger.lines(FOUND, [])) == [
        "some: holds for some seeds (47.3 %)",
        "    It does (S)",
        "    - seeds that do: 47.3 % (42.4 % to 52.2 %) even; 1,000 seeds; holds for some seeds",
        "open: not decided at this budget; the full scale can decide",
        "    It is larger (S)",
        "    - so much larger: 2 times (no interval) a/b against a; 1,000 seeds; published 3, above 75.0 % of them; "
        "holds for some seeds",
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
    assert written[0].keys() == {"id", "source", "says", "tests", "verdict", "here", "share"}
    assert written[1]["tests"][1] == {"label": "elsewhere", "rule": None, "not_run": ["a/c"]}


def test_the_stage_writes_ledger_and_values(folder: Path) -> None:
    (folder / "params.yaml").write_text(json.dumps(ROWS))
    claims = {"one": claim_of(value=LAST, rule=MOST).model_dump(mode="json")}
    YAML().dump({"claims": claims}, folder / "claims.yaml")
    options = ["--params", "params.yaml", "--claims", "claims.yaml"]
    command = [sys.executable, str(ROOT / "stages" / "claims.py"), ".", "values.safetensors", "claims.json", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert ledger.read(folder).by_name["one"].verdict == verdict.SOME
    assert (folder / "values.safetensors").exists()


def test_testing_claims_needs_no_torch_and_no_pandas() -> None:
    code = "import sys; from repligan.claims import ledger; print({'torch', 'pandas'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "set()"
