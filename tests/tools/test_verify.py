from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from repligan.core.errors import InputError
from repligan.params import Params
from repligan.tools import verify
from repligan.tools.verify import DRIFTED, IDENTICAL, UNPROMISED, WITHIN

LOCK = {"train@even": {"data/runs/even": "aa.dir"}, "evaluate@even": {"reports/metrics/even.json": "bb"}}
OTHER = {"train@even": {"data/runs/even": "cc.dir"}, "evaluate@even": {"reports/metrics/even.json": "dd"}}
METRICS = {"reports/metrics/even.json": {"scale": "smoke", "step_60": {"tv": {"mean": 0.5, "lo": 0.4}}}}


def moved(value: float) -> dict[str, object]:
    return {"reports/metrics/even.json": {"scale": "smoke", "step_60": {"tv": {"mean": value, "lo": 0.1}}}}


@pytest.fixture
def unpromised(smoke: Params) -> Params:
    return smoke.model_copy(update={"runtime": smoke.runtime.model_copy(update={"device": "auto"})})


def test_the_same_hashes_hold(smoke: Params) -> None:
    rows = verify.compare(smoke, LOCK, LOCK, METRICS, METRICS, list(LOCK))
    assert [row.status for row in rows] == [IDENTICAL, IDENTICAL]
    assert verify.holds(rows)


def test_another_hash_is_drift_where_bits_are_promised(smoke: Params) -> None:
    rows = verify.compare(smoke, LOCK, OTHER, METRICS, METRICS, list(LOCK))
    assert [row.status for row in rows] == [DRIFTED, DRIFTED]
    assert not verify.holds(rows)


@pytest.mark.parametrize(("value", "status"), [(0.59, WITHIN), (0.61, DRIFTED), (0.41, WITHIN), (0.39, DRIFTED)])
def test_elsewhere_the_bands_decide(unpromised: Params, value: float, status: str) -> None:
    """tv 0.5 under the default band: 0.05 + 10 % of it."""
    rows = verify.compare(unpromised, LOCK, OTHER, METRICS, moved(value), list(LOCK))
    assert [row.status for row in rows] == [UNPROMISED, status]
    assert verify.holds(rows) == (status == WITHIN)
    assert f"step_60.tv: 0.5 was committed, {value} found" in rows[1].detail


@pytest.mark.parametrize(("value", "status"), [(30.0, WITHIN), (60.0, DRIFTED)])
def test_each_metric_has_its_own_band(unpromised: Params, value: float, status: str) -> None:
    """A Frechet distance of 20: 5 + 100 % of it, at any number of images."""
    was, now = ({"reports/metrics/x.json": {"end": {"fd_cnn_100": {"mean": one}}}} for one in (20.0, value))
    lock = {"evaluate@x": {"reports/metrics/x.json": "bb"}}
    other = {"evaluate@x": {"reports/metrics/x.json": "cc"}}
    assert verify.compare(unpromised, lock, other, was, now, list(lock))[0].status == status


def test_the_clone_finds_no_finished_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, str] = {}

    class Pipeline:
        returncode, stdout = 0, ("Running stage 'fetch@even':\n",)

        def __init__(self, command: list[str], env: dict[str, str], **others: object):
            seen.update(env)

        def __enter__(self) -> Pipeline:
            return self

        def __exit__(self, *error: object) -> None:
            return

    monkeypatch.setattr(subprocess, "Popen", Pipeline)
    monkeypatch.setenv("REPLIGAN_TRIALS", "/kept/trials")
    monkeypatch.setenv("DVC_ROOT", "/kept")
    assert verify._reproduce(tmp_path, []) == ["fetch@even"]
    assert not {"REPLIGAN_TRIALS", "DVC_ROOT"} & seen.keys()


def test_a_missing_metric_is_drift(unpromised: Params) -> None:
    found = {"reports/metrics/even.json": {"step_60": {"odd": {"mean": 0.5}}}}
    rows = verify.compare(unpromised, LOCK, OTHER, METRICS, found, ["evaluate@even"])
    assert rows[0].status == DRIFTED
    assert "step_60.odd, step_60.tv" in rows[0].detail


def test_stages_that_did_not_run_are_not_called_identical(smoke: Params) -> None:
    rows = verify.compare(smoke, LOCK, LOCK, METRICS, METRICS, ["train@even"])
    assert [row.stage for row in rows] == ["train@even"]
    assert not verify.holds([])


def test_the_table_is_written_twice(tmp_path: Path, smoke: Params) -> None:
    rows = verify.compare(smoke, LOCK, OTHER, METRICS, METRICS, list(LOCK))
    verify.write(rows, "HEAD", tmp_path)
    assert json.loads((tmp_path / "verify.json").read_text())["holds"] is False
    text = (tmp_path / "verify.md").read_text()
    assert "**does not hold**" in text
    assert "| train@even | data/runs/even | drifted | another hash |" in text


def test_no_such_commit(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    with pytest.raises(InputError, match="allowed: a commit of a git repository"):
        verify.verify(tmp_path, "nothing", [], tmp_path / "out")
