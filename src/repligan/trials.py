"""Trials: a row at a range of seeds, trained and measured; what is finished is kept in a store.

A trial is one seed of an image GAN, or one stack of a toy. It is known by what decides its bits, so that an edit that
can change them trains it again and one that cannot does not.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib import metadata
from multiprocessing import parent_process
from pathlib import Path
from signal import SIGTERM
from typing import TYPE_CHECKING, Any, Protocol

from repligan.core import code, runtime
from repligan.core.cputime import cpu_time
from repligan.core.errors import InputError
from repligan.core.files import (
    array_bytes,
    arrays,
    existing,
    from_file,
    read_json,
    root,
    sha256,
    to_bytes,
    tree_digest,
    usable,
    write_bytes,
    write_json,
)
from repligan.core.progress import Progress
from repligan.core.rows import fingerprint
from repligan.core.signals import stop_on_signal
from repligan.engines import Job, in_ranks
from repligan.evaluation.rows import DrawsReference, ImageReference, Walk
from repligan.evaluation.tables import RowResult, curves, joined, losses, metrics, to_csv, values
from repligan.params import Params
from repligan.store import Entry, Key, Store
from repligan.training.rows import PUBLISHED, Experiment, RowId

if TYPE_CHECKING:
    import numpy as np

    from repligan.training.loop import Training

STACK = 1000  # seeds of a toy in one trial
HISTORY, STATS, PICTURES, WALK = "history.safetensors", "stats.safetensors", "pictures.safetensors", "walk"
TRIALS = "trials.json"
BLURRED = "blurred"
OF_G = (
    "mix",
    "opposite",
    "opposite_random",
    "entangled",
    "entangled_random",
)  # scores of a latent space, one value a G
MEASURED_WITH = {"z", "G", "D", "loss", "batch", "threads"}
VERSIONS = ("numpy", "scipy", "torch")
RANKS = [("repligan.training.ranks", name) for name in ("joined", "together")]
version = cache(metadata.version)  # which reads all that a package says of itself


def folder() -> Path:
    """Where finished trials are kept: in the repository's folder .work/trials, or where REPLIGAN_TRIALS says."""
    return root() / (os.environ.get("REPLIGAN_TRIALS") or ".work/trials")


@dataclass(frozen=True)
class Trial:
    """A row at a range of seeds."""

    row: RowId
    experiment: Experiment
    seeds: range

    def __str__(self) -> str:
        last = f"-{self.seeds[-1]}" if len(self.seeds) > 1 else ""
        return f"{self.row} seed {self.seeds[0]}{last}"

    @property
    def place(self) -> str:
        """Its folder among the outputs of the experiment."""
        return f"{self.row.variant}/{self.seeds[0]}-{self.seeds[-1]}"

    @property
    def kept(self) -> bool:
        """Whether its weights are among DVC's outputs."""
        before = self.seeds[0] - self.experiment.first_seed
        return before // trial_size(self.experiment) < self.experiment.keep_weights

    @property
    def shown(self) -> bool:
        """Whether its pictures and walks are among DVC's outputs: the first one as published."""
        return self.row.variant == PUBLISHED and self.seeds[0] == self.experiment.first_seed


def trial_size(experiment: Experiment) -> int:
    """Seeds in a whole trial: a stack of a toy, one of an image GAN."""
    return STACK if experiment.stacked else 1


def trials_of(row: RowId, experiment: Experiment) -> Iterator[Trial]:
    """The trials of a row: its seeds one by one or in stacks."""
    size, seeds = trial_size(experiment), experiment.seed_range
    for first in range(0, len(seeds), size):
        yield Trial(row, experiment, seeds[first : first + size])


class Watcher(Protocol):
    """Sees a training while it runs."""

    def __call__(self, step: int, scalars: dict[str, float], img: np.ndarray | None) -> None: ...

    def close(self) -> None: ...


Watch = Callable[[str, str], Watcher]
"""Name and fingerprint of a training -> who watches it."""


