"""Speed as ratios measured side by side: trainings against plain PyTorch and against the CPU, metrics against packages.

Every measurement is a process of its own; the sides of a ratio take turns, so that a machine that
slows down slows them all.
"""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import click

from benchmarks.sides import ROOT, YARDSTICKS, Table, fresh, gflop, has_gpu, machine, ours, seconds, theirs, yardstick
from repligan.core.runtime import PORTABLE

RESULTS = Path(__file__).parent / "results.json"
PAGE = ROOT / "docs" / "performance.md"
MARKS = ("<!-- table from benchmarks/results.json -->", "<!-- end of table -->")
SEEDS = 1000


class Row(NamedTuple):
    """Sides that are measured in turns, and which are compared: `pairs` of (ours, theirs).

    `flop`: floating-point operations of a step, in billions. With them, sides whose name begins with a kind of
    YARDSTICKS say how near to the CPU's own rate a training comes.
    """

    title: str
    unit: str  # steps/s of all seeds together, or s
    sides: Mapping[str, Callable[[], float]]
    pairs: list[tuple[str, str]]
    flop: Callable[[], float] | None = None


def toy(name: str, our_steps: int, their_steps: int) -> Row:
    """Many seeds as one stack against one seed after another, on one thread."""
    sides = {
        "plain PyTorch": partial(theirs, name, 1, their_steps),
        "portable": partial(ours, name, "portable", SEEDS, our_steps),
    }
    return Row(f"{name}, {SEEDS:,} seeds, one thread", "steps/s", sides, [("portable", "plain PyTorch")])


