"""Tables of values: what a test asks for, seed by seed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from small import RAMP, write_tables

from repligan.claims.rows import ClaimTest
from repligan.claims.values import Table, Unmeasured
from repligan.core.errors import InputError
from repligan.core.files import array_bytes, write_bytes
from repligan.training.rows import RowId

EVEN, FAST, FACES = RowId(experiment="even"), RowId(experiment="even", variant="fast"), RowId(experiment="dcgan")


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table(write_tables(tmp_path))


def values(table: Table, row: RowId, **value: Any) -> np.ndarray:
    return table.values("here", asked(row, **value), row)


def asked(row: RowId, **value: Any) -> ClaimTest:
    return ClaimTest.model_validate({"label": "", "row": row, "value": value})


def test_a_snapshot_is_the_last_or_the_one_asked_for(table: Table) -> None:
    last = values(table, EVEN, kind="snapshot", metric="all_even")
    assert (last.dtype, last.shape, last.sum()) == (bool, (40,), 20)
    assert not values(table, EVEN, kind="snapshot", metric="all_even", step=0).any()
    assert values(table, FAST, kind="snapshot", metric="coverage").tolist() == RAMP[:30].tolist()


def test_fd_is_the_frechet_distance_of_any_extractor(table: Table) -> None:
    assert values(table, FACES, kind="snapshot", metric="fd").tolist() == [6.0]
    assert table.real("here", asked(FACES, kind="snapshot", metric="fd")) == 2.0


def test_parts_of_what_training_recorded(table: Table) -> None:
    during = values(table, EVEN, kind="during", metric="loss_D", part=[0.8, 1.0])
    change = values(table, EVEN, kind="change", metric="loss_D", before=[0.0, 0.5], after=[0.5, 1.0])
    varies = values(table, EVEN, kind="variation", metric="loss_D", part=[0, 1])
    assert [set(found.tolist()) for found in (during, change, varies)] == [{8.5}, {5.0}, {8.25**0.5 / 4.5}]
    away = values(table, EVEN, kind="away", metric="loss_D", level=4.5, part=[0.0, 1.0])  # of 0 to 9, on both sides
    assert set(away.tolist()) == {2.5}
    empty = values(table, EVEN, kind="during", metric="loss_D", part=[1.0, 1.0])
    assert set(empty.tolist()) == {9.0}


def test_the_step_at_which_a_metric_settles(tmp_path: Path) -> None:
    says = np.array([[1, 1, 0, 0, 0], [0, 1, 1, 0, 0], [1, 1, 1, 1, 0]], bool)  # [T, S]
    write_bytes(
        tmp_path / "even" / "published.safetensors",
        array_bytes({"match": says}, {"row": {}, "steps": {"match": [0, 100, 200]}, "real": {}, "blurred": {}}),
    )
    settled = values(Table(tmp_path), EVEN, kind="settles", metric="match")
    assert settled.tolist() == [200, 0, 100, 200, 200]  # the first spoke too soon, the last one never does


def test_progress_is_over_the_nearest_snapshot(table: Table) -> None:
    table_of = {since: values(table, EVEN, kind="progress", metric="tv", since=since) for since in (0.0, 0.4, 0.9)}
    assert all(np.isnan(found).all() for found in table_of.values())  # tv is 0 throughout
    found = values(table, FACES, kind="progress", metric="fd", since=0.4)
    assert found.tolist() == [6.0 / 12.0]


def test_a_snapshot_in_units_of_blurred_real_data(table: Table) -> None:
    assert values(table, FACES, kind="snapshot", metric="fd", over="blurred").tolist() == [1.5]
    against = asked(FACES, kind="snapshot", metric="fd").model_copy(update={"against": "blurred"})
    assert table.real("here", against) == 4.0


@pytest.mark.parametrize(
    ("row", "value", "said"),
    [
        (EVEN, {"kind": "snapshot", "metric": "tv", "step": 30}, "here.value.step: found 30; allowed: 0, 60"),
        (EVEN, {"kind": "snapshot", "metric": "kid"}, "here.value.metric: found 'kid'; allowed: all_even, coverage,"),
        (EVEN, {"kind": "snapshot", "metric": "fd"}, "here.value.metric: found 'fd'; allowed: all_even, coverage,"),
        (EVEN, {"kind": "variation", "metric": "grad_G", "part": [0, 1]},
         "here.value.metric: found 'grad_G'; allowed: all_even, coverage, loss_D"),
        (FACES, {"kind": "snapshot", "metric": "luma", "over": "blurred"}, "found 'luma'; allowed: fd_cnn_20"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_named(table: Table, row: RowId, value: dict[str, Any], said: str) -> None:
    with pytest.raises(Unmeasured, match=re.escape(said)):
        values(table, row, **value)


def test_real_data_without_the_metric_are_named(table: Table) -> None:
    assert table.real("here", asked(EVEN, kind="snapshot", metric="coverage")) == 0.5
    with pytest.raises(Unmeasured, match=r"here\.value\.metric: found 'loss_D'; allowed: coverage, tv"):
        table.real("here", asked(EVEN, kind="during", metric="loss_D", part=[0, 1]))


def test_a_table_is_read_once_and_a_bad_one_named(table: Table) -> None:
    first = values(table, EVEN, kind="snapshot", metric="coverage")
    path = table.folder / "even" / "published.safetensors"
    save_file({"tv": np.zeros((1, 1))}, path, {"note": "null"})
    assert values(table, EVEN, kind="snapshot", metric="coverage").tolist() == first.tolist()
    with pytest.raises(InputError, match=r"published\.safetensors: damaged"):
        values(Table(table.folder), EVEN, kind="snapshot", metric="tv")
    path.unlink()
    with pytest.raises(InputError, match=r"published\.safetensors: not found"):
        values(Table(table.folder), EVEN, kind="snapshot", metric="tv")
