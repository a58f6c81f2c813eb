"""Finished trials as one small file that another machine can add to its own, without trust in what is in it.

The file is xz over safetensors: a tensor of bytes for each file that travels, named by its sha256, and `trials`, a JSON
list of what they are. What is large stays behind: of the weights only the sha256 travels, of the pictures too. Reading
runs no code, and unpacks no more than LARGEST bytes.
"""

from __future__ import annotations

import hashlib
import json
import lzma
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field
from safetensors import SafetensorError
from safetensors.numpy import load, save

from repligan.core.errors import InputError
from repligan.core.files import existing, write_bytes
from repligan.core.rows import SHA256, Strict, checked, differing, pick
from repligan.params import Params
from repligan.store import Entry, Key, Store
from repligan.training.rows import RowId
from repligan.trials import HISTORY, STATS, WALK, Trial, Workshop, digests, others, series, trial_size, trials_of

LARGEST = 2**29  # bytes, unpacked
MEMORY = 2**27  # bytes that xz may take
FASTEST = 1  # of xz: slower ones make these numbers a twentieth smaller
MOST_SEEDS = 2**16
TRAVELS = (HISTORY, STATS, f"{WALK}/values.safetensors")
FILE = r"^((history|stats|pictures|step_[0-9]{8}|walk/(pictures|values))\.safetensors|walk/scores\.json)$"
LAST = ("data", "reference", "code")  # of a key: other versions or devices say more


class Made(Strict):
    """An entry of the store: its key, file -> sha256 (of recorded values that of their series), and notes."""

    key: dict[str, Any]
    files: dict[Annotated[str, Field(pattern=FILE)], Annotated[str, Field(pattern=SHA256)]]
    notes: dict[str, Any]


class Finished(Strict):
    """A trial: its row, its first seed and the one after its last, and what was made of it."""

    row: RowId
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**33)]], Field(min_length=2, max_length=2)]
    training: Made
    measuring: Made


class Trials(Strict):
    """All that a file says of its trials."""

    format: Literal[1]
    trials: Annotated[list[Finished], Field(min_length=1)]


@dataclass(frozen=True)
class Told:
    """What a file says of a trial of params.yaml, and the content of the files that travelled, by their sha256."""

    file: Path
    trial: Trial
    made: Finished
    content: Mapping[str, bytes]

    def __str__(self) -> str:
        return f"{self.file}: {self.trial}"


# Out.


def export(params: Params, data: Path, store: Store, rows: Sequence[str], out: Path) -> list[str]:
    """Write the finished trials of some rows, or of all, to the file `out`; says in lines how many they are.

    Raises InputError where there are none, or too many for one file.
    """
    known = {str(row): row for row in params.rows}
    chosen = [pick(known, "rows", name) for name in rows] or list(params.rows)
    trials, content, lines = [], dict[str, bytes](), []
    for row in chosen:
        found = list(finished(params, data, row, store, content))
        trials += found
        lines.append(f"{row}: {len(found)} of {len(list(trials_of(row, params.rows[row])))} trials")
        if sum(map(len, content.values())) > LARGEST:
            raise InputError(f"{out}: found more than {LARGEST:,} bytes; allowed: fewer rows in one file")
    if not trials:
        raise InputError(f"{store.folder}: found no trial of {', '.join(map(str, chosen))}; allowed: rows with finished"
                         " ones, as `repligan trials list` shows them")  # fmt: skip
    said = Trials(format=1, trials=trials).model_dump_json().encode()
    packed = save({name: np.frombuffer(one, np.uint8) for name, one in sorted({**content, "trials": said}.items())})
    write_bytes(out, lzma.compress(packed, preset=FASTEST))
    return [*lines, f"{out}: {len(trials)} trials, {out.stat().st_size:,} bytes"]


def _workshop(params: Params, data: Path, row: RowId, store: Store) -> Workshop:
    dataset = params.rows[row].dataset
    return Workshop(params, existing(data / "processed" / dataset), existing(data / "reference" / dataset), store)


def finished(params: Params, data: Path, row: RowId, store: Store, content: dict[str, bytes]) -> Iterator[Finished]:
    """The trials of a row that are trained and measured; adds what travels to `content`."""
    workshop = _workshop(params, data, row, store)
    for trial in trials_of(row, workshop.params.rows[row]):
        trained = workshop.store.find(workshop.training_key(trial))
        measured = trained and workshop.store.find(_measuring_key(workshop, trial, trained.files))
        if trained and measured:
            made = [_made(entry, trial.shown and not trial.kept, content) for entry in (trained, measured)]
            seeds = [trial.seeds.start, trial.seeds.stop]
            yield Finished(row=row, seeds=seeds, training=made[0], measuring=made[1])


