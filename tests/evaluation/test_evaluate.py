from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from repligan.core.signals import Stop
from repligan.evaluation import draws, evaluate
from repligan.evaluation.rows import DrawsReference
from repligan.models.rows import Noise
from repligan.models.weights import build
from repligan.params import Params
from repligan.training import loop
from repligan.training.rows import RowId, WganGp

CPU = torch.device("cpu")
EVEN, BITS = (RowId(experiment=name) for name in ("even", "bits1010"))
ALONE = RowId(experiment="bits1010", variant="d-alone")


@pytest.fixture(scope="module")
def measured(
    smoke: Params, processed: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[RowId], evaluate.Measured]:
    """A toy's row at the smoke scale, trained and evaluated."""

    @cache
    def made(row: RowId) -> evaluate.Measured:
        experiment, dataset = smoke.rows[row], smoke.dataset_of(row.experiment)
        seeds, data = range(experiment.seeds), processed / experiment.dataset
        folder = tmp_path_factory.mktemp("run")
        training = loop.start(str(row), experiment, dataset.form, data, seeds, CPU)
        loop.train(training, folder / "run", folder / "work", {}, lambda *_: None, Stop())
        reference = smoke.references[experiment.dataset]
        measure = evaluate.measure_of(experiment, dataset, seeds, reference, data, folder, CPU)
        steps = experiment.snapshot_steps()
        return evaluate.evaluate(str(row), experiment, dataset.form, seeds, folder / "run", measure, CPU, steps)

    return made


Rows = Callable[[RowId], evaluate.Measured]


def test_statistics_are_per_step_and_seed(measured: Rows) -> None:
    even = measured(EVEN)
    assert even.steps == [0, 20, 40, 60]
    assert {key: values.shape for key, values in even.stats.items()} == dict.fromkeys(even.stats, (4, 40))
    assert {"even_rate", "coverage", "tv", "all_even", "evens", "distinct"} == set(even.stats)


def test_even_pictures_count_every_input(measured: Rows) -> None:
    counts = measured(EVEN).pictures["00000000"]
    assert counts.shape == (128,)
    assert counts.sum() == 40 * 128
    even_rate = counts[::2].sum() / counts.sum()
    assert even_rate.item() == pytest.approx(measured(EVEN).stats["even_rate"][0].mean())


def test_bits1010_starts_in_the_middle(measured: Rows) -> None:
    stats = measured(BITS).stats
    assert not stats["inside"][0].any()
    assert abs(stats["out_0"][0].mean() - 0.5) < 0.1
    assert stats["match"].dtype == bool


def test_a_G_that_learns_nothing_is_not_measured(measured: Rows) -> None:
    alone = measured(ALONE)
    assert (alone.stats, alone.pictures, alone.steps) == ({}, {}, [])


def test_every_z_is_the_whole_input_space() -> None:
    z = evaluate.every_z(Noise(kind="bits", dim=7, low=0.0, high=1.0))
    assert z is not None
    assert len({tuple(row) for row in z[0].tolist()}) == 128
    assert evaluate.every_z(Noise(kind="uniform", dim=7, low=0.0, high=1.0)) is None


def test_some_seeds_and_steps_are_measured_as_among_all(
    smoke: Params, processed: Path, tmp_path: Path, measured: Rows
) -> None:
    """A trial of a few seeds gives the values that they have in one of all."""
    experiment, dataset, data = smoke.rows[EVEN], smoke.datasets["even"], processed / "even"
    seeds, steps = range(5, 9), experiment.snapshot_steps()[-1:]
    training = loop.start("even", experiment, dataset.form, data, seeds, CPU)
    loop.train(training, tmp_path / "run", tmp_path / "work", {}, lambda *_: None, Stop())
    assert evaluate.last_step(tmp_path / "run") == experiment.steps
    measure = evaluate.measure_of(experiment, dataset, seeds, smoke.references["even"], data, tmp_path, CPU)
    few = evaluate.evaluate("even", experiment, dataset.form, seeds, tmp_path / "run", measure, CPU, steps)
    assert few.steps == steps
    for key, values in measured(EVEN).stats.items():
        np.testing.assert_array_equal(few.stats[key], values[-1:, 5:9])


