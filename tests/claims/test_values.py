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
    varies = values(table, EVEN, kind="variation", metric="loss_D", than="loss_D", part=[0, 1])
    assert [set(found.tolist()) for found in (during, change, varies)] == [{8.5}, {5.0}, {1.0}]
    empty = values(table, EVEN, kind="during", metric="loss_D", part=[1.0, 1.0])
    assert set(empty.tolist()) == {9.0}


def test_what_never_varies_has_no_variation(table: Table) -> None:
    assert np.isnan(values(table, FACES, kind="variation", metric="loss_G", than="loss_D", part=[0, 1])).all()


def test_scores_of_the_latent_space(table: Table) -> None:
    assert values(table, FACES, kind="latent", metric="factors_moved").tolist() == [1.0, 2.0, 3.0, 2.0]
    assert values(table, FACES, kind="latent", metric="nearer A + B").tolist() == [0.5, 0.7]


@pytest.mark.parametrize(
    ("row", "value", "said"),
    [
        (EVEN, {"kind": "snapshot", "metric": "tv", "step": 30}, "here.value.step: found 30; allowed: 0, 60"),
        (EVEN, {"kind": "snapshot", "metric": "kid"}, "here.value.metric: found 'kid'; allowed: all_even, coverage,"),
        (EVEN, {"kind": "snapshot", "metric": "fd"}, "here.value.metric: found 'fd'; allowed: all_even, coverage,"),
        (EVEN, {"kind": "variation", "metric": "loss_G", "than": "grad_G", "part": [0, 1]},
         "here.value.than: found 'grad_G'; allowed: all_even, coverage, loss_D"),
        (FACES, {"kind": "latent", "metric": "nearer A * B"}, "found 'nearer A * B'; allowed: factors_moved, nearer"),
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
