"""The promise on other CPUs: every output has the same hash under three emulated CPU models."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from repligan.core.runtime import PORTABLE

QEMU = shutil.which("qemu-x86_64")
CPUS = ("Haswell", "Broadwell", "EPYC")


def start(params: Path, out: Path, *emulator: str) -> subprocess.Popen[str]:
    bare = {key: value for key, value in os.environ.items() if key not in PORTABLE}
    # Threads that spin while they wait keep the other emulated CPUs from running; it changes no bit.
    bare["OMP_WAIT_POLICY"] = "PASSIVE"
    command = [*emulator, sys.executable, str(ROOT / "tests" / "portable.py"), str(params), str(out)]
    return subprocess.Popen(command, env=bare, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def hashes(process: subprocess.Popen[str]) -> list[str]:
    out, said = process.communicate(timeout=900)
    assert process.returncode == 0, said
    return out.splitlines()


@pytest.fixture(scope="module")
def native(smoke_file: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return hashes(start(smoke_file, tmp_path_factory.mktemp("native") / "out"))


@pytest.fixture(scope="module")
def emulated(smoke_file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The hashes under every emulated CPU, all computed at the same time."""
    assert QEMU, "REPLIGAN_NEEDS_QEMU is set, but qemu-x86_64 is not installed"
    running = {cpu: start(smoke_file, tmp_path_factory.mktemp(cpu) / "out", QEMU, "-cpu", cpu) for cpu in CPUS}
    return {cpu: hashes(process) for cpu, process in running.items()}


def test_all_kinds_of_outputs_are_hashed(native: list[str]) -> None:
    names = [line.split()[1] for line in native]
    assert len(names) > 50
    for kind in (
        "runs/even/published/0-32/step",
        "runs/dcgan-mnist/published/0-0/step",
        "runs/dcgan-mnist/resnet/0-0/history",
        "runs/dcgan-mnist/wgan-gp/0-0/history",
        "metrics/even.json",
        "card.json",
        "evaluations/dcgan-mnist/control.safetensors",
        "evaluations/dcgan-anime/walk/values",
        "reports/claims.json",
        "overview.png",
        "index.html",
    ):
        assert any(kind in name for name in names), kind


@pytest.mark.skipif(not QEMU and "REPLIGAN_NEEDS_QEMU" not in os.environ, reason="no qemu-x86_64 on this machine")
@pytest.mark.parametrize("cpu", CPUS)
def test_an_emulated_cpu_gives_the_same_hashes(emulated: dict[str, list[str]], native: list[str], cpu: str) -> None:
    same = sum(a == b for a, b in zip(native, emulated[cpu], strict=True))
    print(f"\n{cpu}: {same} of {len(native)} hashes are the native ones")
    assert emulated[cpu] == native
