"""Charts as Vega-Lite specs (Satyanarayan et al. 2017): numbers and words only, for colours and fonts are the page's.

A spec is a dictionary that `json.dumps` takes. Its numbers have four significant digits.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any, TypeAlias

from repligan.metrics.metric import metric

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from repligan.claims.ledger import Evidence

    Numbers: TypeAlias = Sequence[float] | pd.Series[float] | np.ndarray

Spec = dict[str, Any]
VERSION = "6.1"  # of Vega-Lite: 6.4 shows no words beside the nearest point
BANDS = (("p05", "p95"), ("lo", "hi"))  # where 90 % of the seeds lie, or the interval of the mean
BAND, LINE, ASKED = {"type": "area", "opacity": 0.2}, {"type": "line"}, {"type": "rule", "strokeDash": [2, 3]}
# Ctrl and the wheel, as maps have it, is also what browsers make of two fingers: the wheel alone scrolls the page.
ZOOM = {"type": "interval", "encodings": ["x"], "zoom": "wheel![event.ctrlKey]"}
PICTURE = {"width": 480, "height": 280}  # of axes in a picture, in pixels
NEAREST = {"type": "point", "on": "pointerover", "clear": "pointerout", "nearest": True, "encodings": ["x"]}


def runtime() -> str:
    """What draws specs in a browser: Vega-Lite, Vega and vega-embed as one script of 0.9 MB, which fetches nothing."""
    import vl_convert

    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", VERSION)


def svg(spec: Spec) -> str:
    """A spec as a picture, for where nothing draws it; its bits are no promise."""
    import vl_convert

    return str(vl_convert.vegalite_to_svg(json.dumps({**spec, **PICTURE})))


def panels(names: Sequence[str]) -> list[list[str]]:
    """Which metrics share a panel: all shares; those that differ only in a number at the end; others stand alone.

    A metric that is nothing of this is in tables only.
    """
    families: dict[str, list[str]] = {}
    for name in names:
        families.setdefault(name.rstrip("0123456789"), []).append(name)
    numbered = [family for family in families.values() if len(family) > 1]
    single = [name for name in names if not any(name in family for family in numbered)]
    alone = [[name] for name in single if metric(name).alone]
    shares = [name for name in single if metric(name).unit == "share"]
    return [group for group in (shares, *numbered, *alone) if group]


def band(table: pd.DataFrame, name: str) -> tuple[str, str] | None:
    """The columns of the lower and upper end of `name`'s band, if it has one."""
    ends = [(f"{name}_{low}", f"{name}_{high}") for low, high in BANDS]
    return next((pair for pair in ends if pair[0] in table), None)


def curves(table: pd.DataFrame, names: Sequence[str], floor: Mapping[str, float] | None = None) -> Spec:
    """`names` over the column step of `table` with their bands; dashed: `floor`, name -> the same of real data."""
    layers: list[Spec] = []
    columns, told = {"step": [str(step) for step in table["step"]]}, []
    first = metric(names[0])
    positive = table[list(names)].where(table[list(names)] > 0)
    # A logarithmic axis has no place for a bound of zero or less: it ends at the lowest value.
    drawn = table.clip(lower=positive.min().min()) if first.log else table
    for name in names:
        label, ends = metric(name).label, band(table, name)
        colour: Spec = {"color": {"datum": label} | ({} if len(names) > 1 else {"legend": None})}
        if ends:
            layers.append({"mark": BAND, "encoding": _x("step") | _y(*ends) | colour})
        layers.append({"mark": LINE, "encoding": _x("step") | _y(name) | colour})
        if floor and not (first.log and floor[name] <= 0):
            layers.append({"mark": ASKED, "encoding": {"y": {"datum": _round(floor[name])}} | colour})
        columns |= {key: _texts(drawn[key]) for key in (name, *(ends or ()))}
        columns[f"{name}_said"] = _told(name, *(table[key] for key in (name, *(ends or ()))))
        told.append((f"{name}_said", label))
    scale: Spec = {"type": "log"} if first.log else {"domain": [0, 1]} if first.unit == "share" else {"zero": False}
    of_x = {"scale": {"nice": False}, "axis": {"format": ",d", "title": "step"}}
    return _spec(columns, [*layers, _hover("step", told)], of_x, {"scale": scale}, first.unit, 200)


