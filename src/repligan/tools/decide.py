"""Seeds are added where they decide most, until the claims are decided or the time is over.

A round raises the seeds of the claim that costs least to decide in conf/seeds.yaml, composes params.yaml and runs the
pipeline, which trains what is missing. What a round does follows from files in git and from measured values alone,
never from time: a killed command that is started again ends with the ledger of one that nobody disturbed.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from repligan import compose
from repligan.claims import ledger, rows
from repligan.claims.rows import Claim, Claims
from repligan.claims.values import Table
from repligan.claims.verdict import LEAST, OPEN, combine, likely
from repligan.core import runtime
from repligan.core.errors import InputError
from repligan.core.rows import pick
from repligan.params import Params, load
from repligan.store import Store
from repligan.tools.plan import duration, trial_seconds
from repligan.training.rows import RowId
from repligan.trials import STACK, Trial, Workshop, folder, trial_size, trials_of

PARAMS, DATA, REPORTS = Path("params.yaml"), Path("data"), Path("reports")
MORE, PART = 4, 4  # a round adds so many seeds or a fourth of those there are, at least; at most it doubles them
MOST = 20  # a claim that would need so many times its seeds is left
LARGEST = 2**16 // STACK * STACK  # seeds that a row may have, in whole stacks
COMMIT = "conf/seeds.yaml params.yaml dvc.lock reports"


@dataclass(frozen=True)
class Undecided:
    """A claim that more seeds can decide: how many its open tests have, and likely need, None if out of reach."""

    name: str
    seeds: int
    needed: int | None
    rows: Sequence[RowId]

    def next_seeds(self) -> int:
        """How many the next round gives it."""
        assert self.needed
        return max(LEAST, self.seeds + max(MORE, self.seeds // PART), min(self.needed, 2 * self.seeds))


@dataclass(frozen=True)
class State:
    """What is known between two rounds: all of it follows from conf/ and from the values that were measured."""

    params: Params
    claims: Claims
    found: ledger.Ledger

    def undecided(self, names: Sequence[str]) -> list[Undecided]:
        """Those of the claims `names` that more seeds can decide, in the order of the ledger."""
        table, entries = Table(DATA / "evaluations"), self.found.by_name
        return [
            self._undecided(name, self.claims.claims[name], entries[name], table)
            for name in entries
            if name in names and entries[name].decided_by == ledger.MORE_SEEDS
        ]

    def _undecided(self, name: str, claim: Claim, entry: ledger.Entry, table: Table) -> Undecided:
        tests = {i: found for i, found in entry.tested.items() if found.verdict == OPEN}
        needs = list(dict.fromkeys(row for i in tests for row in claim.all_tests[i].rows))
        seeds = min(self.params.rows[row].seeds for row in needs)
        values = {i: ledger.sampled(ledger.key_of(name, i), claim.all_tests[i], table) for i in tests}

        def is_decided(num: int) -> bool:
            verdicts = {i: found.verdict for i, found in entry.tested.items() if found.verdict}
            for i, (one, against) in values.items():
                more = max(num, len(one))
                verdicts[i] = likely(claim.all_tests[i], one, against, more, tests[i].alpha, len(claim.deciding))
            premise = [said for i, said in verdicts.items() if i < entry.premise]
            return combine([said for i, said in verdicts.items() if i >= entry.premise], premise) != OPEN

        return Undecided(name, seeds, self._needed(seeds, needs, is_decided), needs)

    def _needed(self, seeds: int, of: Sequence[RowId], is_decided: Callable[[int], bool]) -> int | None:
        if seeds < LEAST:
            return LEAST  # they say too little to look further
        size = max(trial_size(self.params.rows[row]) for row in of)
        tries = range(whole(seeds + 1, size), min(MOST * whole(seeds, size), LARGEST) + 1, size)
        first = bisect_left(tries, True, key=is_decided)
        return tries[first] if first < len(tries) else None

    def raised(self, one: Undecided, seeds: int) -> dict[RowId, int]:
        """Those rows of a claim that have fewer than `seeds`, with as many in whole trials."""
        experiments = {row: self.params.rows[row] for row in one.rows}
        wanted = {row: whole(seeds, trial_size(experiment)) for row, experiment in experiments.items()}
        return {row: number for row, number in wanted.items() if number > experiments[row].seeds}


@dataclass
class Costs:
    """What training a seed of a row costs: as work, which ranks claims, and as measured seconds, which people see."""

    _work: dict[RowId, int] = field(default_factory=dict)
    _seconds: dict[RowId, float] = field(default_factory=dict)

    def work(self, params: Params, seeds: Mapping[RowId, int]) -> int:
        """Updates times images in a batch times weights, of so many seeds of some rows."""
        return sum(num * self._work_of(params, row) for row, num in seeds.items())

    def seconds(self, params: Params, more: Mapping[RowId, int]) -> float:
        """About how long those seeds train on this machine."""
        return sum((num - params.rows[row].seeds) * self._seconds_of(params, row) for row, num in more.items())

    def _work_of(self, params: Params, row: RowId) -> int:
        if row not in self._work:
            from repligan.models.weights import build

            one = params.rows[row]
            nets = build(one.G, one.D, one.z.dim, params.datasets[one.dataset].form, [0])
            weights = sum(weight.numel() for net in nets for weight in net.parameters())
            self._work[row] = len(one.updates) * one.steps * one.batch * weights
        return self._work[row]

    def _seconds_of(self, params: Params, row: RowId) -> float:
        """Of a seed, as many trials training side by side as fit; from what a trial took, or some steps take now."""
        if row not in self._seconds:
            one = params.rows[row]
            trial: Trial = next(trials_of(row, one))
            processed = DATA / "processed" / one.dataset
            store = Store(folder())
            kept = store.find(Workshop(params, processed, Path(), store).training_key(trial))
            took = kept.notes["seconds"] if kept else trial_seconds(params, trial, processed)
            self._seconds[row] = took / len(trial.seeds) / max(1, runtime.cores() // one.threads)
        return self._seconds[row]


def decide(names: Sequence[str], hours: float, reproduce: Callable[[], None]) -> Iterator[str]:
    """Add seeds until the claims `names` are decided, or for some hours; yields lines of progress.

    params.yaml is as composed; `reproduce` runs the pipeline up to the ledger.
    """
    ends, costs = time.monotonic() + hours * 3600, Costs()
    yield "bringing the ledger up to date: `dvc repro claims`"
    state = _after(reproduce)
    first = state.undecided(names)
    yield from _plan(state, first, costs)
    number, left = 0, first
    while chosen := _cheapest(state, left, costs):
        more = state.raised(chosen, chosen.next_seeds())
        seconds = costs.seconds(state.params, more)
        if time.monotonic() + seconds > ends:
            yield f"the time is over, or too short for the next round, {_listed(more)}: about {duration(seconds)}"
            break
        number += 1
        yield f"round {number}: {chosen.name}, {_listed(more)}: about {duration(seconds)}"
        compose.raise_seeds(more)
        compose.compose(None, PARAMS)
        state = _after(reproduce)
        was, left = {one.name for one in left}, state.undecided(names)
        for name in sorted(was - {one.name for one in left}):
            yield f"  {name}: {ledger.verdict(state.found.by_name[name])}"
    yield from _summary(state, first, left, costs)
    if compose.seeds():
        yield f"conf/seeds.yaml says how many seeds each row has: `dvc repro`, then commit {COMMIT}"


def decidable(params: Params, names: Sequence[str]) -> list[str]:
    """Those of the claims `names`, by default all, that seeds can decide; raises InputError where there are none."""
    claims, registered = rows.load(rows.CLAIMS, params).claims, rows.registry(rows.REGISTERED)
    wanted = {name: pick(claims, f"{rows.CLAIMS}: claims", name) for name in names or claims}
    lacks = {name: ledger.lacking(claim, params, registered.get(name)) for name, claim in wanted.items()}
    found = [name for name, lack in lacks.items() if lack is None]
    if not found:
        name, lack = next(iter(lacks.items()))
        others = f" (and {len(lacks) - 1} more)" if len(lacks) > 1 else ""
        raise InputError(f"claim: found {name!r}, which needs {lack}{others}; allowed: a claim that seeds can decide")
    return found


def _after(reproduce: Callable[[], None]) -> State:
    reproduce()
    params = load(PARAMS)
    return State(params, rows.load(rows.CLAIMS, params), ledger.read(REPORTS))


def _cheapest(state: State, left: Sequence[Undecided], costs: Costs) -> Undecided | None:
    """The claim in reach that takes the least work to decide; of equals the first.

    Seeds that are there count too: a claim that lies at its bound, always a few seeds away, lets others go before it.
    """
    reachable = [one for one in left if one.needed]
    work = [costs.work(state.params, dict.fromkeys(one.rows, one.needed or 0)) for one in reachable]
    return reachable[work.index(min(work))] if reachable else None


def _plan(state: State, left: Sequence[Undecided], costs: Costs) -> Iterator[str]:
    """A line for each undecided claim, and how long all of them take."""
    yield f"{state.params.scale} scale: {len(left)} claims that more seeds can decide"
    together: dict[RowId, int] = {}
    for one in left:
        yield f"  {_needs(state, one, costs)}"
        for row, number in state.raised(one, one.needed or 0).items():
            together[row] = max(number, together.get(row, 0))
    if together:
        yield f"all in reach: about {duration(costs.seconds(state.params, together))} of training"


def _summary(state: State, first: Sequence[Undecided], left: Sequence[Undecided], costs: Costs) -> Iterator[str]:
    """What was decided, what was not, and what it would cost."""
    entries, names = state.found.by_name, {one.name for one in left}
    decided = [f"{one.name} ({ledger.verdict(entries[one.name])})" for one in first if one.name not in names]
    yield f"decided: {', '.join(decided) or 'nothing new'}"
    yield "not decided:" + " nothing that more seeds can decide" * (not left)
    for one in left:
        yield f"  {_needs(state, one, costs)}"


def _needs(state: State, one: Undecided, costs: Costs) -> str:
    of = ", ".join(map(str, one.rows))
    if one.needed is None:
        return f"{one.name}: {one.seeds:,} seeds of {of}; out of reach, it needs more than {MOST} times as many"
    seconds = costs.seconds(state.params, state.raised(one, one.needed))
    return f"{one.name}: {one.seeds:,} seeds of {of}; likely needs {one.needed:,}, about {duration(seconds)}"


def _listed(more: Mapping[RowId, int]) -> str:
    return ", ".join(f"{row} to {number:,} seeds" for row, number in more.items())


def whole(seeds: int, size: int) -> int:
    """`seeds`, and as many more as make whole trials of `size`."""
    return -(-seeds // size) * size
