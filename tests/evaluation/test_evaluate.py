from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from repligan.core import config
from repligan.core.signals import Stop
from repligan.evaluation import evaluate, tables
from repligan.training import loop

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def evaluations(
    smoke: config.Params, processed: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, evaluate.Evaluation]:
    """The toys at the smoke scale, trained and evaluated."""
    found = {}
    for name in ("even", "bits1010", "bits1010-d-alone"):
        experiment = smoke.experiments[name]
        form, data = smoke.datasets[experiment.dataset].form, processed / experiment.dataset
        folder = tmp_path_factory.mktemp(name)
        training = loop.start(name, experiment, form, data, range(experiment.seeds), CPU)
        loop.train(training, folder / "run", folder / "work", {}, lambda *_: None, Stop())
        measure = evaluate.measure_of(experiment, form, smoke.references[experiment.dataset], data, folder, CPU)
        found[name] = evaluate.evaluate(name, experiment, form, folder / "run", measure, CPU)
    return found


def test_statistics_are_per_step_and_seed(evaluations: dict[str, evaluate.Evaluation]) -> None:
    even = evaluations["even"]
    assert even.steps == [0, 20, 40, 60]
    assert {key: values.shape for key, values in even.stats.items()} == dict.fromkeys(even.stats, (4, 40))
    assert {"even_rate", "coverage", "tv", "all_even", "distinct"} == set(even.stats)


def test_even_pictures_count_every_input(evaluations: dict[str, evaluate.Evaluation]) -> None:
    counts = evaluations["even"].pictures["00000000"]
    assert counts.shape == (128,)
    assert counts.sum() == 40 * 128
    even_rate = counts[::2].sum() / counts.sum()
    assert even_rate.item() == pytest.approx(evaluations["even"].stats["even_rate"][0].mean())


def test_bits1010_starts_in_the_middle(evaluations: dict[str, evaluate.Evaluation]) -> None:
    stats = evaluations["bits1010"].stats
    assert not stats["inside"][0].any()
    assert abs(stats["out_0"][0].mean() - 0.5) < 0.1
    assert stats["match"].dtype == bool


def test_d_alone_has_losses_only(evaluations: dict[str, evaluate.Evaluation]) -> None:
    alone = evaluations["bits1010-d-alone"]
    assert (alone.stats, alone.pictures, alone.steps) == ({}, {}, [])
    assert set(alone.end()) == {"D_real", "D_gen", "acc_D", "auc_D", "loss_D"}


def test_end_averages_the_last_tenth(evaluations: dict[str, evaluate.Evaluation]) -> None:
    bits = evaluations["bits1010"]
    assert bits.end()["loss_D"]["mean"] == pytest.approx(bits.history["loss_D"][-2:].mean())


def test_curves_have_a_row_a_snapshot_and_bands(evaluations: dict[str, evaluate.Evaluation]) -> None:
    table = pd.DataFrame(tables.curves(evaluations["even"]))
    assert table["step"].tolist() == [0, 20, 40, 60]
    assert (table["even_rate_p05"] <= table["even_rate_p50"]).all()
    assert (table["all_even_lo"] <= table["all_even"]).all()
    assert "all_even_p05" not in table


def test_losses_are_thinned_without_losing_the_mean(evaluations: dict[str, evaluate.Evaluation]) -> None:
    bits = evaluations["bits1010"]
    long = evaluate.Evaluation([], {}, {"loss_D": np.arange(2000.0)[:, None].repeat(30, 1)}, {})
    assert len(tables.losses(bits, 10)) == 20
    table = pd.DataFrame(tables.losses(long, 10))
    assert len(table) == 200
    assert table["step"].iloc[-1] == 20_000
    assert table["loss_D"].mean() == pytest.approx(999.5)


def test_metrics_name_their_protocol(smoke: config.Params, evaluations: dict[str, evaluate.Evaluation]) -> None:
    card = {"kind": "draws", "num": 128, "repeats": 50, "floor": {}}
    report = smoke.reports["even"]
    dataset = smoke.datasets["even"]
    metrics = tables.metrics(smoke.experiments["even"], dataset, report, "smoke", evaluations["even"], card)
    assert (metrics["dataset"], metrics["standin_for"]) == ("even", None)
    assert (metrics["scale"], metrics["over"], metrics["protocol"]) == ("smoke", "40 seeds", card)
    assert [key for key in metrics if key.startswith("step_")] == ["step_0", "step_60"]


def test_metrics_of_an_image_gan_name_what_its_data_stand_in_for(smoke: config.Params) -> None:
    evaluation = evaluate.Evaluation(
        [0, 4], {"fd_cnn_5": np.array([[1.0, 3.0], [0.5, 0.7]])}, {"loss_D": np.ones((20, 1))}, {}
    )
    report = smoke.reports["dcgan-svhn"].model_copy(update={"milestones": [0]})
    row, dataset = smoke.experiments["dcgan-svhn"], smoke.datasets["drawn-digits"]
    metrics = tables.metrics(row, dataset, report, "smoke", evaluation, {"repeats": 5})
    assert (metrics["dataset"], metrics["standin_for"]) == ("drawn-digits", "svhn")
    assert metrics["over"] == "5 draws of one seed"
    assert (metrics["step_0"]["fd_cnn_5"]["mean"], metrics["end"]) == (2.0, {"loss_D": {"mean": 1.0}})
    assert metrics["model"] == {"step": 4, "rule": "the last snapshot, whatever its metrics"}
    assert (metrics["best"]["step"], metrics["best"]["fd_cnn_5"]["mean"], metrics["alarms"]) == (4, 0.6, [])
    assert "lowest mean fd_cnn_5" in metrics["best"]["rule"]


def test_every_z_is_the_whole_input_space() -> None:
    z = evaluate.every_z(config.Noise(kind="bits", dim=7, low=0.0, high=1.0))
    assert z is not None
    assert len({tuple(row) for row in z[0].tolist()}) == 128
    assert evaluate.every_z(config.Noise(kind="uniform", dim=7, low=0.0, high=1.0)) is None


def test_csv_is_rounded() -> None:
    assert tables.to_csv([{"step": 1, "x": 1 / 3}]) == b"step,x\n1,0.333333\n"
    assert tables.to_csv([]) == b"\n"
