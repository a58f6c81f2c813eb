"""Finished work that is kept: whole or not there, checked when read, for several processes at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from repligan.store import Store

KEY = {"what": "training", "seeds": [0, 1], "code": "one"}


def make(out: Path, unfinished: Path) -> dict[str, float]:
    (out / "weights").write_text("bits")
    return {"seconds": 1.5}


def never(out: Path, unfinished: Path) -> dict[str, float]:
    raise AssertionError("made again")


def test_what_is_made_is_found(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.find(KEY) is None
    made = store.get(KEY, make)
    assert (made.path / "weights").read_text() == "bits"
    assert (made.key, made.notes) == (KEY, {"seconds": 1.5})
    assert store.get(KEY, never) == made == store.find(KEY)
    assert store.find(KEY | {"code": "other"}) is None


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def fails(out: Path, unfinished: Path) -> dict[str, float]:
        (out / "weights").write_text("half")
        unfinished.mkdir()
        (unfinished / "checkpoint").write_text("kept")
        raise SystemExit(143)

    with pytest.raises(SystemExit):
        store.get(KEY, fails)
    assert store.find(KEY) is None
    assert [(path / "checkpoint").read_text() for path in store.unfinished()] == ["kept"]
    store.get(KEY, make)
    assert store.unfinished() == []


@pytest.mark.parametrize("damage", ["other", ""])
def test_a_damaged_entry_is_made_again(tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str) -> None:
    store = Store(tmp_path)
    path = store.get(KEY, make).path
    (path / "weights").write_text(damage) if damage else (path / "entry.json").unlink()
    assert (store.get(KEY, make).path / "weights").read_text() == "bits"
    assert "damaged, done again" in capsys.readouterr().err


def test_two_processes_make_one_entry(tmp_path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from repligan.store import Store
def make(out, unfinished):
    time.sleep(1)
    (out / "weights").write_text("bits")
    print("made")
    return {}
Store(Path(sys.argv[1])).get({"what": "x"}, make)
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sorted(process.communicate(timeout=60)[0] for process in running) == ["", "made\n"]
    assert [process.returncode for process in running] == [0, 0]


def test_size_renaming_and_emptying(tmp_path: Path) -> None:
    store = Store(tmp_path)
    entry = store.get(KEY, make)
    assert store.size() > 4
    store.rename(entry, KEY | {"code": "two"})
    assert store.find(KEY) is None
    found = store.find(KEY | {"code": "two"})
    assert found
    assert (found.path / "weights").read_text() == "bits"
    assert (store.empty(), list(store.entries()), store.size()) == (1, [], 0)


def test_an_entry_from_elsewhere_may_lack_files_until_they_are_needed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(KEY, {"walk/values": b"bits"}, {"weights": "0" * 64}, {"seconds": 2.0})
    [entry] = store.entries()
    assert entry == store.find(KEY) == store.get(KEY, never)
    assert (entry.absent, entry.files["weights"]) == ({"weights"}, "0" * 64)
    store.rename(entry, KEY | {"code": "other"})
    moved = store.find(KEY | {"code": "other"})
    assert moved
    assert (moved.files, moved.absent) == (entry.files, entry.absent)
    assert store.find(moved.key, whole=True) is None
    assert not store.get(moved.key, make, whole=True).absent
    store.put(KEY, {"history": b"bits"}, {"weights": "0" * 64}, {})
    (store.folder / entry.path.name / "history").write_bytes(b"bit")
    assert store.find(KEY) is None  # damaged


def test_what_is_set_aside_is_kept_and_not_found(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for count in (1, 2):
        aside = store.set_aside(store.get(KEY, make))
        assert aside.name.endswith(f".disputed-{count}")
        assert (aside / "weights").read_text() == "bits"
        assert store.find(KEY) is None
    assert list(store.entries()) == []
    assert store.empty() == 0
    assert list(tmp_path.glob("*.disputed-*")) == []
