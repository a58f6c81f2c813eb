from __future__ import annotations

import errno
import fcntl
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from repligan.core import files
from repligan.core.errors import InputError


def test_whole_dir_leaves_the_old_content_when_the_block_fails(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with files.whole_dir(out) as folder:
        (folder / "a").write_text("1")
    with pytest.raises(ZeroDivisionError), files.whole_dir(out) as folder:
        (folder / "b").write_text("2")
        raise ZeroDivisionError
    assert [path.name for path in out.iterdir()] == ["a"]
    assert list(tmp_path.iterdir()) == [out]


def test_whole_dir_replaces_what_was_there(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with files.whole_dir(tmp_path / "out") as folder:
            (folder / name).write_text(name)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b"]


def test_json_is_sorted_and_rounded(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "x.json"
    files.write_json(path, {"b": 1 / 3, "a": [2.0000000001, True, 7]})
    assert path.read_text().index('"a"') < path.read_text().index('"b"')
    assert json.loads(path.read_text()) == {"a": [2.0, True, 7], "b": 0.333333}
    assert files.read_json(path) == {"a": [2.0, True, 7], "b": 0.333333}


def test_json_refuses_what_is_not_finite(tmp_path: Path) -> None:
    files.write_json(tmp_path / "x.json", {"a": 1.0})
    with pytest.raises(ValueError, match="finite"):
        files.write_json(tmp_path / "x.json", {"a": float("nan")})
    assert files.read_json(tmp_path / "x.json") == {"a": 1.0}


def test_tensors_come_back_with_their_note(tmp_path: Path) -> None:
    tensors = {"b": torch.arange(3), "a": torch.rand(2, 2).T}
    path = tmp_path / "x.safetensors"
    files.write_bytes(path, files.to_bytes(tensors, {"k": [1]}))
    back, note = files.from_file(path)
    assert note == {"k": [1]}
    assert all(torch.equal(back[key], tensors[key]) for key in tensors)


def test_arrays_come_back_with_their_note(tmp_path: Path) -> None:
    values = {"b": np.arange(6.0).reshape(2, 3).T, "a": np.array([True, False])}
    path = tmp_path / "x.safetensors"
    files.write_bytes(path, files.array_bytes(values, {"k": [1]}))
    back, note = files.arrays(path)
    assert note == {"k": [1]}
    assert {key: value.dtype for key, value in back.items()} == {key: value.dtype for key, value in values.items()}
    assert all(np.array_equal(back[key], values[key]) for key in values)


def test_the_same_tensors_are_the_same_bytes() -> None:
    a, b = torch.zeros(2), torch.ones(3)
    assert files.to_bytes({"a": a, "b": b}, {"x": 1, "y": 2}) == files.to_bytes({"b": b, "a": a}, {"y": 2, "x": 1})


@pytest.mark.parametrize("reader", [files.from_file, files.arrays, files.load_array, files.read_json])
def test_damaged_and_missing_files_are_named(tmp_path: Path, reader: object) -> None:
    path = tmp_path / "x"
    with pytest.raises(InputError, match="x: not found"):
        reader(path)
    path.write_bytes(b"\x80 no such format")
    with pytest.raises(InputError, match="run `dvc repro`"):
        reader(path)


def test_a_pickle_is_not_loaded_as_an_array(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError):
        files.load_array(path)


def test_tree_digest_sees_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    before = files.tree_digest(tmp_path, "*")
    assert files.tree_digest(tmp_path, "*") == before
    (tmp_path / "a").write_text("2")
    changed = files.tree_digest(tmp_path, "*")
    (tmp_path / "a").rename(tmp_path / "b")
    assert len({before, changed, files.tree_digest(tmp_path, "*")}) == 3


def test_a_hidden_file_is_not_part_of_a_tree(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(b"1")
    before = files.tree_digest(tmp_path, "*")
    (tmp_path / ".DS_Store").write_bytes(b"2")
    assert files.tree_digest(tmp_path, "*") == before
    (tmp_path / "b.npy").write_bytes(b"2")
    assert files.tree_digest(tmp_path, "*") != before


def test_a_file_system_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(file: object, kind: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.raises(OSError, match=r"has no locks \(flock\).*lock"), files.alone(tmp_path / "lock"):
        pass
