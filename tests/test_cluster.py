"""Trials on a Ray cluster of two nodes on this machine: the same bits, whatever is killed, and nothing taken twice."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest
import sweep
import torch
from click.testing import CliRunner
from conftest import ROOT

from repligan import cli, cluster
from repligan.engines import LocalProcesses
from repligan.evaluation import comparison
from repligan.evaluation.rows import CnnReference
from repligan.params import Params
from repligan.store import Store
from repligan.trials import digests

needs_ray = pytest.mark.skipif(
    find_spec("ray") is None and not os.environ.get("REPLIGAN_NEEDS_RAY"), reason="Ray is not installed"
)
IMAGES, TOY = "dcgan-mnist", "even"
EACH = 8  # trials of each kind
SHORT: dict[str, dict[str, Any]] = {
    IMAGES: {"steps": 4, "snapshot_every": 2, "log_every": 2, "threads": 1, "batch": 16, "variants": {}},
    TOY: {"steps": 40, "snapshot_every": 20, "variants": {}},
}
PATIENCE = 110.0  # seconds


def params_of(smoke: Params, **seeds: int) -> dict[str, Any]:
    """The tables of some experiments, for a few steps and so many seeds."""
    tables = smoke.model_dump(mode="json")
    tables["experiments"] = {name: tables["experiments"][name] | SHORT[name] | {"seeds": seeds[name]} for name in seeds}
    tables["evaluations"] = {
        name: tables["evaluations"][name] | {"milestones": [0, SHORT[name]["steps"]]} for name in seeds
    }
    tables["reports"] = {name: tables["reports"][name] for name in seeds}
    return tables


def prepare(folder: Path, tables: dict[str, Any], processed: Path) -> Path:
    """A folder that sweep.py takes."""
    folder.mkdir()
    (folder / "params.yaml").write_text(json.dumps(tables))
    (folder / "processed").symlink_to(processed)
    return folder


def made(folder: Path) -> dict[str, tuple[dict[str, str], int]]:
    """Finished entries of a store: name -> (file -> sha256, when it was made)."""
    found = [path for path in folder.glob("*/entry.json") if "." not in path.parent.name]
    return {path.parent.name: (json.loads(path.read_text())["files"], path.stat().st_mtime_ns) for path in found}


def hashes(folder: Path) -> dict[str, dict[str, str]]:
    """Of recorded values without the row in their header: a node may have trained them for another sweep."""
    return {entry.path.name: digests(entry) for entry in Store(folder).entries()}


def until(is_so: Callable[[], bool], driver: subprocess.Popen[str] | None = None) -> None:
    end = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < end
        assert driver is None or driver.poll() is None, driver.communicate()
        time.sleep(0.05)


def ended(driver: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code of a driver, and what it said on stderr."""
    _, said = driver.communicate(timeout=PATIENCE)
    return driver.returncode, said


@dataclass
class Node:
    """A raylet, and the folder in which its trials work."""

    process: subprocess.Popen[bytes]
    folder: Path

    def raylet(self) -> psutil.Process:
        return next(one for one in psutil.Process(self.process.pid).children(recursive=True) if one.name() == "raylet")


