"""What runs say of themselves, in Markdown: MLflow shows it as their description."""

from __future__ import annotations

from repligan.claims import ledger
from repligan.claims.ledger import Entry, Evidence, Ledger, NotRun
from repligan.core.rows import flatten
from repligan.params import Params
from repligan.training.rows import PUBLISHED, RowId
from repligan.trials import Trial

EXPERIMENT = (
    "Published GAN experiments, run again. Each run at the top is an experiment as published; below it are its "
    "variants, below those their seeds. The run `claims` has the ledger and the report. With the filter "
    "`tags.level = 'system'` only the experiments are left, to be compared."
)


def system(params: Params, claims: Ledger, published: RowId) -> str:
    """What an experiment is, what its source says, and what came out."""
    name = published.experiment
    report, row = params.reports[name], params.published(name)
    lines = [f"**{report.title}** ({report.source})", "", _data(params, row.dataset), ""]
    if said := claims_of(params, claims, name):
        lines += ["| the source says | measured | verdict |", "|---|---|---|"]
        found = [(entry, _measured(entry, _rows(params, name))) for entry in said]
        lines += [f"| {entry.says} (`{entry.id}`) | {value} | {ledger.verdict(entry)} |" for entry, value in found]
    return "\n".join(lines)


def variant(params: Params, claims: Ledger, row: RowId) -> str:
    """What a variant changes, and the claims that it decides."""
    own = params.experiments[row.experiment]["variants"][row.variant]
    changes = [f"`{key}` = {value}" for key, value in flatten({k: v for k, v in own.items() if k != "based_on"})]
    base = RowId(experiment=row.experiment, variant=own.get("based_on", PUBLISHED))
    lines = [f"As `{base}`, but {', '.join(changes) or 'nothing else'}.", ""]
    for entry in claims_of(params, claims, row.experiment):
        if params.called(row) in {name for test in entry.tested.values() for name in test.rows}:
            lines.append(f"- {entry.says} (`{entry.id}`): {ledger.verdict(entry)}")
    return "\n".join(lines)


def trial(params: Params, one: Trial) -> tuple[str, str]:
    """(name, description); the seeds come first, for the table of runs cuts names off."""
    first, last = one.seeds[0], one.seeds[-1]
    seeds = f"seed {first}" if first == last else f"seeds {first} to {last}"
    return f"{seeds} of {params.called(one.row)}", "One training; the run above has the mean over all seeds."


def ledger_of(claims: Ledger) -> str:
    """How many claims have which verdict."""
    return f"Do the claims of the sources hold? {ledger.summary(claims)}. All of them: `claims.json`, and the report."


def claims_of(params: Params, claims: Ledger, name: str) -> list[Entry]:
    """The claims that are tested on an experiment or one of its variants."""
    rows = _rows(params, name)
    return [entry for entry in claims.claims if any(rows & _tested_on(test) for test in entry.tests)]


def _rows(params: Params, name: str) -> set[str]:
    """What the ledger calls the rows of an experiment, run or not."""
    return {called for row in params.rows_of(name) for called in (str(row), params.called(row))}


def _tested_on(test: Evidence | NotRun) -> set[str]:
    """The rows of a test, and of those that are not run at this scale their experiments."""
    if isinstance(test, Evidence):
        return {*test.rows}
    return {part for row in test.not_run for part in (row, row.split("/")[0])}


def _measured(entry: Entry, rows: set[str]) -> str:
    """What decides a claim, if it is measured on these rows, else its first measure that is."""
    places = (entry.telling, *range(len(entry.tests)))
    i, test = next((i, entry.tests[i]) for i in places if rows & _tested_on(entry.tests[i]))
    value, bounds, _ = ledger.measured(test)
    return f"{'premise: ' * (i < entry.premise)}{test.label}: {value} {bounds}".strip()


def _data(params: Params, dataset: str) -> str:
    standin_for = params.datasets[dataset].standin_for
    what = f"Learns from `{dataset}`" + (f", drawn in the place of {standin_for}" if standin_for else "")
    return f"{what}, at the {params.scale} scale."