def _made(entry: Entry, pictures: bool, content: dict[str, bytes]) -> Made:
    """What travels of an entry; pictures where they are shown, and the weights to make them again are not kept."""
    files = digests(entry)
    for name in files.keys() - entry.absent:
        if name in TRAVELS or (pictures and entry.key["what"] == "measuring"):
            path = entry.path / name
            content[files[name]] = series(path) if name == HISTORY else path.read_bytes()
    return Made(key=dict(entry.key), files=files, notes=dict(entry.notes))


def _measuring_key(workshop: Workshop, trial: Trial, files: Mapping[str, str]) -> Key:
    weights = {name: one for name, one in files.items() if name != HISTORY}
    return workshop.measuring_key(trial, workshop.to_measure(trial, weights))


# In.


def take(params: Params, data: Path, store: Store, files: Sequence[Path]) -> list[str]:
    """Add the trials of `files` to the store; says in lines how many of each row were new.

    Raises InputError, and adds nothing, where a file is damaged, or a trial is none of params.yaml's on this machine,
    leaves a gap in the seeds of its row, or differs from the same trial in another file or in the store. One in the
    store that differs is set aside, since nobody can say which of them is right.
    """
    pairs = of_this_machine(params, data, store, files)
    told, shops = [one for _, one in pairs], {one.trial.row: shop for shop, one in pairs}
    for row, workshop in shops.items():
        _refuse_unfit(workshop, [one for one in told if one.trial.row == row])
    new = _new(told, store)
    for one, made in new:
        here = {name: one.content[digest] for name, digest in made.files.items() if digest in one.content}
        store.put(made.key, here, {name: made.files[name] for name in made.files.keys() - here.keys()}, made.notes)
    return [_counted(row, told, [one for one, _ in new]) for row in shops]


def of_this_machine(params: Params, data: Path, store: Store, files: Sequence[Path]) -> list[tuple[Workshop, Told]]:
    """The trials of `files`, each once, and what would make them here.

    Raises InputError where a file is damaged, two differ in a trial, or this machine would make a trial otherwise.
    """
    told: dict[tuple[RowId, range], Told] = {}
    for file in files:
        for one in _read(file, params):
            known = told.setdefault((one.trial.row, one.trial.seeds), one)
            if wrong := _others(known.made, one.made):
                raise InputError(f"{one}: found other {wrong} than in {known.file}; allowed: the same, neither counts")
    shops = {row: _workshop(params, data, row, store) for row in dict.fromkeys(row for row, _ in told)}
    for one in told.values():
        _refuse_other_key(one, shops[one.trial.row])
    return [(shops[one.trial.row], one) for one in told.values()]


def _counted(row: RowId, told: Sequence[Told], new: Sequence[Told]) -> str:
    of, fresh = ({one.trial.seeds for one in some if one.trial.row == row} for some in (told, new))
    experiment = next(one.trial.experiment for one in told if one.trial.row == row)
    seeds = max(range_.stop for range_ in of) - experiment.first_seed
    more = f"; conf/ has seeds: {experiment.seeds}, they reach to {seeds}" if seeds > experiment.seeds else ""
    return f"{row}: {len(of)} trials, {len(fresh)} of them new{more}"


def _read(path: Path, params: Params) -> Iterator[Told]:
    """The trials of a file as rows of params.yaml; raises InputError where it is damaged or has other rows."""
    if not path.is_file():
        raise InputError(f"{path}: not found; allowed: a file of `repligan trials export`")
    try:
        content = {name: one.tobytes() for name, one in load(_unpacked(path)).items()}
        said = json.loads(content.pop("trials"))
    except (lzma.LZMAError, SafetensorError, KeyError, ValueError, RecursionError, EOFError) as error:
        reason = " ".join(str(error).split())[:100]
        raise InputError(f"{path}: damaged ({reason}); allowed: a file of `repligan trials export`") from None
    if wrong := [name for name, one in content.items() if hashlib.sha256(one).hexdigest() != name]:
        raise InputError(f"{path}: damaged (found another sha256 of {wrong[0][:64]}); allowed: the content it names")
    known = {str(row): row for row in params.rows}
    for made in checked(path, Trials, said).trials:
        row = pick(known, f"{path}: rows", str(made.row))
        start, stop = made.seeds
        if not start < stop <= start + MOST_SEEDS:
            raise InputError(f"{path}: {row}: found seeds {start} up to {stop}; allowed: 1 to {MOST_SEEDS:,} seeds")
        yield Told(path, Trial(row, params.rows[row], range(start, stop)), made, content)


