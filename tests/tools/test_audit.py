"""The audit names what is forged, and nothing else; tests/forge.py shows that it does so as often as it says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from machine import Machine, data, rows, small_stacks

from repligan import cli
from repligan.core.errors import InputError
from repligan.core.files import array_bytes, arrays
from repligan.engines import ThisProcess
from repligan.store import Store
from repligan.tools import audit as auditing
from repligan.tools import evidence
from repligan.tools.audit import Record, audit, chosen, conclusion, missed, picked, records
from repligan.trials import TRIALS


@pytest.fixture(scope="module", autouse=True)
def stacks() -> Iterator[None]:
    with small_stacks():
        yield


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    one = Machine(tmp_path_factory.mktemp("machine"), rows(stacks=2), data(tmp_path_factory.mktemp("common")))
    one.reproduce()
    return one


@pytest.fixture
def found(machine: Machine, tmp_path: Path) -> list[Record]:
    """Its records, in a copy that may be forged."""
    shutil.copytree(machine.data, tmp_path / "data")
    return records(machine.params, tmp_path / "data", machine.store)


def again(found: list[Record]) -> dict[str, list[str]]:
    return audit(found, ThisProcess())


def test_what_was_trained_here_agrees(found: list[Record]) -> None:
    assert [str(one.trial) for one in found] == [
        "even seed 0-2", "even seed 3-5", "dcgan seed 0", "dcgan/other seed 0", "dcgan/other seed 1",
        "dcgan/other seed 2", "dcgan/other seed 3",
    ]  # fmt: skip
    assert all(one.seconds is not None for one in found)
    assert again(found) == {}


@pytest.mark.parametrize(
    ("row", "column", "trial", "key"),
    [
        ("even", 4, "even seed 3-5", "loss_D"),
        ("even", 2, "even seed 0-2", "tv"),
        ("dcgan", 1, "dcgan/other seed 1", "luma"),
    ],
)
def test_a_value_that_is_one_bit_off_is_found(found: list[Record], row: str, column: int, trial: str, key: str) -> None:
    table = next(one.values for one in found if str(one.trial) == trial)
    values, note = arrays(table)
    forged = values[key].copy()
    forged[-1, column] = np.nextafter(forged[-1, column], forged.dtype.type(9))
    table.write_bytes(array_bytes(values | {key: forged}, note))
    assert again([one for one in found if one.values == table]) == {trial: [key]}


def test_weights_with_another_hash_are_found(machine: Machine, found: list[Record]) -> None:
    folder = found[0].values.parents[2]
    file = folder / "runs" / "dcgan" / TRIALS
    listed = json.loads(file.read_text())
    listed[2]["weights"]["step_00000003.safetensors"] = "0" * 64
    file.write_text(json.dumps(listed))
    forged = records(machine.params, folder, machine.store)
    assert again(forged[3:]) == {"dcgan/other seed 1": ["step_00000003.safetensors"]}


def test_the_seed_picks_and_no_trial_twice() -> None:
    assert picked(100, 20, 7) == picked(100, 20, 7) != picked(100, 20, 8)
    assert len(set(picked(100, 100, 3))) == 100
    counts = np.bincount([i for seed in range(500) for i in picked(20, 5, seed)], minlength=20)
    assert counts.min() > 125 - 4 * 9.7  # SD of a count: (500 * 0.25 * 0.75) ** 0.5
    assert counts.max() < 125 + 4 * 9.7


def test_how_many_fit_into_the_time(found: list[Record], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditing, "_at_once", lambda found: 2)
    timed = [replace(one, seconds=30.0) for one in found]
    assert [len(chosen(timed, None, minutes, 0)) for minutes in (0.1, 1, 1.25, 99)] == [1, 4, 5, 7]
    assert auditing.announcement(timed, timed[:4], 5) == "seed 5 picks 4 of 7 trials, about 60 s"
    some = [replace(one, seconds=None) for one in timed[:2]] + timed[2:4]
    assert auditing.announcement(timed, some, 5) == "seed 5 picks 4 of 7 trials, about 30 s, and 2 of unknown time"
    for count, minutes, of, says in (
        (8, None, timed, "--trials: found 8; allowed: 1 to 7"),
        (1, 1.0, timed, "--minutes: found --trials too; allowed: one of them"),
        (None, 1.0, some[:2], "--minutes: found no finished trial that says how long it took; allowed: --trials"),
    ):
        with pytest.raises(InputError, match=says):
            chosen(of, count, minutes, 0)


def test_what_it_says() -> None:
    assert [missed(100, wrong, 18) for wrong in (1, 83)] == [0.82, 0.0]
    assert conclusion(100, 18, {}) == [
        "18 of 100 trials made again, 18 agree bit for bit",
        "how likely wrong ones would have been missed: 1% wrong with 0.82, 5% wrong with 0.36, 10% wrong with 0.12, "
        "20% wrong with 0.012",
    ]  # fmt: skip
    assert conclusion(100, 18, {"even seed 3": ["tv", "odd"]}) == [
        "even seed 3: found other tv, odd than recorded",
        "18 of 100 trials made again, 17 agree bit for bit",
    ]


def test_the_command(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditing, "LocalProcesses", ThisProcess)
    monkeypatch.setenv("REPLIGAN_TRIALS", str(tmp_path / "empty"))
    shutil.copytree(machine.data, tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(machine.params.model_dump_json())
    shown = CliRunner().invoke(cli.main, ["audit", "--trials", "2", "--seed", "3"])
    first, *_, last = shown.output.splitlines()
    assert (shown.exit_code, first) == (0, "seed 3 picks 2 of 7 trials, of unknown time")
    assert last.startswith("how likely wrong ones would have been missed: 1% wrong with 0.71, ")
    assert not list(Store(tmp_path / "empty").entries())
    (tmp_path / "data" / "evaluations" / "even" / "published.safetensors").write_bytes(b"x")
    shown = CliRunner().invoke(cli.main, ["audit", "--trials", "7"])
    assert shown.exit_code == 2
    assert "data/evaluations/even/published.safetensors: damaged" in shown.output


def test_files_of_others_are_audited_too(machine: Machine, tmp_path: Path) -> None:
    """As they are, and with a value and with weights that are not what a training here gives."""
    file = tmp_path / "all.trials"
    evidence.export(machine.params, machine.data, machine.store, [], file)
    told = auditing.told(machine.params, machine.data, machine.store, [file])
    assert [str(one.trial) for one in told] == [
        str(one.trial) for one in records(machine.params, machine.data, machine.store)
    ]
    assert again(told) == {}
    one = told[2].values
    assert isinstance(one, evidence.Told)
    for part, name in (("training", "step_00000003.safetensors"), ("measuring", "stats.safetensors")):
        files = getattr(one.made, part).files | {name: "0" * 64}
        made = one.made.model_copy(update={part: getattr(one.made, part).model_copy(update={"files": files})})
        assert again([replace(told[2], values=replace(one, made=made))]) == {str(one.trial): [name]}
