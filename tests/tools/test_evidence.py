"""Trials that travel: seeds of four machines give the bytes of one; what is damaged, other or forged is refused."""

from __future__ import annotations

import hashlib
import json
import lzma
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from machine import CLAIMS, Machine, data, rows, small_stacks
from safetensors.numpy import load, save

from repligan import cli
from repligan.claims.verdict import OPEN
from repligan.core.errors import InputError
from repligan.core.files import array_bytes, tree_digest
from repligan.store import Store
from repligan.tools import evidence


@pytest.fixture(scope="module", autouse=True)
def stacks() -> Iterator[None]:
    with small_stacks():
        yield


@pytest.fixture(scope="module")
def common(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data(tmp_path_factory.mktemp("common"))


@pytest.fixture(scope="module")
def machines(common: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Machine]:
    """Four machines with their own seeds, each with its file `x.trials`."""
    found = [Machine(tmp_path_factory.mktemp(f"machine{i}"), rows(first=i), common) for i in range(4)]
    for one in found:
        one.reproduce()
        evidence.export(one.params, one.data, one.store, [], one.folder / "x.trials")
    return found


@pytest.fixture(scope="module")
def files(machines: list[Machine]) -> list[Path]:
    return [one.folder / "x.trials" for one in machines]


@pytest.fixture
def empty(common: Path, tmp_path: Path) -> Machine:
    return Machine(tmp_path / "machine", rows(stacks=4), common)


def take(machine: Machine, *files: Path) -> list[str]:
    return evidence.take(machine.params, machine.data, machine.store, files)


def outputs(machine: Machine) -> dict[str, str]:
    return {kind: tree_digest(machine.data / kind, "**/*.*") for kind in ("runs", "evaluations", "metrics", "claims")}


def entries(machine: Machine) -> set[str]:
    return {path.name for path in machine.store.folder.glob("*")} - {"locks"}


def forged(file: Path, out: Path, change: Callable[[dict[str, Any], dict[str, bytes]], None]) -> Path:
    """The file with a change in what it says (a dictionary) or in its content, by sha256."""
    content = {name: one.tobytes() for name, one in load(lzma.decompress(file.read_bytes())).items()}
    said = json.loads(content.pop("trials"))
    change(said, content)
    content["trials"] = json.dumps(said).encode()
    out.write_bytes(lzma.compress(save({name: np.frombuffer(one, np.uint8) for name, one in content.items()})))
    return out


def other_values(name: str, which: int = -1) -> Callable[[dict[str, Any], dict[str, bytes]], None]:
    """Of one trial, values that are a little higher."""

    def change(said: dict[str, Any], content: dict[str, bytes]) -> None:
        made = next(
            said["trials"][which][of] for of in ("training", "measuring") if name in said["trials"][which][of]["files"]
        )
        values, note = load(content[made["files"][name]]), evidence._note(content[made["files"][name]])
        key = next(key for key in sorted(values) if values[key].dtype.kind == "f")
        wrong = array_bytes(values | {key: values[key] + 1}, note)
        made["files"][name] = hashlib.sha256(wrong).hexdigest()
        content[made["files"][name]] = wrong

    return change


def test_four_machines_give_the_bytes_of_one(files: list[Path], empty: Machine, common: Path, tmp_path: Path) -> None:
    undisturbed = Machine(tmp_path / "one", rows(stacks=4), common)
    everything = undisturbed.reproduce()
    assert take(empty, *files[::-1]) == [
        "even: 4 trials, 4 of them new",
        "dcgan: 1 trials, 1 of them new",
        "dcgan/other: 8 trials, 8 of them new",
    ]
    done = empty.reproduce()
    # Weights and pictures that are outputs do not travel; neither do real images beside the variants.
    assert [one for one in done if "floor" not in one] == [
        "train even seed 0-2", "measure even seed 0-2", "train dcgan seed 0", "measure dcgan seed 0",
    ]  # fmt: skip
    assert len(everything) - len(done) == 2 * 11
    judged = [machine.judge() for machine in (empty, undisturbed)]
    assert outputs(empty) == outputs(undisturbed)
    claims_json = [(machine.data / "claims" / "claims.json").read_bytes() for machine in (empty, undisturbed)]
    assert claims_json[0] == claims_json[1]
    counts = {name: [test.num for test in entry.tested.values()] for name, entry in judged[0].by_name.items()}
    assert counts == {"toy": [12], "yes": [12], "images": [8], "real": [8]}  # of all four machines
    assert {entry.verdict for entry in judged[0].claims} - {OPEN}
    assert counts.keys() == CLAIMS.keys()
    assert max(file.stat().st_size for file in files) < 60_000


def test_where_no_weights_are_kept_nothing_is_done_again(
    machines: list[Machine], empty: Machine, tmp_path: Path
) -> None:
    one = machines[0].with_rows(rows(keep_weights=0))
    evidence.export(one.params, one.data, one.store, [], tmp_path / "x.trials")
    other = empty.with_rows(one.params)
    take(other, tmp_path / "x.trials")
    assert [done for done in other.reproduce() if "floor" not in done] == []
    shown = {"pictures.safetensors", *(f"walk/{name}" for name in ("pictures.safetensors", "scores.json"))}
    for name in shown:
        here, there = (side.data / "evaluations" / "dcgan" / name for side in (other, machines[0]))
        assert here.read_bytes() == there.read_bytes()


def test_what_was_imported_can_be_exported(files: list[Path], empty: Machine, tmp_path: Path) -> None:
    take(empty, *files)
    again = empty.folder / "all.trials"
    told = evidence.export(empty.params, empty.data, empty.store, ["dcgan/other", "even"], again)
    assert told[:2] == ["dcgan/other: 8 of 8 trials", "even: 4 of 4 trials"]
    assert told[2].startswith(f"{again}: 12 trials, ")
    other = Machine(tmp_path / "other", empty.params, empty.common)
    assert take(other, again)[0] == "dcgan/other: 8 trials, 8 of them new"


def test_a_trial_twice_counts_once(machines: list[Machine], files: list[Path]) -> None:
    first = machines[0].with_rows(rows(stacks=2))
    before = entries(first)
    assert take(first, files[0], files[1], files[1])[0] == "even: 2 trials, 1 of them new"
    assert entries(first) > before  # what was trained here stays as it is
    assert all(not entry.absent for entry in first.store.entries() if entry.path.name in before)


def test_more_seeds_than_the_row_has_are_kept(files: list[Path], empty: Machine) -> None:
    told = take(empty.with_rows(rows()), *files)
    assert told[0] == "even: 4 trials, 4 of them new; conf/ has seeds: 3, they reach to 12"


def refused(machine: Machine, said: str, *files: Path) -> None:
    before = entries(machine)
    with pytest.raises(InputError) as error:
        take(machine, *files)
    assert said in error.value.message
    assert "\n" not in error.value.message
    assert error.value.message.startswith(f"{files[-1]}: ")
    assert entries(machine) == before


def test_a_gap_in_the_seeds_is_refused(files: list[Path], empty: Machine) -> None:
    said = "even seed 6-8: found a gap, even seed 3-5 is neither in a file nor finished here"
    refused(empty, said, files[0], files[2])


KEYS = {
    "versions.torch": ("2.0", "2.0"),
    "versions.python": ("3.9.1", "3.9.1"),
    "precision": ("fast", "fast"),
    "device": ("cuda", "cuda"),
    "code": ("0" * 32, "0" * 32),
    "data": ("0" * 64, "0" * 64),
}


@pytest.mark.parametrize("of", ["training", "measuring"])
@pytest.mark.parametrize("name", KEYS)
def test_other_versions_devices_or_code_are_refused(
    files: list[Path], empty: Machine, tmp_path: Path, name: str, of: str
) -> None:
    value, shown = KEYS[name]

    def change(said: dict[str, Any], content: dict[str, bytes]) -> None:
        table = said["trials"][0][of]["key"]
        *tables, last = name.split(".")
        for one in tables:
            table = table[one]
        table[last] = value

    prefix = "measuring " if of == "measuring" else ""
    said = f"even seed 0-2: {prefix}{name}: found {shown}; allowed: "
    refused(empty, said, forged(files[0], tmp_path / "forged.trials", change))


def changed(*path: str | int, value: object) -> Callable[[dict[str, Any], dict[str, bytes]], None]:
    def change(said: dict[str, Any], content: dict[str, bytes]) -> None:
        table: Any = said["trials"]
        for key in path[:-1]:
            table = table[key]
        table[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (changed(0, "row", "experiment", value="odd"), "rows: found no 'odd'; allowed: "),
        (changed(0, "row", "experiment", value="../odd"), "trials.0.row.experiment: found '../odd'; allowed: "),
        (changed(0, "seeds", value=[0, 10**9]), "even: found seeds 0 up to 1000000000; allowed: 1 to 65,536 seeds"),
        (changed(0, "seeds", value=[0, 2]), "even seed 0-1: seeds: found [0, 3]; allowed: [0, 2], as here"),
        (changed(0, "training", "files", value={"../x": "0" * 64}), "found '../x'; allowed: "),
        (changed(0, "training", "files", value={}), "even seed 0-2: "),
        (changed(0, "more", value=1), "trials.0.more: found an unknown key; allowed: "),
        (lambda said, content: content.update({next(iter(content)): b"x"}), "damaged (found another sha256 of "),
        (lambda said, content: [content.pop(name) for name in list(content)], "found no values of it ("),
    ],
    ids=["row", "path as row", "seeds", "part of a stack", "path", "no files", "key", "sha256", "no content"],
)  # fmt: skip
def test_a_file_that_says_what_cannot_be_is_refused(
    files: list[Path], empty: Machine, tmp_path: Path, change: Any, says: str
) -> None:
    refused(empty, says, forged(files[0], tmp_path / "forged.trials", change))


