"""The `repligan` command."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from repligan import config, tracking


@click.group()
def main() -> None:
    """Re-run published GAN experiments and see which of their claims hold.

    The pipeline itself is `dvc repro`; these commands look at what it made.
    """


@main.command(epilog="Example: MLFLOW_TRACKING_URI=http://localhost:5000 repligan sync")
@click.option("--params", type=click.Path(path_type=Path), default=Path("params.yaml"), show_default=True)
def sync(params: Path) -> None:
    """Add to MLflow what it lacks: runs restored from a cache, or made while its server was away."""
    for name, done in tracking.sync(config.load(params), Path("data"), Path("reports")).items():
        click.echo(f"{name}: {done}")


@main.command(epilog="Example: repligan ui --port 5001")
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
def ui(port: int) -> None:
    """Open the runs in MLflow's browser interface, on this machine only."""
    if not tracking.uri().startswith("sqlite:"):
        click.echo(f"the runs are at MLFLOW_TRACKING_URI, {tracking.uri()}")
        return
    tracking.open_store()
    click.echo(f"http://127.0.0.1:{port}  (Ctrl-C ends it)")
    sys.stdout.flush()
    arguments = ["--host", "127.0.0.1", "--port", str(port), "--backend-store-uri", tracking.uri(), "--workers", "1"]
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", "server", *arguments])
