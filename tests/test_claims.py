"""Values over seeds -> interval -> verdict."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from repligan import claims
from repligan.core import config
from repligan.core.errors import InputError

TESTS = 24  # that share the 5 %
CONFIDENCE = 1 - 0.05 / TESTS
SHARE = config.Share(kind="share", most=0.95)
ABOVE = config.Above(kind="above", than=1.0)
BELOW = config.Below(kind="below", than=1.0)
WITHIN = config.Within(kind="within", low=0.0, high=1.0)
Draw = Callable[[np.random.Generator], np.ndarray]


def test_of(**changes: Any) -> config.ClaimTest:
    row = {"label": "", "value": {"kind": "snapshot", "metric": "m"}, "row": "even"}
    return config.ClaimTest.model_validate(row | changes)


test_of.__test__ = False  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("rule", "lo", "hi", "said"),
    [
        (SHARE, 0.96, 1.0, claims.HOLDS),
        (SHARE, 0.95, 1.0, claims.HOLDS),
        (SHARE, 0.94, 0.96, claims.OPEN),
        (SHARE, 0.44, 0.56, claims.SOME),
        (SHARE, 0.04, 0.06, claims.OPEN),
        (SHARE, 0.0, 0.04, claims.FAILS),
        (SHARE, 0.02, 0.98, claims.OPEN),
        (ABOVE, 1.01, 2.0, claims.HOLDS),
        (ABOVE, 0.99, 2.0, claims.OPEN),
        (ABOVE, 1.0, 2.0, claims.OPEN),
        (ABOVE, 0.5, 0.9, claims.FAILS),
        (BELOW, 0.5, 0.9, claims.HOLDS),
        (BELOW, 0.5, 1.1, claims.OPEN),
        (BELOW, 1.1, 1.2, claims.FAILS),
        (WITHIN, 0.1, 0.9, claims.HOLDS),
        (WITHIN, -0.1, 0.9, claims.OPEN),
        (WITHIN, 0.1, 1.1, claims.OPEN),
        (WITHIN, 1.1, 1.2, claims.FAILS),
        (WITHIN, -0.3, -0.2, claims.FAILS),
    ],
)
def test_a_verdict_is_where_the_interval_lies(rule: Any, lo: float, hi: float, said: str) -> None:
    assert claims.verdict(rule, {"mean": (lo + hi) / 2, "lo": lo, "hi": hi}) == said


@pytest.mark.parametrize("rule", [SHARE, ABOVE, BELOW, WITHIN])
def test_without_an_interval_nothing_is_decided(rule: Any) -> None:
    assert claims.verdict(rule, {"mean": 1.0}) == claims.OPEN


def yes(share: float, seeds: int = 1000) -> Draw:
    return lambda g: g.random(seeds) < share


def normal(mean: float, seeds: int, sd: float = 1.0) -> Draw:
    return lambda g: g.normal(mean, sd, seeds)


def skewed(mean: float, seeds: int) -> Draw:
    return lambda g: g.exponential(1.0, seeds) + mean - 1


@pytest.mark.parametrize(
    ("rule", "draw", "right"),
    [
        (SHARE, yes(0.99), claims.HOLDS),
        (SHARE, yes(0.01), claims.FAILS),
        (SHARE, yes(0.5), claims.SOME),
        (SHARE, yes(0.95), claims.OPEN),
        (SHARE, yes(0.05), claims.OPEN),
        (SHARE, yes(0.99, 8), claims.OPEN),
        (ABOVE, normal(11.0, 5), claims.HOLDS),
        (ABOVE, normal(-9.0, 5), claims.FAILS),
        (ABOVE, normal(1.0, 5), claims.OPEN),
        (ABOVE, normal(3.0, 40), claims.HOLDS),
        (BELOW, skewed(-0.5, 40), claims.HOLDS),
        (BELOW, skewed(1.0, 40), claims.OPEN),
        (WITHIN, normal(1.5, 40, 0.3), claims.FAILS),
        (WITHIN, normal(0.5, 8, 0.15), claims.HOLDS),
        (WITHIN, normal(0.0, 8, 0.15), claims.OPEN),
    ],
)
def test_simulated_claims_get_the_right_verdict(rule: Any, draw: Draw, right: str) -> None:
    g, test = np.random.default_rng(0), test_of()
    found = [claims.verdict(rule, claims.estimate(test, draw(g), None, CONFIDENCE)) for _ in range(1000)]
    assert found.count(right) >= 950


@pytest.mark.parametrize(
    ("shift", "right"), [(3.0, claims.HOLDS), (-3.0, claims.FAILS), (0.0, claims.OPEN)], ids=["true", "false", "edge"]
)
def test_pairs_of_seeds_decide_what_groups_could_not(shift: float, right: str) -> None:
    # Seeds differ by 30, the ablation moves each by 3 give or take 0.5: only the difference within a seed shows it.
    g = np.random.default_rng(0)
    test = test_of(against="even/fast", relation="difference")
    rule, found = config.Above(kind="above", than=0.0), []
    for _ in range(1000):
        seeds = g.normal(0, 30, 5)
        found.append(
            claims.verdict(
                rule,
                claims.estimate(test, seeds + shift + g.normal(0, 0.5, 5), seeds + g.normal(0, 0.1, 5), CONFIDENCE),
            )
        )
    assert found.count(right) >= 950


@pytest.mark.parametrize(
    ("before", "after", "right"), [(0.4, 0.7, claims.HOLDS), (0.7, 0.4, claims.FAILS), (0.5, 0.5, claims.OPEN)]
)
def test_differences_of_shares(before: float, after: float, right: str) -> None:
    g = np.random.default_rng(0)
    test = test_of(against="even/fast", relation="difference")
    rule = config.Above(kind="above", than=0.0)
    found = [
        claims.verdict(rule, claims.estimate(test, g.random(500) < after, g.random(500) < before, CONFIDENCE))
        for _ in range(1000)
    ]
    assert found.count(right) >= 950


@pytest.mark.parametrize(
    ("verdicts", "whole"),
    [
        ([claims.HOLDS, claims.HOLDS], claims.HOLDS),
        ([claims.HOLDS, claims.SOME], claims.SOME),
        ([claims.SOME, claims.OPEN], claims.OPEN),
        ([claims.OPEN, claims.FAILS], claims.FAILS),
    ],
)
def test_all_tests_of_a_claim_have_to_hold(verdicts: list[str], whole: str) -> None:
    assert claims.together(verdicts) == claims.together(verdicts[::-1]) == whole


def test_ratios_are_geometric_means_and_stop_at_zero() -> None:
    test = test_of(against="even/fast", relation="ratio")
    found = claims.estimate(test, np.array([1.0, 8.0, 4.0]), np.array([2.0, 4.0, 4.0]), 0.95)
    assert found["mean"] == pytest.approx(1.0)
    assert found["lo"] * found["hi"] == pytest.approx(1.0)
    assert claims.estimate(test, np.array([0.0, 8.0]), np.array([2.0, 4.0]), 0.95) == {"mean": 1.0}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Results of `even` and of even/fast for 40 and 30 seeds, as the pipeline lays them out."""
    ramp = np.linspace(0, 1, 40)
    for folder, seeds in (("evaluations/even", 40), ("ablations/even/fast", 30)):
        (tmp_path / folder).mkdir(parents=True)
        stats = {"all_even": np.stack([ramp[:seeds] < 0, ramp[:seeds] < 0.5]), "coverage": np.stack([ramp[:seeds]] * 2)}
        save_file(stats, tmp_path / folder / "stats.safetensors", {"note": '{"steps": [0, 60]}'})
    (tmp_path / "runs" / "even").mkdir(parents=True)
    history = {"loss_D": np.linspace(0, 9, 10)[:, None] * np.ones(40), "loss_G": np.stack([ramp] * 10)}
    save_file(history, tmp_path / "runs" / "even" / "history.safetensors", {"note": "null"})
    (tmp_path / "reference" / "even").mkdir(parents=True)
    (tmp_path / "reference" / "even" / "card.json").write_text('{"floor": {"coverage": {"mean": 0.5}}}')
    return tmp_path


