"""Kill trainings, pipelines and decisions with SIGKILL at random moments, run them again, compare hashes.

`python tests/kill.py --trainings 50 --pipelines 10 --decisions 10`; the exit code is 1 if a run failed or ended with
other hashes.
"""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import click
import psutil
from repository import copy, environment, run
from ruamel.yaml import YAML
from tools.test_decide import CLAIMS, make_repository

from repligan.compose import compose
from repligan.core.files import tree_digest

# The smoke scale trains for less time than its imports take; these last some seconds.
LONGER = {
    "dcgan-mnist": {"steps": 100, "snapshot_every": 25, "threads": 1},
    "bits1010": {"steps": 3000, "snapshot_every": 250},
}
CHECKPOINT_SECONDS = "0"  # after every step
AIM = 0.5  # longest wait in seconds for a write to fall into, by every second kill of a training
ROWS = {"training": 5, "pipeline": 3, "decision": 5}  # most kills in a row before a run may finish


@dataclass(frozen=True)
class Victim:
    """A command in `repo` whose `result` must not depend on kills between `begin` and `end` seconds after its start."""

    kind: str
    name: str
    repo: Path
    command: tuple[str, ...]
    env: dict[str, str]
    result: Callable[[], str]
    left: Callable[[], float]  # the share of the work that is still to be done
    clear: Callable[[], None]
    work: Path | None = None  # what appears when the part to be killed begins
    begin: float = 0
    end: float = 0
    expected: str = ""

    def start(self) -> subprocess.Popen[str]:
        """Run the command in a process group of its own."""
        with self.log.open("a") as log:
            return subprocess.Popen(
                self.command,
                cwd=self.repo,
                env=environment(self.repo) | self.env,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                text=True,
            )

    def moment(self, rng: random.Random) -> float:
        """When to kill the next run, seconds after its start."""
        # What is left shrinks from kill to kill; a tenth at least, so that some come after the last step.
        return rng.uniform(self.begin, self.begin + (self.end - self.begin) * max(self.left(), 0.1))

    def partials(self) -> set[Path]:
        """The files that a kill left half-written."""
        return {path for path in (self.work or self.repo).rglob(".*.partial") if path.is_file()}

    @property
    def log(self) -> Path:
        return self.repo.parent / f"{self.repo.name}-{self.name}.log"


@dataclass
class Tally:
    """Kills of one kind: how many came, fell into a write, and ended with the hashes of an undisturbed run."""

    kind: str
    asked: int
    came: int = 0
    in_write: int = 0
    same: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def is_true(self) -> bool:
        return self.same == self.came >= self.asked and not self.faults

    def __str__(self) -> str:
        said = f"{self.same} of {self.came} kills of a {self.kind}: same hashes ({self.in_write} fell into a write)"
        return said + (f"; {len(self.faults)} faults" if self.faults else "")


def undisturbed(victim: Victim) -> Victim:
    """`victim` with the times and the result of a run that nobody kills; raises ClickException if it fails."""
    victim.clear()
    began = time.monotonic()
    process = victim.start()
    while victim.work and not victim.work.exists() and process.poll() is None:
        time.sleep(0.02)
    begin = time.monotonic() - began if victim.work else 0
    if process.wait() != 0:
        raise click.ClickException(f"{victim.name}, undisturbed:\n{tail(victim)}")
    end = time.monotonic() - began
    click.echo(f"{victim.name}: undisturbed in {end:.1f} s, to be killed after {begin:.1f} s at the earliest")
    return replace(victim, begin=begin, end=end, expected=victim.result())


