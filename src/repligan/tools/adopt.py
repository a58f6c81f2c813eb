"""Take finished trials over to code that computes the same bits in other words.

A trial is kept under a key with a digest of the code. Where only that changed, a part of the work is done anew: the
golden trials, each row's training up to its first recorded values, and one measurement of each row. If all of it
agrees bit for bit, the trials get their new keys; if anything differs, none does.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from repligan.core.errors import Fault
from repligan.core.files import arrays
from repligan.core.progress import Progress
from repligan.core.rows import fingerprint
from repligan.params import Params
from repligan.store import Entry, Key, Store
from repligan.training.rows import PUBLISHED, RowId
from repligan.trials import HISTORY, Trial, Workshop, others

KINDS = {"training": "trainings", "measuring": "measurements", "floor": "measurements of real images"}
Again = Callable[[str, Entry, Store], list[str]]
"""Do a part of the work of a place's entry anew, with an empty store; what comes out differently."""


def adopt(params: Params, data: Path, store: Store) -> list[str]:
    """Give what other code left in the store for `params` the keys of this code; says in lines how much it was.

    Raises Fault, and changes nothing, where a golden trial, the start of a training or a measurement differs.
    """
    if wrong := golden_differences():
        raise Fault(f"nothing is adopted; golden trials differ: {'; '.join(wrong)}")
    adoption = Adoption(store)
    progress = Progress("rows looked at", len(params.rows))
    for i, row in enumerate(params.rows):
        _look_at(adoption, params, data, row)
        progress(i + 1)
    if adoption.differing:
        raise Fault(f"nothing is adopted; this code gives other bits: {'; '.join(adoption.differing)}")
    for entry, key in adoption.agreeing.values():
        store.rename(entry, key)
    kinds = [key["what"] for _, key in adoption.agreeing.values()]
    return [f"{kinds.count(kind)} {called} adopted" for kind, called in KINDS.items()]


def golden_differences() -> list[str]:
    """The golden trials that come out differently, in a process of their own arithmetic."""
    command = [sys.executable, "-m", "repligan.goldens", "check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Fault(f"golden trials: {(done.stderr.strip() or 'they ended early').splitlines()[-1]}")
    return done.stdout.splitlines()


@dataclass
class Adoption:
    """What other code left in a store: by its folder each entry that agrees, with its new key; and what differs."""

    store: Store
    agreeing: dict[Path, tuple[Entry, Key]] = field(default_factory=dict)
    differing: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.left: dict[str, list[Entry]] = {}
        for entry in self.store.entries():
            self.left.setdefault(_but_code(entry.key), []).append(entry)

    def look(self, what: str, wanted: Mapping[str, Key], again: Again) -> dict[str, Entry]:
        """place -> its entry, of the places whose keys are `wanted`: under this code, or other code that agrees.

        Entries of the same code agree or differ together: the first of them is tried.
        """
        found = {place: entry for place, key in wanted.items() if (entry := self.store.find(key))}
        by_code: dict[str, dict[str, Entry]] = {}
        for place, key in wanted.items():
            for entry in self.left.get(_but_code(key), []):
                if place not in found and entry.intact:
                    by_code.setdefault(entry.key["code"], {}).setdefault(place, entry)
        wrong: dict[str, None] = {}
        for entries in by_code.values():
            missing = {place: entry for place, entry in entries.items() if place not in found}
            if not missing:
                continue
            place, entry = next(iter(missing.items()))
            with TemporaryDirectory(prefix="repligan-adopt-") as folder:
                others = [] if entry.path in self.agreeing else again(place, entry, Store(Path(folder)))
            if others:
                wrong |= dict.fromkeys(others)
                continue
            found |= missing
            self.agreeing |= {entry.path: (entry, wanted[place]) for place, entry in missing.items()}
        if any(place not in found for entries in by_code.values() for place in entries):
            self.differing.append(f"{what}: {', '.join(wrong)}")
        return found


def _but_code(key: Key) -> str:
    return fingerprint({name: value for name, value in key.items() if name != "code"})


def _look_at(adoption: Adoption, params: Params, data: Path, row: RowId) -> None:
    """Look for the trainings of a row, their measurements, and those of real images beside the row's variants."""
    dataset = params.rows[row].dataset
    workshop = Workshop(params, data / "processed" / dataset, data / "reference" / dataset, adoption.store)
    if not workshop.processed.exists():
        return  # nothing was trained on what is not there
    trials = {trial.place: trial for trial in workshop.trials(row.experiment) if trial.row == row}
    keys = {place: workshop.training_key(trial) for place, trial in trials.items()}
    trained = adoption.look(f"training of {row}", keys, partial(_trained_otherwise, workshop, trials))
    if not workshop.reference.exists():
        return
    weights = {
        place: workshop.to_measure(trials[place], {name: one for name, one in entry.files.items() if name != HISTORY})
        for place, entry in trained.items()
    }
    keys = {place: workshop.measuring_key(trials[place], weights[place]) for place in trained}

    def measured(place: str, entry: Entry, empty: Store) -> list[str]:
        anew = replace(workshop, store=empty)
        here = not trained[place].absent
        again = anew.measure(trials[place], weights[place], trained[place].path, kept=here, alone=False)
        return others(entry.files, again.files)

    adoption.look(f"measuring of {row}", keys, measured)
    by = workshop.floor_of_variants(row.experiment) if row.variant == PUBLISHED else None
    if by:
        adoption.look(
            f"real images of {row}",
            {"floor": workshop.floor_key(by)},
            lambda _, entry, empty: others(entry.files, replace(workshop, store=empty).floor(by, alone=False).files),
        )


def _trained_otherwise(
    workshop: Workshop, trials: Mapping[str, Trial], place: str, old: Entry, empty: Store
) -> list[str]:
    """Train up to the first recorded values; which of them, or of the weights until then, are others."""
    experiment = trials[place].experiment
    short = experiment.model_copy(update={"steps": experiment.log_every})
    new = replace(workshop, store=empty, watch=None).train(replace(trials[place], experiment=short), alone=False)
    before, now = (
        {key: rows[0].tobytes() for key, rows in arrays(entry.path / HISTORY)[0].items()} for entry in (old, new)
    )
    values = [f"{key} at step {short.log_every}" for key in sorted(before | now) if before.get(key) != now.get(key)]
    shared = sorted(old.files.keys() & new.files.keys() - {HISTORY})
    return values + [name for name in shared if old.files[name] != new.files[name]]
