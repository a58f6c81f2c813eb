"""Emulated CPUs that compute beside all other tests, on what these leave of the cores."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from repligan.compose import compose
from repligan.core.runtime import PORTABLE

ROOT = Path(__file__).parents[1]
QEMU = shutil.which("qemu-x86_64")
CPUS = ("Haswell", "Broadwell", "EPYC")
LIMIT = 900  # seconds


@dataclass(frozen=True)
class Computed:
    """What tests/portable.py leaves in a folder, for a process that need not be the one that started it."""

    folder: Path

    def hashes(self) -> list[str]:
        """A line an output, once it is done."""
        until = time.monotonic() + LIMIT
        while not (code := self._code()) and time.monotonic() < until:
            time.sleep(0.1)
        assert code == "0", f"exit code {code or 'none yet'}: {(self.folder / 'err').read_text()}"
        return (self.folder / "out").read_text().splitlines()

    def _code(self) -> str:
        file = self.folder / "code"
        return file.read_text().strip() if file.exists() else ""


def start(folder: Path, *emulator: str) -> subprocess.Popen[bytes]:
    """Compute everything in a new folder, politely."""
    folder.mkdir()
    compose("smoke", folder / "params.yaml", ROOT / "conf")
    bare = {key: value for key, value in os.environ.items() if key not in PORTABLE}
    script = [sys.executable, str(ROOT / "tests" / "portable.py"), str(folder / "params.yaml"), str(folder / "made")]
    out, err, code = (shlex.quote(str(folder / name)) for name in ("out", "err", "code"))
    line = f"nice -n 19 {shlex.join([*emulator, *script])} >{out} 2>{err}; echo $? >{code}"
    return subprocess.Popen(["sh", "-c", line], env=bare, stdin=subprocess.DEVNULL, process_group=0)


def start_all(folder: Path) -> list[subprocess.Popen[bytes]]:
    """One on this CPU ("native"), and one on each emulated one, if there is an emulator."""
    return [start(folder / "native"), *(start(folder / cpu, QEMU, "-cpu", cpu) for cpu in CPUS if QEMU)]


def end(started: list[subprocess.Popen[bytes]]) -> None:
    """End those that nobody waited for."""
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
