"""What there is: every row of params.yaml, how far it is, and its key figure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from repligan.core.files import read_json, usable
from repligan.metrics.metric import Interval, frechet, metric
from repligan.params import Params
from repligan.training.rows import PUBLISHED, RowId

KEY_FIGURES = ("even_rate", "match")  # of toys; of image GANs the Frechet distance
Line = dict[str, Any]


def listing(params: Params, data: Path, reports: Path) -> list[Line]:
    """A table of values for each row: system, variant, scale, data, seeds, steps, state and key figure.

    `state`: measured, trained, or not run; a result of another scale counts as not run. Raises InputError where a
    result is damaged.
    """
    return [_line(params, row, data, _metrics(params, row.experiment, reports)) for row in params.rows]


def _line(params: Params, row: RowId, data: Path, metrics: Mapping[str, Any]) -> Line:
    experiment = params.rows[row]
    found = metrics if row.variant == PUBLISHED else metrics.get("variants", {}).get(row.variant, {})
    last = max((key for key in found if key.startswith("step_")), key=lambda key: int(key[5:]), default=None)
    name, value = key_figure(found[last]) if last else (None, None)
    trained = (data / "runs" / row.experiment / row.variant).is_dir()
    return {
        "system": row.experiment,
        "variant": row.variant,
        "scale": params.scale,
        "dataset": experiment.dataset,
        "seeds": experiment.seeds,
        "steps": experiment.steps,
        "state": "measured" if found else "trained" if trained else "not run",
        "metric": name,
        "value": value,
    }


def key_figure(measured: Mapping[str, Interval]) -> tuple[str | None, Interval | None]:
    """The metric that says most of a row, and its interval; none where none was measured."""
    name = frechet(measured) or next((key for key in KEY_FIGURES if key in measured), None)
    return name, None if name is None else measured[name]


def _metrics(params: Params, name: str, reports: Path) -> dict[str, Any]:
    path = reports / "metrics" / f"{name}.json"
    if not path.exists():
        return {}
    with usable(path):
        found = read_json(path)
        return found if found["scale"] == params.scale else {}


def words(lines: Sequence[Line]) -> Iterator[str]:
    """The table as aligned text."""
    rows = [("row", "data", "seeds", "steps", "state", "key figure")]
    for line in lines:
        row = str(RowId(experiment=line["system"], variant=line["variant"]))
        known, value = metric(line["metric"] or ""), line["value"]
        figure = f"{known.number(value['mean'])} {known.label}" if value else ""
        rows.append((row, line["dataset"], f"{line['seeds']:,}", f"{line['steps']:,}", line["state"], figure))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for cells in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
