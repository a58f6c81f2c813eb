"""Emulated CPUs that compute beside all other tests, on what these leave of the cores."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
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


@dataclass(frozen=True)
class Computing:
    """tests/portable.py while it runs, and the thread that notes how it ends."""

    process: subprocess.Popen[bytes]
    noting: threading.Thread

    def end(self) -> None:
        """End it if nobody waited for it."""
        self.process.kill()
        self.noting.join()


def start(folder: Path, *emulator: str) -> Computing:
    """Compute everything in a new folder, politely."""
    folder.mkdir()
    compose("smoke", folder / "params.yaml", ROOT / "conf")
    bare = {key: value for key, value in os.environ.items() if key not in PORTABLE}
    script = [sys.executable, str(ROOT / "tests" / "portable.py"), str(folder / "params.yaml"), str(folder / "made")]
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        process = subprocess.Popen(["nice", "-n", "19", *emulator, *script], env=bare, stdout=out, stderr=err)
    noting = threading.Thread(target=lambda: (folder / "code").write_text(f"{process.wait()}\n"), daemon=True)
    noting.start()
    return Computing(process, noting)


def start_all(folder: Path) -> list[Computing]:
    """One on this CPU ("native"), and one on each emulated one, if there is an emulator."""
    return [start(folder / "native"), *(start(folder / cpu, QEMU, "-cpu", cpu) for cpu in CPUS if QEMU)]
