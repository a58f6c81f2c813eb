"""Which claim gets seeds, and how many; a decision that is killed ends with the bytes of one that is not."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import outputs
import pytest
from click.testing import CliRunner
from failures import stage
from ruamel.yaml import YAML

from repligan import cli, compose
from repligan.claims import ledger
from repligan.claims.rows import Claims, Registered
from repligan.claims.values import Table
from repligan.core.files import array_bytes, whole_dir, write_bytes
from repligan.engines import MEASURING, TRAINING, ThisProcess
from repligan.params import load
from repligan.store import Store
from repligan.tools import decide, plan
from repligan.training.rows import RowId
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
    "pair": claim({"kind": "above", "than": -0.5}, **PAIR),
}


def make_repository(repo: Path, claims: dict[str, Any]) -> None:
    """A repository of one toy with a variant, and rules that are registered."""
    (repo / "conf" / "scale").mkdir(parents=True)
    yaml = YAML()
    yaml.dump(json.loads(json.dumps(CONFIG)), repo / "conf" / "config.yaml")
    (repo / "conf" / "scale" / "smoke.yaml").write_text("# @package _global_\nscale: smoke\n")
    budgets = {"toy": {"steps": 20, "batch": 4, "lr": 0.1}}
    (repo / "conf" / "claims.yaml").write_text(json.dumps({"budgets": budgets, "claims": claims}))
    rules = Claims.model_validate({"budgets": budgets, "claims": claims}).claims
    registered = {name: {"rule": one.rule_digest(), "seeds": 0} for name, one in rules.items()}
    (repo / "conf" / "registered.yaml").write_text(json.dumps({"registered": registered}))


def reproduce() -> None:
    """What `dvc repro claims` does, in this process."""
    params, processed, reference = load(Path("params.yaml")), DATA / "processed" / "numbers", DATA / "reference"
    early = (("fetch", DATA / "raw"), ("preprocess", DATA / "raw", processed), ("reference", processed, reference))
    for name, *arguments in early:
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


def lines(repo: Path, hours: float = 1.0, names: tuple[str, ...] = ()) -> Iterator[str]:
    """What `repligan decide` says in `repo`."""
    os.chdir(repo)
    compose.compose(None, Path("params.yaml"))
    claims = decide.decidable(load(Path("params.yaml")), names)
    yield from decide.decide(claims, hours, reproduce)


ROWS = [RowId(experiment="toy"), RowId(experiment="toy", variant="fast")]
PICTURES = {"experiment": "pictures"}, {"experiment": "pictures", "variant": "relu"}


def ended(repo: Path) -> tuple[bytes, bytes]:
    return (repo / "reports" / "claims.json").read_bytes(), (repo / "conf" / "seeds.yaml").read_bytes()


def whole(repo: Path) -> None:
    """All of a decision, in a process that may be killed."""
    list(lines(repo))


def test_a_decision_that_is_killed_ten_times_ends_with_the_bytes_of_an_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repos = [tmp_path / name for name in ("undisturbed", "killed")]
    for repo in repos:
        make_repository(repo, CLAIMS)
    monkeypatch.chdir(repos[0])
    planned = list(lines(repos[0], hours=0))
    assert any(line.startswith("the time is over, or too short for the next round, toy to 1,000") for line in planned)
    assert not (repos[0] / "conf" / "seeds.yaml").exists()
    began = time.monotonic()
    said = list(lines(repos[0]))
    took = time.monotonic() - began
    rounds = [line for line in said if line.startswith("round")]
    assert rounds[0].startswith("round 1: near, toy to 1,000 seeds: about ")
    assert len(rounds) >= 2
    assert any(line.startswith("decided: near (holds), pair (holds") for line in said)
    context, rng, kills = get_context("forkserver"), random.Random(3), 0
    context.set_forkserver_preload([*MEASURING, *TRAINING, "dvc.utils.hydra", __name__])
    while kills < 10:
        process = context.Process(target=whole, args=(repos[1],))
        process.start()
        process.join(rng.uniform(0.2, 0.2 + took / 2))
        assert process.exitcode in (None, 0)
        kills += process.exitcode is None
        process.kill()
        process.join()
    whole(repos[1])
    assert ended(repos[1]) == ended(repos[0])
    monkeypatch.setenv("REPLIGAN_TRIALS", str(tmp_path / "none"))  # times then come from a few steps
    monkeypatch.setattr(plan, "TIMED", 0.01)
    assert 0 < decide.Costs().seconds(load(Path("params.yaml")), {ROWS[0]: 9000}) < 600


def state_of(tmp_path: Path, claims: dict[str, Any], values: dict[str, np.ndarray]) -> decide.State:
    """What is known after a round with these values of rows, "<experiment>/<variant>" -> [seeds]."""
    data = json.loads(json.dumps(outputs.PARAMS)) | {"scale": "smoke"}
    for row, found in values.items():
        experiment, variant = row.split("/")
        table = data["experiments"][experiment]
        (table if variant == "published" else table["variants"][variant])["seeds"] = len(found)
        path = tmp_path / "data" / "evaluations" / experiment / f"{variant}.safetensors"
        note = {"steps": {"even_rate": [0], "luma": [0]}, "real": {}, "blurred": {}}
        write_bytes(path, array_bytes({"even_rate": found[None], "luma": found[None]}, note))
    (tmp_path / "params.yaml").write_text(json.dumps(data))
    params = load(tmp_path / "params.yaml")
    budget = {"steps": 20, "batch": 4, "lr": 0.1}
    every = Claims.model_validate({"budgets": dict.fromkeys(params.experiments, budget), "claims": claims})
    rules = {name: Registered(rule=one.rule_digest(), seeds=0) for name, one in every.claims.items()}
    found, _ = ledger.ledger(params, every, rules, Table(tmp_path / "data" / "evaluations"))
    return decide.State(params, every, found)


def spread(mean: float, seeds: int) -> np.ndarray:
    """Values of this mean whose standard deviation is about 0.1."""
    return mean + 0.1 * np.random.default_rng(0).permutation(np.linspace(-1.73, 1.73, seeds))


LUMA = {"value": {"kind": "snapshot", "metric": "luma"}, "row": PICTURES[0], "by": "mean"}
BELOW = {"kind": "below", "than": 0.5}


def test_the_claim_that_takes_the_least_work_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pair = {"against": PICTURES[1], "relation": "difference"}
    claims = {
        "hopeless": claim(BELOW, **LUMA | {"row": PICTURES[1]}),
        "far": claim({"kind": "below", "than": 0.45}, **LUMA),
        "near": claim({"kind": "below", "than": 0.48}, **LUMA),
        "at-once": claim({"kind": "below", "than": 0.9}, **LUMA),
        "pair": claim({"kind": "above", "than": 0.0}, **LUMA | pair),
    }
    state = state_of(tmp_path, claims, {"pictures/published": spread(0.42, 12), "pictures/relu": spread(0.5, 10)})
    left = {one.name: one for one in state.undecided(list(claims))}
    assert list(left) == ["hopeless", "far", "near", "pair"]
    assert left["hopeless"].needed is None
    assert 12 < (left["near"].needed or 0) < (left["far"].needed or 0)
    chosen = decide._cheapest(state, list(left.values()), decide.Costs())
    assert chosen == left["near"]
    both = state.raised(left["pair"], 30)
    assert [str(row) for row in left["pair"].rows] == ["pictures", "pictures/relu"]
    assert set(both.values()) == {30}  # pairs need seeds in common
    assert decide._cheapest(state, [left["hopeless"]], decide.Costs()) is None


@pytest.mark.parametrize(
    ("seeds", "needed", "then"),
    [(1, 8, 8), (8, 9, 12), (8, 13, 13), (8, 100, 16), (100, 101, 125), (1000, 9000, 2000)],
)
def test_a_round_adds_a_fourth_at_least_and_doubles_at_most(seeds: int, needed: int, then: int) -> None:
    assert decide.Undecided("one", seeds, needed, []).next_seeds() == then


def test_toys_grow_by_whole_stacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    claims = {"toy": claim({"kind": "above", "than": 0.49}, by="mean")}
    state = state_of(tmp_path, claims, {"toy/published": spread(0.52, 40)})
    (one,) = state.undecided(["toy"])
    assert (one.seeds, one.needed) == (40, 1000)
    assert state.raised(one, one.next_seeds()) == {ROWS[0]: 1000}


def test_few_seeds_say_only_that_eight_are_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    claims = {"few": claim(BELOW, **LUMA)}
    (one,) = state_of(tmp_path, claims, {"pictures/published": spread(0.2, 3)}).undecided(["few"])
    assert (one.seeds, one.needed, one.next_seeds()) == (3, 8, 8)


def test_a_premise_has_to_be_decided_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    premise = claim({"kind": "above", "than": 0.47}, **LUMA | {"row": PICTURES[1]})["tests"]
    claims = {"one": claim({"kind": "below", "than": 0.9}, **LUMA) | {"premise": premise}}
    values = {"pictures/published": spread(0.42, 12), "pictures/relu": spread(0.5, 12)}
    (one,) = state_of(tmp_path, claims, values).undecided(["one"])
    assert [str(row) for row in one.rows] == ["pictures/relu"]
    assert one.needed


def test_what_seeds_cannot_decide_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = claim(BELOW) | {"needs": "full"}
    make_repository(tmp_path, {"large": large, "new": claim({"kind": "above", "than": 0.49}, by="mean")})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf" / "registered.yaml").unlink()
    for names, told in (
        (["large"], "claim: found 'large', which needs the full scale; allowed: a claim that seeds can decide"),
        ([], "claim: found 'large', which needs the full scale (and 1 more); allowed: a claim that seeds can decide"),
        (["new"], "claim: found 'new', which needs a rule that is registered before its seeds are trained"),
        (["old"], "conf/claims.yaml: claims: found no 'old'; allowed: large, new"),
        (["--hours", "-1"], "decide: Invalid value for '--hours': -1.0 is not in the range x>=0."),
        (["--hours", "nan"], "--hours: found nan; allowed: 0 or more, inf for no limit"),
    ):
        shown = CliRunner().invoke(cli.main, ["decide", *names])
        assert (shown.exit_code, shown.stdout) == (2, "")
        assert told in shown.stderr
        assert not (tmp_path / "params.yaml").exists()
