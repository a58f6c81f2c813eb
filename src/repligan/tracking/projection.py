"""From the files of the pipeline to runs in MLflow: an experiment, its variants, their seeds; and the claims."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from repligan.claims import ledger
from repligan.claims.ledger import Ledger
from repligan.core.errors import InputError
from repligan.core.files import sha256, write_bytes
from repligan.core.rows import fingerprint
from repligan.params import Params
from repligan.reporting import charts, page, results
from repligan.reporting.results import Result
from repligan.store import Store as Finished
from repligan.tracking import rows, words
from repligan.tracking.aside import Aside, aside
from repligan.tracking.generators import Snapshots, get_ready
from repligan.tracking.rows import Shown
from repligan.tracking.runs import Draft, LogModels, Runs, data_of, log_pictures, no_models, parameters, tags
from repligan.tracking.store import FILE, FINGERPRINT, RESULT, SOURCE, is_missing, open_store, short, uri, warn
from repligan.training.rows import PUBLISHED, RowId
from repligan.trials import Trial, Workshop, folder, trials_of

WRITTEN, WAS_THERE = "written", "was there"
ELSEWHERE = "unknown: trained on another machine, or restored from a cache"
CLAIMS, REPORT = "claims", "repligan.report"  # the run of the ledger; the tag with the digest of its figures


def sync(params: Params, data: Path, reports: Path) -> dict[str, str]:
    """Write the runs that MLflow lacks and complete those it has in part; name -> what was done.

    `data` and `reports` are the folders that the pipeline writes. Twice over gives the same.
    Raises InputError where a result is missing, and what MLflow raises where its store cannot be reached.
    """
    with aside() as helper:
        written = _sync(params, data, reports, helper)
        _attach(reports, written)
    return written.done


def sync_or_warn(params: Params, data: Path, reports: Path, helper: Aside) -> Written | None:
    """`sync` before there is a page, for `attach_or_warn`; one line and None where the store cannot be reached."""
    written: list[Written] = []
    _or_warn(lambda: written.append(_sync(params, data, reports, helper)))
    return written[0] if written else None


def attach_or_warn(reports: Path, written: Written | None) -> None:
    """Add the page and the charts to the runs at the top, with one line where the store cannot be reached."""
    if written:
        _or_warn(lambda: _attach(reports, written))


def _or_warn(call: Callable[[], object]) -> None:
    try:
        call()
    except InputError:
        raise
    except Exception as error:  # the results are in files: nothing is lost
        warn(f"MLflow: {short(error)}; `repligan sync` adds the runs later")


@dataclass
class Written:
    """Name of a run -> what was done; name of one at the top -> its id; experiment -> title of a chart -> its spec.

    `drawn`: those of the experiments whose runs are new.
    """

    done: dict[str, str]
    tops: dict[str, str]
    charts: dict[str, dict[str, Any]]
    drawn: dict[tuple[str, str], Future[str]]


def _sync(params: Params, data: Path, reports: Path, helper: Aside) -> Written:
    found = results.read(params, data, reports)
    published = {result.name: result for result in found}
    claims = ledger.read(reports)
    shown = {row: rows.read(params, row, data, reports) for row in params.rows}
    if is_missing():  # then all runs are new, and importing takes the other process as long as a new store this one
        helper.executor.submit(get_ready)
    store = open_store()
    runs = Runs(store, store.runs())
    store.describe(words.EXPERIMENT)
    new = [row for row in shown if row.variant == PUBLISHED and not runs.has(shown[row][0].key)]
    writing = _Projection(params, data, claims, published, runs)
    models = {row: writing.models(row, helper) for row in new}
    specs = {one.name: {chart["title"]: chart["spec"] for chart in page.charts_of(one)} for one in found}
    drawn = {
        (row.experiment, title): helper.executor.submit(charts.svg, spec)
        for row in new
        for title, spec in specs[row.experiment].items()
    }
    done, tops = writing.write(shown, models)
    tops[CLAIMS], wrote = _write_claims(runs, params, claims, reports)
    done[CLAIMS] = WRITTEN if wrote else WAS_THERE
    return Written(done | _end_given_up(runs), tops, specs, drawn)


@dataclass
class _Projection:
    """Writes the runs of all rows of `params`; `published`: the results of the experiments as published."""

    params: Params
    data: Path
    claims: Ledger
    published: Mapping[str, Result]
    runs: Runs
    trained: dict[str, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)

    def write(
        self, shown: Mapping[RowId, tuple[Shown, Sequence[Shown]]], models: Mapping[RowId, LogModels]
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Each row's run, with its `models`, below its experiment's, and below it those of its trials.

        (row -> what was done, experiment -> id of its run).
        """
        tops = [row for row in shown if row.variant == PUBLISHED]
        drafts = {row: cache(partial(self._row, row, shown[row][0], models.get(row, no_models))) for row in shown}
        systems = {
            row.experiment: self.runs.begin(shown[row][0].key, self.params.called(row), drafts[row]).info.run_id
            for row in tops
        }
        done = dict.fromkeys(map(str, shown), "")
        for row in [*(row for row in shown if row not in tops), *tops]:  # their models are exported in the meantime
            whole, parts = shown[row]
            is_top = row.variant == PUBLISHED
            note = (words.system if is_top else words.variant)(self.params, self.claims, row)
            parent = None if is_top else systems[row.experiment]
            run_id, wrote = self.runs.write(whole.key, self.params.called(row), parent, note, drafts[row])
            for part in parts:
                name, note = words.trial(self.params, part.trials[0])
                wrote |= self.runs.write(part.key, name, run_id, note, partial(self._trial, row, part))[1]
            done[str(row)] = WRITTEN if wrote else WAS_THERE
        return done, systems

    def _row(self, row: RowId, shown: Shown, models: LogModels) -> Draft:
        result, is_system = self.published[row.experiment], row.variant == PUBLISHED
        trained = {str(trial): self._training(trial) for trial in shown.trials}
        draft = self._draft(row, shown, "system" if is_system else "variant")

        def files(run_id: str) -> None:
            client = self.runs.store.client
            self.runs.store.log_table_once(run_id, shown.seeds, "seeds.json")
            client.log_dict(run_id, {trial: notes for trial, (_, notes) in trained.items()}, "training.json")
            if is_system:
                log_pictures(self.runs.store, run_id, result)
                client.log_dict(run_id, result.metrics, "metrics.json")
                if result.scores:
                    client.log_dict(run_id, result.scores, "latent/scores.json")

        if not is_system:
            return replace(draft, files=files)
        labels = {**draft.tags, "article": result.report.source, **_alarms(result)}
        return replace(draft, tags=labels, files=files, models=models)

    def _trial(self, row: RowId, shown: Shown) -> Draft:
        draft = self._draft(row, shown, "seed")
        seeds = shown.trials[0].seeds
        return replace(draft, params={**draft.params, "seeds": len(seeds), "first_seed": seeds[0]})

    def _draft(self, row: RowId, shown: Shown, level: str) -> Draft:
        """What the runs of a row and of its trials have in common."""
        experiment, trained = self.params.rows[row], [self._training(trial) for trial in shown.trials]
        table = self.data / "evaluations" / row.experiment / f"{row.variant}.safetensors"
        return Draft(
            span=rows.span([notes for _, notes in trained], table),
            tags=tags(self.params, row, level),
            params=parameters(self.params, experiment),
            data=data_of(self.params, experiment.dataset, self.data / "processed" / experiment.dataset),
            curves=shown.curves,
            steps=experiment.steps,
            fingerprint=trained[0][0] if len(trained) == 1 else None,
        )

    def _training(self, trial: Trial) -> tuple[str, Mapping[str, Any]]:
        """(fingerprint of a trial, where, when and for how long it was trained)."""
        if str(trial) not in self.trained:
            processed, reference = (self.data / part / trial.experiment.dataset for part in ("processed", "reference"))
            workshop = Workshop(self.params, processed, reference, Finished(folder()))
            key = workshop.training_key(trial)
            entry = workshop.store.find(key)
            self.trained[str(trial)] = fingerprint(key), entry.notes if entry else {"environment": ELSEWHERE}
        return self.trained[str(trial)]

    def models(self, row: RowId, helper: Aside) -> LogModels:
        """Logs the snapshots of the first seeds' G, where their weights are here, and registers the best one."""
        trial, result = next(trials_of(row, self.params.rows[row])), self.published[row.experiment]
        weights = self.data / "runs" / row.experiment / trial.place
        form = self.params.dataset_of(row.experiment).form
        labels = {**self.runs.origin, **tags(self.params, row, "system")}
        folder = helper.folder / row.experiment
        snapshots = Snapshots(self.runs.store, trial, form, weights, result, labels, folder)
        if not result.pictures or not snapshots.there:
            return no_models
        return partial(snapshots.log, snapshots.begin(helper.executor))


