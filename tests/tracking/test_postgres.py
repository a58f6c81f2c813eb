"""What docs/server.md says, on a real PostgreSQL: a shared server, and two people who sync to it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT
from serving import elsewhere, free_port, running

from repligan import tracking
from repligan.params import Params
from repligan.tracking import projection

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own
FOUND = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
PG_CTL = shutil.which("pg_ctl") or (str(FOUND[-1]) if FOUND else None)
NEEDED = "REPLIGAN_NEEDS_POSTGRES" in os.environ


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """The address of an empty database of a PostgreSQL that runs meanwhile."""
    assert PG_CTL, "REPLIGAN_NEEDS_POSTGRES is set, but PostgreSQL is not installed"
    folder, port, programs = Path(tempfile.mkdtemp(prefix="repligan-pg-")), free_port(), Path(PG_CTL).resolve().parent
    as_user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []  # it refuses to run as root
    if as_user:
        shutil.chown(folder, "postgres")

    def run(program: str, *arguments: str) -> None:
        command = [*as_user, str(programs / program), *arguments]
        done = subprocess.run(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    data, options = str(folder / "data"), f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    try:
        run("initdb", "-D", data, "-U", "mlflow", "-A", "trust", "-N")
        run("pg_ctl", "-D", data, "-o", options, "-l", str(folder / "log"), "-w", "start")
        try:
            run("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "mlflow", "mlflow")
            yield f"127.0.0.1:{port}"
        finally:
            run("pg_ctl", "-D", data, "-m", "fast", "-w", "stop")
    finally:
        shutil.rmtree(folder)


def command_of_the_docs(database: str, files: Path, port: int) -> list[str]:
    """The server as docs/server.md starts it, on another database, folder and port."""
    text = (ROOT / "docs" / "server.md").read_text()
    [command] = re.findall(r"```sh\n(mlflow server .*?)```", text, re.DOTALL)
    replaced = {"127.0.0.1:5432": database, "/srv/mlflow": str(files), "--port 5000": f"--port {port}"}
    for old, new in {**replaced, "runs.example.org:5000": f"localhost:{port}", "--workers 2": "--workers 1"}.items():
        assert old in command
        command = command.replace(old, new)
    return [sys.executable, "-m", *shlex.split(command.replace("\\\n", ""))]


def only(params: Params, *names: str) -> Params:
    """The same with these experiments only: a server is slower than a file."""
    said = params.model_dump(mode="json")
    for table in ("experiments", "evaluations", "reports"):
        said[table] = {name: said[table][name] for name in names}
    return Params.model_validate(said)


@pytest.mark.skipif(not PG_CTL and not NEEDED, reason="no PostgreSQL on this machine")
def test_a_shared_server_takes_what_two_people_sync(
    database: str, smoke: Params, reproduced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, files, made = free_port(), tmp_path / "files", reproduced / "made"
    params = only(smoke, "dcgan-svhn")
    with running(command_of_the_docs(database, files, port), tmp_path, f"http://127.0.0.1:{port}"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url := f"http://localhost:{port}")
        monkeypatch.setenv("REPLIGAN_TRIALS", str(reproduced / "store"))
        monkeypatch.delenv("DVC_ROOT", raising=False)
        said = []
        for name in ("ada", "ben"):
            (tmp_path / name).mkdir()
            monkeypatch.chdir(tmp_path / name)
            monkeypatch.setenv("LOGNAME", name)
            said.append(projection.sync(params, made / "data", made / "reports"))
        assert said == [dict.fromkeys(said[0], what) for what in ("written", "was there")]
        store = tracking.open_store()
        runs = store.runs()
        assert {run.data.tags["mlflow.user"] for run in runs} == {"ada"}
        tops = {run.data.tags["level"]: run for run in runs if "mlflow.parentRunId" not in run.data.tags}
        assert tops.keys() == {"system", "claims"}
        assert tops["system"].info.artifact_uri.startswith("mlflow-artifacts:/")
        code = (
            f"import mlflow, torch; mlflow.set_tracking_uri('{url}');"
            "print(*mlflow.pytorch.load_model('models:/dcgan-svhn@best')(torch.zeros(3, 100)).shape)"
        )
        assert elsewhere(code, tmp_path) == "3 3 32 32\n"
    assert list(files.rglob("index.html"))
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".db"] == []
