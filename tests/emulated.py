"""Emulated CPUs that compute beside all other tests, on what these leave of the cores."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from repligan.compose import compose
from repligan.core.runtime import PORTABLE

ROOT = Path(__file__).parents[1]
QEMU = shutil.which("qemu-x86_64")
CPUS = ("Haswell", "Broadwell", "EPYC")
LIMIT = 900  # seconds


@dataclass
class Computing:
    """tests/portable.py while it runs; what it prints goes to files, which no one has to read meanwhile."""

    folder: Path
    process: subprocess.Popen[bytes]

    def hashes(self) -> list[str]:
        """A line an output, once it is done."""
        code = self.process.wait(LIMIT)
        assert code == 0, (self.folder / "err").read_text()
        return (self.folder / "out").read_text().splitlines()


def start(folder: Path, *emulator: str) -> Computing:
    """Compute everything in a new folder, politely."""
    folder.mkdir()
    compose("smoke", folder / "params.yaml", ROOT / "conf")
    bare = {key: value for key, value in os.environ.items() if key not in PORTABLE}
    # Threads that spin while they wait keep the other emulated CPUs from running; it changes no bit.
    bare["OMP_WAIT_POLICY"] = "PASSIVE"
    script = [sys.executable, str(ROOT / "tests" / "portable.py"), str(folder / "params.yaml"), str(folder / "made")]
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        return Computing(
            folder, subprocess.Popen(["nice", "-n", "19", *emulator, *script], env=bare, stdout=out, stderr=err)
        )


def start_all(folder: Path) -> dict[str, Computing]:
    """One on this CPU ("native"), and one on each emulated one, if there is an emulator."""
    found = {"native": start(folder / "native")}
    return found | {cpu: start(folder / cpu, QEMU, "-cpu", cpu) for cpu in CPUS if QEMU}
