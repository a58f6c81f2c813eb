"""The `repligan` command."""

from __future__ import annotations

import os
import socket
import sys
from functools import partial
from pathlib import Path

import click

from repligan import tracking
from repligan.core import config, runtime
from repligan.core.errors import Fault, Group, InputError
from repligan.core.files import write_bytes


@click.group(cls=Group)
def main() -> None:
    """Re-run published GAN experiments and see which of their claims hold.

    The pipeline itself is `dvc repro`; these commands look at what it made.
    """


@main.command(epilog="Example: MLFLOW_TRACKING_URI=http://localhost:5000 repligan sync")
@click.option("--params", type=click.Path(path_type=Path), default=Path("params.yaml"), show_default=True)
def sync(params: Path) -> None:
    """Add to MLflow what it lacks: runs restored from a cache, or made while its server was away."""
    loaded = config.load(params)
    try:
        done = tracking.sync(loaded, Path("data"), Path("reports"))
    except (click.ClickException, OSError):
        raise
    except Exception as error:  # MLflow raises what its HTTP and SQL libraries raise
        raise Fault(
            f"MLFLOW_TRACKING_URI: {tracking.uri()}: {tracking.short(error)}; allowed: a store that answers"
        ) from None
    for name, what in done.items():
        click.echo(f"{name}: {what}")


@main.command(epilog="Example: repligan scale smoke")
@click.argument("name", type=click.Choice(["smoke", "laptop", "full"]))
def scale(name: str) -> None:
    """Write params.yaml anew from conf/ at scale NAME, as `dvc exp run -S scale=NAME` does, also without git."""
    from dvc.utils.hydra import compose_and_dump

    if not Path("conf", "config.yaml").exists():
        raise InputError("conf/config.yaml: not found; allowed: the repository's folder as the working directory")
    conf, aside = str(Path("conf").resolve()), Path(".work", "params.yaml")
    aside.parent.mkdir(exist_ok=True)
    try:
        compose_and_dump(aside, conf, None, "config", conf, [f"scale={name}"])
        config.load(aside, called="conf")
        aside.replace("params.yaml")
    except (InputError, OSError):
        raise
    except Exception as error:  # of hydra, omegaconf or PyYAML
        raise InputError(f"conf: {error}; allowed: YAML whose tables are those of conf/config.yaml") from None
    finally:
        aside.unlink(missing_ok=True)
    click.echo(f"params.yaml: now at the {name} scale")


@main.command(epilog="Example: repligan plan")
@click.option("--params", type=click.Path(path_type=Path), default=Path("params.yaml"), show_default=True)
def plan(params: Path) -> None:
    """Say what `dvc repro` is about to fetch and how large it is, and time how long the image GANs will train."""
    loaded = config.load(params)
    runtime.apply(loaded.runtime)

    from repligan import plan as planning

    click.echo(f"scale {loaded.scale}")
    for line in planning.fetching(loaded, Path("downloads")):
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
@click.option("--params", type=click.Path(path_type=Path), default=Path("params.yaml"), show_default=True)
def explore(name: str, seed: int, what: str, out: Path, params: Path, **asked: object) -> None:
    """Walk through the latent space of image GAN NAME and draw what its trained G makes of it.

    What is not asked for is as in params.yaml, explorations.NAME.
    """
    loaded = config.load(params)
    changes = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in asked.items()
        if value not in (None, ())
    }
    row = config.with_exploration(params, loaded, name, changes)
    if out.suffix != ".png" or not out.parent.is_dir():
        raise InputError(f"--out: found {out}; allowed: a .png file in a folder that exists")
    runtime.apply(loaded.runtime)

    from repligan.evaluation import latent
    from repligan.evaluation.evaluate import networks_at
    from repligan.reporting import figures

    experiment = loaded.experiments[name]
    device = runtime.device(loaded.runtime, experiment.threads)
    form = loaded.datasets[experiment.dataset].form
    G = networks_at(None, experiment, form, Path("data/runs") / name)[0].to(device)
    walks = {walk: img.numpy() for walk, img in latent.pictures(G, experiment, row, seed).items()}
    write_bytes(out, figures.png(partial(getattr(figures, what), walks)))
    click.echo(f"{out}: {what} of {loaded.called(name)}")


@main.command(epilog="Example: repligan claims even-200 bits-match")
@click.argument("names", nargs=-1, metavar="[CLAIM]...")
def claims(names: tuple[str, ...]) -> None:
    """Print the ledger of claims, or some of them: verdict, what was measured, and with which interval."""
    from repligan.reporting import ledger

    for line in ledger.lines(ledger.read(Path("reports")), names):
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
    tracking.open_store()
    click.echo(f"http://127.0.0.1:{port}  (Ctrl-C ends it)")
    sys.stdout.flush()
    arguments = ["--host", "127.0.0.1", "--port", str(port), "--backend-store-uri", tracking.uri(), "--workers", "1"]
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
    """Reproduce COMMIT from nothing in a folder aside and compare all outputs with its dvc.lock.

    Writes verify.json, verify.md and the reproduced report. The exit code is 0 only if the reproduction
    holds, 1 if it drifted.
    """
    from repligan import verify as verifying

    known = config.load(Path("params.yaml")).experiments
    for name in experiments:
        config.pick(known, "experiments", name)
    targets = [*stages, *(f"evaluate@{name}" for name in experiments)]
    rows = verifying.verify(Path.cwd(), commit, targets, out)
    click.echo(verifying.markdown(rows, commit), nl=False)
    if not verifying.holds(rows):
        raise SystemExit(1)


@main.command(epilog="Example: repligan doctor")
@click.option("--params", type=click.Path(path_type=Path), default=Path("params.yaml"), show_default=True)
def doctor(params: Path) -> None:
    """Look for what is likely to go wrong on this machine; the exit code is 1 if anything was found."""
    from repligan.doctor import examine

    loaded = config.load(params)
    for name in ("requirements.lock", "dvc.yaml"):
        if not Path(name).exists():
            raise InputError(f"{name}: not found; allowed: the repository's folder as the working directory")
    found = examine(Path.cwd(), loaded)
    for looked_at, wrong in found:
        click.echo(f"{'--' if wrong else 'ok'}  {looked_at}")
        for line in wrong:
            click.echo(f"      {line}")
    raise SystemExit(any(wrong for _, wrong in found))


@main.command(epilog="Example: repligan mend && dvc repro")
def mend() -> None:
    """Repair what a killed DVC left half-written, as `make repro` does first; says what it did."""
    from repligan.doctor import mend as mending

    for line in mending(Path.cwd()):
        click.echo(line)
