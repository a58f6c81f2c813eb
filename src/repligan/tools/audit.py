"""Train and measure some trials again, picked by chance, and compare them bit for bit with what is recorded.

Who forged a share of the trials cannot know which ones are picked: how likely all of them would be missed is
hypergeometric.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import numpy as np
from safetensors.numpy import load

from repligan.core import runtime
from repligan.core.errors import InputError
from repligan.core.files import arrays
from repligan.core.randomness import rng
from repligan.engines import Engine, Job, LocalProcesses
from repligan.evaluation.tables import joined, values
from repligan.params import Params
from repligan.store import Entry, Store
from repligan.tools import evidence
from repligan.tools.evidence import Told
from repligan.tools.plan import duration
from repligan.trials import HISTORY, STATS, Trial, Workshop, digests, others, result_of

TRIALS = 10  # looked at, unless said otherwise
SHARES = (0.01, 0.05, 0.1, 0.2)  # of wrong trials, for which the odds are said


@dataclass(frozen=True)
class Record:
    """What is recorded of a trial: the sha256 of its weights, where its row's values are, the seconds it once took.

    The values are in its row's table, or those that a file tells.
    """

    workshop: Workshop
    trial: Trial
    weights: Mapping[str, str]
    values: Path | Told
    seconds: float | None


def records(params: Params, data: Path, store: Store) -> list[Record]:
    """All trials of data/runs and data/evaluations, in the order of params.yaml."""
    found = []
    for name in params.experiments:
        dataset, tables = params.published(name).dataset, data / "evaluations" / name
        workshop = Workshop(params, data / "processed" / dataset, data / "reference" / dataset, store)
        for trial, weights, _ in workshop.listed(name, data / "runs" / name):
            table = tables / f"{trial.row.variant}.safetensors"
            found.append(Record(workshop, trial, weights, table, _seconds(workshop, trial, weights)))
    return found


def told(params: Params, data: Path, store: Store, files: Sequence[Path]) -> list[Record]:
    """All trials of files that `repligan trials export` wrote, whoever made them, in their order.

    Raises InputError where a file is damaged, or this machine would make a trial otherwise.
    """
    return [
        Record(shop, one.trial, one.made.training.files, one, float(one.made.training.notes.get("seconds", 0)))
        for shop, one in evidence.of_this_machine(params, data, store, files)
    ]


def _seconds(workshop: Workshop, trial: Trial, weights: Mapping[str, str]) -> float | None:
    """How long it took to train and measure a trial, where the store has it."""
    keys = (workshop.training_key(trial), workshop.measuring_key(trial, workshop.to_measure(trial, weights)))
    entries = [workshop.store.find(key) for key in keys]
    return sum(float(entry.notes.get("seconds", 0)) for entry in entries if entry) if entries[0] else None


def chosen(found: Sequence[Record], count: int | None, minutes: float | None, seed: int) -> list[Record]:
    """Trials that chance picks, each as likely as any other: `count`, or as many as take `minutes` on average.

    How many is fixed before they are picked: else short ones would be picked more often than others.
    """
    if count is not None and minutes is not None:
        raise InputError("--minutes: found --trials too; allowed: one of them")
    if minutes is not None:
        known = [one.seconds for one in found if one.seconds is not None]
        if not known:
            raise InputError("--minutes: found no finished trial that says how long it took; allowed: --trials")
        count = max(1, min(len(found), int(60 * minutes * _at_once(found) / max(fmean(known), 0.1))))
    count = min(TRIALS, len(found)) if count is None else count
    if count > len(found):
        raise InputError(f"--trials: found {count}; allowed: 1 to {len(found)}")
    return [found[i] for i in picked(len(found), count, seed)]


def picked(num: int, count: int, seed: int) -> list[int]:
    """`count` of the numbers below `num`, in order."""
    return sorted(int(i) for i in rng(seed, "audit").permutation(num)[:count])


def _at_once(found: Sequence[Record]) -> int:
    return max(1, runtime.cores() // max(one.trial.experiment.threads for one in found))


def announcement(found: Sequence[Record], chosen: Sequence[Record], seed: int) -> str:
    """What is about to be done, and how long it will take."""
    known = [one.seconds for one in chosen if one.seconds is not None]
    unknown = f", and {len(chosen) - len(known)} of unknown time" if len(known) < len(chosen) else ""
    takes = f"about {duration(sum(known) / _at_once(chosen))}{unknown}" if known else "of unknown time"
    return f"seed {seed} picks {len(chosen)} of {len(found)} trials, {takes}"


def audit(chosen: Sequence[Record], engine: Engine | None = None) -> dict[str, list[str]]:
    """Train and measure trials again in an empty store; of those that differ from their record, what does."""
    engine = engine or LocalProcesses()
    with TemporaryDirectory(prefix="repligan-audit-") as folder:
        again = [replace(one.workshop, store=Store(Path(folder))) for one in chosen]
        pairs = list(zip(again, chosen, strict=True))
        engine.run("audit", [Job(partial(_make, shop, one.trial), one.trial.experiment.threads) for shop, one in pairs])
        found = {str(one.trial): differences(one, *_make(shop, one.trial)) for shop, one in pairs}
    return {name: wrong for name, wrong in found.items() if wrong}


def _make(workshop: Workshop, trial: Trial, alone: bool = False) -> tuple[Entry, Entry]:
    trained = workshop.train(trial, alone, whole=True)
    weights = workshop.to_measure(trial, {name: one for name, one in trained.files.items() if name != HISTORY})
    return trained, workshop.measure(trial, weights, trained.path, kept=True, alone=alone)


def differences(record: Record, trained: Entry, measured: Entry) -> list[str]:
    """The weights and values of a trial that are not as recorded."""
    if isinstance(record.values, Told):
        made = record.values.made
        return others(made.training.files, digests(trained)) + others(
            _values(made.measuring.files), _values(digests(measured))
        )
    weights = {name: one for name, one in trained.files.items() if name != HISTORY}
    table, _ = arrays(record.values)
    return others(record.weights, weights) + differing_values(
        table, record.trial, columns(record.trial, trained, measured)
    )


def _values(files: Mapping[str, str]) -> dict[str, str]:
    """Of a measurement's files those that every trial has: pictures and walks are kept of some only."""
    return {name: one for name, one in files.items() if name == STATS}


