from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load

from repligan.core.files import SIGNIFICANT, arrays
from repligan.evaluation import tables
from repligan.evaluation.tables import RowResult, joined
from repligan.params import Params
from repligan.training.rows import Experiment


@pytest.fixture
def toy(smoke: Params) -> Experiment:
    """A row of 40 seeds, trained as one stack."""
    row = next(row for row in smoke.rows.values() if row.stacked)
    return row.model_copy(update={"seeds": 40, "log_every": 10, "steps": 60})


@pytest.fixture
def images(smoke: Params) -> Experiment:
    """A row of one seed of an image GAN."""
    row = next(row for row in smoke.rows.values() if not row.stacked)
    return row.model_copy(update={"seeds": 1, "log_every": 2, "steps": 4})


def result(row: Experiment, **stats: object) -> RowResult:
    """At the steps 0 and 4; losses count up."""
    history = {"loss_D": np.arange(20.0)[:, None].repeat(row.seeds, 1)}
    return RowResult(row, [0, 4], history, {key: np.array(value) for key, value in stats.items()})


def of_toy(row: Experiment) -> RowResult:
    share = np.random.default_rng(0).random((2, row.seeds))
    return result(row, share=share, yes=share > 0.5)


def test_one_trial_of_an_image_gan_keeps_its_draws(images: Experiment) -> None:
    alone = result(images, fd_cnn_5=[[1.0, 3.0], [0.5, 0.7]])
    np.testing.assert_array_equal(joined(images, [alone]).stats["fd_cnn_5"], alone.stats["fd_cnn_5"])


def test_of_several_seeds_each_counts_once_as_the_mean_of_its_draws(images: Experiment) -> None:
    row = images.model_copy(update={"seeds": 3})
    trials = [result(images, fd_cnn_5=[[i + 0.0, i + 2.0], [i, i]]) for i in range(3)]
    for i, one in enumerate(trials):
        one.history["loss_D"] = one.history["loss_D"] + i
    trials[0].alarms = [{"kind": "G collapses"}]
    found = joined(row, trials)
    assert found.stats["fd_cnn_5"].tolist() == [[1, 2, 3], [0, 1, 2]]
    assert found.history["loss_D"][0].tolist() == [0, 1, 2]
    assert (found.experiment, found.steps, found.alarms) == (row, [0, 4], [{"kind": "G collapses"}])


def test_chunks_of_a_toys_seeds_are_put_side_by_side(toy: Experiment) -> None:
    whole = of_toy(toy)
    parts = [
        RowResult(
            toy,
            whole.steps,
            {key: values[:, some] for key, values in whole.history.items()},
            {key: values[:, some] for key, values in whole.stats.items()},
        )
        for some in (slice(0, 7), slice(7, 40))
    ]
    found = joined(toy, parts)
    for key, values in whole.stats.items():
        np.testing.assert_array_equal(found.stats[key], values)
        assert found.stats[key].dtype == values.dtype
    np.testing.assert_array_equal(found.history["loss_D"], whole.history["loss_D"])


def test_a_rows_table_has_a_value_a_step_and_seed_and_says_what_they_are(
    toy: Experiment, images: Experiment, tmp_path: Path
) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(tables.values(of_toy(toy), {"share": 0.5}, {"share": 0.7}))
    found, note = arrays(path)
    shapes = {"loss_D": (20, 40), "share": (2, 40), "yes": (2, 40)}
    assert {key: value.shape for key, value in found.items()} == shapes
    assert note["row"] == toy.model_dump(mode="json")
    assert (note["real"], note["blurred"]) == ({"share": 0.5}, {"share": 0.7})
    assert note["steps"] == {"loss_D": [10 * (i + 1) for i in range(20)], "share": [0, 4], "yes": [0, 4]}
    draws = load(tables.values(result(images, kid=[[1.0, 3.0], [0.5, 0.7]]), {}, {}))["kid"]
    np.testing.assert_allclose(draws, [[2.0], [0.6]])  # draws of one seed are one value
    seeds = joined(images.model_copy(update={"seeds": 2}), [result(images, kid=[[i, i], [i, i]]) for i in (1.0, 2.0)])
    assert load(tables.values(seeds, {}, {}))["kid"].tolist() == [[1, 2], [1, 2]]


