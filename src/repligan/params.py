"""params.yaml as one typed, frozen object: the rows of all rooms, joined and checked against each other.

It is composed from conf/ and read by DVC; `templates` are written out in it once, and a row that is `like` one of
them says only what differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, ValidationError, model_validator

from repligan.core.rows import IN_WORDS, NAME, Name, Strict, checked, merged, one_line, pick, read_yaml, same_keys
from repligan.core.runtime import Ranks, Runtime
from repligan.data.rows import Dataset, ImagesForm
from repligan.evaluation.rows import DrawsReference, Measure, Reference, Report
from repligan.training.rows import PUBLISHED, Experiment, RowId

SCALES = ("smoke", "laptop", "overnight", "full")
Table = dict[str, Any]


class Template(Strict):
    """What the rows that are `like` it share."""

    experiment: Table
    measure: Table


class Params(Strict):
    """All of params.yaml. Experiments and evaluations stand as written; `rows` and `measures` have them whole."""

    model_config = ConfigDict(ignored_types=(cached_property,))

    scale: str
    runtime: Runtime
    datasets: dict[Name, Dataset]
    references: dict[Name, Reference]
    templates: dict[Name, Template]
    experiments: dict[Name, Table]
    evaluations: dict[Name, Table]
    reports: dict[Name, Report]

    @cached_property
    def rows(self) -> dict[RowId, Experiment]:
        """Every experiment as published, each followed by its variants."""
        return dict(_rows(self.experiments, self.templates))

    @cached_property
    def measures(self) -> dict[str, Measure]:
        """What is measured of each experiment."""
        return {
            name: _whole(f"evaluations.{name}", row, self.templates, Measure) for name, row in self.evaluations.items()
        }

    def published(self, name: str) -> Experiment:
        """The experiment called `name` as published."""
        return self.rows[RowId(experiment=name)]

    def rows_of(self, name: str) -> dict[RowId, Experiment]:
        """The experiment called `name` and its variants."""
        return {row: experiment for row, experiment in self.rows.items() if row.experiment == name}

    def ranks_of(self, experiment: Experiment) -> Ranks | None:
        """The processes that train one of its trials together; None where one does it by itself, as always of toys."""
        return None if experiment.stacked else self.runtime.ranks

    def dataset_of(self, name: str) -> Dataset:
        """The dataset of an experiment."""
        return self.datasets[self.published(name).dataset]

    def by_stage(self) -> dict[str, dict[str, Table]]:
        """Stage -> name of its dataset or experiment -> all that this file says to it, JSON-able."""
        runtime = self.runtime.said()
        data = {name: row.model_dump(mode="json", exclude={"remote"}) for name, row in self.datasets.items()}
        references = {name: row.model_dump(mode="json") for name, row in self.references.items()}
        stages: dict[str, dict[str, Table]] = {
            "fetch": {name: {"source": row["source"]} for name, row in data.items()},
            "preprocess": {name: {"dataset": row} for name, row in data.items()},
            "reference": {
                name: {
                    "reference": references[name],
                    "form": row["form"],
                    "metrics": row["metrics"],
                    "runtime": runtime,
                }
                for name, row in data.items()
            },
            "train": {},
            "evaluate": {},
        }
        for name in self.experiments:
            rows = {row.variant: one.model_dump(mode="json") for row, one in self.rows_of(name).items()}
            dataset = self.published(name).dataset
            stages["train"][name] = {"rows": rows, "form": data[dataset]["form"], "runtime": runtime}
            stages["evaluate"][name] = {
                "rows": rows,
                "measure": self.measures[name].model_dump(mode="json"),
                "reference": references[dataset],
                "dataset": {key: data[dataset][key] for key in ("form", "metrics", "standin_for")},
                "runtime": runtime,
                "scale": self.scale,
            }
        return stages

    def called(self, row: RowId) -> str:
        """The name under which a row's numbers are shown: it says where a stand-in took a dataset's place."""
        dataset = self.rows[row].dataset
        return f"{row} on {dataset}" if self.datasets[dataset].standin_for else str(row)

    @model_validator(mode="after")
    def _refers_to_what_exists(self) -> Params:
        same_keys("references", self.references, self.datasets)
        for table, rows in (("evaluations", self.evaluations), ("reports", self.reports)):
            same_keys(table, rows, self.experiments)
        for key, reference in self.references.items():
            with _At(f"references.{key}"):
                reference.refuse_unfit(self.datasets[key])
        for row, experiment in self.rows.items():
            self._check(row, experiment)
        for name, measure in self.measures.items():
            published = self.published(name)
            with _At(f"evaluations.{name}"):
                measure.refuse_unfit(self.datasets[published.dataset], published.z)
            found, every = measure.milestones, published.snapshot_every
            if any(step != published.steps and (step % every or step > published.steps) for step in found):
                allowed = f"steps, {published.steps}, and the multiples of snapshot_every, {every}, up to it"
                raise ValueError(f"evaluations.{name}.milestones: found {found}; allowed: {allowed}")
        return self

    def _check(self, row: RowId, experiment: Experiment) -> None:
        where = key_of(row)
        published = self.experiments[row.experiment].get("dataset", experiment.dataset)
        if experiment.dataset not in self.datasets:
            allowed = ", ".join(sorted(self.datasets))
            raise ValueError(f"{where}.dataset: found {experiment.dataset!r}; allowed: {allowed}")
        if experiment.dataset != published:
            raise ValueError(f"{where}.dataset: found {experiment.dataset!r}; allowed: none, a variant keeps its data")
        if experiment.alarms and experiment.alarms.stop and experiment.seeds > 1:
            raise ValueError(f"{where}.alarms.stop: found true; allowed: false, seeds have to end together")
        with _At(where):
            experiment.refuse_unfit(self.datasets[experiment.dataset])
            if (ranks := self.ranks_of(experiment)) and experiment.batch % ranks.num:
                allowed = f"a multiple of runtime.ranks.num, {ranks.num}"
                raise ValueError(f"batch: found {experiment.batch}; allowed: {allowed}")
        reference = self.references[experiment.dataset]
        of_images = isinstance(self.datasets[experiment.dataset].form, ImagesForm)
        assert of_images != isinstance(reference, DrawsReference)


class _At:
    """Raises a ValueError inside it again with the key that it is about."""

    def __init__(self, where: str):
        self.where = where

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ValueError) and not isinstance(error, ValidationError):
            raise ValueError(f"{self.where}.{error}") from None


def key_of(row: RowId) -> str:
    """Where a row stands in params.yaml."""
    return f"experiments.{row.experiment}" + ("" if row.variant == PUBLISHED else f".variants.{row.variant}")


def _rows(experiments: Mapping[str, Table], templates: Mapping[str, Template]) -> Iterator[tuple[RowId, Experiment]]:
    for name, table in experiments.items():
        published = {key: value for key, value in table.items() if key != "variants"}
        where = f"experiments.{name}"
        yield RowId(experiment=name), _whole(where, published, templates, Experiment)
        variants = table.get("variants", {})
        if not isinstance(variants, dict) or PUBLISHED in variants:
            allowed = f"tables of changes, none called {PUBLISHED!r}"
            raise ValueError(f"{where}.variants: found {variants}; allowed: {allowed}")
        for variant in variants:
            changed = merged(published | {"keep_weights": 0}, _changes(where, variants, variant))
            try:
                row = RowId(experiment=name, variant=variant)
            except ValidationError:
                allowed = IN_WORDS[NAME]
                raise ValueError(f"{where}.variants: found {variant!r}; allowed: {allowed}") from None
            yield row, _whole(f"{where}.variants.{variant}", changed, templates, Experiment)


def _changes(where: str, variants: Mapping[str, Table], name: str, seen: tuple[str, ...] = ()) -> Table:
    """What a variant changes, on top of the variants that it is based on."""
    found = variants[name]
    if not isinstance(found, dict) or "like" in found:
        raise ValueError(f"{where}.variants.{name}: found {found}; allowed: a table of changes")
    base = found.get("based_on")
    own = {key: value for key, value in found.items() if key != "based_on"}
    if base is None:
        return own
    if base not in variants or base in (*seen, name):
        others = ", ".join(sorted(variants.keys() - {name, *seen})) or "no variant, there is no other"
        raise ValueError(f"{where}.variants.{name}.based_on: found {base!r}; allowed: {others}")
    changes: Table = merged(_changes(where, variants, base, (*seen, name)), own)
    return changes


def _whole(where: str, table: Table, templates: Mapping[str, Template], kind: type[Any]) -> Any:
    """A row as an object, with what it does not say from the template that it is `like`."""
    like = table.get("like")
    if like is not None and like not in templates:
        raise ValueError(f"{where}.like: found {like!r}; allowed: {', '.join(sorted(templates))}")
    base = {} if like is None else getattr(templates[like], "experiment" if kind is Experiment else "measure")
    own = {key: value for key, value in table.items() if key != "like"}
    try:
        return kind.model_validate(merged(base, own))
    except ValidationError as error:
        raise ValueError(f"{where}.{one_line(error, kind)}") from None


def load(path: Path, called: str | None = None) -> Params:
    """Read and check params.yaml; raises InputError naming the file, the key, what was found, what is allowed.

    `called`: another name for the file, where people know it under one.
    """
    return checked(Path(called or path), Params, read_yaml(path))


def with_walk(path: Path, params: Params, name: str, changes: Table) -> Measure:
    """What is measured of experiment `name` of `params`, read from `path`, with other walks, checked like the rest."""
    pick({key: row for key, row in params.measures.items() if row.walk}, "evaluations, with a walk", name)
    data = params.model_dump(mode="json")
    data["evaluations"][name] = merged(data["evaluations"][name], {"walk": changes})
    return checked(path, Params, data).measures[name]