def killed_after(seconds: float, process: subprocess.Popen[str], aim: Callable[[], None]) -> bool:
    """After `seconds` and `aim` kill the process and all it started; False if it has ended before."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        aim()
        with suppress(psutil.NoSuchProcess):  # it may end while being aimed at
            begun = psutil.Process(process.pid)
            for one in (begun, *begun.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    one.kill()
    return process.wait() == -signal.SIGKILL


def await_write(victim: Victim, process: subprocess.Popen[str], before: set[Path]) -> None:
    """Wait until a file is being written that was not among `before`, for AIM seconds at most."""
    until = time.monotonic() + AIM
    while time.monotonic() < until and process.poll() is None and not victim.partials() - before:
        pass


def kill_in_a_row(victim: Victim, most: int, rng: random.Random) -> tuple[int, int, int]:
    """Kill up to `most` runs, let one end: (kills, how many of them fell into a write, exit code of the last run)."""
    in_write = 0
    for kills in range(most):
        before, moment = victim.partials(), victim.moment(rng)
        process = victim.start()
        aimed = victim.work is not None and kills % 2 == 1
        if not killed_after(moment, process, partial(await_write, victim, process, before) if aimed else lambda: None):
            return kills, in_write, process.returncode
        in_write += bool(victim.partials() - before)
        click.echo(
            f"{victim.name}: killed after {moment:.1f} s" + (f", {victim.left():.0%} left" if victim.work else "")
        )
    return most, in_write, victim.start().wait()


def kill(victim: Victim, tally: Tally, kills: int, rng: random.Random) -> None:
    """Add `kills` kills of `victim` to `tally`, comparing the result whenever a run has ended."""
    wanted = tally.came + kills
    while tally.came < wanted:
        victim.clear()
        came, in_write, code = kill_in_a_row(victim, min(ROWS[victim.kind], wanted - tally.came), rng)
        same = code == 0 and victim.result() == victim.expected
        tally.came, tally.in_write, tally.same = tally.came + came, tally.in_write + in_write, tally.same + came * same
        if not same:
            what = f"exit code {code}" if code else "other hashes"
            tally.faults.append(f"{victim.name}: {what} after {came} kills:\n{tail(victim)}")
            click.echo(tally.faults[-1])
            if not came:
                return  # it would fail for ever
        click.echo(str(tally))


def kill_trainings(folder: Path, kills: int, rng: random.Random, names: tuple[str, ...] = tuple(LONGER)) -> Tally:
    """Kill the trainings `names` in a copy of the repository in `folder`, the same number of times each."""
    tally = Tally("training", kills)
    repo = copy(folder / "trainings")
    compose("smoke", repo / "params.yaml", repo / "conf")
    longer(repo / "params.yaml")
    for i, name in enumerate(names):
        victim = undisturbed(training(repo, name))
        kill(victim, tally, kills * (i + 1) // len(names) - kills * i // len(names), rng)
    return tally


def kill_pipelines(folder: Path, kills: int, rng: random.Random, *targets: str) -> Tally:
    """Kill `dvc repro TARGETS` at the smoke scale in one copy of the repository, compare with another one."""
    tally = Tally("pipeline", kills)
    repos = [copy(folder / name) for name in ("undisturbed", "killed")]
    for repo in repos:
        compose("smoke", repo / "params.yaml", repo / "conf")
    known = undisturbed(pipeline(repos[0], *targets))
    kill(replace(pipeline(repos[1], *targets), end=known.end, expected=known.expected), tally, kills, rng)
    return tally


def kill_decisions(folder: Path, kills: int, rng: random.Random) -> Tally:
    """Kill `repligan decide` in one small repository, compare with another one."""
    tally = Tally("decision", kills)
    known = undisturbed(decision(folder / "decided"))
    kill(replace(decision(folder / "disturbed"), end=known.end, expected=known.expected), tally, kills, rng)
    return tally


def decision(folder: Path) -> Victim:
    """`repligan decide` in a copy of the repository that has one toy and claims that need more seeds."""
    repo = copy(folder)
    shutil.rmtree(repo / "conf")
    make_repository(repo, CLAIMS)
    stages, _, _ = (repo / "dvc.yaml").read_text().partition("\nplots:")  # of other experiments
    (repo / "dvc.yaml").write_text(f"{stages}\n")
    (repo / "dvc.lock").unlink()
    cleared = pipeline(repo).clear

    def clear() -> None:
        cleared()
        (repo / "conf" / "seeds.yaml").unlink(missing_ok=True)

    def result() -> str:
        return "".join((repo / name).read_text() for name in ("conf/seeds.yaml", "reports/claims.json"))

    env = {"DVC_SITE_CACHE_DIR": str(repo.parent / "site"), "MLFLOW_TRACKING_URI": f"sqlite:///{folder}-mlflow.db"}
    command = (sys.executable, "-c", "from repligan.cli import command; command()", "decide")
    return Victim("decision", "decide", repo, command, env, result, lambda: 1.0, clear)


def longer(params: Path) -> None:
    """Let the trainings in a params.yaml last some seconds."""
    yaml = YAML()
    data = yaml.load(params.read_text())
    for name, values in LONGER.items():
        data["experiments"][name].update(values)
        data["experiments"][name]["variants"] = {}
        data["evaluations"][name]["milestones"] = [0, values["steps"]]
    with params.open("w") as file:
        yaml.dump(data, file)


def training(repo: Path, name: str) -> Victim:
    """The train stage of one experiment, on processed data that this makes."""
    dataset = YAML(typ="safe").load((repo / "params.yaml").read_text())["experiments"][name]["dataset"]
    raw, processed, out = f"data/raw/{dataset}", f"data/processed/{dataset}", repo / "data" / "runs" / name
    for command in (("stages/fetch.py", dataset, raw), ("stages/preprocess.py", dataset, raw, processed)):
        done = run(repo, "python", *command)
        assert done.returncode == 0, done.stderr
    work = repo / ".work" / "trials"
    command = ("python", "stages/train.py", name, processed, str(out), "--params", "params.yaml")
    env = {
        "REPLIGAN_CHECKPOINT_SECONDS": CHECKPOINT_SECONDS,
        "MLFLOW_TRACKING_URI": f"sqlite:///{repo.parent}/mlflow.db",
    }

    def result() -> str:
        left = sorted(path.name for path in work.glob("*.unfinished"))
        return f"{left} were left" if left else tree_digest(out, "**/*.*")

    def left() -> float:
        steps = [int(path.name.split("-")[0]) for path in work.glob("*.unfinished/[0-9]*-*.safetensors")]
        return 1 - max(steps, default=0) / LONGER[name]["steps"]

    def clear() -> None:
        for folder in (out, work):
            shutil.rmtree(folder, ignore_errors=True)

    return Victim("training", name, repo, command, env, result, left, clear, work)


def pipeline(repo: Path, *targets: str) -> Victim:
    """`dvc repro`, of everything or of what `targets` need."""

    def clear() -> None:
        # DVC's locks in .dvc/tmp stay: getting on with those of a killed run is part of the proof.
        for folder in ("data", ".dvc/cache", ".work/trials"):
            shutil.rmtree(repo / folder, ignore_errors=True)
        (repo / "dvc.lock").unlink(missing_ok=True)

    env = {"DVC_SITE_CACHE_DIR": str(repo.parent / "site")}
    command = ("sh", "-c", " ".join(("repligan repair && exec dvc repro", *targets)))  # repaired as by `make repro`
    return Victim("pipeline", "dvc repro", repo, command, env, (repo / "dvc.lock").read_text, lambda: 1.0, clear)


def tail(victim: Victim) -> str:
    """The end of what the runs of `victim` said."""
    return "\n".join(victim.log.read_text(errors="replace").splitlines()[-15:])


@click.command()
@click.option("--trainings", type=click.IntRange(0), default=50, show_default=True, help="Kills of a training.")
@click.option("--pipelines", type=click.IntRange(0), default=10, show_default=True, help="Kills of `dvc repro`.")
@click.option("--decisions", type=click.IntRange(0), default=10, show_default=True, help="Kills of `repligan decide`.")
@click.option("--seed", type=int, default=None, help="For the moments of the kills; without it, others each time.")
def main(trainings: int, pipelines: int, decisions: int, seed: int | None) -> None:
    """Prove that killed trainings, pipelines and decisions end with the hashes of undisturbed ones when run again."""
    seed = random.randrange(1 << 16) if seed is None else seed
    rng = random.Random(seed)
    click.echo(f"seed {seed}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        tallies = [kill_trainings(folder, trainings, rng)] if trainings else []
        tallies += [kill_pipelines(folder, pipelines, rng)] if pipelines else []
        tallies += [kill_decisions(folder, decisions, rng)] if decisions else []
    for tally in tallies:
        click.echo(str(tally))
    raise SystemExit(not all(tally.is_true for tally in tallies))


if __name__ == "__main__":
    main()
