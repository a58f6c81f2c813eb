"""What a scale found, as a folder to be committed: for readers who will not run it, and for whoever checks it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from repligan.core.errors import InputError
from repligan.core.files import arrays, existing, whole_dir, write_bytes
from repligan.params import Params
from repligan.reporting.pictures import picture
from repligan.store import Store
from repligan.tools import evidence
from repligan.trials import HISTORY

LARGEST = 10**6  # bytes of a file, so that it may be committed
CARRIED = ("params.yaml", "reports/claims.json", "reports/figures/overview.png")


def publish(root: Path, params: Params, store: Store, out: Path) -> list[str]:
    """Write `out`: params.yaml, the ledger, metrics, tables of all trials and costs, the trials themselves, pictures.

    The trials of toys stay out: they are those of the laptop scale, and large. Says in lines what was written. Raises
    InputError, and leaves `out` as it was, where the pipeline has not ended at this scale, or a file is too large to be
    committed.
    """
    content = {Path(name).name: existing(root / name).read_bytes() for name in CARRIED}
    for name in params.experiments:
        metrics = existing(root / "reports" / "metrics" / f"{name}.json")
        content[f"metrics/{name}.json"] = metrics.read_bytes()
        content[f"pictures/{name}.png"] = _last(root / "data" / "evaluations" / name / "pictures.safetensors")
    trials = pd.DataFrame(_trials(root, params, store))
    if trials.empty:
        raise InputError("published: found no finished trial; allowed: a scale whose `dvc repro` has ended")
    content |= {"trials.csv": _csv(trials), "costs.csv": _csv(_costs(trials))}
    lines = []
    with whole_dir(out) as folder:
        for name in params.experiments:
            if not params.published(name).stacked:
                file = folder / f"{name}.trials"
                evidence.export(params, root / "data", store, [str(row) for row in params.rows_of(name)], file)
                lines.append(f"{name}: {file.stat().st_size:,} bytes of trials")
        for name, one in content.items():
            write_bytes(folder / name, one)
        files = {path.relative_to(folder): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
        largest = max(files, key=lambda path: files[path])
        if files[largest] > LARGEST:
            found = f"{out / largest}: found {files[largest]:,} bytes"
            raise InputError(f"{found}; allowed: {LARGEST:,} to be committed")
    return [*lines, f"{out}: {len(files)} files; commit them"]


def _last(pictures: Path) -> bytes:
    """The samples of the last snapshot, as a PNG at the size that they have."""
    made = arrays(pictures)[0]
    packed = io.BytesIO()
    Image.fromarray(picture(made[max(made, key=int)])).save(packed, "png", optimize=True)
    return packed.getvalue()


def _trials(root: Path, params: Params, store: Store) -> Iterator[dict[str, Any]]:
    """Of each finished trial: row, seeds, steps, seconds by the clock and of CPU time, instructions, last weights."""
    for row in params.rows:
        for one in evidence.finished(params, root / "data", row, store, {}):
            weights = max(name for name in one.training.files if name != HISTORY)
            yield {
                "row": str(row),
                "first_seed": one.seeds[0],
                "last_seed": one.seeds[1] - 1,
                "steps": params.rows[row].steps,
                "seconds": one.training.notes.get("seconds"),
                "cpu_seconds": one.training.notes.get("cpu_seconds"),
                "measuring_seconds": one.measuring.notes.get("seconds"),
                "measuring_cpu_seconds": one.measuring.notes.get("cpu_seconds"),
                "threads": params.rows[row].threads,
                "cpu": one.training.notes.get("environment", {}).get("cpu"),
                "weights": one.training.files[weights],
            }


def _costs(trials: pd.DataFrame) -> pd.DataFrame:
    """Core hours of each row: the median trial's, times their number.

    By its CPU time, which trials did not always note. Where none of a row did, by the clock: a trial that went on after
    an interruption then counts only since, and one that was paused or shared its cores counts too long.
    """
    rows = trials["row"]
    costs = {}
    for what, noted in {"training": "", "measuring": "measuring_"}.items():
        clock = (trials[f"{noted}seconds"] * trials["threads"]).groupby(rows, sort=False).median()
        cpu = trials[f"{noted}cpu_seconds"].astype(float).groupby(rows, sort=False).median()
        costs[f"{what}_core_hours"] = cpu.fillna(clock) / 3600
    num = rows.groupby(rows, sort=False).size()
    return pd.DataFrame(costs).mul(num, axis=0).round(3).assign(trials=num).reset_index()


def _csv(table: pd.DataFrame) -> bytes:
    return table.to_csv(index=False, lineterminator="\n").encode()