def _unpacked(path: Path) -> bytes:
    reader = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY)
    with path.open("rb") as file:
        packed = file.read(LARGEST)
    content = reader.decompress(packed, max_length=LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError(f"found more than {LARGEST:,} bytes when unpacked")
    if not reader.eof or reader.unused_data:
        raise ValueError("it ends too early" if not reader.eof else "there is more after its end")
    return content


def _others(one: Finished, other: Finished) -> str:
    """The files of a trial that differ, in words."""
    return ", ".join([*others(one.training.files, other.training.files),
                      *others(one.measuring.files, other.measuring.files)])  # fmt: skip


def _refuse_other_key(told: Told, workshop: Workshop) -> None:
    """Raises InputError unless the store of this machine would know the trial by the same keys."""
    made = told.made
    wanted = (workshop.training_key(told.trial), _measuring_key(workshop, told.trial, made.training.files))
    for of, one, key in zip(("", "measuring "), (made.training, made.measuring), wanted, strict=True):
        wrong = differing(one.key, json.loads(json.dumps(key)))
        for name in sorted(wrong, key=lambda name: (name in LAST, name)):
            found, allowed = (str(value)[:80] for value in wrong[name])
            more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
            raise InputError(f"{told}: {of}{name}: found {found}; allowed: {allowed}, as here{more}")


def _refuse_unfit(workshop: Workshop, told: Sequence[Told]) -> None:
    """Raises InputError unless they are trials of one row that follow each other, with the same kinds of values."""
    first, last = told[0], max(told, key=lambda one: one.trial.seeds.stop)
    experiment, size = first.trial.experiment, trial_size(first.trial.experiment)
    start, count = experiment.first_seed, last.trial.seeds.stop - experiment.first_seed
    if count > MOST_SEEDS:
        raise InputError(f"{last}: found {count:,} seeds from {start} on; allowed: {MOST_SEEDS:,}")
    seeds = experiment.seeds if count <= experiment.seeds else size * -(-count // size)
    wanted = {
        trial.seeds: trial for trial in trials_of(first.trial.row, experiment.model_copy(update={"seeds": seeds}))
    }
    for one in told:
        if one.trial.seeds not in wanted:
            here = next(trial for trial in wanted.values() if trial.seeds.stop > one.trial.seeds.start)
            raise InputError(f"{one}: found other seeds than a trial here has; allowed: {here}")
        if _values(one) != _values(first):
            raise InputError(
                f"{one}: found other values than of {first.trial}; allowed: the same of all trials of a row"
            )
    given = {one.trial.seeds for one in told}
    for trial in wanted.values():
        found = trial.seeds in given or workshop.store.find(workshop.training_key(trial))
        after = [one for one in told if one.trial.seeds.start > trial.seeds.start]
        if after and not found:
            late = min(after, key=lambda one: one.trial.seeds.start)
            raise InputError(f"{late}: found a gap, {trial} is neither in a file nor finished here; allowed: the seeds "
                             f"from {start} on without one")  # fmt: skip


def _values(told: Told) -> list[tuple[str, list[str]]]:
    """File -> the values in it, of what travelled; raises InputError where it is not what a trial of its row leaves."""
    row, training, measuring = told.trial.experiment, told.made.training.files, told.made.measuring.files
    found = {}
    try:
        for name, digest in {**training, **measuring}.items():
            if name in TRAVELS:
                found[name] = load(told.content[digest]), _note(told.content[digest])
        (history, recorded), (stats, measured) = found[HISTORY], found[STATS]
        steps = [int(name[5:13]) for name in sorted(training.keys() - {HISTORY})]
        sound = {
            "steps": recorded == {"last": steps[-1]} and set(measured["steps"]) <= set(steps),
            "losses": {one.shape for one in history.values()} == {(steps[-1] // row.log_every, len(told.trial.seeds))},
            "metrics": sorted(measured["metrics"]) == sorted(stats),
            "values": {one.shape[:-1] for one in stats.values()} == {(len(measured["steps"]),)},
        }
        if wrong := [name for name, fits in sound.items() if not fits]:
            raise ValueError(f"other {', '.join(wrong)}")
    except (SafetensorError, KeyError, ValueError, TypeError, IndexError) as error:
        reason = " ".join(str(error).split())[:100]
        raise InputError(
            f"{told}: found no values of it ({reason}); allowed: all that it recorded and measured"
        ) from None
    return [(name, sorted(values)) for name, (values, _) in found.items()]


def _note(content: bytes) -> Any:
    """The note in the header of a safetensors file."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["note"])


def _new(told: Sequence[Told], store: Store) -> list[tuple[Told, Made]]:
    """What the store does not have yet; what it has otherwise is set aside, and an InputError."""
    new, wrong = list[tuple[Told, Made]](), list[str]()
    for one in told:
        for made in (one.made.measuring, one.made.training):
            entry = store.find(made.key)
            if entry is None:
                new.append((one, made))
            elif differ := others(digests(entry), made.files):
                aside = store.set_aside(entry).name
                wrong.append(
                    f"{one}: found other {', '.join(differ)} than {entry.path}; neither counts: that one is set aside "
                    f"as {aside}, and `dvc repro -f` makes it anew"
                )
    if wrong:
        raise InputError(wrong[0] + (f" (and {len(wrong) - 1} more)" if wrong[1:] else ""))
    return sorted(new, key=lambda pair: pair[0].trial.seeds.start)
