from __future__ import annotations

import csv
import io

import numpy as np
import pandas as pd
import pytest
import vl_convert

from repligan.claims.ledger import Evidence
from repligan.reporting import charts
from repligan.reporting.charts import Spec

GROWN = {num: np.array([np.arange(8.0, 8 + num), np.full(num, 0.7), [np.nan, *[0.6] * (num - 1)], np.full(num, 0.9)])
         for num in (1, 2, 5)}  # fmt: skip


def rows(spec: Spec) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(spec["data"]["values"])))


def of(spec: Spec, kind: str) -> list[Spec]:
    """The layers with a mark of that kind, without the one under the pointer."""
    return [one for one in spec["layer"] if "params" not in one and one["mark"]["type"] == kind]


def evidence(kind: str = "value", rule: dict[str, object] | None = None) -> Evidence:
    return Evidence.model_validate(
        {"label": "", "rule": rule or {"kind": "above", "than": 0.5}, "rows": [], "budget": [], "num": 8, "alpha": 0.01,
         "kind": kind, "measured": {}}
    )  # fmt: skip


@pytest.mark.parametrize(
    ("names", "panels"),
    [
        (["even_rate", "tv", "coverage"], [["even_rate", "coverage"], ["tv"]]),
        (["out_0", "match", "out_1"], [["match"], ["out_0", "out_1"]]),
        (["kid", "fd_cnn_500", "recall"], [["recall"], ["fd_cnn_500"]]),
        (["kid", "something_new"], []),
    ],
)
def test_metrics_share_panels_as_their_descriptions_say(names: list[str], panels: list[list[str]]) -> None:
    assert charts.panels(names) == panels


def test_curves_have_bands_where_the_table_has_them() -> None:
    table = pd.DataFrame(
        {"step": [0, 1_000_000], "tv": [0.123456, 1.0], "tv_lo": [0.1, 0.9], "tv_hi": [0.2, 1.0], "tv_p05": [0.0, 0.8],
         "tv_p95": [0.3, 1.0], "luma": [np.nan, 0.5]}
    )  # fmt: skip
    spec = charts.curves(table, ["tv", "luma"], {"tv": 0.25, "luma": 0.4})
    said = [{"tv_said": "0.123 (0 to 0.3)", "luma_said": "not finite"}, {"tv_said": "1 (0.8 to 1)", "luma_said": "0.5"}]
    assert rows(spec) == [
        {"step": "0", "tv": "0.1235", "tv_p05": "0", "tv_p95": "0.3", "luma": ""} | said[0],
        {"step": "1000000", "tv": "1", "tv_p05": "0.8", "tv_p95": "1", "luma": "0.5"} | said[1],
    ]
    told = spec["layer"][-1]["encoding"]["tooltip"]
    assert [one["field"] for one in told] == ["step", "tv_said", "luma_said"]
    assert len({one.get("title") for one in told}) == 3  # of two with one title a tooltip shows one
    assert [one["encoding"]["y"]["field"] for one in of(spec, "line")] == ["tv", "luma"]
    assert [one["encoding"]["y2"]["field"] for one in of(spec, "area")] == ["tv_p95"]
    assert [one["encoding"]["y"]["datum"] for one in of(spec, "rule")] == [0.25, 0.4]


@pytest.mark.parametrize(("name", "scale"), [("match", "domain"), ("fd_cnn_500", "type"), ("loss_D", "zero")])
def test_an_axis_fits_its_metric(name: str, scale: str) -> None:
    table = pd.DataFrame({"step": [0, 1], name: [0.5, 0.7]})
    asked = {"domain": [0, 1], "type": "log", "zero": False}
    for layer in charts.curves(table, [name], {name: 0.3})["layer"]:
        if "y" in layer["encoding"]:
            assert layer["encoding"]["y"]["scale"] == {scale: asked[scale]}


@pytest.mark.parametrize("num", GROWN)
def test_bounds_are_seen_however_few_looks_there_were(num: int) -> None:
    """An area over one number of seeds has no width."""
    spec = charts.growth(evidence(), GROWN[num])
    bounds = of(spec, "area") if num > 1 else [one for one in of(spec, "rule") if "y2" in one["encoding"]]
    assert len(bounds) == 1
    below, above = bounds[0]["encoding"]["y"]["scale"]["domain"]
    first = rows(spec)[0]
    assert first["seeds"] == "8"
    assert (float(first["low"]), float(first["high"])) == (below, 0.9)  # without a bound it ends where the axis does
    assert first["said"] == "0.7 (no bound to 0.9)"
    assert below < 0.5
    assert above > 0.9
    left, right = bounds[0]["encoding"]["x"]["scale"]["domain"]
    assert left < 8 <= 7 + num < right


@pytest.mark.parametrize(("kind", "low", "high"), [("share", -0.05, 1.05), ("ratio", 0.0, None), ("value", None, None)])
def test_an_axis_ends_where_values_do(kind: str, low: float | None, high: float | None) -> None:
    grown = np.array([[8.0, 9.0], [0.1, 0.2], [0.05, 0.1], [0.9, 0.3]])
    bottom, top = charts.growth(evidence(kind), grown)["layer"][0]["encoding"]["y"]["scale"]["domain"]
    assert bottom == low if low is not None else bottom < 0
    assert top == high if high is not None else top > 0.5


@pytest.mark.parametrize(
    ("rule", "asked"),
    [
        ({"kind": "share", "most": 0.9}, [0.9, 0.1]),
        ({"kind": "within", "low": 0.2, "high": 0.4}, [0.2, 0.4]),
        ({"kind": "below", "than": 3.0}, [3.0]),
    ],
)
def test_what_the_rule_asks_is_a_line(rule: dict[str, object], asked: list[float]) -> None:
    spec = charts.growth(evidence("share", rule), GROWN[5])
    assert [one["encoding"]["y"]["datum"] for one in of(spec, "rule")] == asked


def test_vega_lite_understands_every_spec() -> None:
    table = pd.DataFrame({"step": [0, 1], "match": [0.5, 0.7], "match_lo": [0.4, 0.6], "match_hi": [0.6, 0.8]})
    for spec in (
        charts.curves(table, ["match"], {"match": 0.3}),
        *(charts.growth(evidence(), one) for one in GROWN.values()),
    ):
        compiled = vl_convert.vegalite_to_vega(spec, charts.VERSION)
        assert len(compiled["marks"]) >= 3
        assert {signal["name"] for signal in compiled["signals"]} >= {"hover", "zoom"}


def test_the_runtime_is_the_same_each_time() -> None:
    script = charts.runtime()
    assert "vegaEmbed" in script
    assert "</script" not in script
    assert script == charts.runtime()


def test_a_logarithmic_axis_has_no_place_for_bounds_of_zero_or_less() -> None:
    values = {"step": [0, 5], "kid": [3.0, 0.5], "kid_lo": [2.0, -0.1], "kid_hi": [4.0, 1.1]}
    floor, table = {"kid": -0.2}, pd.DataFrame(values)
    called = table.rename(columns=lambda key: key.replace("kid", "fd_cnn_64"))
    straight, log = charts.curves(table, ["kid"], floor), charts.curves(called, ["fd_cnn_64"], {"fd_cnn_64": -0.2})
    assert [row["kid_lo"] for row in rows(straight)] == ["2", "-0.1"]
    assert [row["fd_cnn_64_lo"] for row in rows(log)] == ["2", "0.5"]
    assert rows(log)[1]["fd_cnn_64_said"] == "0.5 (-0.1 to 1.1)"
    assert (len(of(straight, "rule")), len(of(log, "rule"))) == (1, 0)
