"""A real .venv from a tiny lock, out of a mirror that only pip's configuration names; then its folder is moved."""

from __future__ import annotations

import base64
import functools
import hashlib
import http.server
import os
import shutil
import subprocess
import sys
import sysconfig
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

from repligan.tools import install

UV = Path(sys.prefix) / "bin" / "uv"


def wheel(folder: Path) -> Path:
    """A package `tiny` with a command of that name."""
    files = {
        "tiny.py": "def main():\n    print('tiny')\n",
        "tiny-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        "tiny-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "tiny-1.0.dist-info/entry_points.txt": "[console_scripts]\ntiny = tiny:main\n",
    }
    rows = []
    for name, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        rows.append(f"{name},sha256={digest},{len(text)}\n")
    path = folder / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        archive.writestr("tiny-1.0.dist-info/RECORD", "".join(rows) + "tiny-1.0.dist-info/RECORD,,\n")
    return path


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[str]:
    """The address of an index with `tiny` in it."""
    folder = tmp_path / "mirror" / "simple" / "tiny"
    folder.mkdir(parents=True)
    name = wheel(folder).name
    (folder / "index.html").write_text(f"<a href='{name}'>{name}</a>")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Handler, directory=tmp_path / "mirror")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/simple"
        server.shutdown()


@pytest.mark.skipif(not UV.exists(), reason="needs the uv that `make` installs")
def test_a_checkout_is_set_up_from_pips_mirror_under_any_name_and_may_be_moved(tmp_path: Path, mirror: str) -> None:
    repo = tmp_path / "two wörds"
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (repo / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, repo)
    shutil.copytree(ROOT / "src", repo / "src", ignore=shutil.ignore_patterns("__pycache__"))
    digest = hashlib.sha256((tmp_path / "mirror/simple/tiny/tiny-1.0-py3-none-any.whl").read_bytes()).hexdigest()
    (repo / "requirements.lock").write_text(f"tiny==1.0 --hash=sha256:{digest}\n")
    base = f"{sys.base_prefix}/bin/python3"
    subprocess.run([base, "-m", "venv", str(repo / ".venv")], check=True)
    shutil.copy(UV, repo / ".venv" / "bin")
    version = subprocess.run([UV, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    # hatchling and what the command imports come from this environment; pip may neither use the network nor a user's.
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "UV_", "PYTHON"))}
    env |= {"LC_ALL": "C", "PYTHONPATH": sysconfig.get_path("purelib"), "PIP_INDEX_URL": mirror, "PIP_USER": "1",
            "PIP_CONFIG_FILE": os.devnull, "UV_NO_CACHE": "1", "UV_SYSTEM_PYTHON": "1"}  # fmt: skip
    command = [".venv/bin/python", "src/repligan/tools/install.py", version]
    done = subprocess.run(command, cwd=repo, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    moved = repo.rename(tmp_path / "möved")
    for script, said in (("tiny", "tiny"), ("repligan", "Usage: repligan")):
        shown = subprocess.run(
            [moved / ".venv/bin" / script, "--help"], env=env, capture_output=True, text=True, check=False
        )
        assert shown.stdout.startswith(said), shown.stderr
    bare = env | {"PYTHONPATH": ""}
    code = "import repligan; print(ascii(repligan.__file__))"
    python = [moved / ".venv/bin/python", "-c", code]
    found = subprocess.run(python, env=bare, capture_output=True, text=True, check=True).stdout.strip()
    assert found == ascii(str(moved / "src/repligan/__init__.py"))


LISTED = """\
global.index-url='https://global.example.org/simple'
install.index-url='https://install.example.org/simple'
global.extra-index-url='https://a.example.org/simple\\nhttps://b.example.org/simple file:///no/such/folder'
:env:.cert='/dev/null'
global.timeout='60'
freeze.user='true'
"""


def test_pips_settings_become_uvs_and_the_nearer_ones_win() -> None:
    assert install.settings(LISTED, {}) == {
        "UV_DEFAULT_INDEX": "https://install.example.org/simple",
        "UV_INDEX": "https://a.example.org/simple https://b.example.org/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "SSL_CERT_FILE": "/dev/null",
    }
    from_variable = f"{LISTED}:env:.index-url='https://variable.example.org'\n"
    assert install.settings(from_variable, {})["UV_DEFAULT_INDEX"] == "https://variable.example.org"
    wheels = ":env:.find-links='/ /tmp /no/such/folder'\n:env:.no-index='1'\n"
    assert install.settings(wheels, {}) == {"UV_FIND_LINKS": "/,/tmp", "UV_NO_INDEX": "1"}


def test_what_uv_was_told_is_left_alone() -> None:
    assert install.settings(LISTED, {"UV_DEFAULT_INDEX": "https://uv.example.org"}) == {"SSL_CERT_FILE": "/dev/null"}
    assert "SSL_CERT_FILE" not in install.settings(LISTED, {"SSL_CERT_FILE": "/other"})
    assert install.settings("", {}) == {}
