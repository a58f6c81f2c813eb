"""Machines that train and measure a tiny toy and a tiny image GAN for real, each in a store of its own, and judge them.

Their toy trains STACK seeds as one trial, inside `small_stacks`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pytest
import torch

from repligan import goldens, trials
from repligan.claims import ledger
from repligan.claims.rows import Claims, Registered
from repligan.claims.values import Table
from repligan.core.files import array_bytes, whole_dir, write_bytes, write_json
from repligan.core.rows import read_yaml
from repligan.data.arrays import preprocess
from repligan.data.download import fetch
from repligan.engines import ThisProcess
from repligan.evaluation import comparison, draws
from repligan.evaluation.rows import CnnReference, DrawsReference
from repligan.metrics.intervals import summary
from repligan.params import Params
from repligan.store import Store
from repligan.trials import Workshop

STACK = 3  # seeds of a toy in one trial, here
NAMES = {"even": "even", "dcgan": "small"}
BUDGET = {"steps": 1, "batch": 1, "lr": 0.1}
CLAIMS = {
    "toy": ({"kind": "during", "metric": "loss_D", "part": [0.5, 1.0]}, {"experiment": "even"}, {"by": "mean"}),
    "yes": ({"kind": "snapshot", "metric": "all_even"}, {"experiment": "even"}, {}),
    "images": ({"kind": "snapshot", "metric": "luma"}, {"experiment": "dcgan", "variant": "other"}, {}),
    "real": ({"kind": "snapshot", "metric": "fd"}, {"experiment": "dcgan", "variant": "other"},
             {"against": "real", "relation": "ratio"}),
}  # fmt: skip


@contextmanager
def small_stacks() -> Iterator[None]:
    """Train toys in stacks of STACK seeds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trials, "STACK", STACK)
        yield


def claims() -> Claims:
    """A claim about each kind of value."""
    found = {}
    for name, (value, row, more) in CLAIMS.items():
        rule = {"kind": "share", "most": 0.9} if name == "yes" else {"kind": "below", "than": 0.5}
        test = {"label": name, "value": value, "row": row, "rule": rule, **more}
        found[name] = {"source": "", "place": "", "says": name, "needs": "smoke", "tests": [test]}
    return Claims.model_validate({"budgets": dict.fromkeys(NAMES, BUDGET), "claims": found})


def rows(first: int = 0, stacks: int = 1, images: int = 2, keep_weights: int = 1) -> Params:
    """`even` with some stacks of seeds from the stack `first` on, and dcgan/other with two seeds for each of them."""
    tables = read_yaml(goldens.ROWS)
    for table in ("experiments", "evaluations", "reports"):
        tables[table] = {name: tables[table][name] for name in NAMES}
    for table in ("datasets", "references"):
        tables[table] = {name: tables[table][name] for name in NAMES.values()}
    tables["experiments"]["even"] |= {"seeds": STACK * stacks, "first_seed": STACK * first, "variants": {}}
    for name in NAMES:
        tables["experiments"][name]["keep_weights"] = keep_weights
    variants = tables["experiments"]["dcgan"]["variants"]
    del variants["uniform"]
    variants["other"] |= {"seeds": images * stacks, "first_seed": images * first, "keep_weights": 0}
    return Params.model_validate(tables)


def data(folder: Path) -> Path:
    """The arrays and the references of both, in the folders processed and reference."""
    params = rows()
    for name, dataset in params.datasets.items():
        raw, processed, out = (folder / kind / name for kind in ("raw", "processed", "reference"))
        for made in (raw, processed, out):
            made.mkdir(parents=True)
        fetch(name, dataset.source, raw, raw)
        preprocess(dataset, raw, processed)
        by, learned = params.references[name], {}
        if isinstance(by, DrawsReference):
            floor = draws.floor(by, dataset, processed)
        else:
            assert isinstance(by, CnnReference)
            compared, learned = comparison.make(by, processed, out, torch.device("cpu"))
            floor = compared.floor()
        write_json(out / "card.json", by.model_dump(mode="json") | learned | {"floor": summary(floor)})
    return folder


@dataclass(frozen=True)
class Machine:
    """One with its own store and outputs, on data that it has in common with others."""

    folder: Path
    params: Params
    common: Path

    @cached_property
    def data(self) -> Path:
        """Its folder of data, as in a repository."""
        out = self.folder / "data"
        for kind in ("processed", "reference"):
            if not (out / kind).exists():
                out.mkdir(parents=True, exist_ok=True)
                (out / kind).symlink_to(self.common / kind)
        return out

    @property
    def store(self) -> Store:
        """Its finished trials."""
        return Store(self.folder / "trials")

    def workshop(self, name: str) -> Workshop:
        """What trains and measures an experiment."""
        return Workshop(
            self.params, *(self.data / kind / NAMES[name] for kind in ("processed", "reference")), self.store
        )

    def reproduce(self) -> list[str]:
        """Do what the pipeline does; what had to be trained or measured."""
        done = []
        for name in NAMES:
            shop, runs = self.workshop(name), self.data / "runs" / name
            jobs = shop.training_jobs(name)
            done += [f"train {job.call.name}" for job in jobs]  # type: ignore[attr-defined]
            ThisProcess().run("train", jobs)
            with whole_dir(runs) as out:
                shop.write_runs(name, out)
            jobs = shop.measuring_jobs(name, runs)
            done += [f"measure {job.call.name}" for job in jobs]  # type: ignore[attr-defined]
            ThisProcess().run("measure", jobs)
            with whole_dir(self.data / "evaluations" / name) as out:
                metrics = shop.write_evaluation(name, runs, out)
            write_json(self.data / "metrics" / f"{name}.json", metrics)
        return done

    def judge(self) -> ledger.Ledger:
        """Write claims.json and how the evidence grew, as the stage `claims` does, from what is measured."""
        asked = claims()
        rules = {name: Registered(rule=one.rule_digest(), seeds=0) for name, one in asked.claims.items()}
        found, grown = ledger.ledger(self.params, asked, rules, Table(self.data / "evaluations"))
        write_bytes(self.data / "claims" / "values.safetensors", array_bytes(grown))
        write_json(self.data / "claims" / "claims.json", found.to_json())
        return found

    def with_rows(self, params: Params) -> Machine:
        """The same with other rows."""
        return replace(self, params=params)
