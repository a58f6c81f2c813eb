"""The ledger: every claim with what was measured and its verdict, as typed evidence, as JSON and in words.

The intervals of all tests with a rule hold together with 95 % (Bonferroni 1936): each has a share of the 5 % only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from repligan.claims.rows import CLAIMS, OF_COMPONENTS, REAL, Claim, ClaimTest, Latent, Rule
from repligan.claims.values import Table, Unmeasured
from repligan.claims.verdict import FAILS, HOLDS, OPEN, SOME, Verdict, combine, estimate, quantile, related
from repligan.claims.verdict import verdict as judged
from repligan.core.errors import InputError
from repligan.core.files import read_json, usable
from repligan.core.rows import Strict
from repligan.data.rows import ImagesForm
from repligan.metrics.intervals import CONFIDENCE
from repligan.metrics.metric import Interval, metric
from repligan.params import SCALES, Params
from repligan.training.rows import RowId

CLASSES: dict[Verdict, str] = {HOLDS: "yes", SOME: "some", FAILS: "no", OPEN: "open"}
Values = dict[str, np.ndarray]


class NotRun(Strict):
    """A test without results: the rows that it needs are not run at this scale, or not measured as it asks."""

    label: str
    rule: Annotated[Rule | None, Field(discriminator="kind")]
    not_run: list[str]


class Evidence(Strict):
    """What was measured: `num` values `over` seeds, or over parts of a latent space, of `rows` at their `budget`.

    `measured` is empty where nothing is finite; `quantile` says where the `published` value lies among the values.
    """

    label: str
    rule: Annotated[Rule | None, Field(discriminator="kind")]
    rows: list[str]
    budget: list[str]
    num: int
    over: str
    confidence: float
    kind: Literal["share", "ratio", "value"]
    measured: Interval
    verdict: Verdict | None = None
    published: float | None = None
    quantile: Interval | None = None


class Entry(Strict):
    """A claim and its verdict; `here` is what this scale's budget says, whether or not it decides.

    `share`: of seeds, where it holds for some; `decided_by`: what would decide an open one.
    """

    id: str
    source: str
    says: str
    tests: list[Evidence | NotRun]
    verdict: Verdict
    here: Verdict
    share: float | None = None
    decided_by: str | None = None

    @property
    def tested(self) -> dict[int, Evidence]:
        """The tests that were run, by their place."""
        return {i: test for i, test in enumerate(self.tests) if isinstance(test, Evidence)}


class Ledger(Strict):
    """All claims at a scale."""

    scale: str
    claims: list[Entry]

    @property
    def by_name(self) -> dict[str, Entry]:
        """Each claim under its name."""
        return {entry.id: entry for entry in self.claims}

    def to_json(self) -> dict[str, Any]:
        """As `from_json` takes it: what does not apply is left out."""
        return self.model_dump(mode="json", exclude_defaults=True)

    @classmethod
    def from_json(cls, found: Any) -> Ledger:
        """The ledger that was written; raises pydantic's ValidationError at anything else."""
        return cls.model_validate(found)


def ledger(params: Params, claims: Mapping[str, Claim], table: Table, file: Path = CLAIMS) -> tuple[Ledger, Values]:
    """(all verdicts, "<claim>.<test>" -> the finite values [R] behind them); `file` is where the claims stand.

    Raises InputError if a result is missing, or lacks what a test of a claim that this scale decides asks for.
    """
    ruled = sum(test.rule is not None for claim in claims.values() for test in claim.tests)
    confidence = 1 - (1 - CONFIDENCE) / max(1, ruled)
    entries, values = [], {}
    for name, claim in claims.items():
        tests: list[Evidence | NotRun] = []
        for i, test in enumerate(claim.tests):
            try:
                found, measured = _tested(f"{file}: claims.{name}.tests.{i}", test, params, table, confidence)
            except Unmeasured:
                if claim.decided_at(params.scale):
                    raise
                found, measured = _not_run(test), np.empty(0)
            tests.append(found)
            if len(measured):
                values[f"{name}.{i}"] = measured
        entries.append(_entry(name, claim, tests, params.scale))
    return Ledger(scale=params.scale, claims=entries), values


def _tested(
    where: str, test: ClaimTest, params: Params, table: Table, confidence: float
) -> tuple[Evidence | NotRun, np.ndarray]:
    if not all(row in params.rows for row in test.rows):
        return _not_run(test), np.empty(0)
    values, against = table.values(where, test, test.row), None
    if isinstance(test.against, RowId):
        against = table.values(where, test, test.against)
        common = min(len(values), len(against))
        values, against = values[:common], against[:common]
    elif test.against == REAL:
        against = np.full(len(values), table.real(where, test))
    measured, found = related(test, values, against), estimate(test, values, against, confidence)
    measured = measured[np.isfinite(measured)]
    is_share = values.dtype == bool or test.over is not None or test.under is not None
    compared = test.published is not None and len(measured) > 0
    tested = Evidence(
        label=test.label,
        rule=test.rule,
        rows=[params.called(row) for row in test.rows],
        budget=[_budget(params, row) for row in test.rows],
        num=len(measured),
        over=_over(test),
        confidence=confidence,
        kind="ratio" if test.relation == "ratio" else "share" if is_share else "value",
        measured=found,
        verdict=judged(test.rule, found) if test.rule else None,
        published=test.published,
        quantile=quantile(test.published, measured, confidence) if compared else None,  # type: ignore[arg-type]
    )
    return tested, measured


