"""The `repligan` command."""

from __future__ import annotations

import json
import math
import os
import socket
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

import click

from repligan import cluster, tracking
from repligan import compose as composing
from repligan.core import runtime
from repligan.core.errors import Fault, Group, InputError, run
from repligan.core.files import root, write_bytes
from repligan.core.rows import pick
from repligan.params import SCALES, load, with_walk
from repligan.training.rows import RowId

PARAMS, CONF = Path("params.yaml"), Path("conf")
params_option = click.option("--params", type=click.Path(path_type=Path), default=PARAMS, show_default=True)
json_option = click.option("--json", "as_json", is_flag=True, help="As JSON, for scripts.")


@click.group(cls=Group)
def main() -> None:
    """Re-run published GAN experiments and see which of their claims hold.

    The pipeline itself is `dvc repro`; these commands look at what it made.
    """
    here, code = Path("src/repligan").resolve(), Path(__file__).resolve().parent
    if here.is_dir() and here != code:
        raise InputError(f"repligan: found the code in {code}; allowed: {here}, by `PYTHONPATH=src repligan ...`")


def command() -> NoReturn:
    """What the installed command runs."""
    run(main)


@main.command(epilog="Example: MLFLOW_TRACKING_URI=http://localhost:5000 repligan sync")
@params_option
def sync(params: Path) -> None:
    """Add to MLflow what it lacks: runs restored from a cache, or made while its server was away."""
    loaded = load(params)

    from repligan.tracking import projection

    with tracking.one_line():
        done = projection.sync(loaded, Path("data"), Path("reports"))
    for name, what in done.items():
        click.echo(f"{name}: {what}")


@main.command(epilog="Example: repligan repair && repligan repro")
def repro() -> None:
    """`dvc repro` of everything, with experiments that share no data side by side: what `make repro` does.

    Leaves what `dvc repro` leaves, sooner. Each line begins with the dataset that it is about. It may be stopped or
    killed at any time and started again.
    """
    _refuse_elsewhere("dvc.yaml")
    params = load(PARAMS)

    from repligan.tools.reproduce import reproduce

    reproduce(Path.cwd(), params)


@main.command(epilog="Example: repligan scale smoke")
@click.argument("name", type=click.Choice(SCALES))
def scale(name: str) -> None:
    """Select scale NAME in conf/ and write params.yaml anew from it."""
    _compose(name)


@main.command(epilog="Example: repligan compose && dvc repro")
def compose() -> None:
    """Write params.yaml anew from conf/, after an edit there."""
    _compose(None)


def _compose(name: str | None) -> None:
    """Write params.yaml at the selected scale, or at scale `name` and select it; says which hand edits are dropped."""
    _refuse_elsewhere("conf/config.yaml")
    if PARAMS.exists() and composing.is_edited(PARAMS):
        for line in composing.edited(PARAMS, CONF):
            click.echo(f"dropped: {line}", err=True)
    chosen = name or composing.selected(CONF)
    composing.compose(chosen, PARAMS)
    composing.select(chosen)
    click.echo(f"params.yaml: now at the {chosen} scale")


def _refuse_elsewhere(*needed: str) -> None:
    for name in needed:
        if not Path(name).exists():
            raise InputError(f"{name}: not found; allowed: the repository's folder as the working directory")


@main.command(epilog="Example: repligan plan")
@params_option
def plan(params: Path) -> None:
    """Say what `dvc repro` is about to fetch and how large it is, and time how long the image GANs will train."""
    loaded = load(params)
    runtime.apply(loaded.runtime)

    from repligan.tools import plan as planning

    click.echo(f"scale {loaded.scale}")
    for line in planning.fetching(loaded, root() / "downloads"):
        click.echo(line)
    for line in planning.training(loaded):
        click.echo(line)


