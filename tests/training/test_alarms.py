from __future__ import annotations

from pathlib import Path

import pytest
import torch

from repligan.core.files import from_file
from repligan.core.signals import Stop
from repligan.evaluation import evaluate
from repligan.params import Params
from repligan.training import alarms, loop
from repligan.training.rows import Alarms, Experiment

CPU = torch.device("cpu")
LIMITS = Alarms(lasting=30, accuracy=1.0, spread=0.05, twins=0.5, stop=False)
FINE = {"acc_D": 0.8, "spread": 1.0, "twins": 0.0}


def history(**changed: list[float]) -> dict[str, list[torch.Tensor]]:
    """A training of eight logged steps that is fine but for what is `changed`."""
    series = {key: [value] * 8 for key, value in FINE.items()} | changed
    return {key: [torch.tensor([value]) for value in values] for key, values in series.items()}


def images(num: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.rand(num, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_nothing_is_raised_by_a_training_that_is_fine() -> None:
    assert alarms.raised(history(), LIMITS, 10) == []
    assert alarms.standing(history(), LIMITS, 10) == set()


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"acc_D": [0.9, 1, 1, 1, 1, 0.9, 1, 1]}, "D separates"),
        ({"spread": [1, 0.01, 0.05, 0.0, 0.02, 1, 0.01, 0.01]}, "G collapses"),
        ({"twins": [0, 0.5, 1, 0.9, 0.8, 0.4, 1, 1]}, "G collapses"),
    ],
)
def test_an_alarm_names_its_steps_and_needs_its_time(changed: dict[str, list[float]], kind: str) -> None:
    assert alarms.raised(history(**changed), LIMITS, 10) == [alarms.Alarm(kind, 20, 50)]
    for end, now in ((3, set()), (4, {kind}), (5, {kind}), (6, set()), (8, set())):
        assert alarms.standing({k: v[:end] for k, v in history(**changed).items()}, LIMITS, 10) == now, end


def test_diagnostics_of_the_same_distribution() -> None:
    net = torch.nn.Linear(2, 1)
    net(torch.ones(1, 2)).sum().backward()
    found = alarms.diagnostics(images(seed=1), images(seed=2), net.parameters())
    assert found["spread"].item() == pytest.approx(1, abs=0.15)
    assert found["twins"].item() == 0
    assert found["grad_G"].item() == 3  # two weights and a bias, each with gradient 1


def test_diagnostics_of_a_collapse() -> None:
    net = torch.nn.Linear(2, 1)
    net(torch.ones(1, 2)).sum().backward()
    one = images()[:1] + 1e-3 * images()
    found = alarms.diagnostics(images(seed=1), one, net.parameters())
    assert found["spread"].item() < 0.01
    assert found["twins"].item() == 1
    half = torch.cat([images(16, 1), images(1, 2).expand(16, -1, -1, -1)])
    assert alarms.diagnostics(images(seed=3), half, net.parameters())["twins"].item() == 0.5


@pytest.mark.parametrize("stop", [False, True])
def test_a_training_ends_early_only_if_asked(
    smoke: Params, processed: Path, tmp_path: Path, stop: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    """With a limit that every G is under, the alarm comes as soon as it may."""
    limits = Alarms(lasting=4, accuracy=1.0, spread=0.999, twins=0.001, stop=stop)
    row = smoke.published("dcgan-mnist").model_copy(update={"alarms": limits})
    form = smoke.datasets["mnist"].form
    training = loop.start("dcgan-mnist", row, form, processed / "mnist", [0], CPU)
    loop.train(training, tmp_path / "run", tmp_path / "work", {}, lambda *_: None, Stop())
    last = 4 if stop else 12
    note = from_file(tmp_path / "run" / "history.safetensors")[1]
    assert note == {"experiment": row.model_dump(mode="json"), "last": last}
    assert "dcgan-mnist: step 4: G collapses" in capfd.readouterr().err
    assert evaluate.last_step(tmp_path / "run") == last
    assert len(list((tmp_path / "run").glob("step_*"))) == len(row.snapshot_steps(last))
    recorded, _ = from_file(tmp_path / "run" / "history.safetensors")
    assert ("G collapses", 2) in [alarm[:2] for alarm in alarms.raised(recorded, limits, row.log_every)]


def test_a_critics_training_has_no_share_that_is_told_right() -> None:
    """Its outputs mean nothing by themselves, so that it cannot separate; its G may collapse as any other."""
    series = history(twins=[1] * 8)
    del series["acc_D"]
    assert alarms.raised(series, LIMITS, 10) == [alarms.Alarm("G collapses", 10, 80)]
    assert alarms.standing(series, LIMITS, 10) == {"G collapses"}


def test_only_image_gans_have_alarms(smoke: Params) -> None:
    for name, wrong, said in (
        ("even", LIMITS.model_dump(), "null for toys"),
        ("dcgan-mnist", None, "a table for image"),
    ):
        row = smoke.published(name).model_dump() | {"alarms": wrong}
        with pytest.raises(ValueError, match=said):
            Experiment.model_validate(row)