def test_the_floor_is_what_the_dataset_names(smoke: Params, processed: Path) -> None:
    reference = DrawsReference(kind="draws", num=128, repeats=30)
    even, bits = (draws.floor(reference, smoke.datasets[key], processed / key) for key in ("even", "bits1010"))
    assert even["even_rate"].tolist() == [1.0] * 30
    assert bits["inside"].min() == 1
    assert {len(values) for values in (even | bits).values()} == {30}


class Told(torch.nn.Module):
    """A D that knows a share of real and of generated images by their first pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.sizes: list[int] = []

    def forward(self, img: torch.Tensor) -> torch.Tensor:
        self.sizes.append(img.shape[1])
        return img[:, :, 0, 0, 0, None] + self.weight


def test_both_sides_weigh_alike_in_whole_batches() -> None:
    real, gen = -torch.ones(1, 11, 1, 2, 2), -torch.ones(1, 9, 1, 2, 2)
    real[:, :2] = 1  # 2 of 8 are told right; what fills no batch plays no part
    D = Told()
    found = evaluate.judge(D, 0.5 * torch.ones_like(real), real, gen, 4)
    assert found["acc_D_heldout"] == (2 / 8 + 1) / 2
    assert found["gap_D"] == 1 - 2 / 8
    assert (found["extreme_D"], found["steep_D"], found["dead_D"]) == (1.0, 1.0, 0.0)
    assert set(D.sizes) == {4}
    assert evaluate.judge(D, real, real[:, :3], gen, 4)["acc_D_heldout"] == (2 / 3 + 1) / 2  # fewer than a batch


@pytest.mark.parametrize(("slope", "dead"), [(0.0, 0.5), (0.2, 0.0)])
def test_a_unit_is_dead_that_hands_no_gradient_on(slope: float, dead: float) -> None:
    class Units(torch.nn.Module):
        """Four units: the first two are above 0 for some image, the others for none."""

        def __init__(self) -> None:
            super().__init__()
            self.act = torch.nn.LeakyReLU(slope)
            self.weight = torch.nn.Parameter(torch.tensor([1.0, -1.0, -1.0, -1.0]))
            self.bias = torch.tensor([0.0, 0.0, -2.0, -3.0])

        def forward(self, img: torch.Tensor) -> torch.Tensor:
            return self.act(img[0, :, 0, :1, 0] * self.weight + self.bias).sum(dim=1)[None, :, None]

    img = torch.linspace(-1, 1, 8)[None, :, None, None, None].expand(1, 8, 1, 2, 2)
    assert evaluate.judge(Units(), img, img, img, 4)["dead_D"] == dead


class Judged:
    """A comparison that only counts what it is given."""

    class config:  # noqa: N801
        num, repeats = 6, 2

    def score(self, made: list[torch.Tensor]) -> dict[str, np.ndarray]:
        return {"drawn": np.array([len(one) for one in made])}


def test_a_critic_is_not_tried_on_held_out_images(smoke: Params, processed: Path) -> None:
    """Its output means nothing by itself."""
    row, form = smoke.published("dcgan-mnist"), smoke.dataset_of("dcgan-mnist").form
    sides = [np.load(processed / "mnist" / f"{part}.npy") for part in ("train", "heldout")]
    G, D = build(row.G, row.D, row.z.dim, form, [0])
    stats, picture = evaluate.image_measure(row, Judged(), *sides)(G, D)  # type: ignore[arg-type]
    assert stats["drawn"].tolist() == [6, 6]
    judged = {"acc_D_heldout", "gap_D", "extreme_D", "steep_D", "dead_D"}
    assert stats.keys() == {"drawn", *judged}
    assert {stats[key].shape for key in judged} == {(2,)}
    assert picture.shape == (loop.GRID, 1, form.size, form.size)
    critic = row.model_copy(update={"loss": WganGp(kind="wgan-gp", penalty=10.0)})
    assert set(evaluate.image_measure(critic, Judged(), *sides)(G, D)[0]) == {"drawn"}  # type: ignore[arg-type]