def images(title: str, share: int, steps: int) -> Row:
    """dcgan-mnist, one seed, batch 128, two threads; and how fast the CPU multiplies in the same arithmetic."""
    plain, held, both = "plain PyTorch", "plain PyTorch held to AVX2", ("portable", "fast")
    sides: dict[str, Callable[[], float]] = {
        plain: partial(theirs, "dcgan_mnist", 2, steps, width=64 // share),
        held: partial(theirs, "dcgan_mnist", 2, steps, held=True, width=64 // share),
        **{one: partial(ours, "dcgan-mnist", one, 1, steps, share) for one in both},
        **{f"{kind}, {one}": partial(yardstick, kind, one, 2) for kind in YARDSTICKS for one in both},
    }
    pairs = [("portable", held), ("portable", plain), ("fast", plain), ("fast", "portable")]
    pairs += [(one, f"{kind}, {one}") for one in both for kind in YARDSTICKS]
    title = f"dcgan-mnist, {title}, batch 128, two threads"
    return Row(title, "steps/s", sides, pairs, partial(gflop, "dcgan-mnist", share))


def on_gpu(steps: int) -> Row:
    """dcgan-mnist as published on a GPU."""
    sides: dict[str, Callable[[], float]] = {
        "plain PyTorch": partial(theirs, "dcgan_mnist", 2, steps, device="cuda"),
        **{one: partial(ours, "dcgan-mnist", one, 1, steps, device="cuda") for one in ("portable", "fast")},
    }
    pairs = [("portable", "plain PyTorch"), ("fast", "plain PyTorch"), ("fast", "portable")]
    return Row("dcgan-mnist, published width, batch 128, on a GPU", "steps/s", sides, pairs)


def metric(title: str, names: list[str]) -> Row:
    """The first of `names` against each of the others."""
    sides = {name: partial(seconds, name) for name in names}
    return Row(title, "s", sides, [(names[0], name) for name in names[1:]])


ON_GPU = "dcgan-mnist-cuda"
PEERS = [name for name, module in (("torch-fidelity", "torch_fidelity"), ("prdc", "prdc")) if find_spec(module)]
ROWS = {
    "bits1010": toy("bits1010", 500, 1500),
    "even": toy("even", 200, 1500),
    "dcgan-mnist-quarter": images("a quarter of the width", 4, 20),
    "dcgan-mnist": images("published width", 1, 5),
    ON_GPU: on_gpu(500),
    "frechet": metric("Frechet distance of 2,048 features", ["repligan's Frechet distance", "scipy's sqrtm"]),
    "prdc": metric("precision and recall of 256 features", ["repligan's prdc", *PEERS]),
}


def measured(name: str, rounds: int) -> list[Table]:
    """The pairs of a row, each with the rates of both sides and the median and range of their ratio."""
    row = ROWS[name]
    rates: dict[str, list[float]] = {side: [] for side in row.sides}
    for i in range(rounds):
        # Back and forth, so that none is always the one that finds the machine warm.
        for side in list(row.sides)[:: 1 - 2 * (i % 2)]:
            rates[side].append(fresh(row.sides[side]))
    flop = fresh(row.flop) if row.flop else 0.0
    return [pair(name, us, them, rates, flop) for us, them in row.pairs]


def pair(name: str, us: str, them: str, rates: Mapping[str, list[float]], flop: float) -> Table:
    """Two sides of a row, with what they were measured at and how many times as fast ours is."""
    row, our_rates, their_rates = ROWS[name], rates[us], rates[them]
    unit = row.unit
    if them.startswith(tuple(YARDSTICKS)):
        unit, our_rates = "GFLOP/s", [flop * rate for rate in our_rates]
    return (
        {"row": name, "title": row.title, "unit": unit, "ours": us, "theirs": them}
        | {"our_rates": our_rates, "their_rates": their_rates}
        | spread(*((their_rates, our_rates) if unit == "s" else (our_rates, their_rates)))
    )


def spread(above: list[float], below: list[float]) -> Table:
    """How many times as fast: the median of the rounds' ratios, and their range."""
    found = sorted(a / b for a, b in zip(above, below, strict=True))
    return {"ratio": statistics.median(found), "range": [found[0], found[-1]]}


def joined(new: list[Table], described: Table, old: Table | None, order: Sequence[str]) -> Table:
    """`new` rows, and of `old` results from the same machine those that were not measured again; in `order`."""
    again = {row["row"] for row in new}
    kept = old["rows"] if old and old["machine"] == described else []
    rows = [*(row for row in kept if row["row"] not in again), *new]
    return {"machine": described, "rows": sorted(rows, key=lambda row: order.index(row["row"]))}


def table(results: Table) -> str:
    """The results in Markdown."""
    on = results["machine"]
    said = (
        f"{on['cpu']} ({', '.join(on['instructions']) or 'none of the named instruction sets'}), {on['cores']} cores; "
    )
    said += f"Python {on['python']}, torch {on['torch']}, numpy {on['numpy']}."
    lines = ["| what | ours | against | times as fast | range |", "|---|---|---|---|---|"]
    for row in results["rows"]:
        us, them = (f"{short(statistics.median(row[key]))} {row['unit']}" for key in ("our_rates", "their_rates"))
        low, high = map(short, row["range"])
        lines.append(
            f"| {row['title']} | {row['ours']}: {us} | {row['theirs']}: {them} "
            f"| {short(row['ratio'])} | {low} to {high} |"
        )
    return f"{said}\n\n" + "\n".join(lines)


def short(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def written(page: str, results: Table) -> str:
    """`page` with the table of `results` between its marks."""
    before, _, rest = page.partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    return f"{before}{MARKS[0]}\n{table(results)}\n{MARKS[1]}{after}"


@click.command(epilog="Example: python -m benchmarks.bench even bits1010 --rounds 3")
@click.argument("rows", nargs=-1, type=click.Choice(list(ROWS)))
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Turns that each side takes.")
def main(rows: tuple[str, ...], rounds: int) -> None:
    """Measure ROWS, or all, print them and write them to benchmarks/results.json and docs/performance.md."""
    for key in PORTABLE:  # else the references would be held back too
        os.environ.pop(key, None)
    chosen = [name for name in rows or ROWS if name != ON_GPU or has_gpu()]
    if len(chosen) < len(rows or ROWS):
        click.echo(f"{ON_GPU}: left out, there is no CUDA GPU here", err=True)
    if not chosen:
        return
    new = [one for name in chosen for one in measured(name, rounds)]
    described = machine()
    old = json.loads(RESULTS.read_text()) if RESULTS.exists() else None
    results = joined(new, described, old, list(ROWS))
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    PAGE.write_text(written(PAGE.read_text(), results))
    click.echo(table({"machine": described, "rows": new}))


if __name__ == "__main__":
    main()