@dataclass(frozen=True)
class Workshop:
    """Trains and measures trials of `params` on the arrays in `processed`, by the reference in `reference`."""

    params: Params
    processed: Path
    reference: Path
    store: Store
    watch: Watch | None = None

    # Training.

    def training_key(self, trial: Trial) -> Key:
        """All that decides the bits of a training."""
        row = trial.experiment
        said = row.model_dump(mode="json", exclude={"dataset", "seeds", "first_seed", "keep_weights", "alarms"})
        if row.alarms and row.alarms.stop:
            said["alarms"] = row.alarms.model_dump(mode="json")
        form = self.params.datasets[row.dataset].form
        several = self.params.ranks_of(row)
        return self._key("training", trial) | {
            "row": said,
            "form": form.model_dump(mode="json"),
            "code": code.digest([*training_roots(row), *(RANKS if several else ())]),
            **({"ranks": several.model_dump(mode="json")} if several else {}),
        }

    def train(self, trial: Trial, alone: bool = True, whole: bool = False) -> Entry:
        """The finished training of a trial, with weights if kept or `whole`: from the store, trained or continued."""
        key, several = self.training_key(trial), self.params.ranks_of(trial.experiment)

        def make(out: Path, unfinished: Path) -> dict[str, Any]:
            began = time.time()
            with cpu_time(unfinished) as spent:
                training = partial(self._train, trial, key, alone, out, unfinished)
                if several:
                    in_ranks(str(trial), several.num, training)
                else:
                    training()
            self._refuse_other(trial, key, out)
            return {"environment": runtime.in_force(), "began": began} | _took(began, spent)

        return self.store.get(key, make, whole or trial.kept)

    def _train(self, trial: Trial, key: Key, alone: bool, out: Path, unfinished: Path) -> None:
        """Train a trial, or as one of its ranks."""
        several, lead = self.params.ranks_of(trial.experiment), partial(self._lead, trial, key, alone, out, unfinished)
        if several is None:
            lead(self._start(trial))
            return
        from repligan.training import ranks

        with ranks.joined(runtime.kind_of_device(self.params.runtime) == "cuda"):
            training = self._start(trial)
            ranks.together(training, several.sync_norm, partial(lead, training))

    def _start(self, trial: Trial) -> Training:
        from repligan.training import loop
        from repligan.training.slopes import refuse_wrong_slope

        row, set_up = trial.experiment, self.params.runtime
        if row.stacked:
            refuse_wrong_slope(row.loss.build())
        device = runtime.device(set_up, row.threads)
        form = self.params.datasets[row.dataset].form
        return loop.start(str(trial), row, form, self.processed, trial.seeds, device, set_up.precision)

    def _lead(self, trial: Trial, key: Key, alone: bool, out: Path, unfinished: Path, training: Training) -> None:
        """Train to the end, seen by who watches, until a signal comes."""
        from repligan.training import loop

        progress = Progress(str(trial), trial.experiment.steps, beside=not alone)
        watcher = self.watch(str(trial), fingerprint(key)) if self.watch and trial.shown else None
        try:
            with stop_on_signal() as stop:

                def report(step: int, scalars: dict[str, float], img: Any) -> None:
                    if _orphaned():  # nobody will take what comes of this
                        stop.signal = SIGTERM
                    progress(step, **scalars)
                    if watcher:
                        watcher(step, scalars, None if img is None else img.cpu().numpy())

                loop.train(training, out, unfinished, dict(key), report, stop)
        finally:
            if watcher:
                watcher.close()

    def _refuse_other(self, trial: Trial, key: Key, out: Path) -> None:
        """Raises InputError where an imported entry of `key` differs from what was made in `out`; sets it aside."""
        if (told := self.store.find(key)) is None:
            return
        made = {str(path.relative_to(out)): digest_of(path) for path in out.rglob("*") if path.is_file()}
        if wrong := others(told.files, made):
            aside = self.store.set_aside(told)
            raise InputError(
                f"{told.path}: imported, and {', '.join(wrong)} of {trial} come out otherwise here; it is set aside as "
                f"{aside.name}; run the same command again"
            )

    # Measuring.

    def measuring_key(self, trial: Trial, weights: Mapping[str, str]) -> Key:
        """All that decides what is measured of a trial with these `weights`, file -> sha256."""
        walk = self._walk(trial)
        return self._key("measuring", trial) | {
            "weights": weights,
            "row": trial.experiment.model_dump(mode="json", include=MEASURED_WITH),
            "by": self._by(trial).model_dump(mode="json"),
            "walk": walk and walk.model_dump(mode="json"),
            "reference": digest(self.reference, "*"),
            "code": code.digest(measuring_roots(trial.experiment, walk is not None)),
        }

    def measure(self, trial: Trial, weights: Mapping[str, str], run: Path, kept: bool, alone: bool = True) -> Entry:
        """What is measured of a trial recorded in `run`, from the store or anew.

        Its weights lie in `run` where they are `kept`, else in the store, or are trained again.
        """

        def make(out: Path, unfinished: Path) -> dict[str, Any]:
            from repligan.evaluation import evaluate

            row, dataset = trial.experiment, self.params.datasets[trial.experiment.dataset]
            device = runtime.device(self.params.runtime, row.threads)
            source = run if kept else self._trained_again(trial, weights, alone)
            measure = evaluate.measure_of(
                row, dataset, trial.seeds, self._by(trial), self.processed, self.reference, device
            )
            steps = sorted(_step(name) for name in weights)
            began = time.time()
            with cpu_time(unfinished) as spent:
                done = evaluate.evaluate(str(trial), row, dataset.form, trial.seeds, source, measure, device, steps)
                note = {"steps": done.steps, "metrics": list(done.stats)}  # their order, which the file does not keep
                write_bytes(out / STATS, array_bytes(done.stats, note))
                write_bytes(out / PICTURES, to_bytes(done.pictures))
                if walk := self._walk(trial):
                    self._explore(trial, walk, source, steps[-1], out / WALK)
            self._refuse_other(trial, key, out)
            return _took(began, spent)

        key = self.measuring_key(trial, weights)
        return self.store.get(key, make, trial.shown)

    def to_measure(self, trial: Trial, weights: Mapping[str, str]) -> dict[str, str]:
        """Those of all its weights, file -> sha256, that are measured."""
        names = sorted(weights, key=_step)
        at_last = self.params.measures[trial.row.experiment].variants_at == "last"
        return {name: weights[name] for name in (names[-1:] if at_last and trial.row.variant != PUBLISHED else names)}

    def _trained_again(self, trial: Trial, weights: Mapping[str, str], alone: bool) -> Path:
        path = self.train(trial, alone, whole=True).path
        if any(sha256(existing(path / name)) != wanted for name, wanted in weights.items()):
            raise InputError(f"{path}: found other weights of {trial} than data/runs; run `dvc repro -f` for them")
        return path

    def _measured_in(self, trial: Trial, weights: Mapping[str, str], run: Path, kept: bool) -> dict[str, Path]:
        """The files of the weights that are measured; none where they have to be trained again."""
        entry = None if kept else self.store.find(self.training_key(trial), whole=True)
        source = run if kept else entry and entry.path
        return {name: source / name for name in weights} if source else {}

    def _explore(self, trial: Trial, walk: Walk, run: Path, step: int, out: Path) -> None:
        from repligan.evaluation import comparison, evaluate, latent

        row, by = trial.experiment, self._by(trial)
        assert not isinstance(by, DrawsReference)
        device = runtime.device(self.params.runtime, row.threads)
        form = self.params.datasets[row.dataset].form
        G = evaluate.networks_at(step, row, form, trial.seeds, run)[0].to(device)
        write_bytes(out / "pictures.safetensors", to_bytes(latent.pictures(G, row.z, walk)))
        scores, values = latent.scores(G, row.z, walk, comparison.read(by, self.reference, device))
        write_json(out / "scores.json", scores)
        write_bytes(out / "values.safetensors", to_bytes(values))

    def floor(self, by: ImageReference, alone: bool = True) -> Entry:
        """Real images in the place of G's, and blurred ones ("blurred <metric>"), once for each of `by.repeats`."""

        def make(out: Path, unfinished: Path) -> dict[str, Any]:
            from repligan.evaluation import comparison

            device = runtime.device(self.params.runtime, 1)
            compared = comparison.read(by, self.reference, device)
            blurred = {f"{BLURRED} {key}": value for key, value in compared.blurred().items()}
            write_bytes(out / STATS, array_bytes(compared.floor() | blurred))
            return {}

        return self.store.get(self.floor_key(by), make)

    def floor_key(self, by: ImageReference) -> Key:
        """All that decides the floor."""
        home = "repligan.evaluation.comparison"
        return self._environment() | {
            "what": "floor",
            "by": by.model_dump(mode="json"),
            "reference": digest(self.reference, "*"),
            "code": code.digest([(home, "Comparison"), (home, "read")]),
        }

    def _by(self, trial: Trial) -> Any:
        """The reference by which a trial is measured."""
        by = self.params.references[trial.experiment.dataset]
        if isinstance(by, DrawsReference) or trial.row.variant == PUBLISHED:
            return by
        return by.model_copy(update={"num": self.params.measures[trial.row.experiment].variants_num, "repeats": 1})

    def _walk(self, trial: Trial) -> Walk | None:
        return self.params.measures[trial.row.experiment].walk if trial.row.variant == PUBLISHED else None

    # What both have.

    def _key(self, what: str, trial: Trial) -> dict[str, Any]:
        seeds = [trial.seeds.start, trial.seeds.stop]
        return {"what": what, "seeds": seeds, "data": digest(self.processed, "*.npy"), **self._environment()}

    def _environment(self) -> dict[str, Any]:
        set_up = self.params.runtime
        return {
            "device": runtime.kind_of_device(set_up),
            "precision": set_up.precision,
            "bfloat16": set_up.precision == "fast" and runtime.native_bfloat16(),
            "deterministic": set_up.deterministic,
            "versions": {"python": platform.python_version(), **{name: version(name) for name in VERSIONS}},
        }

    def _threads(self, trial: Trial) -> int:
        """Of all processes that train a trial."""
        several = self.params.ranks_of(trial.experiment)
        return trial.experiment.threads * (several.num if several else 1)

    def _job(self, work: Work, threads: int) -> Job:
        return Job(work, threads, on_gpu=runtime.kind_of_device(self.params.runtime) == "cuda")

    # Of all rows of an experiment.

    def training_jobs(self, name: str) -> list[Job]:
        """A job for each trial of an experiment that is not finished."""
        runtime.refuse_few_gpus(self.params.runtime)
        return [
            self._job(
                Work(
                    self,
                    str(trial),
                    partial(Workshop.training_key, trial=trial),
                    partial(Workshop.train, trial=trial),
                    reads=("processed",),
                    refuse_other=partial(Workshop._refuse_other, trial=trial),
                ),
                self._threads(trial),
            )
            for trial in self.trials(name)
            if not self.store.find(self.training_key(trial), trial.kept)
        ]

    def measuring_jobs(self, name: str, runs: Path) -> list[Job]:
        """A job for each trial whose measurement is not finished, and for the floor of the variants."""
        jobs = [
            self._job(
                Work(
                    self,
                    str(trial),
                    partial(Workshop.measuring_key, trial=trial, weights=weights),
                    partial(Workshop.measure, trial=trial, weights=weights, run=runs / trial.place, kept=kept),
                    reads=("processed", "reference"),
                    refuse_other=partial(Workshop._refuse_other, trial=trial),
                    run=partial(Workshop._measured_in, trial=trial, weights=weights, run=runs / trial.place, kept=kept),
                ),
                trial.experiment.threads,
            )
            for trial, weights, kept in self.recorded(name, runs)
            if not self.store.find(self.measuring_key(trial, weights), trial.shown)
        ]
        by = self.floor_of_variants(name)
        if by and not self.store.find(self.floor_key(by)):
            floor = partial(Workshop.floor, by=by)
            jobs.append(self._job(Work(self, "floor", partial(Workshop.floor_key, by=by), floor, ("reference",)), 1))
        return jobs

    def floor_of_variants(self, name: str) -> ImageReference | None:
        """By what real images are measured beside the variants of an image GAN, if it has any."""
        variants = [row for row in self.params.rows_of(name) if row.variant != PUBLISHED]
        by = self.params.references[self.params.published(name).dataset]
        if not variants or isinstance(by, DrawsReference):
            return None
        most = max(self.params.rows[row].seeds for row in variants)
        return by.model_copy(update={"num": self.params.measures[name].variants_num, "repeats": most})

    def trials(self, name: str) -> list[Trial]:
        """All trials of an experiment and its variants."""
        return [trial for row, one in self.params.rows_of(name).items() for trial in trials_of(row, one)]

    def write_runs(self, name: str, out: Path) -> None:
        """Write what the trials of an experiment recorded, the weights that its rows keep, and trials.json."""
        listed = []
        for trial in self.trials(name):
            entry, place = self.train(trial), out / trial.place
            place.mkdir(parents=True)
            weights = {file: one for file, one in entry.files.items() if file != HISTORY}
            # Of the row as it is now: a trial may have been trained elsewhere, or when the row had fewer seeds.
            write_bytes(
                place / HISTORY, series(entry.path / HISTORY, experiment=trial.experiment.model_dump(mode="json"))
            )
            for file in weights if trial.kept else ():
                shutil.copy(entry.path / file, place / file)
            seeds = [trial.seeds[0], trial.seeds[-1]]
            listed.append({"variant": trial.row.variant, "seeds": seeds, "kept": trial.kept, "weights": weights})
        write_bytes(out / TRIALS, (json.dumps(listed, indent=1, sort_keys=True) + "\n").encode())

    def recorded(self, name: str, runs: Path) -> Iterator[tuple[Trial, dict[str, str], bool]]:
        """Each trial with the weights to be measured, file -> sha256, and whether they are kept in `runs`."""
        for trial, weights, kept in self.listed(name, runs):
            yield trial, self.to_measure(trial, weights), kept

    def listed(self, name: str, runs: Path) -> Iterator[tuple[Trial, dict[str, str], bool]]:
        """Each trial with all of its weights, file -> sha256, and whether they are kept in the folder `runs`.

        Raises InputError unless the folder has just these trials.
        """
        listed, trials = read_json(runs / TRIALS), self.trials(name)
        with usable(runs / TRIALS):
            places = [f"{one['variant']}/{one['seeds'][0]}-{one['seeds'][1]}" for one in listed]
            recorded = [(bool(one["kept"]), dict(one["weights"])) for one in listed]
        if places != [trial.place for trial in trials]:
            raise InputError(f"{runs / TRIALS}: found other trials than params.yaml has; run `dvc repro`")
        for (kept, weights), trial in zip(recorded, trials, strict=True):
            yield trial, weights, kept

    def write_evaluation(self, name: str, runs: Path, out: Path) -> dict[str, Any]:
        """Write what is measured of an experiment and its variants to the folder `out`; returns its metrics.

        A table <variant>.safetensors for each row; of the published one also losses.csv, curves.csv,
        pictures.safetensors and the folder walk.
        """
        results, first = {}, None
        parts: dict[RowId, list[RowResult]] = {}
        for trial, weights, _ in self.recorded(name, runs):
            entry = self.store.find(self.measuring_key(trial, weights), trial.shown)
            if entry is None:
                raise InputError(f"{self.store.folder}: found no measurement of {trial}; run the same command again")
            first = first or entry
            parts.setdefault(trial.row, []).append(result_of(trial, runs / trial.place / HISTORY, entry))
        for row, found in parts.items():
            results[row] = joined(self.params.rows[row], found)
        assert first
        card = self._card()
        for row, result in results.items():
            write_bytes(out / f"{row.variant}.safetensors", values(result, *self._real(row, card)))
        published = results[RowId(experiment=name)]
        write_bytes(out / "losses.csv", to_csv(losses(published)))
        write_bytes(out / "curves.csv", to_csv(curves(published)))
        shutil.copy(first.path / PICTURES, out / PICTURES)
        if (first.path / WALK).exists():
            shutil.copytree(first.path / WALK, out / WALK)
        variants = {row.variant: result for row, result in results.items() if row.variant != PUBLISHED}
        found_metrics = metrics(published, variants, self.params.measures[name].milestones, card)
        standin_for = self.params.dataset_of(name).standin_for
        return found_metrics | {"standin_for": standin_for, "scale": self.params.scale}

    def _card(self) -> dict[str, Any]:
        card = read_json(self.reference / "card.json")
        if not isinstance(card, dict) or not {"floor", "kind", "num", "repeats"} <= card.keys():
            raise InputError(f"{self.reference / 'card.json'}: found no card; run `dvc repro` to make it again")
        return card

    def _real(self, row: RowId, card: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
        """metric -> its mean of real data, and of blurred real data, measured as the row is."""
        by = None if row.variant == PUBLISHED else self.floor_of_variants(row.experiment)
        entry = self.store.find(self.floor_key(by)) if by else None
        if entry:
            means = {key: float(found.mean()) for key, found in arrays(entry.path / STATS)[0].items()}
            prefix = f"{BLURRED} "
            blurred = {key.removeprefix(prefix): mean for key, mean in means.items() if key.startswith(prefix)}
            return {key: mean for key, mean in means.items() if not key.startswith(prefix)}, blurred
        floor, blurred = card["floor"], card.get(BLURRED, {})
        return tuple({key: found["mean"] for key, found in one.items()} for one in (floor, blurred))  # type: ignore[return-value]


@dataclass(frozen=True)
class Work:
    """A job that makes one entry of its workshop's store, here or, once it is `moved`, on another machine.

    What is callable takes the workshop first. `reads`: which of the workshop's folders it needs; `run`: gives the files
    that it needs besides.
    """

    workshop: Workshop
    name: str
    key_of: Callable[[Workshop], Key]
    make: Callable[..., Entry]
    reads: tuple[str, ...]
    refuse_other: Callable[..., None] | None = None
    run: Callable[[Workshop], dict[str, Path]] | None = None

    def __call__(self, alone: bool) -> Entry:
        return self.make(self.workshop, alone=alone)

    @property
    def key(self) -> Key:
        """The key of the entry, as the workshop would make it."""
        return self.key_of(self.workshop)

    def folders(self) -> dict[str, Path]:
        """The workshop's folders that it reads."""
        return {name: getattr(self.workshop, name) for name in self.reads}

    def files(self) -> dict[str, Path]:
        """The files that it reads besides."""
        return self.run(self.workshop) if self.run else {}

    def moved(self, folders: Mapping[str, Path], files: Path, store: Store) -> Work:
        """The same with its folders and its files elsewhere, and another store."""
        make = partial(self.make, run=files, kept=True) if files.exists() else self.make
        return replace(self, workshop=replace(self.workshop, store=store, **folders), make=make)  # type: ignore[arg-type]

    def take(self, content: Mapping[str, bytes], notes: Mapping[str, Any]) -> None:
        """Put the entry that another machine made, file -> its content, into the store, if it is not there yet.

        Raises InputError where an imported one differs.
        """

        def make(out: Path, unfinished: Path) -> Mapping[str, Any]:
            for name, data in content.items():
                write_bytes(out / name, data)
            if self.refuse_other:
                self.refuse_other(self.workshop, key=self.key, out=out)
            return notes

        self.workshop.store.get(self.key, make, whole=True)


def result_of(trial: Trial, history: Path, measured: Entry) -> RowResult:
    """What a trial recorded in the file `history`, and what was `measured` of it."""
    from repligan.training.alarms import raised

    one, (stats, note) = trial.experiment, arrays(measured.path / STATS)
    stats = {key: stats[key] for key in note["metrics"]}
    alarms = raised(from_file(history)[0], one.alarms, one.log_every) if one.alarms else []
    said = [alarm._asdict() for alarm in alarms]
    return RowResult(one, note["steps"], arrays(history)[0], stats, said, _of_G(measured))


def series(history: Path, **note: Any) -> bytes:
    """A file of recorded values with another note: nothing about its row that its key does not have, or `note`."""
    values, told = arrays(history)
    return array_bytes(values, {"last": told["last"], **note})


def digest_of(path: Path) -> str:
    """sha256 of an entry's file, of recorded values that of their `series`: equal wherever the trial was trained."""
    return hashlib.sha256(series(path)).hexdigest() if path.name == HISTORY else sha256(path)


def digests(entry: Entry) -> dict[str, str]:
    """The same of all files of an entry, file -> sha256; of those that are not here what is known."""
    return {name: one if name in entry.absent else digest_of(entry.path / name) for name, one in entry.files.items()}


def others(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """The files that differ, or that only one has."""
    return [name for name in sorted({**one, **other}) if one.get(name) != other.get(name)]


def _took(began: float, spent: Callable[[], float | None]) -> dict[str, float | None]:
    """For people: seconds by the clock since the work last began, and of CPU time, of a training in all its parts."""
    return {"seconds": round(time.time() - began, 1), "cpu_seconds": spent()}


def training_roots(row: Experiment) -> list[code.Definition]:
    """What a training of this row starts from: the loop, and the members that the row chose."""
    loop = "repligan.training.loop"
    return [(loop, "start"), (loop, "train"), *_members(row, row.loss, row.optimiser)]


def measuring_roots(row: Experiment, walks: bool) -> list[code.Definition]:
    """What measuring a trial of this row starts from."""
    home = "repligan.evaluation"
    walking = [(f"{home}.latent", name) for name in ("pictures", "scores")] if walks else []
    measuring = [(f"{home}.evaluate", name) for name in ("evaluate", "measure_of")]
    return [*measuring, *walking, *_members(row, row.loss)]


def _members(row: Experiment, *more: object) -> list[code.Definition]:
    return [code.root(type(one)) for one in (row, row.z, row.G, row.D, *more)]


def digest(folder: Path, pattern: str) -> str:
    """Digest of the files in a folder that does not change while this process runs."""
    return _digest(folder.resolve(), pattern)


_digest = cache(tree_digest)


def _of_G(entry: Entry) -> dict[str, np.ndarray]:
    """The scores of the walk through a latent space that are one value a G."""
    if not (entry.path / WALK).exists():
        return {}
    found, _ = arrays(entry.path / WALK / "values.safetensors")
    return {key: found[key] for key in OF_G if key in found}


def _step(name: str) -> int:
    return int(name.removeprefix("step_").removesuffix(".safetensors"))


def _orphaned() -> bool:
    parent = parent_process()
    return parent is not None and not parent.is_alive()