def _not_run(test: ClaimTest) -> NotRun:
    return NotRun(label=test.label, rule=test.rule, not_run=[str(row) for row in test.rows])


def _entry(name: str, claim: Claim, tests: list[Evidence | NotRun], scale: str) -> Entry:
    """The verdict, for some seeds their share, and where nothing is decided, what would decide it."""
    ruled = [test for test in tests if test.rule is not None]
    verdicts = [test.verdict for test in ruled if isinstance(test, Evidence) and test.verdict]
    here = combine(verdicts) if len(verdicts) == len(ruled) else OPEN
    decided_by = share = None
    if not claim.decided_at(scale):
        decided_by = f"the {claim.needs} scale"
    elif here == OPEN:
        last = scale not in SCALES or scale == SCALES[-1]
        decided_by = "more seeds" if last else f"more seeds, or the {SCALES[SCALES.index(scale) + 1]} scale"
    elif here == SOME:
        share = min(test.measured["mean"] for test in ruled if isinstance(test, Evidence) and test.verdict == SOME)
    return Entry(
        id=name,
        source=claim.source,
        says=claim.says,
        tests=tests,
        verdict=OPEN if decided_by else here,
        here=here,
        share=share,
        decided_by=decided_by,
    )


def _over(test: ClaimTest) -> str:
    if not isinstance(test.value, Latent):
        return "seeds"
    return "components of z, of one G" if test.value.metric in OF_COMPONENTS else "pairs of z, of one G"


def _budget(params: Params, row: RowId) -> str:
    experiment = params.rows[row]
    form = params.datasets[experiment.dataset].form
    said = f"{experiment.seeds} seed{'s' * (experiment.seeds > 1)}, {experiment.steps:,} steps of batch "
    said += f"{experiment.batch}, learning rate {experiment.optimiser.lr:g}"
    if isinstance(form, ImagesForm):
        widths = f"width {experiment.G.width} (G) and {experiment.D.width} (D)"  # type: ignore[union-attr]
        said += f", {form.train:,} images, {widths}"
    return said


def read(reports: Path) -> Ledger:
    """The ledger as the claims stage wrote it; raises InputError if it is missing or damaged."""
    path = reports / "claims.json"
    with usable(path):
        return Ledger.from_json(read_json(path))


def lines(found: Ledger, wanted: Sequence[str]) -> Iterator[str]:
    """The ledger, or the `wanted` claims of it, as lines of text; raises InputError at an unknown one."""
    entries = found.by_name
    for name in wanted:
        if name not in entries:
            raise InputError(f"claim: found {name!r}; allowed: {', '.join(entries)}")
    for name in wanted or entries:
        entry = entries[name]
        yield f"{name}: {verdict(entry)}"
        yield f"    {entry.says} ({entry.source})"
        for test in entry.tests:
            yield f"    - {test.label}: {' '.join(part for part in measured(test) if part)}"
    if not wanted:
        yield summary(found)


def summary(found: Ledger) -> str:
    """How many claims have which verdict."""
    counts = Counter(entry.verdict for entry in found.claims)
    listed = ", ".join(f"{kind}: {counts[kind]}" for kind in CLASSES if counts[kind])
    return f"{len(found.claims)} claims. {listed}"


def verdict(entry: Entry) -> str:
    """The verdict with what belongs to it: the share of seeds, or what would decide it."""
    if entry.share is not None:
        return f"holds for some seeds ({_number('share', entry.share)})"
    return entry.verdict + (f"; {entry.decided_by} can decide" if entry.decided_by else "")


def measured(test: Evidence | NotRun) -> tuple[str, str, str]:
    """(value, its interval, what else to know), as text."""
    if isinstance(test, NotRun):
        return "not run at this scale", "", ""
    found, value, bounds = test.measured, "not finite", "(no interval)"
    if "mean" in found:
        value = _number(test.kind, found["mean"]) + " times" * (test.kind == "ratio")
    if "lo" in found:
        bounds = f"({_number(test.kind, found['lo'])} to {_number(test.kind, found['hi'])})"
    beside = [" against ".join(test.rows), f"{test.num:,} {test.over}"]
    if test.quantile:
        above = _number("share", test.quantile["mean"])
        beside.append(f"published {test.published:g}, above {above} of them")
    if test.verdict:
        beside.append(test.verdict)
    return value, bounds, "; ".join(beside)


def _number(kind: str, value: float) -> str:
    return metric("match" if kind == "share" else "").number(value)


def table(found: Ledger) -> dict[str, list[Any]]:
    """The ledger as columns, a row per test."""
    rows = [
        (entry, test, test if isinstance(test, Evidence) else None) for entry in found.claims for test in entry.tests
    ]
    return {
        "claim": [entry.id for entry, *_ in rows],
        "says": [entry.says for entry, *_ in rows],
        "source": [entry.source for entry, *_ in rows],
        "verdict": [verdict(entry) for entry, *_ in rows],
        "test": [test.label for _, test, _ in rows],
        "measured on": [", ".join(run.rows) if run else "" for *_, run in rows],
        **{end: [run.measured.get(end) if run else None for *_, run in rows] for end in ("mean", "lo", "hi")},
        "values": [run.num if run else None for *_, run in rows],
        "test says": [(run.verdict or "") if run else "" for *_, run in rows],
        "published": [run.published if run else None for *_, run in rows],
        "published above": [run.quantile["mean"] if run and run.quantile else None for *_, run in rows],
    }