@main.command(epilog="Example: repligan explore dcgan-anime --component 28 --component 5 --seed 3 --out walk.png")
@click.argument("name")
@click.option("--component", "components", type=int, multiple=True, help="Component of z to sweep; repeatable.")
@click.option("--reach", type=float, help="Sweep from -REACH to REACH.")
@click.option("--frames", type=int, help="Images in a row.")
@click.option("--midpoints", type=int, help="Latents to sweep at, one row each.")
@click.option("--pairs", type=int, help="Pairs of latents to interpolate and to add.")
@click.option("--seed", type=click.IntRange(0, 2**31), default=0, show_default=True, help="Which latents.")
@click.option("--what", type=click.Choice(["traversal", "interpolation", "arithmetic"]), default="traversal",
              show_default=True)  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default=Path("latent.png"), show_default=True)
@params_option
def explore(name: str, seed: int, what: str, out: Path, params: Path, **asked: object) -> None:
    """Walk through the latent space of image GAN NAME and draw what its trained G makes of it.

    What is not asked for is as in params.yaml, evaluations.NAME.walk.
    """
    loaded = load(params)
    changes = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in asked.items()
        if value not in (None, ())
    }
    walk = with_walk(params, loaded, name, changes).walk
    assert walk
    if out.suffix != ".png" or not out.parent.is_dir():
        raise InputError(f"--out: found {out}; allowed: a .png file in a folder that exists")
    runtime.apply(loaded.runtime)

    from repligan.evaluation import latent
    from repligan.evaluation.evaluate import last_step, networks_at
    from repligan.reporting import figures
    from repligan.trials import trials_of

    row = RowId(experiment=name)
    trial = next(trials_of(row, loaded.rows[row]))
    experiment, run = trial.experiment, Path("data/runs") / name / trial.place
    device = runtime.device(loaded.runtime, experiment.threads)
    form = loaded.datasets[experiment.dataset].form
    G = networks_at(last_step(run), experiment, form, trial.seeds, run)[0].to(device)
    walks = {called: img.numpy() for called, img in latent.pictures(G, experiment.z, walk, seed).items()}
    write_bytes(out, figures.png(partial(getattr(figures, what), walks)))
    click.echo(f"{out}: {what} of {loaded.called(row)}")


@main.command("list", epilog="Example: repligan list")
@json_option
@params_option
def list_rows(as_json: bool, params: Path) -> None:
    """List all systems and their variants: data, seeds, steps, how far they are, and their key figure."""
    from repligan.tools.listing import listing, words

    loaded = load(params)
    found = listing(loaded, Path("data"), Path("reports"))
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    click.echo(f"{loaded.scale} scale")
    for line in words(found):
        click.echo(line)


@main.command(epilog="Example: repligan sample dcgan-mnist -n 64 --seed 1 -o grid.png")
@click.argument("name")
@click.option("-n", "--num", type=click.IntRange(1, 10**5), default=64, show_default=True, help="How many.")
@click.option("--seed", type=click.IntRange(0, 2**31), default=0, show_default=True, help="Which latents.")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path, dir_okay=False),
    help="A .png grid, or an .npz with the array `samples`; samples.png by default, of toys text.",
)  # fmt: skip
@params_option
def sample(name: str, num: int, seed: int, out: Path | None, params: Path) -> None:
    """Let the trained G of system NAME make something: images as a grid, numbers or bits as text."""
    loaded = load(params)
    pick(loaded.experiments, "experiments", name)
    if out and (out.suffix not in (".png", ".npz") or not out.parent.is_dir()):
        raise InputError(f"--out: found {out}; allowed: a .png or .npz file in a folder that exists")
    runtime.apply(loaded.runtime)

    from repligan.tools import sample as sampling

    made = sampling.generated(loaded, Path("data"), name, num, seed)
    if out is None and made.ndim < 4:
        for line in sampling.words(made):
            click.echo(line)
        return
    out = out or Path("samples.png")
    sampling.save(made, out)
    click.echo(f"{out}: {num} samples of {loaded.called(RowId(experiment=name))}")