def params_with(smoke: config.Params, needs: str = "smoke", **test: Any) -> config.Params:
    claim = {"source": "", "says": "", "needs": needs, "tests": [{"label": "", "row": "even", **test}]}
    return smoke.model_copy(update={"claims": {"one": config.Claim.model_validate(claim)}})


def one(smoke: config.Params, results: Path, **test: Any) -> tuple[dict[str, Any], np.ndarray]:
    found, values = claims.ledger(params_with(smoke, **test), results)
    return found["one"], values["one.0"]


LAST = {"kind": "snapshot", "metric": "all_even"}


def test_the_ledger_takes_the_last_snapshot_or_the_one_asked_for(smoke: config.Params, results: Path) -> None:
    rule = {"kind": "share", "most": 0.95}
    last, _ = one(smoke, results, value=LAST, rule=rule)
    first, _ = one(smoke, results, value=LAST | {"step": 0}, rule=rule)
    assert (last["verdict"], last["share"]) == (claims.SOME, 0.5)
    assert first["verdict"] == claims.OPEN  # none of 40 leaves room for more than 5 %
    assert last["tests"][0]["measured"]["mean"] == 0.5
    assert last["tests"][0]["budget"] == ["40 seeds, 60 steps of batch 16, learning rate 0.001"]
    assert (last["tests"][0]["num"], last["tests"][0]["over"], last["tests"][0]["rows"]) == (40, "seeds", ["even"])