def test_a_damaged_file_is_refused(
    files: list[Path], empty: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "LARGEST", 2**20)
    content, file = files[0].read_bytes(), tmp_path / "damaged.trials"
    middle = len(content) // 2
    bomb = lzma.compress(b"\0" * (evidence.LARGEST + 1), preset=0)
    assert len(bomb) < 1000
    for wrong, says in (
        (b"", "damaged (it ends too early)"),
        (content[:middle], "damaged (it ends too early)"),
        (content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :], "damaged ("),
        (content + b"more", "damaged (there is more after its end)"),
        (b"PK" + content, "damaged ("),
        (lzma.compress(b"no tensors"), "damaged ("),
        (lzma.compress(save({"other": np.zeros(3)})), "damaged ('trials')"),
        (bomb, "damaged (found more than 1,048,576 bytes when unpacked)"),
    ):
        file.write_bytes(wrong)
        refused(empty, says, file)
    refused(empty, "not found; allowed: a file of `repligan trials export`", tmp_path / "none.trials")


@pytest.mark.parametrize("name", ["history.safetensors", "stats.safetensors"])
def test_of_two_that_differ_neither_counts(
    machines: list[Machine], files: list[Path], empty: Machine, tmp_path: Path, name: str
) -> None:
    wrong = forged(files[0], tmp_path / "forged.trials", other_values(name))
    refused(empty, f"dcgan/other seed 1: found other {name} than in {files[0]}; allowed: the same", files[0], wrong)
    take(empty, files[0])
    before = entries(empty)
    with pytest.raises(InputError, match=f"dcgan/other seed 1: found other {name} than .*; neither counts: ") as error:
        take(empty, wrong)
    [lost], [aside] = before - entries(empty), entries(empty) - before
    assert aside == f"{lost}.disputed-1"
    assert aside in error.value.message
    assert str(empty.store.folder / lost) in error.value.message
    assert len(list(empty.store.entries())) == len(before) - 1
    assert take(empty, files[0])[-1] == "dcgan/other: 2 trials, 1 of them new"
    assert aside in entries(empty)