@main.command(epilog="Example: repligan compare HEAD~1 HEAD --page compare.html")
@click.argument("one", metavar="COMMIT")
@click.argument("other", metavar="COMMIT", default="HEAD")
@click.option("--page", type=click.Path(path_type=Path, dir_okay=False), help="Write it as an HTML page too.")
@json_option
def compare(one: str, other: str, page: Path | None, as_json: bool) -> None:
    """Put the committed results of two COMMITs side by side: verdicts, metrics with intervals, pictures."""
    from repligan.tools import between

    sides = between.side(Path.cwd(), one), between.side(Path.cwd(), other)
    for line in [json.dumps(between.differences(*sides), indent=1)] if as_json else between.text(*sides):
        click.echo(line)
    if page:
        write_bytes(page, between.page(*sides).encode())
        click.echo(f"{page}: the two side by side", err=as_json)


@main.command(epilog="Example: repligan claims even-200 bits-match")
@click.argument("names", nargs=-1, metavar="[CLAIM]...")
@json_option
def claims(names: tuple[str, ...], as_json: bool) -> None:
    """Print the ledger of claims, or some of them: verdict, what was measured, and with which interval."""
    from repligan.claims import ledger

    found = ledger.read(Path("reports"))
    lines = list(ledger.lines(found, names))
    if as_json:
        lines = [json.dumps([one for one in found.to_json()["claims"] if not names or one["id"] in names], indent=1)]
    for line in lines:
        click.echo(line)


@main.command(epilog="Example: repligan register img-leaky")
@click.argument("names", nargs=-1, metavar="[CLAIM]...")
@click.option("--seeds-from", type=click.IntRange(min=0), help="First seed that counts; by default the next new one.")
@params_option
def register(names: tuple[str, ...], seeds_from: int | None, params: Path) -> None:
    """Write the digests of changed rules to conf/registered.yaml; then move `first_seed` of their rows, and commit.

    A rule decides only by seeds that were trained after it was registered.
    """
    from repligan.claims import registered, rows

    loaded = load(params)
    claims = rows.load(rows.CLAIMS, loaded).claims
    for name, one in registered.register(rows.REGISTERED, claims, loaded, names, seeds_from).items():
        click.echo(f"{name}: rule {one.rule}, seeds from {one.seeds:,} on")


@main.command(epilog="Example: repligan decide img-leaky img-unsure --hours 8")
@click.argument("names", nargs=-1, metavar="[CLAIM]...")
@click.option("--hours", type=click.FloatRange(min=0), default=1.0, show_default=True,
              help="Begin no round that would end later; 0 only says what is to do, inf has no limit.")  # fmt: skip
@click.option("--engine", type=click.Choice(cluster.ENGINES), help="What runs the trials; by default what "
              "REPLIGAN_ENGINE says, else processes of this machine.")  # fmt: skip
@click.option("--address", help="Of a Ray cluster that this machine is a node of, as 10.0.0.1:6379; with --engine ray.")
def decide(names: tuple[str, ...], hours: float, engine: str | None, address: str | None) -> None:
    """Add seeds where they decide most, until all claims are decided, or those named, or the time is over.

    Says first what it will run and how long that takes. The seeds of each row are written to conf/seeds.yaml, and each
    round is a `dvc repro claims`. It may be stopped or killed at any time and started again.
    """
    if math.isnan(hours):
        raise InputError("--hours: found nan; allowed: 0 or more, inf for no limit")
    cluster.choose(engine, address)
    _refuse_elsewhere("conf/config.yaml")
    with TemporaryDirectory() as folder:
        composing.compose(None, Path(folder, "params.yaml"))
        composed = load(Path(folder, "params.yaml"))
    runtime.apply(composed.runtime)

    from repligan.tools import decide as deciding
    from repligan.tools.reproduce import pipeline

    claims = deciding.decidable(composed, names)
    _compose(None)
    with pipeline(Path.cwd(), quiet=True) as repro:
        for line in deciding.decide(claims, hours, partial(repro, {"dvc repro claims": ["claims"]})):
            click.echo(line)


