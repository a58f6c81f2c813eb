"""Which claim gets seeds, and how many; a decision that is killed ends with the bytes of one that is not."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import outputs
from failures import stage

from repligan import compose
from repligan.claims.rows import Claims
from repligan.core.files import whole_dir
from repligan.engines import ThisProcess
from repligan.params import load
from repligan.store import Store
from repligan.tools import decide
from repligan.trials import Workshop, folder

TOY, FAST = {"experiment": "toy"}, {"experiment": "toy", "variant": "fast"}
EVEN = {"kind": "snapshot", "metric": "even_rate"}
CONFIG = {
    key: {name: row for name, row in table.items() if name in ("numbers", "toy")} if key != "runtime" else table
    for key, table in outputs.PARAMS.items()
    if key != "scale"
} | {"defaults": ["_self_", {"scale": "smoke"}]}  # fmt: skip
DATA = Path("data")


def claim(rule: dict[str, Any], **test: Any) -> dict[str, Any]:
    asked = {"label": "", "value": EVEN, "row": TOY, "rule": rule, **test}
    return {"source": "", "place": "", "says": "", "needs": "smoke", "tests": [asked]}


PAIR = {"against": FAST, "relation": "difference"}
CLAIMS = {
    "near": claim({"kind": "above", "than": 0.49}, by="mean"),
    "mid": claim({"kind": "above", "than": 0.59}, by="mean"),
    "pair": claim({"kind": "above", "than": -0.42}, **PAIR),
    "edge": claim({"kind": "within", "low": -0.405, "high": -0.395}, **PAIR),
}


def make_repository(repo: Path, claims: dict[str, Any]) -> None:
    """A repository of one toy with a variant, and rules that are registered."""
    (repo / "conf" / "scale").mkdir(parents=True)
    (repo / "conf" / "config.yaml").write_text(json.dumps(CONFIG, indent=1))
    text = (repo / "conf" / "config.yaml").read_text().replace('"scale": "smoke"', "scale: smoke")
    (repo / "conf" / "config.yaml").write_text(text)
    (repo / "conf" / "scale" / "smoke.yaml").write_text("# @package _global_\nscale: smoke\n")
    budgets = {"toy": {"steps": 20, "batch": 4, "lr": 0.1}}
    (repo / "conf" / "claims.yaml").write_text(json.dumps({"budgets": budgets, "claims": claims}))
    rules = Claims.model_validate({"budgets": budgets, "claims": claims}).claims
    registered = {name: {"rule": one.rule_digest(), "seeds": 0} for name, one in rules.items()}
    (repo / "conf" / "registered.yaml").write_text(json.dumps({"registered": registered}))


def reproduce() -> None:
    """What `dvc repro claims` does, in this process."""
    params, processed, reference = load(Path("params.yaml")), DATA / "processed" / "numbers", DATA / "reference"
    for name, *arguments in (
        ("fetch", DATA / "raw"),
        ("preprocess", DATA / "raw", processed),
        ("reference", processed, reference),
    ):
        if not arguments[-1].exists():
            stage(name).main(["numbers", *map(str, arguments)], standalone_mode=False)
    workshop, runs = Workshop(params, processed, reference, Store(folder())), DATA / "runs"
    ThisProcess().run("training", workshop.training_jobs("toy"))
    with whole_dir(runs) as out:
        workshop.write_runs("toy", out)
    ThisProcess().run("measuring", workshop.measuring_jobs("toy", runs))
    with whole_dir(DATA / "evaluations" / "toy") as out:
        workshop.write_evaluation("toy", runs, out)
    written = ("data/evaluations", "data/claims/values.safetensors", "reports/claims.json")
    stage("claims").main(list(written), standalone_mode=False)


def run(repo: Path, hours: float = 1.0, names: tuple[str, ...] = ()) -> list[str]:
    """`repligan decide` in `repo`."""
    os.chdir(repo)
    compose.compose(None, Path("params.yaml"))
    claims = decide.decidable(load(Path("params.yaml")), names)
    return list(decide.decide(claims, hours, reproduce))
