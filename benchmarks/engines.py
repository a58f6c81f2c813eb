"""The same sweep by processes of this machine and by Ray on it, in turns: what the engine itself costs.

`python -m benchmarks.engines --rounds 3`: the smoke scale's trials of some experiments, from an empty store each time.
"""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from repligan.cluster import ADDRESS, ENGINE, ENGINES, NODE_FOLDER, RAY
from repligan.compose import compose
from repligan.core import runtime
from repligan.params import load

ROOT = Path(__file__).resolve().parent.parent


def stage(folder: Path, name: str, *arguments: str, **env: str) -> float:
    """Run a stage in `folder`; the seconds that it took."""
    began = time.monotonic()
    command = [sys.executable, str(ROOT / "stages" / f"{name}.py"), *arguments]
    subprocess.run(command, cwd=folder, env=os.environ | env, check=True, stderr=subprocess.DEVNULL)
    return time.monotonic() - began


def start_ray(folder: Path, address: str) -> subprocess.Popen[bytes]:
    """A cluster of this machine alone."""
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--include-dashboard", "false"]
    command += ["--port", address.rpartition(":")[2], "--num-cpus", str(runtime.cores()), "--disable-usage-stats"]
    with (folder / "ray.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--temp-dir", str(folder / "r")], stdout=log, stderr=log,
            env=os.environ | {NODE_FOLDER: str(folder / "node")},
        )  # fmt: skip
    while "Ray runtime started" not in (folder / "ray.log").read_text() and process.poll() is None:
        time.sleep(0.1)
    return process


@click.command()
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@click.option("--experiment", "names", multiple=True, default=("dcgan-mnist",), show_default=True)
def main(rounds: int, names: tuple[str, ...]) -> None:
    """Time the train stages of some experiments by each engine, in turns."""
    with socket.socket() as free, tempfile.TemporaryDirectory(prefix="rb-", ignore_cleanup_errors=True) as temporary:
        free.bind(("127.0.0.1", 0))
        address, folder = f"127.0.0.1:{free.getsockname()[1]}", Path(temporary)
        free.close()
        compose("smoke", folder / "params.yaml", ROOT / "conf")
        params = load(folder / "params.yaml")
        datasets = {name: params.published(name).dataset for name in names}
        for dataset in set(datasets.values()):
            stage(folder, "fetch", dataset, f"raw/{dataset}")
            stage(folder, "preprocess", dataset, f"raw/{dataset}", f"processed/{dataset}")
        ray = start_ray(folder, address)
        try:
            took: dict[str, list[float]] = {engine: [] for engine in ENGINES}
            for i in range(rounds):
                for engine in ENGINES if i % 2 == 0 else reversed(ENGINES):
                    shutil.rmtree(folder / "node", ignore_errors=True)
                    env = {ENGINE: engine, ADDRESS: address if engine == RAY else ""}
                    env["REPLIGAN_TRIALS"] = str(folder / f"{engine}-{i}")
                    runs = [
                        stage(folder, "train", name, f"processed/{datasets[name]}", f"runs/{name}", **env)
                        for name in names
                    ]
                    took[engine].append(sum(runs))
        finally:
            ray.terminate()
            ray.wait()
    trials = sum(row.seeds for name in names for row in params.rows_of(name).values())
    for engine, seconds in took.items():
        shown = ", ".join(f"{one:.1f}" for one in seconds)
        click.echo(
            f"{engine}: {statistics.median(seconds):.1f} s for {trials} seeds ({shown}), {runtime.cores()} cores"
        )


if __name__ == "__main__":
    main()