def test_forged_weights_are_found_where_they_are_made_again(files: list[Path], empty: Machine, tmp_path: Path) -> None:
    """The first stack of `even` keeps its weights: it is trained here, whatever a file says of them."""

    def change(said: dict[str, Any], content: dict[str, bytes]) -> None:
        trial = said["trials"][0]
        last = max(trial["training"]["files"])
        trial["training"]["files"][last] = trial["measuring"]["key"]["weights"][last] = "0" * 64

    first = empty.with_rows(rows())
    take(first, forged(files[0], tmp_path / "forged.trials", change))
    with pytest.raises(
        InputError, match=r"imported, and step_\d+\.safetensors of even seed 0-2 come out otherwise here"
    ):
        first.reproduce()
    assert [name for name in entries(first) if name.endswith(".disputed-1")]
    assert "train even seed 0-2" in first.reproduce()


def test_nothing_to_export_is_said(empty: Machine) -> None:
    with pytest.raises(InputError, match="found no trial of even; allowed: rows with finished ones"):
        evidence.export(empty.params, empty.data, empty.store, ["even"], empty.folder / "x.trials")
    with pytest.raises(InputError, match="rows: found no 'odd'; allowed: dcgan, dcgan/other, even"):
        evidence.export(empty.params, empty.data, empty.store, ["odd"], empty.folder / "x.trials")


def test_the_commands(machines: list[Machine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = machines[0]
    params = tmp_path / "params.yaml"
    params.write_text(one.params.model_dump_json())
    monkeypatch.chdir(one.folder)
    monkeypatch.setenv("REPLIGAN_TRIALS", str(one.store.folder))
    out = tmp_path / "even.trials"
    shown = CliRunner().invoke(cli.main, ["trials", "export", "even", "-o", str(out), "--params", str(params)])
    assert (shown.exit_code, shown.output.splitlines()[0]) == (0, "even: 1 of 1 trials")
    monkeypatch.setenv("REPLIGAN_TRIALS", str(tmp_path / "empty"))
    shown = CliRunner().invoke(cli.main, ["trials", "import", str(out), "--params", str(params)])
    assert (shown.exit_code, shown.output) == (0, "even: 1 trials, 1 of them new\n")
    assert len(list(Store(tmp_path / "empty").entries())) == 2
    shown = CliRunner().invoke(cli.main, ["trials", "import", str(params), "--params", str(params)])
    assert shown.exit_code == 2
    assert shown.output.startswith(f"Error: {params}: damaged (")