@main.command(epilog="Example: repligan ui --port 5001")
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
def ui(port: int) -> None:
    """Open the runs in MLflow's browser interface, on this machine only."""
    if not tracking.uri().startswith("sqlite:"):
        click.echo(f"the runs are at MLFLOW_TRACKING_URI, {tracking.uri()}")
        return
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if free.connect_ex(("127.0.0.1", port)) == 0:
            raise Fault(f"--port: found {port}, which another program has; allowed: a free port")
    with tracking.one_line():
        page = tracking.open_store().page
    click.echo(f"http://127.0.0.1:{port}/{page}  (Ctrl-C ends it)")
    sys.stdout.flush()
    arguments = ["--host", "127.0.0.1", "--port", str(port), "--backend-store-uri", tracking.uri(), "--workers", "1"]
    arguments += ["--artifacts-destination", str(tracking.artifacts())]
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", "server", *arguments])


@main.command(epilog="Example: repligan verify v1.0 --experiment even")
@click.argument("commit", default="HEAD")
@click.option(
    "--experiment", "experiments", multiple=True, metavar="NAME", help="Only what this one needs; repeatable."
)
@click.option(
    "--stage", "stages", multiple=True, metavar="STAGE", help="Only this stage, as train@even, and its inputs."
)
@click.option("--out", type=click.Path(path_type=Path), default=Path(".work/verify"), show_default=True)
def verify(commit: str, experiments: tuple[str, ...], stages: tuple[str, ...], out: Path) -> None:
    """Reproduce COMMIT from scratch in a temporary clone and compare all outputs with its dvc.lock.

    Writes verify.json, verify.md and the reproduced report. The exit code is 0 only if the reproduction
    holds, 1 if it drifted.
    """
    from repligan.tools import verify as verifying

    known = load(PARAMS).experiments
    for name in experiments:
        pick(known, "experiments", name)
    targets = [*stages, *(f"evaluate@{name}" for name in experiments)]
    rows = verifying.verify(Path.cwd(), commit, targets, out)
    click.echo(verifying.markdown(rows, commit), nl=False)
    if not verifying.holds(rows):
        raise SystemExit(1)


@main.command(epilog="Example: repligan doctor")
@params_option
def doctor(params: Path) -> None:
    """Look for what is likely to go wrong on this machine; the exit code is 1 if anything was found."""
    from repligan.tools.doctor import examine

    loaded = load(params)
    _refuse_elsewhere("requirements.lock", "dvc.yaml")
    found = examine(Path.cwd(), loaded)
    for looked_at, wrong in found:
        click.echo(f"{'--' if wrong else 'ok'}  {looked_at}")
        for line in wrong:
            click.echo(f"      {line}")
    raise SystemExit(any(wrong for _, wrong in found))


@main.command(epilog="Example: repligan repair && dvc repro")
def repair() -> None:
    """Repair what a killed DVC left half-written, as `make repro` does first; says what it did.

    Also says where params.yaml was edited and conf/, which it is composed from, was not, and which outputs are of no
    experiment any more.
    """
    from repligan.tools.repair import repair as repairing
    from repligan.tools.repair import strays

    for line in repairing(Path.cwd()):
        click.echo(line)
    if CONF.is_dir() and PARAMS.exists():
        for line in composing.edited(PARAMS, CONF):
            click.echo(f"warning: {line}", err=True)
        for line in strays(Path.cwd(), load(PARAMS)):
            click.echo(f"warning: {line}", err=True)


@main.group(cls=Group, epilog="Example: repligan trials list")
def trials() -> None:
    """Finished trials, which are kept so that only what an edit changed is trained again.

    They lie in .work/trials, or where the variable REPLIGAN_TRIALS says.
    """


@trials.command("list", epilog="Example: repligan trials list")
@params_option
def list_trials(params: Path) -> None:
    """Say how many trials of each row are finished, and how large the store is."""
    loaded = load(params)
    runtime.apply(loaded.runtime)

    from repligan.store import Store
    from repligan.tools.inventory import lines
    from repligan.trials import folder

    for line in lines(loaded, Path("data"), Store(folder())):
        click.echo(line)


