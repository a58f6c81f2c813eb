"""docs/sweep.slurm on a real Slurm of two nodes on this machine, each with an address and processes of its own."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import sweep
from conftest import ROOT
from test_cluster import IMAGES, TOY, hashes, needs_ray, params_of, prepare

from repligan import cluster
from repligan.params import Params

NEEDED = ("slurmctld", "slurmd", "sbatch", "munged", "ip", "unshare")
needs_slurm = pytest.mark.skipif(
    "REPLIGAN_NEEDS_SLURM" not in os.environ and (os.getuid() != 0 or not all(map(shutil.which, NEEDED))),
    reason="no Slurm on this machine, or not root, who may make two nodes of it",
)
NODES = (1, 2)
ENDS = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
CONF = """\
ClusterName=here
SlurmctldHost={host}({net}.254)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
KillWait=2
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
NodeName=n[1-2] NodeAddr={net}.[1-2] CPUs=1 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES State=UP
"""


def said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


def node(i: int, mark: str, net: str, undo: ExitStack) -> list[str]:
    """A command that runs others on a node: with a name, an address, processes and temporary folders of its own."""
    space, ours, theirs = f"{mark}n{i}", f"{mark}v{i}", f"{mark}e{i}"
    said("ip", "netns", "add", space)
    undo.callback(said, "ip", "netns", "del", space)
    said("ip", "link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", space)
    said("ip", "link", "set", ours, "master", f"{mark}b", "up")
    said("ip", "-n", space, "addr", "add", f"{net}.{i}/24", "dev", theirs)
    for device in ("lo", theirs):
        said("ip", "-n", space, "link", "set", device, "up")
    said("ip", "-n", space, "route", "add", "default", "via", f"{net}.254")
    own = "mkdir -p /tmp/ray && mount -t tmpfs tmpfs /tmp/ray && mount -t tmpfs tmpfs /dev/shm"
    apart = ["unshare", "--uts", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc"]
    return ["ip", "netns", "exec", space, *apart, "sh", "-c", f'hostname n{i} && {own} && exec "$@"', "sh"]


@pytest.fixture
def slurm() -> Iterator[Path]:
    """The folder of a running Slurm, with its slurm.conf."""
    with (
        tempfile.TemporaryDirectory(prefix="repligan-slurm-", ignore_cleanup_errors=True) as temporary,
        ExitStack() as undo,
    ):
        folder, mark, net = Path(temporary), f"r{secrets.token_hex(2)}", f"10.{secrets.randbelow(100) + 100}.7"
        said("ip", "link", "add", f"{mark}b", "type", "bridge")
        undo.callback(said, "ip", "link", "del", f"{mark}b")
        said("ip", "addr", "add", f"{net}.254/24", "dev", f"{mark}b")
        said("ip", "link", "set", f"{mark}b", "up")
        for name in ("munge", "state", "spool-n1", "spool-n2"):
            (folder / name).mkdir(mode=0o755)
        folder.chmod(0o755)
        with socket.socket() as free:  # another Slurm may have the usual port
            free.bind(("", 0))
            port = free.getsockname()[1]
        text = CONF.format(host=os.uname().nodename, net=net, folder=folder, port=port)
        (folder / "slurm.conf").write_text(text)
        (folder / "cgroup.conf").write_text(
            f"CgroupPlugin=cgroup/{'v2' if Path('/sys/fs/cgroup/cgroup.controllers').exists() else 'v1'}\n"
        )
        key = folder / "munge" / "key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        daemons = [["munged", "--foreground", *(f"--{name}={folder}/munge/{file}" for name, file in files.items())]]
        daemons.append(["slurmctld", "-D", "-f", f"{folder}/slurm.conf"])
        for i in NODES:
            daemons.append([*node(i, mark, net, undo), "slurmd", "-D", "-N", f"n{i}", "-f", f"{folder}/slurm.conf"])
        for i, command in enumerate(daemons):
            with (folder / f"daemon-{i}.log").open("wb") as log:
                daemon = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | conf(folder))
            undo.callback(end, daemon)
            time.sleep(1)
        yield folder


def end(daemon: subprocess.Popen[bytes]) -> None:
    daemon.kill() if daemon.args[0] == "ip" else daemon.terminate()  # type: ignore[index]
    daemon.wait(60)


def conf(folder: Path) -> dict[str, str]:
    return {"SLURM_CONF": f"{folder}/slurm.conf"}


@needs_ray
@needs_slurm
def test_a_job_of_two_nodes_trains_to_the_hashes_of_one_machine(
    smoke: Params, processed: Path, slurm: Path, tmp_path: Path
) -> None:
    tables = params_of(smoke, **{IMAGES: 4, TOY: 4000})
    on_slurm, here = (prepare(tmp_path / name, tables, processed) for name in ("slurm", "here"))
    driver = [sys.executable, str(ROOT / "tests" / "sweep.py"), str(on_slurm)]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = os.environ | conf(slurm) | {"PATH": path, cluster.NODE_FOLDER: str(tmp_path / "node")}
    command = ["sbatch", "--parsable", str(ROOT / "docs" / "sweep.slurm"), *driver]
    job = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True).stdout.strip()
    state, until = "", time.monotonic() + 300  # `sbatch --wait` would look after 2, 10 and 42 seconds
    while state not in ENDS and time.monotonic() < until:
        time.sleep(0.5)
        shown = subprocess.run(["scontrol", "show", "job", job], env=env, capture_output=True, text=True, check=True)
        state = re.findall(r"JobState=(\w+)", shown.stdout)[0]
    logs = {path.name: path.read_text()[-2000:] for path in tmp_path.glob("repligan-*.log")}
    assert state == "COMPLETED", logs
    assert {name.split("-")[-1] for name in logs} >= {"n1.log", "n2.log"}
    sweep.here(here)
    assert len(hashes(on_slurm / "store")) == 8
    assert hashes(on_slurm / "store") == hashes(here / "store")
