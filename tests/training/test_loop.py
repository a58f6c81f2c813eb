from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch

from repligan import config
from repligan.files import from_file, tree_digest
from repligan.training import loop

CPU = torch.device("cpu")
NAMES = ("even", "bits1010", "bits1010-d-alone", "dcgan-mnist")


class StopAt(loop.Stop):
    """A stop signal that arrives at a step."""

    def __init__(self, step: int):
        self.step = step

    def report(self, step: int, scalars: dict[str, float], img: torch.Tensor | None) -> None:
        if step == self.step:
            self.signal = signal.SIGTERM


def make(params: config.Params, processed: Path, name: str, seeds: list[int] | None = None, **changes: object):
    experiment = params.experiments[name].model_copy(update=changes)
    chosen = range(experiment.seeds) if seeds is None else seeds
    form = params.datasets[experiment.dataset].form
    return loop.start(name, experiment, form, processed / experiment.dataset, chosen, CPU)


def train(training: loop.Training, folder: Path, stop: StopAt | None = None) -> str:
    """Train into `folder`; returns the digest of what was written."""
    stop = stop or StopAt(-1)
    loop.train(training, folder / "out", folder / "work", {"name": training.name}, stop.report, stop)
    assert not (folder / "work").exists()
    return tree_digest(folder / "out", "*")


@pytest.mark.parametrize("name", NAMES)
def test_stopped_and_continued_is_the_same_bits(
    smoke: config.Params, processed: Path, tmp_path: Path, name: str
) -> None:
    steps = smoke.experiments[name].steps
    whole = train(make(smoke, processed, name), tmp_path / "whole")
    for step in (steps // 3, steps // 2):
        with pytest.raises(SystemExit) as stopped:
            train(make(smoke, processed, name), tmp_path / "parts", StopAt(step))
        assert stopped.value.code == 128 + signal.SIGTERM
        assert not (tmp_path / "parts" / "out").exists()
    assert train(make(smoke, processed, name), tmp_path / "parts") == whole


@pytest.mark.parametrize("name", ["even", "bits1010", "bits1010-d-alone"])
def test_a_seed_alone_is_the_same_bits_as_among_others(
    smoke: config.Params, processed: Path, tmp_path: Path, name: str
) -> None:
    train(make(smoke, processed, name), tmp_path / "many")
    train(make(smoke, processed, name, [17]), tmp_path / "alone")
    last = loop.snapshot_name(smoke.experiments[name].steps)
    for file in (last, "history.safetensors"):
        many, alone = (from_file(tmp_path / folder / "out" / file)[0] for folder in ("many", "alone"))
        for key, value in alone.items():
            assert torch.equal(value, many[key][:, 17:18] if file != last else many[key][17:18]), key
            assert not torch.equal(value, many[key][:, 16:17] if file != last else many[key][16:17]), key


def test_without_a_checkpoint_nothing_is_taken_from_the_work_folder(
    smoke: config.Params, processed: Path, tmp_path: Path
) -> None:
    whole = train(make(smoke, processed, "even"), tmp_path / "whole")
    with pytest.raises(SystemExit):
        train(make(smoke, processed, "even"), tmp_path / "parts", StopAt(30))
    for path in (tmp_path / "parts" / "work" / "snapshots").iterdir():
        path.unlink()
    assert train(make(smoke, processed, "even"), tmp_path / "parts") == whole


def test_even_updates_G_first_and_shows_D_the_same_images(smoke: config.Params, processed: Path) -> None:
    training = make(smoke, processed, "even")
    z, real = training.noise[0], training.real[0]
    gen_img = training.G(z).detach()
    G_before = training.G.weight0.detach().clone()
    seen = loop.train_step(training)
    assert not torch.equal(G_before, training.G.weight0)
    # D's logits are those of G's images from before its update, under D's initial weights.
    fresh = make(smoke, processed, "even")
    torch.testing.assert_close(seen["D_gen"][0], fresh.D(gen_img))
    torch.testing.assert_close(seen["D_real"][0], fresh.D(real))
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    for seed in range(3):
        real_logits, gen_logits = (seen[key][0][seed] for key in ("D_real", "D_gen"))
        halves = bce(real_logits, torch.ones(16, 1)) + bce(gen_logits, torch.zeros(16, 1))
        torch.testing.assert_close(seen["loss_D"][0][seed], halves / 2)


def test_bits1010_gives_D_two_updates(smoke: config.Params, processed: Path) -> None:
    seen = loop.train_step(make(smoke, processed, "bits1010"))
    assert {key: len(values) for key, values in seen.items()} == {"D_real": 1, "loss_D": 2, "D_gen": 1, "loss_G": 1}
    real_loss = (torch.sigmoid(seen["D_real"][0]) - 1).square().flatten()
    torch.testing.assert_close(seen["loss_D"][0], real_loss)


def test_dcgan_mnist_gives_G_two_updates_and_smooths_real_labels(smoke: config.Params, processed: Path) -> None:
    training = make(smoke, processed, "dcgan-mnist")
    updates = []
    for name, optimiser in training.optimisers.items():
        optimiser.register_step_post_hook(lambda *_, name=name: updates.append(name))
    seen = loop.train_step(training)
    assert updates == ["D", "G", "G"]
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    real_logits, gen_logits = seen["D_real"][0], seen["D_gen"][0]
    expected = bce(real_logits, torch.full_like(real_logits, 0.9)) + bce(gen_logits, torch.zeros_like(gen_logits))
    torch.testing.assert_close(seen["loss_D"][0][0], expected)


def test_d_alone_trains_no_G(smoke: config.Params, processed: Path) -> None:
    training = make(smoke, processed, "bits1010-d-alone")
    assert list(training.optimisers) == ["D"]
    assert "loss_G" not in loop.train_step(training)


def test_a_non_finite_loss_stops_and_names_the_step(smoke: config.Params, processed: Path, tmp_path: Path) -> None:
    training = make(smoke, processed, "even")
    training.D.weight0.data[3] = float("nan")
    with pytest.raises(loop.TrainingError, match="even: D_gen is nan at step 10") as error:
        train(training, tmp_path)
    assert error.value.exit_code == 1
    assert not (tmp_path / "out").exists()


def test_images_come_at_every_snapshot(smoke: config.Params, processed: Path, tmp_path: Path) -> None:
    images: dict[int, torch.Tensor] = {}
    training = make(smoke, processed, "dcgan-mnist")

    def report(step: int, scalars: dict[str, float], img: torch.Tensor | None) -> None:
        if img is not None:
            images[step] = img

    loop.train(training, tmp_path / "out", tmp_path / "work", {}, report, loop.Stop())
    assert sorted(images) == [0, 4, 8, 12]
    assert images[12].shape == (36, 1, 32, 32)
    assert images[12].dtype == torch.uint8


def test_a_signal_is_noted_and_the_old_handler_comes_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with loop.stop_on_signal() as stop:
        signal.raise_signal(signal.SIGTERM)
        assert stop.signal == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before
