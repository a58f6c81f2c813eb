"""Forge ledgers and audit them: forged trials have to be found as often as the audit says, and nothing else.

`python tests/forge.py --forged 200 --unforged 50`; the exit code is 1 if a forged trial was picked and passed, one that
was not forged did not, or forged ledgers passed more or less often than they should.

The trials are tiny, and trained for real: once for the ledger, once for the audit of all forged ledgers, and anew for
each audit of one that is not, here and on emulated CPUs.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import click
import conftest  # noqa: F401  portable arithmetic, before numpy is loaded
import numpy as np
import pytest
from emulated import CPUS, QEMU
from tools.machine import Machine, data, rows, small_stacks

from repligan.core.files import array_bytes, arrays
from repligan.engines import ThisProcess
from repligan.store import Entry, Store
from repligan.tools import audit as auditing
from repligan.tools.audit import Record, audit, chosen, missed, records
from repligan.trials import TRIALS, Trial, Workshop

STACKS = 20  # of the toy; twice as many trials of the image GAN
COUNT = 10  # trials that an audit of a forged ledger makes again
FEW, ON_EMULATED = 3, 6  # ... of one that is not forged, here and on an emulated CPU
SHARES = ((1, 5), (6, 10), (11, 15), (16, 20))  # per cent of forged trials, as the table has them
PASSED = 3.0  # standard deviations that the number of missed ledgers may be off

Made = Mapping[str, tuple[Entry, Entry]]


@dataclass
class Tally:
    """Forged ledgers: how many were missed, how many should be, the variance of that; and what should not be."""

    ledgers: int = 0
    missed: int = 0
    said: float = 0.0
    variance: float = 0.0
    faults: list[str] = field(default_factory=list)

    @property
    def is_true(self) -> bool:
        return not self.faults and abs(self.missed - self.said) <= PASSED * self.variance**0.5 + 0.5

    def __str__(self) -> str:
        return f"{self.ledgers} ledgers, {self.missed} missed, {self.said:.1f} said (SD {self.variance**0.5:.1f})"


def repository(folder: Path, stacks: int = STACKS) -> Machine:
    """A ledger with 1 + 3 `stacks` trials in `folder`, trained unless it is there."""
    machine = Machine(folder / "machine", rows(stacks=stacks), folder / "common")
    if not machine.common.exists():
        data(machine.common)
        machine.reproduce()
    return machine


def made_again(found: Sequence[Record], store: Store) -> Made:
    """What comes out when all trials are trained and measured in another store: what an audit would make each time."""
    return {str(one.trial): auditing._make(replace(one.workshop, store=store), one.trial) for one in found}


@contextmanager
def known(made: Made) -> Iterator[None]:
    """Audits take what was made again once, instead of making it."""

    def make(workshop: Workshop, trial: Trial, alone: bool = False) -> tuple[Entry, Entry]:
        return made[str(trial)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auditing, "_make", make)
        yield


def forge(machine: Machine, found: Sequence[Record], wrong: Sequence[int], out: Path, rng: random.Random) -> Path:
    """Copy a ledger's data to `out`, where of each of the trials `wrong` a value or a hash is another one."""
    out.mkdir()
    for kind in ("processed", "reference"):
        (out / kind).symlink_to(machine.data / kind)
    for kind, names in (("runs", TRIALS), ("evaluations", "*.safetensors")):
        for path in machine.data.glob(f"{kind}/*/{names}"):
            folder = out / kind / path.parent.name
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder)
    for i in wrong:
        (_forge_value if rng.random() < 0.5 else _forge_hash)(found[i], out, rng)
    return out


def _forge_value(record: Record, data: Path, rng: random.Random) -> None:
    """One value of one seed: the next number up, one more, the opposite, or no number at all."""
    trial = record.trial
    path = data / "evaluations" / trial.row.experiment / f"{trial.row.variant}.safetensors"
    values, note = arrays(path)
    key = rng.choice(sorted(values))
    forged = values[key].copy()
    at = rng.randrange(len(forged)), rng.choice(trial.seeds) - trial.experiment.first_seed
    true = forged[at]
    kind = forged.dtype.type
    lies = [not true] if kind is np.bool_ else [np.nextafter(true, kind(np.inf)), true + 1, -true, kind(np.nan)]
    forged[at] = rng.choice([lie for lie in lies if kind(lie).tobytes() != true.tobytes()])
    path.write_bytes(array_bytes(values | {key: forged}, note))


def _forge_hash(record: Record, data: Path, rng: random.Random) -> None:
    """One digit of the sha256 of one snapshot's weights."""
    trial = record.trial
    path = data / "runs" / trial.row.experiment / TRIALS
    listed = json.loads(path.read_text())
    seeds = [trial.seeds[0], trial.seeds[-1]]
    weights = next(one["weights"] for one in listed if (one["variant"], one["seeds"]) == (trial.row.variant, seeds))
    name, digit = rng.choice(sorted(weights)), rng.randrange(64)
    other = rng.choice([one for one in "0123456789abcdef" if one != weights[name][digit]])
    weights[name] = weights[name][:digit] + other + weights[name][digit + 1 :]
    path.write_text(json.dumps(listed))


