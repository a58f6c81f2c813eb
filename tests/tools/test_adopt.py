from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from repligan import cli, goldens
from repligan.core import code
from repligan.core.errors import Fault
from repligan.metrics import toys
from repligan.params import Params, load
from repligan.store import Store
from repligan.tools import adopt as adopting
from repligan.tools.adopt import adopt
from repligan.tools.inventory import lines
from repligan.training.losses import NonSaturating


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data, with the golden trials in a store."""
    folder = tmp_path_factory.mktemp("finished")
    goldens.run(folder)
    return folder


@pytest.fixture
def params() -> Params:
    return load(goldens.ROWS)


@pytest.fixture
def data(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, whose trials are those of other code."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(code, "digest", lambda roots: "renamed")
    monkeypatch.setattr(adopting, "golden_differences", list)
    return tmp_path


def kept(data: Path) -> set[str]:
    return {str(entry.key["code"]) + entry.path.name for entry in Store(data / "trials").entries()}


def test_code_of_the_same_bits_takes_over_everything(params: Params, data: Path) -> None:
    store = Store(data / "trials")
    before = kept(data)
    told = adopt(params, data, store)
    trainings = sum(entry.key["what"] == "training" for entry in store.entries())
    assert told[0] == f"{trainings} trainings adopted"
    assert len(kept(data)) == len(before)
    assert all(name.startswith("renamed") for name in kept(data))
    assert all(entry.intact for entry in store.entries())
    assert all(": 1 of 1 trials, trained in " in line for line in list(lines(params, data, store))[:-1])
    assert [line.split()[0] for line in adopt(params, data, store)] == ["0", "0", "0"]


AGAINST = NonSaturating.against


@pytest.mark.parametrize(
    ("place", "function", "changed", "said"),
    [
        # The derivative stays the loss's: another one is refused before anything is trained.
        (NonSaturating, "against", lambda *seen: AGAINST(*seen) + 1, "training of even: loss_D at step 1"),
        (toys, "even_statistics", lambda *_: {"tv": torch.zeros(3).numpy()}, "measuring of even: stats.safetensors"),
    ],
)
def test_code_of_other_bits_takes_over_nothing(
    params: Params,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: object,
    function: str,
    changed: Callable[..., object],
    said: str,
) -> None:
    monkeypatch.setattr(place, function, staticmethod(changed) if isinstance(place, type) else changed)
    before = kept(data)
    with pytest.raises(Fault, match=said) as error:
        adopt(params, data, Store(data / "trials"))
    assert " of box" not in error.value.message
    assert kept(data) == before


def test_nothing_is_adopted_where_a_golden_trial_differs(
    params: Params, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adopting, "golden_differences", lambda: ["training box"])
    before = kept(data)
    monkeypatch.setenv("REPLIGAN_TRIALS", str(data / "trials"))
    shown = CliRunner().invoke(cli.main, ["trials", "adopt", "--params", str(goldens.ROWS)])
    assert (shown.exit_code, shown.output) == (1, "Error: nothing is adopted; golden trials differ: training box\n")
    assert kept(data) == before


def test_other_rows_and_other_data_are_left_alone(params: Params, data: Path) -> None:
    tables = params.model_dump(mode="json")
    tables["experiments"]["box"]["steps"] = 4
    slower = Params.model_validate(tables)
    adopt(slower, data, Store(data / "trials"))
    left = [entry for entry in Store(data / "trials").entries() if entry.key["code"] != "renamed"]
    assert {entry.key["what"] for entry in left} == {"training", "measuring"}
    assert len(left) == 2
