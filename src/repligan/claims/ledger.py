"""The ledger: every claim with what was measured and its verdict, as typed evidence, as JSON and in words.

All verdicts of a scale are right together with 95 %, however often one looks: each claim that the scale can decide has
an equal share of the 5 % (Bonferroni 1936).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from repligan.claims.rows import BLURRED, CLAIMS, REAL, Budget, Claim, Claims, ClaimTest, Registered, Rule
from repligan.claims.values import Table, Unmeasured
from repligan.claims.verdict import (
    FAILS,
    HOLDS,
    OPEN,
    SOME,
    UNMET,
    Verdict,
    combine,
    growth,
    interval,
    quantile,
    related,
)
from repligan.claims.verdict import evidence as said_by
from repligan.claims.verdict import verdict as judged
from repligan.core.errors import InputError
from repligan.core.files import read_json, usable
from repligan.core.rows import Strict
from repligan.data.rows import ImagesForm
from repligan.metrics.metric import Interval, metric
from repligan.params import Params
from repligan.training.rows import RowId

ALPHA = 0.05  # the probability that any verdict of a scale is ever wrong
CLASSES: dict[Verdict, str] = {HOLDS: "yes", SOME: "some", FAILS: "no", UNMET: "open", OPEN: "open"}
MORE_SEEDS = "more seeds"
Growth = dict[str, np.ndarray]


class NotRun(Strict):
    """A test without results: the rows that it needs are not run at this scale, or not measured as it asks."""

    label: str
    rule: Annotated[Rule | None, Field(discriminator="kind")]
    not_run: list[str]


class Evidence(Strict):
    """What was measured: `num` values over seeds of `rows` at their `budget`.

    `measured` is empty where nothing is finite, and has no bounds where seeds are too few; each of its bounds is ever
    wrong with a probability of at most `alpha`. `quantile` says where the `published` value lies among the values.
    """

    label: str
    rule: Annotated[Rule | None, Field(discriminator="kind")]
    rows: list[str]
    budget: list[str]
    num: int
    alpha: float
    kind: Literal["share", "ratio", "value"]
    measured: Interval
    verdict: Verdict | None = None
    published: float | None = None
    quantile: Interval | None = None


class Entry(Strict):
    """A claim and its verdict; `here` is what this scale's budget says, whether or not it decides.

    `reduced`: whether a row that decides has a smaller budget than the source's. `share`: of seeds, where it holds for
    some. `decided_by`: what would decide an open one. The first `premise` tests are what it supposes.
    """

    id: str
    source: str
    place: str
    says: str
    reading: Literal["stated", "implied"]
    premise: int = 0
    tests: list[Evidence | NotRun]
    verdict: Verdict
    here: Verdict
    reduced: bool = False
    share: float | None = None
    decided_by: str | None = None

    @property
    def tested(self) -> dict[int, Evidence]:
        """The tests that were run, by their place."""
        return {i: test for i, test in enumerate(self.tests) if isinstance(test, Evidence)}

    @property
    def telling(self) -> int:
        """The place of the test to show where there is room for one: the first whose verdict made that of the claim."""
        premise, own = range(self.premise), range(self.premise, len(self.tests))
        places = [*premise, *own] if self.here == UNMET else [*own, *premise]
        said = {i: OPEN if isinstance(test, NotRun) and test.rule else None for i, test in enumerate(self.tests)}
        said |= {i: test.verdict for i, test in self.tested.items()}
        deciding = (FAILS, SOME) if self.here == UNMET else (self.here,)
        return next((i for i in places if said[i] in deciding), places[0])


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


def ledger(
    params: Params, claims: Claims, registered: Mapping[str, Registered], table: Table, file: Path = CLAIMS
) -> tuple[Ledger, Growth]:
    """(all verdicts, "<claim>.<test>" -> how its evidence grew, [4, N]); `file` is where the claims stand.

    Raises InputError if a result is missing, or lacks what a test of a claim that this scale decides asks for.
    """
    alpha = ALPHA / max(1, sum(claim.decided_at(params.scale) for claim in claims.claims.values()))
    entries, evidence = [], {}
    for name, claim in claims.claims.items():
        tests: list[Evidence | NotRun] = []
        for i, test in enumerate(claim.all_tests):
            try:
                share = alpha, len(claim.deciding)
                found, grown = _tested(key_of(name, i, file), test, params, table, share)
            except Unmeasured:
                if claim.decided_at(params.scale):
                    raise
                found, grown = _not_run(test), np.empty((4, 0))
            tests.append(found)
            if grown.size:
                evidence[f"{name}.{i}"] = grown
        entries.append(_entry(name, claim, tests, params, claims.budgets, registered.get(name)))
    return Ledger(scale=params.scale, claims=entries), evidence


def _tested(
    where: str, test: ClaimTest, params: Params, table: Table, share: tuple[float, int]
) -> tuple[Evidence | NotRun, np.ndarray]:
    if not all(row in params.rows for row in test.rows):
        return _not_run(test), np.empty((4, 0))
    values, against = sampled(where, test, table)
    found, says = related(test, values, against), said_by(test, values, against)
    measured, alpha = found[np.isfinite(found)], share[0]
    is_share = test.inside is not None or values.dtype == bool
    compared = test.published is not None and len(measured) > 0
    tested = Evidence(
        label=test.label,
        rule=test.rule,
        rows=[params.called(row) for row in test.rows],
        budget=[_budget(params, row) for row in test.rows],
        num=len(measured),
        alpha=alpha,
        kind="ratio" if test.relation == "ratio" else "share" if is_share else "value",
        measured=interval(test, found, says, alpha),
        verdict=judged(test.rule, says, *share) if test.rule else None,
        published=test.published,
        quantile=quantile(test.published, measured, alpha) if compared else None,  # type: ignore[arg-type]
    )
    return tested, growth(test, values, against, alpha) if test.rule and len(measured) else np.empty((4, 0))


def key_of(name: str, i: int, file: Path = CLAIMS) -> str:
    """Where test `i` of a claim stands."""
    return f"{file}: claims.{name}.tests.{i}"


def sampled(where: str, test: ClaimTest, table: Table) -> tuple[np.ndarray, np.ndarray | None]:
    """(what a test asks for of each seed, [R], the same of what it is compared with), of the seeds in common."""
    values, against = table.values(where, test, test.row), None
    if isinstance(test.against, RowId):
        against = table.values(where, test, test.against)
        common = min(len(values), len(against))
        values, against = values[:common], against[:common]
    elif test.against in (REAL, BLURRED):
        against = np.full(len(values), table.real(where, test))
    return values, against


def _not_run(test: ClaimTest) -> NotRun:
    return NotRun(label=test.label, rule=test.rule, not_run=[str(row) for row in test.rows])


def _entry(
    name: str,
    claim: Claim,
    tests: list[Evidence | NotRun],
    params: Params,
    budgets: Mapping[str, Budget],
    registered: Registered | None,
) -> Entry:
    """The verdict, for some seeds their share, and where nothing is decided, what would decide it."""
    ruled = [
        [test for test in part if test.rule] for part in (tests[: len(claim.premise)], tests[len(claim.premise) :])
    ]
    run = [[test.verdict for test in part if isinstance(test, Evidence) and test.verdict] for part in ruled]
    here = combine(run[1], run[0]) if all(len(a) == len(b) for a, b in zip(ruled, run, strict=True)) else OPEN
    decided_by, share = None, None
    if unfit := lacking(claim, params, registered):
        decided_by = unfit
    elif here == OPEN:
        decided_by = MORE_SEEDS
    elif here == SOME:
        share = min(one.measured["mean"] for one in ruled[1] if isinstance(one, Evidence) and one.verdict == SOME)
    return Entry(
        id=name,
        source=claim.source,
        place=claim.place,
        says=claim.says,
        reading=claim.reading,
        premise=len(claim.premise),
        tests=tests,
        verdict=OPEN if decided_by else here,
        here=here,
        reduced=any(_reduced(params, row, budgets) for test in claim.deciding for row in test.rows),
        share=share,
        decided_by=decided_by,
    )


def lacking(claim: Claim, params: Params, registered: Registered | None) -> str | None:
    """What a claim lacks that seeds may decide it: a scale, or a rule that is older than they are."""
    if not claim.decided_at(params.scale):
        return f"the {claim.needs} scale"
    if registered is None:
        return "a rule that is registered before its seeds are trained (`repligan register`)"
    if registered.rule != claim.rule_digest():
        return "fresh seeds, for the rule has changed (`repligan register`)"
    for row in {row for test in claim.deciding for row in test.rows}:
        if params.rows[row].first_seed < registered.seeds:
            return f"seeds of {row} from {registered.seeds:,} on, which the rule has not seen"
    return None


def _reduced(params: Params, row: RowId, budgets: Mapping[str, Budget]) -> bool:
    """Whether a row spends less than its source, or learns at another rate or from stand-ins."""
    if row not in params.rows:
        return False
    one, source = params.rows[row], budgets[row.experiment]
    dataset = params.datasets[one.dataset]
    widths = [(getattr(net, "width", None), of) for net, of in ((one.G, source.G), (one.D, source.D))]
    images = dataset.form.train if isinstance(dataset.form, ImagesForm) else None
    amounts = [(one.steps, source.steps), (images, source.images), *widths]
    less = any(ours is not None and theirs is not None and ours < theirs for ours, theirs in amounts)
    return less or one.batch != source.batch or one.optimiser.lr != source.lr or dataset.standin_for is not None


def _budget(params: Params, row: RowId) -> str:
    experiment = params.rows[row]
    form = params.datasets[experiment.dataset].form
    first, last = experiment.first_seed, experiment.first_seed + experiment.seeds - 1
    said = f"seed {first}" if first == last else f"seeds {first:,} to {last:,}"
    said += f", {experiment.steps:,} steps of batch {experiment.batch}, learning rate {experiment.optimiser.lr:g}"
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
        said = f"{entry.source}, {entry.place}" + ("; implied" if entry.reading == "implied" else "")
        yield f"    {entry.says} ({said})"
        for i, test in enumerate(entry.tests):
            supposed = "premise: " if i < entry.premise else ""
            yield f"    - {supposed}{test.label}: {' '.join(part for part in measured(test) if part)}"
    if not wanted:
        yield summary(found)


def summary(found: Ledger) -> str:
    """How many claims have which verdict."""
    counts = Counter(entry.verdict for entry in found.claims)
    listed = ", ".join(f"{kind}: {counts[kind]}" for kind in CLASSES if counts[kind])
    return f"{len(found.claims)} claims. {listed}"


def verdict(entry: Entry) -> str:
    """The verdict with what belongs to it: the share of seeds, a reduced budget, or what would decide it."""
    if entry.decided_by:
        return f"{entry.verdict}; {entry.decided_by} can decide"
    said = f"holds for some seeds ({_number('share', entry.share)})" if entry.share is not None else entry.verdict
    return said + " at a reduced budget" * (entry.reduced and entry.verdict != UNMET)


def measured(test: Evidence | NotRun) -> tuple[str, str, str]:
    """(value, its interval, what else to know), as text."""
    if isinstance(test, NotRun):
        return "not run at this scale", "", ""
    found, value, bounds = test.measured, "not finite", "(no interval)"
    if "mean" in found:
        value = _number(test.kind, found["mean"]) + " times" * (test.kind == "ratio")
    ends = [_number(test.kind, found[end]) if end in found else "" for end in ("lo", "hi")]
    if all(ends):
        bounds = f"({ends[0]} to {ends[1]})"
    elif any(ends):
        bounds = f"(at least {ends[0]})" if ends[0] else f"(at most {ends[1]})"
    beside = [" against ".join(test.rows), f"{test.num:,} seed{'s' * (test.num != 1)}"]
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
        "place": [entry.place for entry, *_ in rows],
        "reading": [entry.reading for entry, *_ in rows],
        "verdict": [verdict(entry) for entry, *_ in rows],
        "test": [test.label for _, test, _ in rows],
        "measured on": [", ".join(run.rows) if run else "" for *_, run in rows],
        **{end: [run.measured.get(end) if run else None for *_, run in rows] for end in ("mean", "lo", "hi")},
        "values": [run.num if run else None for *_, run in rows],
        "test says": [(run.verdict or "") if run else "" for *_, run in rows],
        "published": [run.published if run else None for *_, run in rows],
        "published above": [run.quantile["mean"] if run and run.quantile else None for *_, run in rows],
    }
