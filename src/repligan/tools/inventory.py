"""What lies in the store of trials, by the rows of params.yaml."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from repligan.params import Params
from repligan.store import Store
from repligan.tools.plan import duration, readable
from repligan.trials import Workshop, trials_of


def lines(params: Params, data: Path, store: Store) -> Iterator[str]:
    """A line for each row: how many of its trials are trained by this code, and how long that took; then the sum."""
    wanted = 0
    for row, experiment in params.rows.items():
        processed = data / "processed" / experiment.dataset
        trials = list(trials_of(row, experiment))
        workshop = Workshop(params, processed, Path(), store)
        keys = [workshop.training_key(trial) for trial in trials] if processed.exists() else []
        found = [entry for key in keys if (entry := store.find(key))]
        wanted += len({entry.path for entry in found})
        seconds = sum(entry.notes["seconds"] for entry in found)
        took = f", trained in {duration(seconds)}" if found else ""
        yield f"{row}: {len(found)} of {len(trials)} trials{took}"
    others = sum(entry.key["what"] == "training" for entry in store.entries()) - wanted
    yield f"{others} of other rows, code or data; {summary(store)}"


def summary(store: Store) -> str:
    """How much finished work is kept, and how to be rid of it."""
    count = sum(1 for _ in store.entries())
    return f"{store.folder}: {count:,} entries, {readable(store.size())}; `repligan trials empty` removes them"
