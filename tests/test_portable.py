"""The promise on other CPUs: every output has the same hash under three emulated CPU models."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from emulated import CPUS, QEMU, Computed


@pytest.fixture(scope="module")
def native(emulated_folder: Path) -> list[str]:
    return Computed(emulated_folder / "native").hashes()


def test_all_kinds_of_outputs_are_hashed(native: list[str]) -> None:
    names = [line.split()[1] for line in native]
    assert len(names) > 50
    for kind in (
        "runs/even/published/2000-2032/step",
        "runs/dcgan-mnist/published/0-0/step",
        "runs/dcgan-mnist/resnet/2000-",
        "runs/dcgan-mnist/wgan-gp/2000-",
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
def test_an_emulated_cpu_gives_the_same_hashes(emulated_folder: Path, native: list[str], cpu: str) -> None:
    assert QEMU, "REPLIGAN_NEEDS_QEMU is set, but qemu-x86_64 is not installed"
    found = Computed(emulated_folder / cpu).hashes()
    same = sum(a == b for a, b in zip(native, found, strict=True))
    print(f"\n{cpu}: {same} of {len(native)} hashes are the native ones")
    assert found == native