def growth(test: Evidence, grown: np.ndarray) -> Spec:
    """How a test's evidence grew, [4, N] as the ledger has it: estimate and bounds against the number of seeds.

    Dotted: what the rule asks. A missing bound ends where the axis does.
    """
    num, estimate, low, high = grown
    asked = list(_asked(test))
    below, above = _ends(test, [*estimate, *asked, *(one for one in (low[-1], high[-1]) if isfinite(one))])
    columns = {"seeds": [str(int(one)) for one in num], "estimate": _texts(estimate)}
    columns |= {"low": _texts(low, below), "high": _texts(high, above)}
    columns["said"] = _told("match" if test.kind == "share" else "", estimate, low, high)
    # Over one number of seeds an area has no width.
    bounds = BAND if len(num) > 1 else {"type": "rule", "strokeWidth": 6, "opacity": 0.35}
    line = LINE | ({"point": True} if len(num) < 3 else {})
    colour = {"color": {"datum": "estimate and its bounds", "legend": None}}
    layers: list[Spec] = [
        {"mark": bounds | {"clip": True}, "encoding": _x("seeds") | _y("low", "high") | colour},
        {"mark": line | {"clip": True}, "encoding": _x("seeds") | _y("estimate") | colour},
        *({"mark": ASKED, "encoding": {"y": {"datum": _round(one)}}} for one in asked),
    ]
    unit = "share" if test.kind == "share" else "number"
    scale = {"domain": [_round(below), _round(above)], "nice": False}
    of_x = {
        "scale": {"type": "log", "domain": [_round(num[0] / 1.15), _round(num[-1] * 1.15)], "nice": False},
        "axis": {"values": _ticks(num), "format": ",d", "title": "seeds"},
    }
    return _spec(columns, [*layers, _hover("seeds", [("said", "estimate")])], of_x, {"scale": scale}, unit, 110)


def _asked(test: Evidence) -> Iterator[float]:
    """The values that the rule of a test compares with: of a share that most seeds have, also what few have."""
    for one in test.rule.model_dump().values() if test.rule else ():
        if isinstance(one, float):
            yield one
            if test.rule and test.rule.kind == "share":
                yield 1 - one


def _ends(test: Evidence, shown: Sequence[float]) -> tuple[float, float]:
    """From where to where the axis of a test goes that has to show these values."""
    if test.kind == "share":
        return -0.05, 1.05
    reach = 0.6 * (max(shown) - min(shown)) or 0.5
    below = min(shown) - reach
    return max(below, 0.0) if test.kind == "ratio" else below, max(shown) + reach


def _ticks(num: np.ndarray) -> list[int]:
    first, last = int(num[0]), int(num[-1])
    return sorted({first, *(one for one in (16, 100, 1000) if first < one < 0.7 * last), last})


def _spec(
    columns: Mapping[str, Sequence[str]], layers: Sequence[Spec], of_x: Spec, of_y: Spec, unit: str, height: int
) -> Spec:
    """Layers over the same axes: each says of them what all do, or Vega-Lite would join what differs."""
    rows = [",".join(columns), *map(",".join, zip(*columns.values(), strict=True))]
    of_y = of_y | {"axis": {"format": ".0%" if unit == "share" else ",.6~g", "title": None}}
    for layer in layers:
        for channel, look in (("x", of_x), ("y", of_y)):
            if channel in layer["encoding"]:
                layer["encoding"][channel] |= look
    return {
        "width": "container",
        "height": height,
        "data": {"values": "\n".join(rows), "format": {"type": "csv"}},
        "layer": list(layers),
    }


def _hover(x: str, told: Sequence[tuple[str, str]]) -> Spec:
    """An upright line at the nearest x that tells, column by title, what is there; it also carries the zoom."""
    shown = {"condition": {"param": "hover", "empty": False, "value": 0.5}, "value": 0}
    lines = [{"field": column, "type": "nominal", "title": title} for column, title in told]
    place = {"field": x, "type": "quantitative", "format": ",d"}
    return {
        "params": [{"name": "hover", "select": NEAREST}, {"name": "zoom", "select": ZOOM, "bind": "scales"}],
        "mark": "rule",
        "encoding": _x(x) | {"opacity": shown} | {"tooltip": [place, *lines]},
    }


def _x(name: str) -> Spec:
    return {"x": {"field": name, "type": "quantitative"}}


def _y(name: str, to: str | None = None) -> Spec:
    return {"y": {"field": name, "type": "quantitative"}} | ({"y2": {"field": to}} if to else {})


def _round(value: float) -> float:
    return float(f"{value:.4g}")


def _texts(values: Numbers, end: float | None = None) -> list[str]:
    """Numbers as CSV has them; one that is not finite is `end`, or missing."""
    other = "" if end is None else f"{end:.4g}"
    return [f"{value:.4g}" if isfinite(value) else other for value in values]


def _told(name: str, values: Numbers, *ends: Numbers) -> list[str]:
    """Values in words, as the tables have them, with their bands where there are any."""
    number = metric(name).number
    texts = [number(value) if isfinite(value) else "not finite" for value in values]
    if ends:
        bounds = [[number(end) if isfinite(end) else "no bound" for end in column] for column in ends]
        texts = [f"{text} ({low} to {high})" for text, low, high in zip(texts, *bounds, strict=True)]
    return texts
