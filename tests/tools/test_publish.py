from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from repligan.claims import ledger
from repligan.cli import main
from repligan.core.errors import InputError
from repligan.params import Params, load
from repligan.store import Store
from repligan.tools import publish as publishing
from repligan.tools.audit import told
from repligan.trials import trials_of


@pytest.fixture
def root(reproduced: Path, tmp_path: Path) -> Path:
    """The smoke scale's results, in a copy."""
    shutil.copytree(reproduced / "made", tmp_path / "root")
    return tmp_path / "root"


def test_what_is_published_can_be_read_looked_at_and_made_again(
    root: Path, reproduced: Path, smoke: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    monkeypatch.setenv("REPLIGAN_TRIALS", str(reproduced / "store"))
    shown = CliRunner().invoke(main, ["publish"])
    assert shown.exit_code == 0, (shown.output, shown.exception)
    out = root / "published" / "smoke"
    assert load(out / "params.yaml") == smoke
    assert ledger.read(out).claims == ledger.read(root / "reports").claims
    rows = list(csv.DictReader((out / "trials.csv").read_text().splitlines()))
    assert len(rows) == sum(1 for row, one in smoke.rows.items() for _ in trials_of(row, one))
    assert all(len(row["weights"]) == 64 and float(row["seconds"]) >= 0 for row in rows)
    for key in ("cpu_seconds", "measuring_cpu_seconds"):
        assert sum(float(row[key]) for row in rows) > 1
    costs = {one["row"]: one for one in csv.DictReader((out / "costs.csv").read_text().splitlines())}
    assert list(costs) == [str(row) for row in smoke.rows]
    assert int(costs["even"]["trials"]) == sum(one["row"] == "even" for one in rows)
    store = Store(reproduced / "store")
    images = [name for name in smoke.experiments if not smoke.published(name).stacked]
    trials = told(smoke, root / "data", store, [out / f"{name}.trials" for name in images])
    assert {str(one.trial.row.experiment) for one in trials} == set(images)
    for name in smoke.experiments:
        with Image.open(out / "pictures" / f"{name}.png") as img:
            assert img.size[0] >= 8


def test_a_row_costs_its_cpu_time_or_by_the_clock_what_its_median_trial_does() -> None:
    columns = {
        "row": ["clock", "clock", "clock", "cpu", "cpu"],
        "seconds": [3600.0, 36.0, 3600.0, 90000.0, 7200.0],
        "threads": [1, 1, 1, 2, 2],
        "cpu_seconds": [None, None, None, None, 1800.0],
    }
    trials = pd.DataFrame(columns).assign(measuring_seconds=360.0, measuring_cpu_seconds=None)
    assert publishing._costs(trials).to_dict("list") == {
        "row": ["clock", "cpu"],
        "training_core_hours": [3.0, 1.0],
        "measuring_core_hours": [0.3, 0.4],
        "trials": [3, 2],
    }


def test_what_is_not_finished_is_not_published(
    root: Path, smoke: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match="found no finished trial"):
        publishing.publish(root, smoke, Store(tmp_path / "empty"), out)
    (root / "reports" / "metrics" / "even.json").unlink()
    with pytest.raises(InputError, match=r"even\.json: not found"):
        publishing.publish(root, smoke, Store(tmp_path / "empty"), out)
    assert not out.exists()


def test_what_is_too_large_to_be_committed_is_told(
    root: Path, reproduced: Path, smoke: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "LARGEST", 1000)
    (out := tmp_path / "out").mkdir()
    (out / "before").write_text("")
    monkeypatch.chdir(root)
    with pytest.raises(InputError, match="bytes; allowed: 1,000 to be committed"):
        publishing.publish(Path(), smoke, Store(reproduced / "store"), out)
    assert [path.name for path in out.iterdir()] == ["before"]