def audit_forged(machine: Machine, again: Store, ledgers: int, rng: random.Random) -> dict[tuple[int, int], Tally]:
    """Forge `ledgers` ledgers in turn, 1 to 20 % of their trials, and audit each; by the share of forged trials."""
    found = records(machine.params, machine.data, machine.store)
    tallies = {shares: Tally() for shares in SHARES}
    with known(made_again(found, again)):
        for ledger in range(ledgers):
            shares = SHARES[ledger % len(SHARES)]
            wrong = rng.sample(range(len(found)), max(1, round(rng.randint(*shares) / 100 * len(found))))
            forged = forge(machine, found, wrong, machine.folder / "forged", rng)
            _audit(machine, forged, {str(found[i].trial) for i in wrong}, rng.randrange(2**16), tallies[shares])
            shutil.rmtree(forged)
    return tallies


def _audit(machine: Machine, forged: Path, wrong: set[str], seed: int, tally: Tally) -> None:
    every = records(machine.params, forged, machine.store)
    picked = chosen(every, COUNT, None, seed)
    differing = audit(picked, ThisProcess())
    due = wrong & {str(one.trial) for one in picked}
    if differing.keys() != due:
        tally.faults.append(f"seed {seed}: found {sorted(differing)}; forged {sorted(due)}")
    odds = missed(len(every), len(wrong), COUNT)
    tally.ledgers, tally.missed = tally.ledgers + 1, tally.missed + (not differing)
    tally.said, tally.variance = tally.said + odds, tally.variance + odds * (1 - odds)


def audit_unforged(machine: Machine, count: int, seed: int) -> list[str]:
    """Audit a ledger as it is, by `count` trials, which are all made again; what differs."""
    picked = chosen(records(machine.params, machine.data, machine.store), count, None, seed)
    return [f"{name}: {', '.join(wrong)}" for name, wrong in audit(picked, ThisProcess()).items()]


def table(tallies: Mapping[tuple[int, int], Tally]) -> Iterator[str]:
    """The tallies of forged ledgers as Markdown."""
    yield "| forged trials | ledgers | missed | said |"
    yield "|---|---|---|---|"
    for (low, high), one in tallies.items():
        yield f"| {low} to {high} % | {one.ledgers} | {one.missed} | {one.said:.1f}, SD {one.variance**0.5:.1f} |"


def forged_part(machine: Machine, ledgers: int, rng: random.Random) -> list[str]:
    """Audit forged ledgers, print the table; what is wrong."""
    tallies = audit_forged(machine, Store(machine.folder / "again"), ledgers, rng)
    click.echo("\n".join(table(tallies)))
    return [f"{low} to {high} % forged: {one}" for (low, high), one in tallies.items() if not one.is_true]


def unforged_part(machine: Machine, ledgers: int, seed: int) -> list[str]:
    """Audit `ledgers` ledgers with seeds of their own as they are; what is wrong."""
    faults = []
    for i in range(ledgers):
        one = Machine(machine.folder.parent / f"unforged{i}", rows(first=i + 1), machine.common)
        one.reproduce()
        faults += audit_unforged(one, FEW, seed + i)
    click.echo(f"{ledgers} ledgers that are not forged, {FEW} trials each: {len(faults)} false alarms")
    return faults


def emulated_part(machine: Machine, seed: int) -> list[str]:
    """Audit a ledger that was trained here on emulated CPUs; what is wrong."""
    faults = []
    for cpu in CPUS if QEMU else ():
        command = [
            QEMU,
            "-cpu",
            cpu,
            sys.executable,
            __file__,
            "--audit",
            str(machine.folder.parent),
            "--seed",
            str(seed),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        click.echo(f"{cpu}: {'; '.join((done.stdout or done.stderr[-300:]).splitlines())}")
        faults += [f"{cpu}: exit code {done.returncode}"] if done.returncode else []
    return faults


@click.command()
@click.option("--forged", type=click.IntRange(0), default=200, show_default=True, help="Ledgers with forged trials.")
@click.option("--unforged", type=click.IntRange(0), default=50, show_default=True, help="Ledgers without.")
@click.option("--emulated/--native", default=True, show_default=True, help="Whether to audit on emulated CPUs too.")
@click.option("--seed", type=int, default=None, help="For all that is random; without it, others each time.")
@click.option("--audit", "there", type=click.Path(path_type=Path), help="Only audit the ledger that lies there.")
def main(forged: int, unforged: int, emulated: bool, seed: int | None, there: Path | None) -> None:
    """Prove that audits find forged trials as often as they say, and nothing where nothing is forged."""
    seed = random.randrange(1 << 16) if seed is None else seed
    with tempfile.TemporaryDirectory() as temporary, small_stacks():
        machine = repository(there or Path(temporary))
        if there:
            faults = audit_unforged(machine, ON_EMULATED, seed)
            click.echo(f"{ON_EMULATED} trials made again, {len(faults)} differ")
        else:
            click.echo(f"seed {seed}")
            faults = forged_part(machine, forged, random.Random(seed)) + unforged_part(machine, unforged, seed)
            faults += emulated_part(machine, seed) if emulated else []
    for fault in faults:
        click.echo(fault)
    raise SystemExit(bool(faults))


if __name__ == "__main__":
    main()
