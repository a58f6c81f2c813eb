"""What is likely to go wrong on this machine, each with its remedy."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import click
from ruamel.yaml import YAML

from repligan import compose, tracking
from repligan.core import runtime
from repligan.core.git import git, reason
from repligan.evaluation.rows import DrawsReference
from repligan.params import Params, key_of
from repligan.store import Store
from repligan.tools.inventory import summary
from repligan.tools.repair import strays
from repligan.trials import folder

BY_SKLEARN = {"KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK"}  # which it sets for itself when it is imported
ENOUGH_DISK = 2 * 10**9  # bytes: outputs, DVC's cache of them, MLflow
Check = Callable[[Path, Params], Iterator[str]]


def examine(root: Path, params: Params) -> list[tuple[str, list[str]]]:
    """(what was looked at, what is wrong with it) for every check."""
    found = [(str(check.__doc__).splitlines()[0].rstrip("."), list(check(root, params))) for check in CHECKS]
    halved = runtime.kind_of_device(params.runtime) == "cuda" or runtime.native_bfloat16()
    dtype = "bfloat16" if halved else "float32, this CPU has no bfloat16"
    return [*found, (f"precision: fast would compute in {dtype}", []), (summary(Store(folder())), [])]


def versions(root: Path, params: Params) -> Iterator[str]:
    """Installed versions are those of requirements.lock."""
    from packaging.requirements import Requirement

    for line in (root / "requirements.lock").read_text(encoding="utf-8").splitlines():
        if "==" not in line or line.startswith((" ", "#")):
            continue
        wanted = Requirement(line.removesuffix("\\").strip())
        if wanted.marker and not wanted.marker.evaluate():
            continue
        try:
            found = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            found = "nothing"
        if not wanted.specifier.contains(found) if found != "nothing" else True:
            yield f"{wanted.name}: found {found}, locked {wanted.specifier}; run `rm .venv/ready && make test`"


def cpu(root: Path, params: Params) -> Iterator[str]:
    """The CPU can compute the promised bits."""
    elsewhere = "`repligan verify` compares by bands"
    if params.runtime.precision != "portable":
        return
    if not runtime.X86_64:
        yield f"found {platform.machine()}; hashes are promised on x86-64 CPUs with AVX2, elsewhere {elsewhere}"
    elif not runtime.has_avx2():
        yield f"found no AVX2, which portable arithmetic needs; with `runtime.precision: fast` {elsewhere}"


def environment(root: Path, params: Params) -> Iterator[str]:
    """The environment leaves threads and instructions to params.yaml."""
    for name in sorted(set(runtime.foreign()) - BY_SKLEARN):
        yield f"{name}: found {os.environ[name]!r}, which the stages leave out: params.yaml says it"


def threads(root: Path, params: Params) -> Iterator[str]:
    """There is a core for every thread."""
    cores = runtime.cores()
    rows = {key_of(row): experiment.threads for row, experiment in params.rows.items()}
    for name, reference in params.references.items():
        if not isinstance(reference, DrawsReference):
            rows[f"references.{name}"] = reference.threads
    for name, wanted in rows.items():
        if wanted > cores:
            yield f"{name}.threads: found {wanted} on {cores} cores; slower, but the same bits: leave it"


def gpu(root: Path, params: Params) -> Iterator[str]:
    """The device that params.yaml asks for is there."""
    import torch

    if params.runtime.device == "cuda" and not torch.cuda.is_available():
        yield "runtime.device: found cuda, but no CUDA device is here; allowed: cpu, auto"
    if params.runtime.device == "cpu" and torch.cuda.is_available():
        yield f"{torch.cuda.get_device_name()} stays idle: runtime.device is cpu; SCALE=full uses it"


def disk(root: Path, params: Params) -> Iterator[str]:
    """There is room on the disk."""
    free = shutil.disk_usage(root).free
    if free < ENOUGH_DISK:
        yield f"found {free / 1e9:.1f} GB free, {ENOUGH_DISK / 1e9:.0f} GB are wanted; `dvc gc --workspace` frees some"


def mlflow_store(root: Path, params: Params) -> Iterator[str]:
    """MLflow can read its runs."""
    if (root / "mlruns").is_dir():
        yield f"{root / 'mlruns'}: a file store, which MLflow cannot read; remove it, `repligan sync` writes the runs"
    if (root / "mlflow.db").exists() and tracking.uri().startswith("sqlite:"):
        try:
            with tracking.one_line():
                tracking.open_store()
        except click.ClickException as error:
            yield error.message


def counted_files(root: Path, params: Params) -> Iterator[str]:
    """DVC counts no file that git does not have."""
    if not (root / ".git").exists():
        return
    stages = YAML(typ="safe").load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"].values()
    deps = {dep for stage in stages for dep in stage.get("do", stage)["deps"]}
    rooms = sorted(dep for dep in deps if dep.startswith("src/") and (root / dep).is_dir())
    listed = git(root, "ls-files", "--others", "-z", "--exclude-from=.dvcignore", *rooms)
    if listed.returncode:
        yield f"git: {reason(listed)}"
    for name in filter(None, listed.stdout.decode(errors="replace").split("\0")):
        yield f"{name}: not in git, yet part of a stage's hash; add or remove it, or list it in .dvcignore"


def others(root: Path, params: Params) -> Iterator[str]:
    """DVC counts outputs of the experiments in params.yaml only."""
    yield from strays(root, params)


def leftovers(root: Path, params: Params) -> Iterator[str]:
    """No training waits to be continued."""
    for path in Store(folder()).unfinished():
        yield f"{path}: a stopped training; the same command continues it, removing the folder forgets it"


def edited(root: Path, params: Params) -> Iterator[str]:
    """params.yaml is what conf/ composes to."""
    if (root / "conf").is_dir() and (root / "params.yaml").exists():
        yield from compose.edited(root / "params.yaml", root / "conf")


CHECKS: tuple[Check, ...] = (
    versions,
    cpu,
    environment,
    threads,
    gpu,
    disk,
    mlflow_store,
    counted_files,
    others,
    leftovers,
    edited,
)
