"""`repligan ui` in a repository, and MLflow servers on other stores."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 120.0  # seconds that a server may take to answer
REPLIGAN = [sys.executable, "-W", "ignore", "-c", "from repligan.cli import command; command()"]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextmanager
def running(command: Sequence[str], folder: Path, url: str, **env: str) -> Iterator[str]:
    """What a server said until it answered at `url`; it runs in `folder` while inside."""
    keep = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "MLFLOW_"))}
    with tempfile.NamedTemporaryFile() as log:
        server = subprocess.Popen(
            command, cwd=folder, env=keep | env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            _wait_for(url, server, Path(log.name))
            yield Path(log.name).read_text()
        finally:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGTERM)
                server.wait()


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    began = time.monotonic()
    while time.monotonic() - began < PATIENCE:
        assert server.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"no answer in {PATIENCE:.0f} s: {log.read_text()}")


@contextmanager
def ui(repo: Path) -> Iterator[str]:
    """The address that `repligan ui` prints in a repository with an mlflow.db; it serves meanwhile."""
    port, own = free_port(), {"PYTHONPATH": str(repo / "src")}
    with running([*REPLIGAN, "ui", "--port", str(port)], repo, f"http://127.0.0.1:{port}", **own) as said:
        yield said.split()[0]


def elsewhere(code: str, folder: Path) -> str:
    """What code prints that runs in a folder and may not import this package."""
    command = [sys.executable, "-W", "ignore", "-c", f"import sys; sys.modules['repligan'] = None\n{code}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