@trials.command(epilog="Example: repligan trials empty && dvc repro -f")
def empty() -> None:
    """Remove all finished and stopped trials; outputs of stages stay."""
    from repligan.store import Store
    from repligan.trials import folder

    store = Store(folder())
    click.echo(f"{store.folder}: {store.empty():,} entries removed")


@trials.command(epilog="Example: repligan trials adopt && dvc repro")
@params_option
def adopt(params: Path) -> None:
    """Take finished trials over after a refactoring, if it moved no bit: looks at a part of all rows anew.

    Golden trials are trained, every row up to its first recorded values, and a trial of every row is measured. The
    exit code is 1, and nothing is adopted, where anything differs.
    """
    loaded = load(params)
    runtime.apply(loaded.runtime)

    from repligan.store import Store
    from repligan.tools.adopt import adopt as adopting
    from repligan.trials import folder

    for line in adopting(loaded, Path("data"), Store(folder())):
        click.echo(line)


@trials.command(epilog="Example: repligan trials export dcgan-mnist/relu -o seeds-0-9.trials")
@click.argument("rows", nargs=-1, metavar="[ROW]...")
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The file to write.")
@params_option
def export(rows: tuple[str, ...], out: Path, params: Path) -> None:
    """Write the finished trials of some rows, or of all, to one file for another machine; weights stay here."""
    loaded = load(params)
    runtime.apply(loaded.runtime)

    from repligan.store import Store
    from repligan.tools import evidence
    from repligan.trials import folder

    for line in evidence.export(loaded, Path("data"), Store(folder()), rows, out):
        click.echo(line)


@trials.command("import", epilog="Example: repligan trials import seeds-0-9.trials seeds-10-19.trials && dvc repro")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@params_option
def import_trials(files: tuple[Path, ...], params: Path) -> None:
    """Add trials that other machines exported, so that `dvc repro` finds them finished.

    Only what this machine would make itself is taken: the same rows, data, versions, device, precision and code.
    """
    loaded = load(params)
    runtime.apply(loaded.runtime)

    from repligan.store import Store
    from repligan.tools import evidence
    from repligan.trials import folder

    for line in evidence.take(loaded, Path("data"), Store(folder()), files):
        click.echo(line)


@main.command(epilog="Example: repligan publish")
@params_option
def publish(params: Path) -> None:
    """Write what this scale found to published/SCALE, to be committed: ledger, metrics, all trials, pictures."""
    loaded = load(params)
    runtime.apply(loaded.runtime)

    from repligan.store import Store
    from repligan.tools import publish as publishing
    from repligan.trials import folder

    for line in publishing.publish(Path(), loaded, Store(folder()), Path("published") / loaded.scale):
        click.echo(line)


@main.command(epilog="Example: repligan audit --trials 20 --seed 7")
@click.argument("files", nargs=-1, metavar="[FILE]...", type=click.Path(path_type=Path))
@click.option("--trials", "count", type=click.IntRange(1), help="How many trials; 10 unless said otherwise.")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="As many as take about that long instead.")
@click.option("--seed", type=click.IntRange(0, 2**31), default=0, show_default=True, help="Which trials.")
@params_option
def audit(files: tuple[Path, ...], count: int | None, minutes: float | None, seed: int, params: Path) -> None:
    """Train and measure trials that chance picks again, and compare their weights and values bit for bit.

    Those of the ledger here, or of FILEs that `repligan trials export` wrote. The exit code is 1 if one differs.
    """
    loaded = load(params)
    runtime.apply(loaded.runtime)

    from repligan.store import Store
    from repligan.tools import audit as auditing
    from repligan.trials import folder

    store = Store(folder())
    found = (
        auditing.told(loaded, Path("data"), store, files) if files else auditing.records(loaded, Path("data"), store)
    )
    chosen = auditing.chosen(found, count, minutes, seed)
    click.echo(auditing.announcement(found, chosen, seed))
    differing = auditing.audit(chosen)
    for line in auditing.conclusion(len(found), len(chosen), differing):
        click.echo(line)
    if differing:
        raise SystemExit(1)
