"""A short form of tests/forge.py: some forged ledgers, and one that is not."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from forge import SHARES, Tally, audit_forged, audit_unforged, repository, small_stacks
from tools.machine import Machine

from repligan.store import Store
from repligan.tools.audit import picked


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with small_stacks():
        yield repository(tmp_path_factory.mktemp("ledger"), stacks=6)


def test_forged_trials_are_found_as_often_as_it_says(machine: Machine) -> None:
    tallies = audit_forged(machine, Store(machine.folder / "again"), 32, random.Random(1))
    assert tallies.keys() == set(SHARES)
    every = list(tallies.values())
    whole = Tally(*(sum(getattr(one, name) for one in every) for name in ("ledgers", "missed", "said", "variance")))
    assert [one.faults for one in every] == [[]] * 4
    assert (whole.ledgers, whole.is_true) == (32, True), whole
    assert 0 < whole.missed < 32


def test_where_nothing_is_forged_nothing_is_found(machine: Machine) -> None:
    assert [audit_unforged(machine, 2, seed) for seed in range(3)] == [[]] * 3


def test_a_tally_tells_an_audit_that_looks_at_less_than_it_says() -> None:
    """Whoever picks 5 of 22 trials where it says 10 misses too many of 50 ledgers with one or two forged ones."""
    said = [(1 - 10 / 22) ** wrong for wrong in (1, 2)]
    lazy = [not set(picked(22, 5, seed)) & set(range(1 + seed % 2)) for seed in range(50)]
    tally = Tally(50, sum(lazy), 25 * sum(said), 25 * sum(p * (1 - p) for p in said))
    assert not tally.is_true
