"""Bad inputs and faults, each as a command for real: what is wrong, how to bring it about, what it must end with."""

from __future__ import annotations

import gzip
import http.server
import io
import json
import lzma
import os
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from conftest import ROOT
from PIL import Image
from ruamel.yaml import YAML
from safetensors.numpy import load, save
from smoke import NOWHERE, stage

from repligan import compose, tracking

# What tracking sets where the user has not: put back after a case that runs in this process.
SET_BY_MLFLOW = ("MLFLOW_DISABLE_TELEMETRY", "MLFLOW_HTTP_REQUEST_TIMEOUT", "GIT_PYTHON_REFRESH", "DVC_ROOT")
LONGEST = 120.0  # seconds that a command may take


@dataclass
class Bench:
    """Where a case runs: its folders, those that it may copy from, and what is undone after it."""

    folder: Path
    temporary: Path  # where commands leave nothing; a short path, since sockets lie there
    made: Path
    store: Path
    stopped: Path
    patch: pytest.MonkeyPatch
    undo: ExitStack
    params: dict[str, str] = field(default_factory=dict)  # placeholder in the command -> its value

    def filled(self, command: str) -> str:
        """The command with its placeholders filled in."""
        for name, value in self.params.items():
            command = command.replace(name, value)
        return command


@dataclass(frozen=True)
class Done:
    """What a command ended with."""

    code: int
    stderr: str


Arrange = Callable[[Bench], None]
Act = Callable[[Bench, str], Done]


@dataclass(frozen=True)
class Case:
    """`what` is wrong once `arrange` has run; `command` must then end with `code` and a message with `says` in it."""

    what: str
    command: str
    code: int
    arrange: tuple[Arrange, ...]
    act: Act
    says: str = ""


# How a command runs.


def parsed(command: str) -> tuple[dict[str, str], list[str]]:
    """The environment and the words of a command line; without a server of its own, MLflow's is absent."""
    words = shlex.split(command)
    env = dict(NOWHERE)
    while "=" in words[0]:
        key, value = words.pop(0).split("=", 1)
        env[key] = value
    return env, words


def here(bench: Bench, command: str) -> Done:
    """Run a command in this process, which has torch loaded already."""
    from repligan import cli, trials

    trials._digest.cache_clear()  # a case may give its data another content
    env, words = parsed(bench.filled(command))
    for key in SET_BY_MLFLOW:
        bench.patch.setenv(key, "unset")
        bench.patch.delenv(key)
    program = stage(Path(words[1]).stem).main if words[0] == "python" else cli.main
    words = words[2:] if words[0] == "python" else words[1:]
    bench.patch.chdir(bench.folder)
    shown = CliRunner().invoke(program, words, env=env, prog_name="program")
    stderr = shown.stderr
    if shown.exception and not isinstance(shown.exception, SystemExit):
        stderr += "".join(traceback.format_exception(shown.exception))
    return Done(shown.exit_code, stderr)