def columns(trial: Trial, trained: Entry, measured: Entry) -> dict[str, np.ndarray]:
    """The columns of a trial in the table of its row."""
    alone = trial.experiment.model_copy(update={"seeds": len(trial.seeds)})
    return load(values(joined(alone, [result_of(trial, trained.path / HISTORY, measured)]), {}, {}))


def differing_values(table: Mapping[str, np.ndarray], trial: Trial, found: Mapping[str, np.ndarray]) -> list[str]:
    """The values of a row's table [T, S] whose columns for a trial are not, bit for bit, those that were `found`."""
    first = trial.seeds.start - trial.experiment.first_seed
    recorded = {key: one[:, first : first + len(trial.seeds)] for key, one in table.items()}
    return [key for key in sorted({**recorded, **found}) if _bits(recorded.get(key)) != _bits(found.get(key))]


def _bits(one: np.ndarray | None) -> object:
    return None if one is None else (one.dtype.str, one.shape, one.tobytes())


def missed(num: int, wrong: int, count: int) -> float:
    """How likely `count` trials picked of `num` have none of the `wrong` ones among them."""
    return math.comb(num - wrong, count) / math.comb(num, count)


def conclusion(num: int, count: int, differing: Mapping[str, Sequence[str]]) -> list[str]:
    """In lines: which trials differ, and how likely wrong ones would have been missed."""
    lines = [f"{name}: found other {', '.join(wrong)} than recorded" for name, wrong in differing.items()]
    lines.append(f"{count} of {num} trials made again, {count - len(differing)} agree bit for bit")
    if not differing:
        odds = {share: missed(num, max(1, math.ceil(share * num)), count) for share in SHARES}
        said = ", ".join(f"{share:.0%} wrong with {chance:.2g}" for share, chance in odds.items())
        lines.append(f"how likely wrong ones would have been missed: {said}")
    return lines
