"""Results without computing: a folder that `dvc push` fills, served over HTTP, gives a fresh clone all of them."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from browser import chromium, needs_chromium
from repository import move, outs, run
from smoke import NOWHERE

from repligan.core.files import sha256
from repligan.params import Params

COMPUTED = "Running stage"
WITHOUT = "--allow-missing"
KEPT = (("fetch", "raw"), ("preprocess", "processed"))
NOTHING = hashlib.md5(b"").hexdigest()  # of an empty file, which is nobody's


class Quiet(SimpleHTTPRequestHandler):
    """Files of a folder, which can be read and not written, as `python -m http.server` serves them."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a server of a folder."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def must(repo: Path, *command: str, **env: str) -> str:
    """What a command says that ends well."""
    done = run(repo, *command, **env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def commit(repo: Path) -> Path:
    must(repo, "git", "add", "-A")
    must(repo, "git", "commit", "-qm", "results")
    return repo


@pytest.fixture(scope="module")
def lab(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reproduced repository whose results are committed and pushed to the folder `shared` beside it."""
    folder = tmp_path_factory.mktemp("lab")
    here = commit(move(repo, folder / "repo"))
    must(here, "dvc", "remote", "add", "--local", "--default", "shared", str(folder / "shared"))
    must(here, "dvc", "push")
    return here


def clone(lab: Path, to: Path, remote: str) -> Path:
    """A fresh clone that knows where to pull from."""
    must(lab, "git", "clone", "-q", str(lab), str(to))
    must(to, "dvc", "remote", "add", "--local", "--default", "shared", remote)
    assert not (to / "data").exists()
    return to


@pytest.fixture(scope="module")
def pulled(lab: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone that pulled all results over HTTP."""
    with served(lab.parent / "shared") as address:
        here = clone(lab, tmp_path_factory.mktemp("elsewhere") / "clone", address)
        must(here, "dvc", "pull")
    return here


def test_a_clone_that_pulled_over_http_has_nothing_to_run(lab: Path, pulled: Path) -> None:
    said = must(pulled, "dvc", "repro")
    assert "Data and pipelines are up to date." in said
    assert COMPUTED not in said
    assert outs(pulled) == outs(lab)
    for name in ("reports/index.html", "reports/figures/overview.png", "data/claims/values.safetensors"):
        assert sha256(pulled / name) == sha256(lab / name)
    assert not (pulled / ".work" / "trials").exists()


@needs_chromium
def test_its_report_opens(pulled: Path) -> None:
    with chromium() as browser:
        page = browser.new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto((pulled / "reports" / "index.html").as_uri())
        page.locator("details#claim-even-start").wait_for(state="attached")
        assert not faults


def test_mlflow_has_every_run_of_what_was_pulled(pulled: Path, smoke: Params) -> None:
    said = must(pulled, "repligan", "sync").splitlines()
    assert said == [f"{name}: written" for name in (*map(str, smoke.rows), "claims")]


def test_nobody_writes_over_http(lab: Path, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    with served(tmp_path / "shared") as address:
        must(lab, "dvc", "remote", "add", "--local", "public", address)
        refused = run(lab, "dvc", "push", "-r", "public", "data/claims/values.safetensors")
    assert refused.returncode != 0
    assert not list((tmp_path / "shared").iterdir())


def hashes(folder: Path) -> set[str]:
    """The MD5s of all that a remote in a folder has."""
    return {path.parent.name + path.name for path in (folder / "files" / "md5").glob("*/*")}


def test_images_that_may_not_be_handed_on_stay_in_the_labs_own_remote(repo: Path, tmp_path: Path) -> None:
    lab = move(repo, tmp_path / "lab" / "repo")
    params = (lab / "params.yaml").read_text()
    before, found, after = params.partition("  mnist:\n    source:")
    assert found
    (lab / "params.yaml").write_text(before + found + after.replace("remote: null", "remote: own", 1))
    ran = [
        line.split("'")[1] for line in must(lab, "dvc", "repro", **NOWHERE).splitlines() if line.startswith(COMPUTED)
    ]
    assert ran == ["rows", "claims", "report"]
    commit(lab)
    must(lab, "dvc", "remote", "add", "--local", "--default", "shared", str(tmp_path / "shared"))
    must(lab, "dvc", "push", "-r", "shared")
    assert not (lab / ".work" / "own").exists()
    must(lab, "dvc", "push")

    images = [outs(lab)[f"{stage}@mnist"][f"data/{folder}/mnist"] for stage, folder in KEPT]
    shared, own = hashes(tmp_path / "shared"), hashes(lab / ".work" / "own")
    assert len(shared) > 50
    assert own.issuperset(images)
    assert own & shared <= {NOTHING}
    assert outs(lab)["train@dcgan-mnist"]["data/runs/dcgan-mnist"] in shared

    public = clone(lab, tmp_path / "public", str(tmp_path / "shared"))
    assert "data/raw/mnist" in run(public, "dvc", "pull").stderr
    must(public, "dvc", "pull", WITHOUT)
    assert not (public / "data" / "raw" / "mnist").exists()
    assert COMPUTED not in must(public, "dvc", "repro", WITHOUT)
    assert sha256(public / "reports" / "index.html") == sha256(lab / "reports" / "index.html")

    colleague = clone(lab, tmp_path / "colleague", str(tmp_path / "shared"))
    must(colleague, "dvc", "remote", "modify", "--local", "own", "url", str(lab / ".work" / "own"))
    must(colleague, "dvc", "pull")
    assert COMPUTED not in must(colleague, "dvc", "repro")