def test_scores_of_a_latent_space_are_a_value_a_seed_of_the_last_snapshot(images: Experiment, tmp_path: Path) -> None:
    parts = [result(images, kid=[[i], [i]]) for i in (1.0, 2.0)]
    for one, score in zip(parts, (0.25, 0.75), strict=True):
        one.walked = {"mix": np.array([score])}
    row = images.model_copy(update={"seeds": 2})
    path = tmp_path / "x.safetensors"
    path.write_bytes(tables.values(joined(row, parts), {}, {}))
    found, note = arrays(path)
    assert found["mix"].tolist() == [[0.25, 0.75]]
    assert (note["steps"]["mix"], note["steps"]["kid"]) == ([4], [0, 4])


def test_end_averages_the_last_tenth(toy: Experiment) -> None:
    assert of_toy(toy).end()["loss_D"]["mean"] == pytest.approx(18.5)


def test_curves_have_a_row_a_snapshot_and_bands(toy: Experiment) -> None:
    found = of_toy(toy)
    table = pd.DataFrame(tables.curves(found))
    assert table["step"].tolist() == found.steps
    assert (table["share_p05"] <= table["share_p50"]).all()
    assert (table["yes_lo"] <= table["yes"]).all()
    assert "yes_p05" not in table


def test_losses_are_thinned_without_losing_the_mean(toy: Experiment) -> None:
    long = RowResult(toy, [], {"loss_D": np.arange(2000.0)[:, None].repeat(30, 1)}, {})
    assert len(tables.losses(of_toy(toy))) == 20
    table = pd.DataFrame(tables.losses(long))
    assert len(table) == 200
    assert table["step"].iloc[-1] == 20_000
    assert table["loss_D"].mean() == pytest.approx(999.5)


def test_metrics_name_their_protocol_and_the_ends_of_variants(toy: Experiment) -> None:
    card = {"kind": "draws", "num": 128, "repeats": 50, "floor": {}}
    variant = of_toy(toy.model_copy(update={"seeds": 30}))
    silent = RowResult(toy, [], variant.history, {})
    found = tables.metrics(of_toy(toy), {"fast": variant, "silent": silent}, [0, 4, 7], card)
    assert (found["dataset"], found["over"], found["protocol"]) == (toy.dataset, "40 seeds", card)
    assert [key for key in found if key.startswith("step_")] == ["step_0", "step_4"]
    assert found["variants"]["fast"] == {"seeds": 30, "end": variant.end(), "step_4": variant.at(4)}
    assert found["variants"]["silent"] == {"seeds": 40, "end": variant.end()}
    assert "model" not in found
    assert "variants" not in tables.metrics(of_toy(toy), {}, [], card)


def test_metrics_of_an_image_gan_name_its_model_and_its_best_snapshot(images: Experiment) -> None:
    found = tables.metrics(result(images, fd_cnn_5=[[1.0, 3.0], [0.5, 0.7]]), {}, [0], {"repeats": 5})
    assert found["over"] == "5 draws of one seed"
    assert (found["step_0"]["fd_cnn_5"]["mean"], found["end"]) == (2.0, {"loss_D": {"mean": 18.5}})
    assert found["model"] == {"step": 4, "rule": "the last snapshot, whatever its metrics"}
    assert (found["best"]["step"], found["best"]["fd_cnn_5"]["mean"], found["alarms"]) == (4, 0.6, [])
    assert "lowest mean fd_cnn_5" in found["best"]["rule"]
    several = images.model_copy(update={"seeds": 3})
    of_seeds = joined(several, [result(images, fd_cnn_5=[[1.0, 3.0], [0.5, 0.7]])] * 3)
    assert tables.metrics(of_seeds, {}, [], {"repeats": 5})["over"] == "3 seeds"


def test_csv_is_rounded() -> None:
    assert SIGNIFICANT == 6
    assert tables.to_csv([{"step": 1, "x": 1 / 3}]) == b"step,x\n1,0.333333\n"
    assert tables.to_csv([]) == b"\n"
