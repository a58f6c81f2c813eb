"""Install what requirements.lock names, as pip is configured; `make` runs this file in a new .venv.

uv installs, much faster than pip, and only files with the locked hashes. In the end no script in .venv holds the
address of the repository, so that its folder may be moved, and may be called anything.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[3]
SECTIONS = ("global", "install", ":env:")  # of pip; a later one counts more
# What pip calls it -> what uv does, which reads neither pip's files nor its variables.
SETTINGS = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "proxy": "ALL_PROXY",
}
SEPARATORS = {"find-links": ","}  # of several values: else a space
OF_UV = ("UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX", "UV_CONFIG_FILE")
PLACES = ("~/.config/uv/uv.toml", "/etc/uv/uv.toml")


def settings(listed: str, environment: dict[str, str]) -> dict[str, str]:
    """Variables for uv, from what `pip config list` prints; what the user has said to uv itself is left alone."""
    said: dict[str, str] = {}
    lines = [line.partition("=") for line in listed.splitlines() if "=" in line]
    ranked = [(SECTIONS.index(key.rpartition(".")[0]), key, value) for key, _, value in lines
              if key.rpartition(".")[0] in SECTIONS]  # fmt: skip
    for _, key, value in sorted(ranked):
        said[key.rpartition(".")[2]] = str(ast.literal_eval(value))
    found = {}
    for name, variable in SETTINGS.items():
        values = [one for one in said.get(name, "").split() if _is_there(one)]
        if values:
            found[variable] = SEPARATORS.get(name, " ").join(values)
    if "UV_INDEX" in found:
        found["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # as pip looks for it; hashes say which file is right
    if any(name in environment for name in OF_UV) or any(Path(place).expanduser().exists() for place in PLACES):
        found = {name: value for name, value in found.items() if not name.startswith("UV_")}
    return {name: value for name, value in found.items() if name not in environment}


def _is_there(value: str) -> bool:
    """pip passes over a place that does not exist; uv does not."""
    return not value.startswith(("/", "file:")) or Path(value.removeprefix("file://")).exists()


def main(uv_version: str) -> None:
    """Install everything into the environment of this Python, which is new or was made by this."""
    home = Path(sys.prefix)
    # pip cannot install for the user alone here, and needs its own name for the authority that signs certificates.
    env = {key: value for key, value in os.environ.items() if key not in ("PIP_TARGET", "PIP_PREFIX")}
    env |= {"PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    if "SSL_CERT_FILE" in env:
        env.setdefault("PIP_CERT", env["SSL_CERT_FILE"])
    pip, uv = [sys.executable, "-m", "pip"], [str(home / "bin" / "uv")]
    if not _is_version(uv, uv_version):
        _run([*pip, "install", "--quiet", f"uv=={uv_version}"], env)
    listed = subprocess.run([*pip, "config", "list"], env=env, capture_output=True, encoding="utf-8", check=True).stdout
    env |= settings(listed, env)
    for name in ("UV_SYSTEM_PYTHON", "UV_PYTHON"):
        env.pop(name, None)
    into = ["--quiet", "--python", sys.executable]
    _run([*uv, "venv", "--relocatable", "--allow-existing", *into, str(home)], env)
    made, by_uv = home / "pyvenv.cfg", f"uv = {uv_version}\n"  # in one of its own, uv would remove pip and itself
    made.write_text(made.read_text(encoding="utf-8").replace(by_uv, ""), encoding="utf-8")
    _run([*uv, "pip", "sync", *into, "--require-hashes", "requirements.lock"], env)
    _run([*uv, "pip", "install", *into, "--no-deps", "--no-build-isolation", "--editable", "."], env)
    packages = Path(sysconfig.get_path("purelib"))
    for path in packages.glob("*repligan*.pth"):  # Python takes a relative line from where the file is
        path.write_text(os.path.relpath(ROOT / "src", packages) + "\n", encoding="utf-8")


def _is_version(uv: list[str], wanted: str) -> bool:
    try:
        said = subprocess.run([*uv, "--version"], capture_output=True, encoding="utf-8", check=False).stdout
    except OSError:
        return False
    return said.split()[1:2] == [wanted]


def _run(command: list[str], env: dict[str, str]) -> None:
    done = subprocess.run(command, cwd=ROOT, env=env, check=False)
    if done.returncode:
        sys.exit(f"Error: {' '.join(command[1:])}: ended with code {done.returncode}, see above; then `make` again")


if __name__ == "__main__":
    main(sys.argv[1])
