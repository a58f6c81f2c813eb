"""Machines that train and measure a tiny toy and a tiny image GAN for real, each in a store of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

from repligan import goldens
from repligan.core.files import whole_dir, write_json
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
            done += [f"train {job.call.args[0]}" for job in jobs]  # type: ignore[attr-defined]
            ThisProcess().run("train", jobs)
            with whole_dir(runs) as out:
                shop.write_runs(name, out)
            jobs = shop.measuring_jobs(name, runs)
            done += [f"measure {job.call.args[0]}" for job in jobs]  # type: ignore[attr-defined]
            ThisProcess().run("measure", jobs)
            with whole_dir(self.data / "evaluations" / name) as out:
                metrics = shop.write_evaluation(name, runs, out)
            write_json(self.data / "metrics" / f"{name}.json", metrics)
        return done

    def with_rows(self, params: Params) -> Machine:
        """The same with other rows."""
        return replace(self, params=params)