class Cluster:
    """Nodes of a core each on this machine."""

    def __init__(self, folder: Path):
        self.folder, self.nodes = folder, list[Node]()
        (folder / ".ray").mkdir()
        (folder / ".ray" / "auth_token").write_text(secrets.token_hex(32))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"

    def add(self, *before: str) -> Node:
        """Start another node, the first as the head; `before`: a command that starts it."""
        home = self.folder / str(len(self.nodes))
        port = self.address.rpartition(":")[2]
        where = (
            ["--address", self.address] if self.nodes else ["--head", "--port", port, "--include-dashboard", "false"]
        )
        size = ["--num-cpus", "1", "--object-store-memory", str(2**27), "--disable-usage-stats"]
        command = [*before, str(Path(sys.executable).with_name("ray")), "start", "--block", *where, *size]
        command += [] if self.nodes else ["--temp-dir", str(self.folder / "ray")]
        env = {key: one for key, one in self.env().items() if not key.startswith("RAY_")}
        with (self.folder / f"{len(self.nodes)}.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                env=env | {cluster.NODE_FOLDER: str(home), "RAY_AUTH_MODE": "token"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.nodes.append(Node(process, home))
        until(lambda: self._is_up(process))
        return self.nodes[-1]

    def env(self) -> dict[str, str]:
        """With a home in which there is a token: nobody without it may use the cluster."""
        return os.environ | {"HOME": str(self.folder)}

    def _is_up(self, process: subprocess.Popen[bytes]) -> bool:
        assert process.poll() is None, (self.folder / f"{len(self.nodes) - 1}.log").read_text()
        return "Ray runtime started" in (self.folder / f"{len(self.nodes) - 1}.log").read_text()

    def sweep(self, folder: Path, *options: str, **env: str) -> subprocess.Popen[str]:
        """A driver."""
        command = [sys.executable, str(ROOT / "tests" / "sweep.py"), str(folder), *options]
        said = {cluster.ENGINE: cluster.RAY, cluster.ADDRESS: self.address} | env
        return subprocess.Popen(
            command, env=self.env() | said, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def on_nodes(self) -> set[tuple[int, str, int]]:
        """(node, name, when) of all trials that nodes finished, whether or not a driver took them."""
        finished = [made(node.folder / "trials") for node in self.nodes]
        return {(i, name, when) for i, trials in enumerate(finished) for name, (_, when) in trials.items()}

    def unfinished(self) -> Iterator[Path]:
        """Folders of all nodes, of trainings that are not done."""
        return self.folder.glob("*/trials/*.unfinished")

    def checkpoints(self) -> Iterator[Path]:
        """Of all nodes, of trainings that wait to be continued."""
        return self.folder.glob("*/trials/*.unfinished/[0-9]*-*.safetensors")

    def end(self) -> None:
        for node in reversed(self.nodes):
            found = psutil.Process(node.process.pid).children(recursive=True) if node.process.poll() is None else []
            for one in [*found, node.process]:
                try:
                    one.kill()
                except psutil.NoSuchProcess:
                    continue
            node.process.wait()


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory(
        prefix="repligan-ray-", ignore_cleanup_errors=True
    ) as folder:  # sockets: a short path
        found = Cluster(Path(folder))
        try:
            found.add()
            found.add()
            yield found
        finally:
            found.end()


@needs_ray
def test_a_node_and_a_driver_are_killed_and_what_was_taken_is_not_trained_again(
    smoke: Params, processed: Path, ray_cluster: Cluster, tmp_path: Path
) -> None:
    tables = params_of(smoke, **{IMAGES: EACH, TOY: EACH * 1000})
    one_by_one = prepare(tmp_path / "one", tables, processed)
    on_ray = prepare(tmp_path / "ray", tables, processed)
    store = on_ray / "store"
    killed = ray_cluster.sweep(on_ray)
    until(lambda: len(made(store)) >= 3, killed)
    killed.kill()
    killed.communicate()
    first, at_first = made(store), ray_cluster.on_nodes()
    again = ray_cluster.sweep(on_ray)
    until(lambda: len(made(store)) >= len(first) + 4, again)
    ray_cluster.nodes[1].raylet().kill()
    second, at_second = made(store), ray_cluster.on_nodes()
    code, said = ended(again)
    assert code == 0, said
    assert re.search(rf"step {2 * EACH - len(first)}/{2 * EACH - len(first)} ", said), said
    found = made(store)
    assert {name: found[name] for name in second} == second  # none of them was written again
    assert set(second) <= {name for _, name, _ in at_second}
    for taken, there in ((first, at_first), (second, at_second)):
        again_there = ray_cluster.on_nodes() - there
        assert not set(taken) & {name for _, name, _ in again_there}  # nor trained again
    sweep.here(one_by_one)
    assert len(found) == 2 * EACH
    assert hashes(store) == hashes(one_by_one / "store")


@needs_ray
def test_measured_on_nodes_with_weights_that_are_kept_and_that_are_not(
    smoke: Params, processed: Path, ray_cluster: Cluster, tmp_path: Path
) -> None:
    tables = params_of(smoke, **{IMAGES: 2})
    on_ray, one_by_one = (prepare(tmp_path / name, tables, processed) for name in ("ray", "one"))
    row = smoke.references["mnist"]
    assert isinstance(row, CnnReference)
    (on_ray / "reference").mkdir()
    comparison.make(row, processed / "mnist", on_ray / "reference", torch.device("cpu"))
    (one_by_one / "reference").symlink_to(on_ray / "reference")
    for options, measure in (((), False), (("--measure",), True)):
        assert ended(ray_cluster.sweep(on_ray, *options))[0] == 0
        sweep.here(one_by_one, measure)
    assert len(made(on_ray / "store")) == 4
    assert hashes(on_ray / "store") == hashes(one_by_one / "store")


@needs_ray
def test_a_node_of_another_machine_is_left_out(
    smoke: Params, processed: Path, ray_cluster: Cluster, tmp_path: Path
) -> None:
    folder = prepare(tmp_path / "sweep", params_of(smoke, **{TOY: 6000}), processed)
    other = ray_cluster.add("setarch", "i686")
    code, said = ended(ray_cluster.sweep(folder))
    assert code == 0, said
    assert re.search(r"node [0-9a-f]{8} is left out: machine: found i686; allowed: x86_64, as the driver has", said)
    assert (len(made(folder / "store")), made(other.folder / "trials")) == (6, {})


@needs_ray
def test_a_trial_that_fails_ends_the_sweep_with_its_line_and_is_not_tried_again(
    smoke: Params, processed: Path, ray_cluster: Cluster, tmp_path: Path
) -> None:
    (tmp_path / "empty" / "mnist").mkdir(parents=True)
    folder = prepare(tmp_path / "sweep", params_of(smoke, **{IMAGES: 1}), tmp_path / "empty")
    code, said = ended(ray_cluster.sweep(folder))
    assert code == 2
    assert re.fullmatch(r"Error: \S+train.npy: not found; allowed: an output of an earlier stage, .*\n", said), said


@needs_ray
def test_ctrl_c_ends_a_sweep_whose_trainings_save_what_they_have(
    smoke: Params, processed: Path, ray_cluster: Cluster, tmp_path: Path
) -> None:
    tables = params_of(smoke, **{TOY: 1000})
    tables["experiments"][TOY] |= {"steps": 10**6, "snapshot_every": 5 * 10**5}
    tables["evaluations"][TOY]["milestones"] = [0, 10**6]
    folder = prepare(tmp_path / "sweep", tables, processed)
    waiting, before = set(ray_cluster.unfinished()), set(ray_cluster.checkpoints())
    driver = ray_cluster.sweep(folder)
    until(lambda: set(ray_cluster.unfinished()) > waiting, driver)
    driver.send_signal(signal.SIGINT)
    assert ended(driver)[0] == 128 + signal.SIGINT
    assert len(set(ray_cluster.checkpoints()) - before) == 1


@needs_ray
@pytest.mark.parametrize(
    ("address", "threads", "says"),
    [("127.0.0.1:1", 1, "no Ray cluster answers"), (None, 2, "no node that is fit has the 2 cores of a trial")],
)
def test_a_cluster_that_cannot_do_it_is_one_line(
    smoke: Params, processed: Path, ray_cluster: Cluster, tmp_path: Path, address: str | None, threads: int, says: str
) -> None:
    tables = params_of(smoke, **{IMAGES: 1})
    tables["experiments"][IMAGES] |= {"threads": threads}
    folder = prepare(tmp_path / "sweep", tables, processed)
    code, said = ended(ray_cluster.sweep(folder, **{cluster.ADDRESS: address or ray_cluster.address}))
    assert code == 2
    assert says in said
    assert said.startswith("Error: REPLIGAN_RAY_ADDRESS: "), said
    assert len(said.splitlines()) == 1


def test_processes_of_this_machine_run_the_trials_unless_the_environment_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(cluster.ENGINE, raising=False)
    assert isinstance(cluster.chosen(), LocalProcesses)
    monkeypatch.setenv(cluster.ENGINE, cluster.PROCESSES)
    assert isinstance(cluster.chosen(), LocalProcesses)
    monkeypatch.setenv(cluster.ENGINE, cluster.RAY)
    monkeypatch.setattr(cluster, "find_spec", lambda name: object())
    assert isinstance(cluster.chosen(), cluster.RayTasks)
    assert "ray" not in sys.modules


@pytest.mark.parametrize(
    ("options", "env", "says"),
    [
        (["--engine", "ray"], {}, "REPLIGAN_ENGINE: found 'ray', which is not installed; allowed: processes, or"),
        (["--address", "10.0.0.1:1"], {}, "--address: found '10.0.0.1:1' without Ray; allowed: with --engine ray"),
        ([], {cluster.ENGINE: "slurm"}, "REPLIGAN_ENGINE: found 'slurm'; allowed: processes, ray"),
    ],
)
def test_an_engine_that_is_not_to_be_had_is_refused_before_any_work(
    monkeypatch: pytest.MonkeyPatch, options: list[str], env: dict[str, str], says: str
) -> None:
    for name in (cluster.ENGINE, cluster.ADDRESS):  # what the command sets is undone after the test
        monkeypatch.setenv(name, env.get(name, ""))
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    monkeypatch.setattr(cli, "_refuse_elsewhere", None)  # what comes next would raise
    done = CliRunner().invoke(cli.main, ["decide", *options])
    assert (done.exit_code, says in done.stderr) == (2, True), done.output
