"""One run in MLflow: its tags, parameters, data, curves and pictures, found again where it is there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repligan.core.rows import flatten
from repligan.data.rows import FilesSource, ImagesForm
from repligan.params import Params
from repligan.reporting.pictures import sheet, spread
from repligan.reporting.results import Result
from repligan.tracking.live import MOST_PICTURES
from repligan.tracking.rows import Curves, Span
from repligan.tracking.store import FINGERPRINT, NOTE, PARENT, RESULT, Store, origin
from repligan.training.rows import Experiment, RowId
from repligan.trials import digest

if TYPE_CHECKING:
    from mlflow.entities import Dataset, Metric, Run

ENDS = {"": "mean", ".low": "lo", ".high": "hi"}
Models = Mapping[int, str]
"""step -> the model of the weights after it."""
LogModels = Callable[[str], Models]
"""Logs the snapshots of a generator to a run with this id."""


def no_models(run_id: str) -> Models:
    """Where there are none."""
    return {}


@dataclass(frozen=True)
class Draft:
    """What a run shows. `fingerprint`: of the training whose live run it completes, if that was seen in MLflow.

    `files` logs to a run all the rest that is no metric.
    """

    span: Span
    tags: Mapping[str, str]
    params: Mapping[str, Any]
    data: Dataset | None
    curves: Curves
    steps: int
    fingerprint: str | None = None
    models: LogModels = no_models
    files: Callable[[str], None] = lambda run_id: None


@dataclass
class Runs:
    """The runs of a store, as they are when this is made."""

    store: Store
    found: list[Run]
    origin: dict[str, str] = field(default_factory=origin)
    written: set[str] = field(default_factory=set)

    def write(self, key: str, name: str, parent: str | None, note: str, draft: Callable[[], Draft]) -> tuple[str, bool]:
        """(id of the run of the result `key`, whether it was to be written); only then a `draft` is made."""
        run, client = self._by(RESULT, key), self.store.client
        place = {RESULT: key, NOTE: note, **({PARENT: parent} if parent else {})}
        if run and _is_whole(run):
            for tag, value in place.items():  # the row above or a claim may be another one now
                if run.data.tags.get(tag) != value:
                    client.set_tag(run.info.run_id, tag, value)
            return run.info.run_id, False
        run, made = self.begin(key, name, draft), draft()
        run_id = run.info.run_id
        if run.info.run_name != name:  # a live one is called after its first seeds
            client.update_run(run_id, name=name)
        self._describe(run_id, made, place)
        self._fill(run, made)
        made.files(run_id)
        client.set_terminated(run_id, end_time=made.span.end)
        self.written.add(run_id)
        return run_id, True

    def begin(self, key: str, name: str, draft: Callable[[], Draft]) -> Run:
        """The run that shows the result `key` or will: there, seen live while its training ran, or new and empty.

        Only where it is not there a `draft` is made.
        """
        if run := self._by(RESULT, key):
            return run
        made = draft()
        if made.fingerprint:
            run = self._by(FINGERPRINT, made.fingerprint)
        if run is None or run.data.tags.get(RESULT, key) != key:
            labels = {**self.origin, RESULT: key}
            run = self.store.client.create_run(self.store.experiment_id, made.span.start, labels, name)
            self.found.append(run)
        return run

    def has(self, key: str) -> bool:
        """Whether the run of the result `key` is there, whole."""
        run = self._by(RESULT, key)
        return run is not None and _is_whole(run)

    def _by(self, tag: str, value: str) -> Run | None:
        return next((run for run in self.found if run.data.tags.get(tag) == value), None)

    def _describe(self, run_id: str, made: Draft, tags: Mapping[str, str]) -> None:
        from mlflow.entities import DatasetInput, InputTag, Param, RunTag

        self.store.client.log_batch(
            run_id,
            params=[Param(name, str(value)) for name, value in made.params.items()],
            tags=[RunTag(name, value) for name, value in {**self.origin, **made.tags, **tags}.items()],
        )
        if made.data:
            context = InputTag("mlflow.data.context", "training")
            self.store.client.log_inputs(run_id, [DatasetInput(made.data, [context])])

    def _fill(self, run: Run, made: Draft) -> None:
        have = self.store.logged_steps(run.info.run_id, run.data.metrics)
        models = made.models(run.info.run_id)
        missing = [one for one in metrics(made, models) if one.step not in have.get(one.key, ())]
        self.store.log(run.info.run_id, missing)


def _is_whole(run: Run) -> bool:
    return bool(run.info.status == "FINISHED")


def metrics(made: Draft, models: Models) -> list[Metric]:
    """The points of all curves, as `x`, `x.low` and `x.high`, linked to the model of their step and to the data."""
    from mlflow.entities import Metric

    found = []
    for key, points in made.curves.items():
        for step, value in points:
            link = (models.get(step), made.data.name, made.data.digest) if made.data else ()
            at = made.span.at(step / made.steps)
            found += [Metric(key + tail, value[end], at, step, *link) for tail, end in ENDS.items() if end in value]
    return found


def tags(params: Params, row: RowId, level: str) -> dict[str, str]:
    """What runs are filtered by."""
    dataset = params.rows[row].dataset
    standin_for = params.datasets[dataset].standin_for
    kind = {"data": "stand-in", "standin_for": str(standin_for)} if standin_for else {"data": "real"}
    place = {"level": level, "system": row.experiment, "variant": row.variant}
    return {**place, "dataset": dataset, "scale": params.scale, **kind}


def parameters(params: Params, experiment: Experiment) -> dict[str, Any]:
    """All that a row says, in dotted keys."""
    said = {**experiment.model_dump(mode="json"), "runtime": params.runtime.said()}
    return {"scale": params.scale, **dict(flatten(said))}


def data_of(params: Params, name: str, processed: Path) -> Dataset:
    """A dataset with its digest, its source (an address, or the row that draws it) and its size."""
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.data.http_dataset_source import HTTPDatasetSource
    from mlflow.entities import Dataset

    row = params.datasets[name]
    places = row.source.files[0].places if isinstance(row.source, FilesSource) else []
    if places:
        source: Any = HTTPDatasetSource(places[0])
    else:
        said = json.dumps(row.source.model_dump(mode="json"), sort_keys=True)
        source = CodeDatasetSource({"mlflow.source.name": f"stages/fetch.py {name}", "source": said})
    form = row.form.model_dump(mode="json")
    size = {key: form[key] for key in ("train", "heldout")} if isinstance(row.form, ImagesForm) else {}
    kind, known = source._get_source_type(), source.to_json()
    return Dataset(name, digest(processed, "*")[:32], kind, known, json.dumps({"form": form}), json.dumps(size))


def log_pictures(store: Store, run_id: str, result: Result) -> None:
    """On sliders: what G makes of the same z by step, and of walks along components of z by their frames."""
    there = store.shown(run_id)
    for step in spread(sorted(result.pictures), MOST_PICTURES):
        if ("samples", step) not in there:
            store.log_picture(run_id, step, result.pictures[step])
    for walk, img in result.walks.items():
        key = f"walk along {walk}"
        for frame in spread(range(img.shape[1]), MOST_PICTURES) if walk.startswith("component") else ():
            if (key, frame) not in there:
                store.client.log_image(run_id, sheet(img[:, frame][None]), key=key, step=frame)