def popen(bench: Bench, command: str) -> subprocess.Popen[str]:
    """Start a command in a process of its own."""
    env, words = parsed(bench.filled(command))
    if words[0] == "python":
        words = [sys.executable, str(ROOT / words[1]), *words[2:]]
    elif words[0] == "repligan":
        code = "import sys; sys.argv[0] = 'repligan'; from repligan.cli import command; command()"
        words = [sys.executable, "-c", code, *words[1:]]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    if (bench.folder / "src").exists():
        env["PYTHONPATH"] = str(bench.folder / "src")
    keep = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "MLFLOW_", "REPLIGAN_"))}
    return subprocess.Popen(
        words,
        cwd=bench.folder,
        env=keep | env | {"PATH": path, "TMPDIR": str(bench.temporary), "PYTHONDONTWRITEBYTECODE": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> Done:
    """Wait for a process; one that does not end is killed, with its children."""
    try:
        _, stderr = process.communicate(timeout=LONGEST)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return Done(-1, f"did not end within {LONGEST:.0f} s")
    return Done(process.returncode, stderr)


def apart(bench: Bench, command: str) -> Done:
    """Run a command in a process of its own."""
    return finish(popen(bench, command))


def in_little_memory(bench: Bench, command: str) -> Done:
    """Run a command that may take 2 GB: without a check of its values it would take the machine's."""
    env, words = parsed(bench.filled(command))
    limited = f"ulimit -v 2000000; exec {shlex.join([sys.executable, str(ROOT / words[1]), *words[2:]])}"
    done = subprocess.run(
        ["sh", "-c", limited],
        cwd=bench.folder, env=os.environ | env, capture_output=True, text=True, timeout=LONGEST, check=False,
    )  # fmt: skip
    return Done(done.returncode, done.stderr)


def signalled(number: signal.Signals, once: str) -> Act:
    """Run a command and send it a signal once a file or folder is there."""

    def act(bench: Bench, command: str) -> Done:
        process = popen(bench, command)
        deadline = time.monotonic() + LONGEST
        while not list(bench.folder.glob(once)) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(number)
        return finish(process)

    return act


def kill_child(bench: Bench, command: str) -> Done:
    """Run a stage and kill its training, as the kernel does where memory ends."""
    process = popen(bench, command)
    deadline = time.monotonic() + LONGEST
    while not (found := list(bench.folder.glob(FIRST_SNAPSHOT))) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert found, "it takes too long"
    trainings = [
        pid for pid in (int(one.name) for one in Path("/proc").glob("[0-9]*")) if grandparent(pid) == process.pid
    ]
    for pid in trainings:
        os.kill(pid, signal.SIGKILL)
    return finish(process)


def grandparent(pid: int) -> int:
    """The parent of a process's parent: trainings are forked by a server that the stage started."""
    return parent(parent(pid))


def parent(pid: int) -> int:
    """The parent of a process, 0 where there is none any more."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) if pid else 0
    except OSError:
        return 0


def twice(bench: Bench, command: str) -> Done:
    """Run a stage again while it runs: the second one's end; the first must succeed, and so must a rerun."""
    first = popen(bench, command)
    wait_for(bench.folder / "began", first)
    second = apart(bench, command)
    (bench.folder / "go").touch()
    done = finish(first)
    assert done.code == 0, done.stderr
    again = apart(bench, command)
    assert again.code == 0, again.stderr
    for name in ("began", "go"):
        (bench.folder / name).unlink()
    return second


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a process has made a file."""
    deadline = time.monotonic() + LONGEST
    while not path.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert path.exists(), process.communicate()[1] if process.poll() is not None else "it takes too long"


# What is wrong before it runs.


def changed(path: str, value: Any) -> Arrange:
    """params.yaml with another value at a path of keys; new keys where there are none."""

    def arrange(bench: Bench) -> None:
        with yaml_of(bench) as params:
            put(params, path, value)

    return arrange


def claimed(path: str, value: Any) -> Arrange:
    """The same in conf/claims.yaml."""

    def arrange(bench: Bench) -> None:
        with yaml_of(bench, "conf/claims.yaml") as claims:
            put(claims["claims"], path, value)

    return arrange


def put(table: Any, path: str, value: Any) -> None:
    """Another value at a path of keys."""
    *parents, last = path.split("/")
    for key in parents:
        table = table[int(key)] if isinstance(table, list) else table.setdefault(key, {})
    table[int(last) if isinstance(table, list) else last] = value


def without(path: str) -> Arrange:
    """params.yaml without a key."""

    def arrange(bench: Bench) -> None:
        with yaml_of(bench) as params:
            at = params
            *parents, last = path.split("/")
            for key in parents:
                at = at[key]
            del at[last]

    return arrange


def renamed(table: str, old: str, new: str) -> Arrange:
    """params.yaml with a row under another name."""

    def arrange(bench: Bench) -> None:
        with yaml_of(bench) as params:
            at = params
            for key in table.split("/"):
                at = at[key]
            at[new] = at.pop(old)

    return arrange


@contextmanager
def yaml_of(bench: Bench, name: str = "params.yaml") -> Iterator[Any]:
    """The content of a YAML file, written back after the block."""
    yaml, file = YAML(typ="safe"), bench.folder / name
    yaml.default_flow_style = False
    content = yaml.load(file.read_text())
    yield content
    with file.open("w") as opened:
        yaml.dump(content, opened)


def text(old: str, new: str) -> Arrange:
    """params.yaml with other words, for what no writer of YAML would write."""

    def arrange(bench: Bench) -> None:
        file = bench.folder / "params.yaml"
        content = file.read_text()
        assert old in content
        file.write_text(content.replace(old, new, 1))

    return arrange


def content(path: str, data: bytes) -> Arrange:
    """A file with this content."""

    def arrange(bench: Bench) -> None:
        file = bench.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    return arrange


def of_files(layout: str, *names: str, **form: Any) -> Arrange:
    """params.yaml with MNIST from files of this layout and other values of its form, and the stages' folders."""

    def arrange(bench: Bench) -> None:
        with yaml_of(bench) as params:
            files = [{"name": name, "places": ["nowhere"]} for name in names]
            params["datasets"]["mnist"]["source"] = {"kind": "files", "layout": layout, "files": files}
            params["datasets"]["mnist"]["form"] |= form
        for name in ("raw", "processed"):
            (bench.folder / "data" / name).mkdir(parents=True, exist_ok=True)

    return arrange


def zipped(path: str, members: dict[str, bytes], locked: bool = False) -> Arrange:
    """A zip of these members, or one that says they are encrypted."""

    def arrange(bench: Bench) -> None:
        file = bench.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(file, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, data)
        if locked:
            data = bytearray(file.read_bytes())
            data[data.index(b"PK\1\2") + 8] = 1
            file.write_bytes(data)

    return arrange


def idx(name: str, values: np.ndarray) -> Arrange:
    """A raw file of MNIST's format."""
    head = b"\0\0\x08" + bytes([values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
    return content(f"data/raw/mnist/{name}-ubyte.gz", gzip.compress(head + values.astype(np.uint8).tobytes()))


def seeded(row: str) -> Arrange:
    """A conf/seeds.yaml of this row."""
    return content("conf/seeds.yaml", f"seeds: {{smoke: {{{row}}}}}\n".encode())


def array(path: str, values: np.ndarray) -> Arrange:
    """A .npy file of these values, objects among them as a pickle."""
    return lambda bench: np.save(bench.folder / path, values, allow_pickle=values.dtype == object)


def cut(path: str, kept: float = 0.6) -> Arrange:
    """A file, or the first that matches, that ends too early."""

    def arrange(bench: Bench) -> None:
        file = sorted(bench.folder.glob(path), reverse=True)[0]
        data = file.read_bytes()
        file.write_bytes(data[: int(kept * len(data))])

    return arrange


def cut_all(path: str) -> Arrange:
    """All files that match, each ending too early."""

    def arrange(bench: Bench) -> None:
        files = list(bench.folder.glob(path))
        assert files
        for file in files:
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])

    return arrange


def copied(source: str, target: str) -> Arrange:
    """A file in the place of another."""
    return lambda bench: str(shutil.copy(bench.folder / source, bench.folder / target)) and None


def gone(path: str) -> Arrange:
    """Without a file or folder."""

    def arrange(bench: Bench) -> None:
        found = bench.folder / path
        shutil.rmtree(found) if found.is_dir() else found.unlink()

    return arrange


def folder(path: str) -> Arrange:
    """An empty folder."""
    return lambda bench: (bench.folder / path).mkdir(parents=True)


def made(bench: Bench) -> None:
    """All that the pipeline makes at the smoke scale, without the finished trials: they are done again."""
    shutil.copytree(bench.made, bench.folder, dirs_exist_ok=True)


def finished(bench: Bench) -> None:
    """The same with the finished trials."""
    made(bench)
    shutil.copytree(bench.store, bench.folder / ".work" / "trials")


def alone(name: str) -> Arrange:
    """params.yaml with an experiment as published only: one trial, hence one message."""
    return changed(f"experiments/{name}/variants", {})


def only_even(bench: Bench) -> None:
    """params.yaml with one small experiment: what is drawn has nothing to do with the case."""
    with yaml_of(bench) as params:
        for table in ("experiments", "evaluations", "reports"):
            params[table] = {"even": params[table]["even"]}


def other_config(bench: Bench) -> None:
    """The stopped training in the place of the one that params.yaml asks for."""
    from repligan.core.rows import fingerprint
    from repligan.params import load
    from repligan.store import Store
    from repligan.trials import Workshop

    store = Store(bench.folder / ".work" / "trials")
    workshop = Workshop(load(bench.folder / "params.yaml"), bench.folder / "data/processed/even", Path(), store)
    [unfinished] = store.unfinished()
    unfinished.rename(store.folder / f"{fingerprint(workshop.training_key(workshop.trials('even')[0]))}.unfinished")


def other_weights(bench: Bench) -> None:
    """A record of trials with another hash of the weights of a variant, which are not kept."""
    file = bench.folder / "data/runs/even/trials.json"
    trials = json.loads(file.read_text())
    trials[1]["weights"]["step_00000060.safetensors"] = "0" * 64
    file.write_text(json.dumps(trials))


def exported(bench: Bench) -> None:
    """The finished trials of `even` in a file."""
    assert here(bench, EXPORT).code == 0


def emptied(bench: Bench) -> None:
    """Without the finished trials."""
    shutil.rmtree(bench.folder / ".work" / "trials")


def told_otherwise(bench: Bench, change: Callable[[dict[str, Any]], None]) -> None:
    """The file of trials, with a change in what it says of the first one."""
    file = bench.folder / "seeds.trials"
    inside = load(lzma.decompress(file.read_bytes()))
    said = json.loads(inside["trials"].tobytes())
    change(said["trials"][0])
    inside["trials"] = np.frombuffer(json.dumps(said).encode(), np.uint8)
    file.write_bytes(lzma.compress(save(inside)))


def other_trial(bench: Bench) -> None:
    """A file with another hash of a picture that was measured."""
    told_otherwise(bench, lambda trial: trial["measuring"]["files"].update({"pictures.safetensors": "0" * 64}))


def other_weights_imported(bench: Bench) -> None:
    """A file with another hash of a snapshot, imported."""

    def change(trial: dict[str, Any]) -> None:
        name = "step_00000060.safetensors"
        trial["training"]["files"][name] = trial["measuring"]["key"]["weights"][name] = "0" * 64

    told_otherwise(bench, change)
    assert here(bench, IMPORT).code == 0


def measured(bench: Bench) -> None:
    """The metrics of all experiments, and the ledger."""
    shutil.copytree(bench.made / "reports" / "metrics", bench.folder / "reports" / "metrics")
    shutil.copy(bench.made / "reports" / "claims.json", bench.folder / "reports")


def stopped(bench: Bench) -> None:
    """The same, and a training of `even` that was stopped twice: a checkpoint at step 20, one at 40."""
    made(bench)
    shutil.copytree(bench.stopped, bench.folder, dirs_exist_ok=True)


def long(name: str) -> Arrange:
    """params.yaml with a training, and no other, that lasts longer than any test."""

    def arrange(bench: Bench) -> None:
        with yaml_of(bench) as params:
            params["experiments"][name] |= {"steps": 10**6, "snapshot_every": 10**6, "variants": {}}
            params["evaluations"][name]["milestones"] = [0, 10**6]

    return arrange


def mounted(path: str, options: str) -> Arrange:
    """A file system of its own at a folder, which must not hold anything yet; undone after the case."""

    def arrange(bench: Bench) -> None:
        target = bench.folder / path
        target.mkdir(parents=True, exist_ok=True)
        assert not any(target.iterdir())
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(target)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"may not mount here: {done.stderr.strip()}")
        bench.undo.callback(subprocess.run, ["umount", "--lazy", str(target)], check=True)

    return arrange


def no_cuda(bench: Bench) -> None:
    """Only where there is none."""
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")


def git(bench: Bench, *arguments: str) -> None:
    """Run git in the case's folder."""
    author = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    subprocess.run(["git", *author, *arguments], cwd=bench.folder, capture_output=True, check=True)


def committed(bench: Bench) -> None:
    """A git repository with one commit of what is there."""
    for arguments in (("init", "-q", "-b", "main"), ("add", "-A"), ("commit", "-qm", "all")):
        git(bench, *arguments)


def repository(bench: Bench) -> None:
    """A copy of this repository at the smoke scale, with its dvc.lock and without outputs."""
    for name in ("conf", "src", "stages", "published", ".dvc"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "cache", "tmp", "config.local")
        shutil.copytree(ROOT / name, bench.folder / name, ignore=ignored, dirs_exist_ok=True)
    compose.select("smoke", bench.folder / "conf")
    for name in (".dvcignore", ".gitignore", "dvc.yaml", "dvc.lock", "requirements.lock"):
        shutil.copy(ROOT / name, bench.folder / name)
    committed(bench)
    bench.patch.setenv("HOME", str(bench.folder.parent))


def fetched_slowly(bench: Bench) -> None:
    """The fetch stage says that it began and waits until it may go on."""
    file = bench.folder / "stages" / "fetch.py"
    waiting = (
        "import time\nPath('began').touch()\nwhile not Path('go').exists():\n    time.sleep(0.05)\n"
        'if __name__ == "__main__":'
    )
    file.write_text(file.read_text().replace('if __name__ == "__main__":', waiting))


def reproduced(*targets: str) -> Arrange:
    """With these stages reproduced."""

    def arrange(bench: Bench) -> None:
        done = apart(bench, shlex.join(["dvc", "repro", *targets]))
        assert done.code == 0, done.stderr

    return arrange


def failing(target: str) -> Arrange:
    """After a stage that failed."""

    def arrange(bench: Bench) -> None:
        assert apart(bench, f"dvc repro {target}").code == 255

    return arrange


def server(answer: Callable[[http.server.BaseHTTPRequestHandler], None]) -> Arrange:
    """A server on this machine, named <server> in the command."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    def arrange(bench: Bench) -> None:
        listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        listening.daemon_threads = True
        listening.block_on_close = False
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        bench.undo.callback(listening.server_close)
        bench.undo.callback(listening.shutdown)
        bench.params["<server>"] = f"http://127.0.0.1:{listening.server_port}"

    return arrange


def never(request: http.server.BaseHTTPRequestHandler) -> None:
    """Take a request and say nothing."""
    time.sleep(LONGEST)


def once(request: http.server.BaseHTTPRequestHandler) -> None:
    """Know the experiment, and break every later connection off."""
    if "get-by-name" not in request.path:
        request.close_connection = True
        return
    experiment = {"experiment_id": "1", "name": "repligan", "artifact_location": "x", "lifecycle_stage": "active"}
    body = json.dumps({"experiment": experiment}).encode()
    request.send_response(200)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


def taken_port(bench: Bench) -> None:
    """A port that another program listens on, named <port> in the command."""
    other = socket.create_server(("127.0.0.1", 0))
    bench.undo.enter_context(closing(other))
    bench.params["<port>"] = str(other.getsockname()[1])


def free_port(bench: Bench) -> None:
    """A port that nobody listens on, named <port> in the command."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        bench.params["<port>"] = str(free.getsockname()[1])


def other_mlflow(bench: Bench) -> None:
    """An mlflow.db as a newer MLflow would have made it."""
    bench.patch.chdir(bench.folder)
    bench.patch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tracking.open_store()
    with closing(sqlite3.connect("mlflow.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = 'abcdefabcdef'")


def locked(bench: Bench) -> None:
    """An mlflow.db that is written to for as long as the case takes."""
    database = sqlite3.connect(bench.folder / "mlflow.db", isolation_level=None)
    bench.undo.enter_context(closing(database))
    database.execute("BEGIN EXCLUSIVE")
    bench.patch.setattr(tracking.store, "LOCKED", 0.1)


# The cases.

FETCH = "python stages/fetch.py even data/raw/even"
PREPROCESS = "python stages/preprocess.py even data/raw/even data/processed/even"
REFERENCE = "python stages/reference.py even data/processed/even data/reference/even"
TRAIN = "python stages/train.py even data/processed/even data/runs/even"
EVALUATE = (
    "python stages/evaluate.py even data/runs/even data/processed/even data/reference/even "
    "data/evaluations/even reports/metrics/even.json"
)
REPORT = "python stages/report.py data reports"
CLAIMS = "python stages/claims.py data/evaluations data/claims/values.safetensors reports/claims.json"
EXPORT, IMPORT = "repligan trials export even -o seeds.trials", "repligan trials import seeds.trials"
SYNC, VERIFY, DOCTOR = "repligan sync", "repligan verify", "repligan doctor"
MNIST = {key: command.replace("even", "mnist") for key, command in (("raw", PREPROCESS), ("reference", REFERENCE))} | {
    "train": "python stages/train.py dcgan-mnist data/processed/mnist data/runs/dcgan-mnist",
    "evaluate": EVALUATE.replace("processed/even", "processed/mnist")
    .replace("reference/even", "reference/mnist")
    .replace("even ", "dcgan-mnist ", 1)
    .replace("runs/even", "runs/dcgan-mnist")
    .replace("evaluations/even", "evaluations/dcgan-mnist")
    .replace("metrics/even", "metrics/dcgan-mnist"),
}
STAGE = "preprocess@even"
BITS_TRAIN = "python stages/train.py bits1010 data/processed/bits1010 data/runs/bits1010"
STALLED = "MLFLOW_TRACKING_URI=<server> MLFLOW_HTTP_REQUEST_TIMEOUT=600 "
SLOW = "MLFLOW_TRACKING_URI=<server> MLFLOW_HTTP_REQUEST_TIMEOUT=1 MLFLOW_HTTP_REQUEST_MAX_RETRIES=0 "
DROPPED = "MLFLOW_TRACKING_URI=<server> MLFLOW_HTTP_REQUEST_MAX_RETRIES=0 "


def bad(what: str, command: str, *arrange: Arrange, act: Act = here, says: str = "") -> Case:
    """Input that no command can use."""
    return Case(what, command, 2, arrange, act, says)


def value(what: str, command: str, *arrange: Arrange, act: Act = here) -> Case:
    """A params.yaml that no command can use, which says so before it looks for anything else."""
    return bad(what, command, *arrange, act=act, says="params.yaml: ")


def claim(what: str, *arrange: Arrange) -> Case:
    """A conf/claims.yaml that the claims stage cannot use."""
    return bad(what, CLAIMS, *arrange, says="conf/claims.yaml: ")


def fault(what: str, command: str, *arrange: Arrange, act: Act = here, says: str = "") -> Case:
    """A fault of the machine, or of what is around it."""
    return Case(what, command, 1, arrange, act, says)


def copes(what: str, command: str, *arrange: Arrange, act: Act = here) -> Case:
    """Something wrong that the program gets along with."""
    return Case(what, command, 0, arrange, act)


def grey(shade: int) -> bytes:
    """A picture as a file."""
    file = io.BytesIO()
    Image.new("L", (8, 8), shade).save(file, "PNG")
    return file.getvalue()


PICTURES = {f"{'ab'[i % 2]}/{i}.png": grey(i) for i in range(210)}
SHARDS = {f"{i // 70:02d}000/{i}.png": grey(i) for i in range(210)}
RAW_ZIP, KEPT_ZIP = "data/raw/mnist/x.zip", "downloads/mnist/x.zip"
MNIST_FILES = [f"{split}-{what}-ubyte.gz" for split in ("train", "t10k") for what in ("images-idx3", "labels-idx1")]
FETCH_MNIST = "python stages/fetch.py mnist data/raw/mnist"
RUN = "data/runs/even/published/2000-2039"
LAST = f"{RUN}/step_00000060.safetensors"
FIRST_SNAPSHOT = ".work/trials/*.unfinished/snapshots/step_00000000.safetensors"
LIVE = "REPLIGAN_LIVE_AFTER=0 "  # else a training of seconds never asks MLflow
EVEN, DCGAN = "experiments/even", "experiments/dcgan-mnist"
EXPLORE = "repligan explore dcgan-mnist"
SMOOTH = "experiments/dcgan-mnist/variants/hard-labels"  # a variant on another one

PARAMS = [
    value("no params.yaml", FETCH, gone("params.yaml")),
    value("a params.yaml of no bytes", PREPROCESS, content("params.yaml", b"")),
    value("a params.yaml that is a folder", TRAIN, gone("params.yaml"), folder("params.yaml")),
    value("a params.yaml of binary data", REFERENCE, content("params.yaml", bytes(range(256)))),
    value("a params.yaml with a control character", EVALUATE, text("scale: smoke", "scale: smo\x00ke")),
    value("a bracket that is never closed", REPORT, text("scale: smoke", "scale: [smoke")),
    value("a tab in the place of spaces", SYNC, text("scale: smoke", "scale:\n\t- smoke")),
    value("a key twice", VERIFY, text("scale: smoke", "scale: smoke\nscale: smoke")),
    value("a tag that would run a program", DOCTOR,
        text("scale: smoke", 'scale: !!python/object/apply:os.system ["ls"]')),
    value("brackets 5,000 deep", FETCH, text("scale: smoke", "scale: " + "[" * 5000 + "]" * 5000)),
    value("a number of 5,000 digits", PREPROCESS, text("batch: 64", "batch: " + "9" * 5000)),
    value("a day that no calendar has", REFERENCE, text("scale: smoke", "scale: 2020-99-99")),
    value("a list in the place of the whole file", TRAIN, content("params.yaml", b"- runtime\n- datasets\n")),
    value("an unknown key at the top", EVALUATE, changed("seed", 1)),
    value("an unknown key in runtime", REPORT, changed("runtime/gpu", True)),
    value("a batch that its ranks cannot share", TRAIN, changed("runtime/ranks", {"num": 3, "sync_norm": True})),
    value("an unknown key in an experiment", SYNC, changed(f"{EVEN}/epochs", 3)),
    value("a misspelt key in an optimiser", FETCH, without(f"{EVEN}/optimiser/beta1"),
        changed(f"{EVEN}/optimiser/beta_1", 0.9)),
    value("a key that is missing at the top", PREPROCESS, without("evaluations")),
    value("a key that is missing in an experiment", REFERENCE, without("templates/stack/experiment/threads")),
    value("a kind that is missing", TRAIN, without(f"{EVEN}/loss/kind")),
    value("a kind that is missing where it decides the other keys", EVALUATE, without(f"{EVEN}/G/kind")),
    value("an unknown kind of network", REPORT, changed(f"{EVEN}/G/kind", "transformer")),
    value("an unknown kind of source", SYNC, changed("datasets/even/source/kind", "primes")),
    value("an unknown device", VERIFY, changed("runtime/device", "gpu")),
    value("a text in the place of a number", DOCTOR, changed(f"{EVEN}/batch", "sixteen")),
    value("a fraction in the place of a whole number", FETCH, changed(f"{EVEN}/steps", 60.5)),
    value("a number in the place of true or false", PREPROCESS, changed("runtime/deterministic", 1)),
    value("a number in the place of a table", REFERENCE, changed(f"{EVEN}/D", 5)),
    value("a list in the place of a table", TRAIN, changed("experiments", ["even"])),
    value("nothing in the place of a table", EVALUATE, changed("datasets", None)),
    value("a number as a row's name", REPORT, changed("reports/7", {"title": "7", "source": "7"}),
        text("'7'", "7")),
    value("a batch of 0", SYNC, changed(f"{EVEN}/batch", 0)),
    value("a batch below 0", FETCH, changed(f"{DCGAN}/batch", -1)),
    value("a learning rate of 0", PREPROCESS, changed(f"{EVEN}/optimiser/lr", 0.0)),
    value("a learning rate above 1", REFERENCE, changed(f"{EVEN}/optimiser/lr", 10.0)),
    value("a learning rate that is not a number", TRAIN, changed(f"{EVEN}/optimiser/lr", float("nan"))),
    value("noise up to infinity", EVALUATE, changed(f"{EVEN}/z/high", float("inf"))),
    value("noise beyond what float32 holds", TRAIN, changed("experiments/bits1010/variants/d-alone/z/high", 1e300)),
    value("10^18 steps", FETCH, changed(f"{EVEN}/steps", 10**18), act=in_little_memory),
    value("10^12 seeds", FETCH, changed(f"{EVEN}/seeds", 10**12)),
    value("noise of 10^12 numbers", FETCH, changed(f"{DCGAN}/z/dim", 10**12)),
    value("a network 10^12 wide", PREPROCESS, changed(f"{DCGAN}/G/width", 10**12)),
    value("more threads than any machine has", REPORT, changed(f"{EVEN}/threads", 10**6)),
    value("more bits than a byte has", SYNC, changed("datasets/even/form/width", 9)),
    value("a G that takes another width than z has", FETCH, changed(f"{EVEN}/z/dim", 6)),
    value("a G that makes another width than the data have", PREPROCESS, changed(f"{EVEN}/G/widths", [7, 6])),
    value("a D that takes another width than the data have", REFERENCE, changed(f"{EVEN}/D/widths", [6, 1])),
    value("a D of two outputs", TRAIN, changed(f"{EVEN}/D/widths", [7, 2])),
    value("a network of one width", EVALUATE, changed(f"{EVEN}/D/widths", [7])),
    value("fully connected networks for images", REPORT, changed(f"{DCGAN}/D", {"kind": "mlp", "widths": [1024, 1]})),
    value("two seeds of a convolutional network that may end apart", SYNC, changed(f"{DCGAN}/seeds", 2),
        changed(f"{DCGAN}/alarms", {"stop": True})),
    value("images too small for the network", VERIFY, changed("datasets/mnist/form/size", 8)),
    value("a component that z does not have", MNIST["evaluate"],
        changed("evaluations/dcgan-mnist/walk", {"components": [100]})),
    value("a stand-in that does not say for what", FETCH, changed("datasets/drawn-faces/standin_for", None)),
    value("real data that pass for a stand-in", FETCH, changed("datasets/mnist/standin_for", "svhn")),
    value("an image GAN without its walk", EXPLORE, changed("evaluations/dcgan-anime/walk", None)),
    value("a toy with a walk", EXPLORE, changed("evaluations/even/walk",
        {"components": [0], "reach": 1.0, "frames": 3, "midpoints": 2, "pairs": 2, "num": 4})),
    value("a metric kind that does not fit", FETCH, changed("datasets/even/metrics", "bits1010")),
    value("an unknown metric kind", PREPROCESS, changed("datasets/mnist/metrics", "sounds")),
    value("an unknown layout", FETCH, changed("datasets/mnist/source",
        {"kind": "files", "layout": "imagenet", "files": [{"name": "x.zip", "places": ["x"]}]})),
    value("a layout without one of its files", FETCH, changed("datasets/mnist/source",
        {"kind": "files", "layout": "mnist", "files": [{"name": "train-images-idx3-ubyte.gz", "places": ["x"]}]})),
    value("a schedule of nothing", DOCTOR, changed(f"{EVEN}/schedule", [])),
    value("an update of G on real data", FETCH, changed(f"{EVEN}/schedule/0/sees", ["real"])),
    value("a first update that sees the last images", PREPROCESS,
        changed(f"{EVEN}/schedule/0", {"update": "D", "sees": ["real", "same_img"]})),
    value("losses recorded less often than there are steps", REFERENCE, changed(f"{EVEN}/log_every", 61)),
    value("a milestone that is no snapshot", TRAIN, changed("evaluations/even/milestones", [0, 61])),
    value("a milestone that is none of many snapshots", EVALUATE, changed("experiments/bits1010/snapshot_every", 1),
        changed("evaluations/bits1010/milestones", [999])),
    value("a milestone below 0", REPORT, changed("evaluations/even/milestones", [-1, 60])),
    value("an experiment on an unknown dataset", SYNC, changed(f"{EVEN}/dataset", "odd")),
    value("an experiment on the dataset `..`", VERIFY, changed(f"{EVEN}/dataset", "..")),
    value("a dataset without its reference", DOCTOR, without("references/mnist")),
    value("a reference without its dataset", FETCH, renamed("references", "even", "odd")),
    value("an experiment without its report", PREPROCESS, without("reports/even")),
    value("an experiment without its evaluation", EVALUATE, without("evaluations/even")),
    value("an unknown template", TRAIN, changed(f"{EVEN}/like", "stacks")),
    value("a template of nothing that an experiment needs", REFERENCE, changed("templates/dcgan/experiment", {})),
    value("an experiment with wgan-gp and D on one side at a time", TRAIN,
        changed("experiments/dcgan-mnist/variants/wgan-gp/schedule", [
            {"update": "D", "sees": ["real"]}, {"update": "D", "sees": ["fresh_z"]},
            {"update": "G", "sees": ["fresh_z"]}])),
    value("a toy with wgan-gp", FETCH, changed(f"{EVEN}/loss", {"kind": "wgan-gp", "penalty": 10.0})),
    value("a reference of the wrong kind", REFERENCE, changed("references/even",
        {"kind": "cnn", "width": 4, "features": 4, "epochs": 1, "batch": 9, "lr": 0.1, "num": 6, "repeats": 2,
         "threads": 1})),
    value("an experiment named `../../x`", TRAIN.replace(" even ", " ../../x "),
        renamed("experiments", "even", "../../x"), renamed("evaluations", "even", "../../x"),
        renamed("reports", "even", "../../x")),
    value("a dataset named `..`", "python stages/fetch.py .. data/raw/..", renamed("datasets", "even", ".."),
        renamed("references", "even", ".."), changed(f"{EVEN}/dataset", "..")),
    value("a box whose bounds are of two lengths", FETCH, changed("datasets/bits1010/source/high", [1.0, 0.2])),
    value("a box that is upside down", PREPROCESS, changed("datasets/bits1010/source/low", [2.0, 0.0, 0.8, 0.0])),
    value("a range of no integers", REFERENCE, changed("datasets/even/source/start", 128)),
    value("integers that do not fit their bits", TRAIN, changed("datasets/even/source/stop", 1000)),
    value("more `num` than half of the images", MNIST["reference"], changed("references/mnist/num", 81)),
    value("a `num` of fewer images than precision needs", MNIST["train"], changed("references/mnist/num", 4)),
    value("variants measured on fewer images than precision needs", MNIST["train"],
        changed("evaluations/dcgan-mnist/variants_num", 5)),
    value("a batch of more images than there are", MNIST["train"], changed(f"{DCGAN}/batch", 161)),
    value("a list in the place of variants", DOCTOR, changed(f"{EVEN}/variants", ["fast"])),
    value("a variant called published", SYNC, renamed(f"{EVEN}/variants", "fast", "published")),
    value("a variant that changes an unknown key", TRAIN, changed(f"{EVEN}/variants/fast", {"optimizer": {}})),
    value("a variant with a wrong value", FETCH, changed(f"{EVEN}/variants/fast/optimiser/lr", 2.0)),
    value("a variant on another dataset", TRAIN, changed(f"{EVEN}/variants/fast/dataset", "bits1010")),
    value("a variant on an unknown variant", EVALUATE, changed(f"{SMOOTH}/based_on", "controls")),
    value("a variant on itself", EVALUATE, changed(f"{SMOOTH}/based_on", "hard-labels")),
    value("a variant like a template", EVALUATE, changed(f"{SMOOTH}/like", "dcgan")),
    value("a variant whose seeds may end apart", TRAIN, changed("experiments/dcgan-mnist/variants/hard-labels",
        {"based_on": "control", "alarms": {"stop": True}})),
    value("variants measured on more images than half of them", CLAIMS,
        changed("evaluations/dcgan-mnist/variants_num", 81)),
    claim("no claims", gone("conf/claims.yaml")),
    claim("a claims.yaml that is no YAML", content("conf/claims.yaml", b"claims: [")),
    claim("a claim on an unknown row", claimed("even-200/needs", "smoke"),
        claimed("even-200/tests/0/row", {"experiment": "even", "variant": "slow"})),
    claim("a claim on a row written as one word", claimed("even-200/tests/0/row", "even/fast")),
    claim("a claim against a row written as one word", claimed("even-start/tests/0/against", "even/fast"),
        claimed("even-start/tests/0/relation", "ratio")),
    claim("a claim on an unknown metric", claimed("even-start/tests/0/value/metric", "odd_rate")),
    claim("a claim by bounds of values without a range", claimed("gan-d-wins/tests/0/by", "bounded")),
    claim("a claim with an unknown key", claimed("even-start/needed", "smoke")),
    claim("a claim without a rule", claimed("even-start/tests/0/rule", None)),
    claim("a claim of an unknown kind of rule", claimed("even-start/tests/0/rule/kind", "equal")),
    claim("a claim whose range is upside down", claimed("even-start/tests/0/rule/low", 0.7)),
    claim("a claim that relates a row to nothing", claimed("even-start/tests/0/relation", "ratio")),
    claim("a claim that a stand-in would decide", claimed("latent-add/needs", "smoke")),
    value("more images than the source has", MNIST["raw"], made, changed("datasets/mnist/form/train", 6000)),
]  # fmt: skip

NAMES = [
    bad("a dataset that does not exist", "python stages/fetch.py cifar data/raw/cifar"),
    bad("the same for its arrays", "python stages/preprocess.py cifar data/raw/cifar data/processed/cifar"),
    bad("the same for its reference", "python stages/reference.py cifar data/processed/cifar data/reference/cifar"),
    bad("an experiment that does not exist", TRAIN.replace(" even ", " odd ")),
    bad("the same for its evaluation", EVALUATE.replace(" even ", " odd ", 1)),
    bad("an experiment by the name of a path", TRAIN.replace(" even ", " ../../x ")),
    bad("a dataset by the name of a path", "python stages/fetch.py .. data/raw/.."),
    bad("an empty name", "python stages/fetch.py '' data/raw/x"),
    bad("an experiment that cannot be verified", "repligan verify HEAD --experiment odd"),
    bad("a commit that does not exist", "repligan verify v9.9", committed, act=apart),
    bad("a commit by the name of an option", "repligan verify -- --upload-pack=x", committed, act=apart),
    bad("a folder that is no git repository", VERIFY, act=apart),
    bad("a commit without a reproduced pipeline", VERIFY, committed, act=apart),
    bad("a stage that cannot be verified", "repligan verify --stage train@odd", repository, act=apart),
    bad("a port beyond the last", "repligan ui --port 70000"),
    bad("a port in words", "repligan ui --port http"),
    fault("a port that another program has", "MLFLOW_TRACKING_URI= repligan ui --port <port>", taken_port, act=apart),
    bad("an unknown scale", "repligan scale tiny"),
    bad("a scale where there is no conf/", "repligan scale smoke"),
    bad("seeds of a row that does not exist", "repligan compose", repository, seeded("odd: 9")),
    bad("seeds in words", "repligan compose", repository, seeded("even: many")),
    bad("a decision on a claim that does not exist", "repligan decide even-2000", repository),
    bad("a decision that a larger scale has to make", "repligan decide even-200", repository),
    bad("a decision in an hour that is no number", "repligan decide --hours nan", repository),
    bad("an unknown command", "repligan sampel"),
    bad("an unknown option", f"{FETCH} --force"),
    bad("a missing argument", "python stages/train.py even"),
    bad("the doctor outside of the repository", DOCTOR),
    bad("a reproduction outside of the repository", "repligan repro"),
    bad("a `repligan` of another folder", "repligan compose", content("src/repligan/__init__.py", b"")),
]  # fmt: skip

INPUTS = [
    bad("no raw data", PREPROCESS),
    bad("no processed data to measure", REFERENCE),
    bad("no processed data to learn from", TRAIN),
    bad("no weights to measure", EVALUATE),
    bad("no weights to explore", EXPLORE),
    bad("no evaluations to test claims on", CLAIMS),
    bad("a variant without its table of values", CLAIMS, made,
        gone("data/evaluations/dcgan-mnist/hard-labels.safetensors")),
    bad("a table of values that ends too early", CLAIMS, made,
        cut("data/evaluations/dcgan-mnist/hard-labels.safetensors")),
    bad("a claim on a metric that is not measured", CLAIMS, made, claimed("even-start/needs", "smoke"),
        claimed("even-start/tests/0/value/metric", "match")),
    bad("a claim on a step without a snapshot", CLAIMS, made, claimed("even-200/needs", "smoke")),
    bad("runs without the record of their trials", EVALUATE, made, gone("data/runs/even/trials.json")),
    bad("a record of trials that is no JSON", EVALUATE, made, cut("data/runs/even/trials.json")),
    bad("a record of trials that is another table", EVALUATE, made,
        content("data/runs/even/trials.json", b'[{"a": 1}]')),
    bad("runs of other trials than params.yaml has", EVALUATE, made, changed("templates/stack/experiment/seeds", 41)),
    bad("weights that are not kept and come out otherwise when trained again", EVALUATE, made, other_weights),
    bad("no ledger to report", REPORT, made, gone("reports/claims.json")),
    bad("a ledger that is no JSON", REPORT, made, cut("reports/claims.json")),
    bad("a ledger of nothing", "repligan claims", content("reports/claims.json", b"{}")),
    bad("no ledger to print", "repligan claims"),
    bad("a claim that is not in the ledger", "repligan claims even-2000", made),
    bad("no evaluations to report", REPORT),
    bad("no metrics to report", REPORT, folder("data/evaluations")),
    bad("no results to sync", SYNC),
    bad("raw data without their file", PREPROCESS, made, gone("data/raw/even/integers.csv")),
    bad("a raw table of no bytes", PREPROCESS, made, content("data/raw/even/integers.csv", b"")),
    bad("a raw table of other columns", PREPROCESS, made, content("data/raw/even/integers.csv", b"a,b\n1,2\n")),
    bad("a raw table of words", PREPROCESS, made, content("data/raw/even/integers.csv", b"integer\ntwo\n")),
    bad("a raw archive that ends too early", MNIST["raw"], made, cut("data/raw/mnist/mnist_5k.csv.gz")),
    bad("a raw archive that is none", MNIST["raw"], made, content("data/raw/mnist/mnist_5k.csv.gz", b"hello")),
    bad("letters in the place of MNIST's digits", MNIST["raw"], of_files("mnist", *MNIST_FILES),
        idx("train-images-idx3", np.zeros((200, 28, 28))), idx("train-labels-idx1", np.arange(200) % 26 + 1),
        idx("t10k-images-idx3", np.zeros((50, 28, 28))), idx("t10k-labels-idx1", np.zeros(50))),
    bad("a zip with a password", FETCH_MNIST, of_files("images", "x.zip"), zipped(KEPT_ZIP, PICTURES, locked=True)),
    bad("a 7z file in the place of a zip", FETCH_MNIST, of_files("images", "x.zip"),
        content(KEPT_ZIP, b"7z\xbc\xaf\x27\x1c" + bytes(99))),
    bad("an image that cannot be read", MNIST["raw"], of_files("images", "x.zip"),
        zipped(RAW_ZIP, PICTURES | {"b/1.png": b"no picture"})),
    bad("an archive without images", MNIST["raw"], of_files("images", "x.zip"), zipped(RAW_ZIP, {"a/b.heic": b"x"})),
    copes("an image that cannot be read, where one in a hundred is tolerated", MNIST["raw"],
          of_files("images", "x.zip", unreadable=0.01), zipped(RAW_ZIP, PICTURES | {"b/1.png": b"no picture"})),
    copes("files in an archive that are no images", MNIST["raw"], of_files("images", "x.zip"),
          zipped(RAW_ZIP, PICTURES | {"a/1.heic": b"x", "a/2.heic": b"x", "a/notes.txt": b"x"})),
    copes("numbered folders that would count as classes", MNIST["raw"], of_files("images", "x.zip"),
          zipped(RAW_ZIP, SHARDS)),
    copes("the same where they are said to be none", MNIST["raw"], of_files("unlabelled", "x.zip"),
          zipped(RAW_ZIP, SHARDS)),
    bad("an array that ends too early", TRAIN, made, cut("data/processed/even/train.npy")),
    bad("an array of pickled objects", TRAIN, made, array("data/processed/even/train.npy", np.array([{}, []], object))),
    bad("an array file of no bytes", REFERENCE, made, content("data/processed/even/train.npy", b"")),
    bad("an array file of other data", EVALUATE, made,
        content("data/processed/even/train.npy", b"not an array at all")),
    bad("an array file that is missing", TRAIN, made, gone("data/processed/even/train.npy")),
    bad("an array of no rows", TRAIN, made, array("data/processed/even/train.npy", np.zeros((0, 7), np.uint8))),
    bad("an array of another width", TRAIN, made, array("data/processed/even/train.npy", np.zeros((64, 8), np.uint8))),
    bad("an array of texts", TRAIN, made, array("data/processed/even/train.npy", np.full((64, 7), "one"))),
    bad("fewer images on disk than the batch", MNIST["train"], made,
        array("data/processed/mnist/train.npy", np.zeros((8, 1, 32, 32), np.uint8))),
    bad("fewer images on disk than twice `num`", MNIST["reference"], made,
        array("data/processed/mnist/train.npy", np.zeros((100, 1, 32, 32), np.uint8)),
        array("data/processed/mnist/train_labels.npy", np.zeros(100, np.int64))),
    bad("fewer labels than images", MNIST["reference"], made,
        array("data/processed/mnist/train_labels.npy", np.zeros(10, np.int64))),
    bad("weights that end too early", EVALUATE, made, cut(LAST)),
    bad("weights that are none", EVALUATE, made, content(LAST, b"garbage" * 99)),
    bad("weights of another network", EVALUATE, made,
        copied("data/runs/bits1010/published/2000-2039/step_00000200.safetensors", LAST)),
    bad("a snapshot that is missing", EVALUATE, made, gone(f"{RUN}/step_00000020.safetensors")),
    bad("recorded losses that end too early", EVALUATE, made, cut(f"{RUN}/history.safetensors")),
    bad("an extractor that is none", MNIST["evaluate"], made,
        content("data/reference/mnist/extractor.safetensors", b"\0" * 64)),
    bad("features that end too early", MNIST["evaluate"], made, cut("data/reference/mnist/features.safetensors")),
    bad("a card that is no JSON", EVALUATE, made, content("data/reference/even/card.json", b'{"floor": ')),
    bad("a card of nothing", EVALUATE, made, content("data/reference/even/card.json", b"{}")),
    bad("metrics that are no JSON", REPORT, made, cut("reports/metrics/even.json")),
    bad("metrics of nothing", REPORT, made, content("reports/metrics/even.json", b"{}")),
    bad("metrics with NaN", REPORT, made, content("reports/metrics/even.json", b'{"end": NaN}')),
    bad("curves of binary data", REPORT, made, content("data/evaluations/even/curves.csv", bytes(range(128, 256)))),
    bad("curves of no bytes", REPORT, made, content("data/evaluations/even/curves.csv", b"")),
    bad("curves of other columns", REPORT, made, content("data/evaluations/even/curves.csv", b"a,b\n1,2\n")),
    bad("losses of no bytes", REPORT, made, content("data/evaluations/even/losses.csv", b"")),
    bad("pictures that end too early", REPORT, made, cut("data/evaluations/even/pictures.safetensors")),
    bad("pictures that are none, in a sync", SYNC, made, content("data/evaluations/even/pictures.safetensors", b"x")),
    bad("metrics that are no JSON, in a sync", SYNC, made, content("reports/metrics/even.json", b"\xff\xfe")),
    bad("a table of values that is none, in a sync", SYNC, made,
        content("data/evaluations/even/fast.safetensors", b"x")),
    bad("trials of a row that does not exist, in an export", EXPORT.replace(" even ", " odd ")),
    bad("nothing finished to export", EXPORT, made),
    bad("a file of trials that is not there", IMPORT, made),
    bad("a file of trials that ends too early", IMPORT, finished, exported, cut("seeds.trials")),
    bad("a file of trials that is none", IMPORT, made, content("seeds.trials", b"garbage" * 99)),
    bad("trials of another row than params.yaml has", IMPORT, finished, exported, changed(f"{EVEN}/batch", 8)),
    bad("trials that were trained on other data", IMPORT, finished, exported,
        array("data/processed/even/train.npy", np.zeros((64, 7), np.uint8))),
    bad("trials whose seeds are not those of a trial here", IMPORT, finished, exported,
        changed("templates/stack/experiment/seeds", 80)),
    bad("a trial that differs from the one that is here", IMPORT, finished, exported, other_trial),
    bad("imported weights that come out otherwise where they are kept", TRAIN, finished, exported, emptied,
        other_weights_imported),
    bad("no runs to audit", "repligan audit"),
    bad("more trials to audit than there are", "repligan audit --trials 9999", made),
    bad("CUDA asked for where there is none", TRAIN, no_cuda, made, changed("runtime/device", "cuda")),
    bad("a checkpoint of another config", TRAIN, stopped, changed(f"{EVEN}/batch", 8), other_config),
]  # fmt: skip

FAULTS = [
    fault("data that make a loss not a number", BITS_TRAIN, made, alone("bits1010"),
          array("data/processed/bits1010/bounds.npy", np.full((2, 4), np.nan, np.float32)), act=apart),
    fault("a full disk where trials are kept", TRAIN, made, alone("even"), mounted(".work", "size=32k"), act=apart,
          says=".work/trials"),
    fault("a full disk where weights end up", TRAIN, made, gone("data/runs"), mounted("data/runs", "size=32k"),
          says="data/runs/even"),
    fault("a full disk under arrays", MNIST["raw"], made, gone("data/processed"),
          mounted("data/processed", "size=64k"), says="data/processed/mnist"),
    fault("a full disk under the report", REPORT, made, gone("reports"), mounted("reports", "size=160k"),
          measured, says="reports/figures"),
    fault("a folder that may only be read", FETCH, mounted("data", "ro")),
    fault("a work folder that may only be read", TRAIN, made, alone("even"), mounted(".work", "ro"), act=apart),
    fault("a file where the output folder should be", FETCH, content("data/raw/even", b""), says="data/raw/even"),
    fault("a file where a folder should be", FETCH, content("data/raw", b"")),
    fault("a folder where a file should be", EVALUATE, made, gone("reports/metrics/even.json"),
          folder("reports/metrics/even.json")),
    Case("Ctrl-C in a training", TRAIN, 130, (made, long("even")),
         signalled(signal.SIGINT, FIRST_SNAPSHOT)),
    Case("SIGTERM in a training", TRAIN, 143, (made, long("even")), signalled(signal.SIGTERM, FIRST_SNAPSHOT)),
    Case("a terminal that closes (SIGHUP) in a training", TRAIN, 129, (made, long("even")),
         signalled(signal.SIGHUP, FIRST_SNAPSHOT)),
    Case("SIGTERM in the training of a variant", TRAIN, 143,
         (finished, changed(f"{EVEN}/variants/fast", {"steps": 10**6, "snapshot_every": 10**6})),
         signalled(signal.SIGTERM, FIRST_SNAPSHOT)),
    fault("a training that is killed", TRAIN, made, long("even"), act=kill_child),
    Case("Ctrl-C in another stage", MNIST["reference"], 130, (made, changed("references/mnist/epochs", 10**5)),
         signalled(signal.SIGINT, "data/reference/.mnist.partial")),
    Case("SIGTERM in another stage", MNIST["reference"], 143, (made, changed("references/mnist/epochs", 10**5)),
         signalled(signal.SIGTERM, "data/reference/.mnist.partial")),
    copes("a stopped training, started again", TRAIN, stopped),
    copes("a damaged checkpoint: the one before is taken", TRAIN, stopped,
          cut(".work/trials/*.unfinished/00*.safetensors")),
    copes("no checkpoint is whole: it starts anew", TRAIN, stopped,
          cut(".work/trials/*.unfinished/00*40-*.safetensors"),
          cut(".work/trials/*.unfinished/00*20-*.safetensors")),
    copes("a stopped training, started again with another value: it starts anew", TRAIN, stopped,
          changed(f"{EVEN}/batch", 8)),
    copes("finished trials: none is done again", TRAIN, finished),
    copes("damaged files of finished trials: they are done again", TRAIN, finished,
          cut_all(".work/trials/*/history.safetensors")),
    copes("damaged entries of finished trials: they are done again", TRAIN, finished,
          cut_all(".work/trials/*/entry.json")),
    copes("weights that are not kept: they are trained again", EVALUATE, made),
    copes("what `kill -9` left of an output", PREPROCESS, made,
          content("data/processed/.even.partial/train.npy", b"x")),
    copes("an MLflow server that is absent, in a training", LIVE + MNIST["train"], made, alone("dcgan-mnist")),
    copes("an MLflow server that is absent, in the report", REPORT, made, only_even),
    copes("an MLflow server that never answers, in a training", LIVE + STALLED + MNIST["train"], made,
          alone("dcgan-mnist"), server(never), act=apart),
    copes("an MLflow server that never answers, in the report", SLOW + REPORT, made, only_even, server(never)),
    copes("an MLflow server that breaks off, in a training", LIVE + DROPPED + MNIST["train"], made,
          alone("dcgan-mnist"), server(once)),
    copes("an MLflow server that breaks off, in the report", DROPPED + REPORT, made, only_even, server(once)),
    fault("an MLflow server that is absent, in a sync", SYNC, made),
    fault("an MLflow server that breaks off, in a sync", DROPPED + SYNC, made, server(once)),
    bad("an mlflow.db that is none", f"MLFLOW_TRACKING_URI= {SYNC}", made, content("mlflow.db", b"garbage" * 999)),
    bad("an mlflow.db of another MLflow", "MLFLOW_TRACKING_URI= repligan ui --port <port>", other_mlflow, free_port,
        act=apart),
    fault("an mlflow.db that is a folder", f"MLFLOW_TRACKING_URI= {SYNC}", made, folder("mlflow.db")),
    fault("an mlflow.db that another process has locked", f"MLFLOW_TRACKING_URI= {SYNC}", made, locked),
    copes("an mlflow.db that another process has locked, in the report", f"MLFLOW_TRACKING_URI= {REPORT}", made,
          only_even, locked),
    copes("params.yaml edited by hand, in a repair", "repligan repair", repository, changed(f"{EVEN}/steps", 70),
          act=apart),
    copes("outputs of an experiment that was removed, in a repair", "repligan repair", repository,
          content("data/evaluations/odd/losses.csv", b"step\n"), content("reports/metrics/odd.json", b"{}"), act=apart),
    copes("params.yaml edited by hand, in another scale", "repligan scale laptop", repository,
          changed(f"{EVEN}/steps", 70), act=apart),
    Case("a second `dvc repro` while one runs; a third is fine", "dvc repro fetch@even", 255,
         (repository, fetched_slowly), twice),
    Case("a stage that fails in `dvc repro`, which removes outputs before it runs a stage", f"dvc repro {STAGE}", 255,
         (repository, reproduced(STAGE), changed("datasets/even/form/width", 9)), apart),
    copes("the last good output after that", f"dvc checkout {STAGE}", repository, reproduced(STAGE),
          changed("datasets/even/form/width", 9), failing(STAGE), act=apart),
]  # fmt: skip

CASES: Sequence[Case] = (*PARAMS, *NAMES, *INPUTS, *FAULTS)
GROUPS: dict[str, Sequence[Case]] = {
    "Values in params.yaml": PARAMS,
    "Names, options and commits": NAMES,
    "Inputs that are missing or damaged": INPUTS,
    "Faults of the machine and of what is around it": FAULTS,
}