def _attach(reports: Path, written: Written) -> None:
    """Add to each experiment's run its charts, and to that of the claims the page and the overview, unless there."""
    client = open_store().client
    pages = [path for path in (reports / "index.html", reports / "figures" / "overview.png") if path.exists()]
    parts: dict[str, Any] = {CLAIMS: {path.name: sha256(path) for path in pages}, **written.charts}
    for name, run_id in reversed(written.tops.items()):  # the other process draws the first ones first
        digest = hashlib.sha256(json.dumps(parts[name], sort_keys=True).encode()).hexdigest()
        if client.get_run(run_id).data.tags.get(REPORT) == digest:
            continue
        if name == CLAIMS:
            files = {path.name: path.read_bytes() for path in pages}
        else:
            files = {
                f"{_slug(title)}.svg": _drawn(spec, written.drawn.get((name, title))).encode()
                for title, spec in reversed(written.charts[name].items())
            }
        with TemporaryDirectory() as folder:
            for file, content in files.items():
                write_bytes(Path(folder, file), content)
            client.log_artifacts(run_id, folder, "report")
        client.set_tag(run_id, REPORT, digest)


def _drawn(spec: charts.Spec, begun: Future[str] | None) -> str:
    return begun.result() if begun and not begun.cancel() else charts.svg(spec)


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _write_claims(runs: Runs, params: Params, claims: Ledger, reports: Path) -> tuple[str, bool]:
    def draft() -> Draft:
        came = rows.span([], reports / "claims.json")
        labels = {"level": CLAIMS, "scale": params.scale, SOURCE: "stages/claims.py"}

        def files(run_id: str) -> None:
            runs.store.log_table_once(run_id, ledger.table(claims), "claims.json")

        return Draft(came, labels, {"scale": params.scale}, None, {}, 1, files=files)

    key = f"{CLAIMS}-{sha256(reports / 'claims.json')[:32]}"
    return runs.write(key, CLAIMS, None, words.ledger_of(claims), draft)


def _end_given_up(runs: Runs) -> dict[str, str]:
    """End the runs of trainings that were stopped and cannot go on: MLflow would show them as running for ever.

    A server may have runs of other machines; they are left.
    """
    if not uri().startswith(FILE):
        return {}
    waiting = {path.stem for path in Finished(folder()).unfinished()}
    given_up = [
        run
        for run in runs.found
        if run.info.status == "RUNNING" and RESULT not in run.data.tags and run.info.run_id not in runs.written
        if run.data.tags.get(FINGERPRINT, None) not in {None, *waiting}
    ]
    for run in given_up:
        runs.store.client.set_terminated(run.info.run_id, "KILLED")
    return {str(run.info.run_name): "ended, its training was given up" for run in given_up}


def _alarms(result: Result) -> dict[str, str]:
    if "alarms" not in result.metrics:
        return {}
    return {"alarms": ", ".join(sorted({alarm["kind"] for alarm in result.metrics["alarms"]})) or "none"}