def test_a_number_makes_a_yes_or_no_and_the_published_value_has_a_quantile(smoke: config.Params, results: Path) -> None:
    value = {"kind": "snapshot", "metric": "coverage"}
    rule = {"kind": "within", "low": 0.025, "high": 0.975}
    found, values = one(smoke, results, value=value, under=0.25, published=0.25, rule=rule)
    test = found["tests"][0]
    assert test["measured"]["mean"] == test["quantile"]["mean"] == pytest.approx(0.25)
    assert test["quantile"]["lo"] < 0.25 < test["quantile"]["hi"]
    assert values.dtype == float  # what a picture shows: the values, not the answers


def test_against_real_and_against_the_seeds_in_common(smoke: config.Params, results: Path) -> None:
    value = {"kind": "snapshot", "metric": "coverage"}
    real, _ = one(smoke, results, value=value, against="real", relation="ratio", rule={"kind": "below", "than": 2.0})
    assert real["tests"][0]["measured"]["mean"] == pytest.approx(1.0)
    pair, values = one(
        smoke, results, value=value, against="even/fast", relation="difference", rule={"kind": "above", "than": 0.1}
    )
    assert len(values) == 30
    assert (pair["tests"][0]["measured"]["mean"], pair["verdict"]) == (0.0, claims.FAILS)


def test_what_training_recorded(smoke: config.Params, results: Path) -> None:
    rule = {"kind": "above", "than": 0.0}
    during, _ = one(smoke, results, value={"kind": "during", "metric": "loss_D", "part": [0.8, 1.0]}, rule=rule)
    change = {"kind": "change", "metric": "loss_D", "before": [0.0, 0.5], "after": [0.5, 1.0]}
    moved, _ = one(smoke, results, value=change, rule=rule)
    varies, _ = one(
        smoke, results, value={"kind": "variation", "metric": "loss_D", "than": "loss_D", "part": [0, 1]}, rule=rule
    )
    assert [found["tests"][0]["measured"]["mean"] for found in (during, moved, varies)] == [8.5, 5.0, 1.0]


def test_below_its_scale_a_claim_is_measured_but_not_decided(smoke: config.Params, results: Path) -> None:
    found, _ = one(smoke, results, needs="laptop", value=LAST, rule={"kind": "share", "most": 0.95})
    assert (found["verdict"], found["decided_by"], found["here"]) == (claims.OPEN, "the laptop scale", claims.SOME)
    assert found["tests"][0]["measured"]["mean"] == 0.5


def test_rows_that_are_not_run_are_said(smoke: config.Params, results: Path) -> None:
    rule = {"kind": "share", "most": 0.95}
    found, values = claims.ledger(params_with(smoke, "full", value=LAST, row="bits1010/input-50", rule=rule), results)
    assert found["one"]["tests"][0]["not_run"] == ["bits1010/input-50"]
    assert (found["one"]["verdict"], values) == (claims.OPEN, {})


def test_more_claims_widen_every_interval(smoke: config.Params, results: Path) -> None:
    single = params_with(smoke, value=LAST, rule={"kind": "share", "most": 0.95})
    many = single.model_copy(update={"claims": {f"n{i}": single.claims["one"] for i in range(24)}})
    alone, among = (claims.ledger(params, results)[0] for params in (single, many))
    width = [
        found["measured"]["hi"] - found["measured"]["lo"]
        for found in (alone["one"]["tests"][0], among["n0"]["tests"][0])
    ]
    assert alone["one"]["tests"][0]["confidence"] == 0.95
    assert among["n0"]["tests"][0]["confidence"] == pytest.approx(1 - 0.05 / 24)
    assert width[1] > 1.4 * width[0]


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ({"value": LAST | {"step": 30}}, "claims.one.tests.0.value.step: found 30; allowed: 0, 60"),
        ({"value": LAST | {"metric": "odd"}}, "claims.one.tests.0.value.metric: found 'odd'; allowed: all_even, cov"),
        (
            {"value": {"kind": "variation", "metric": "loss_G", "than": "los", "part": [0, 1]}},
            "claims.one.tests.0.value.than: found 'los'; allowed: loss_D, loss_G",
        ),
    ],
)
def test_what_is_not_there_is_named(smoke: config.Params, results: Path, test: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said.replace(".", r"\.")):
        one(smoke, results, rule={"kind": "above", "than": 0.0}, **test)


def test_below_its_scale_a_snapshot_may_be_missing(smoke: config.Params, results: Path) -> None:
    found, _ = claims.ledger(
        params_with(smoke, "laptop", value=LAST | {"step": 200}, rule={"kind": "share", "most": 0.95}), results
    )
    assert found["one"]["tests"][0]["not_run"] == ["even"]
