"""How the tests themselves are shared out."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import conftest
import pytest
from emulated import Computed

from repligan.core import runtime

GIB = 1 << 30


@pytest.mark.parametrize(("cores", "memory", "workers"), [(1, 24, 1), (2, 24, 2), (16, 64, 16), (16, 16, 8), (4, 1, 1)])
def test_a_worker_a_core_as_far_as_memory_goes(
    monkeypatch: pytest.MonkeyPatch, cores: int, memory: int, workers: int
) -> None:
    monkeypatch.setattr(runtime, "cores", lambda: cores)
    monkeypatch.setattr(conftest, "memory", lambda: memory * GIB)
    assert conftest.pytest_xdist_auto_num_workers() == workers


def test_of_those_who_ask_at_the_same_time_one_makes_a_folder(tmp_path: Path) -> None:
    made = []

    def make(folder: Path) -> None:
        made.append(folder)
        time.sleep(0.2)
        (folder / "file").touch()

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(partial(conftest.made_once, make=make), [tmp_path / "data"] * 4))
    assert made == [tmp_path / "data"]
    assert all((folder / "file").exists() for folder in found)


def test_a_folder_that_was_not_finished_is_made_again(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise OSError("a full disk")

    with pytest.raises(OSError, match="a full disk"):
        conftest.made_once(tmp_path / "data", fail)
    folder = conftest.made_once(tmp_path / "data", lambda folder: (folder / "whole").touch())
    assert [file.name for file in folder.iterdir()] == ["whole"]


def test_an_emulated_cpu_that_failed_says_why(tmp_path: Path) -> None:
    for name, content in (("out", "hash name\n"), ("err", "Illegal instruction"), ("code", "132\n")):
        (tmp_path / name).write_text(content)
    with pytest.raises(AssertionError, match="exit code 132: Illegal instruction"):
        Computed(tmp_path).hashes()
    (tmp_path / "code").write_text("0\n")
    assert Computed(tmp_path).hashes() == ["hash name"]
