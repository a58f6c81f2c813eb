from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch

from repligan.core import config
from repligan.core.files import from_file, tree_digest
from repligan.core.signals import Stop
from repligan.training import loop

CPU = torch.device("cpu")
NAMES = ("even", "bits1010", "bits1010-d-alone", "dcgan-mnist")


class StopAt(Stop):
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
            other = many[key][:, 16:17] if file != last else many[key][16:17]
            assert key in ("acc_D", "auc_D") or not torch.equal(value, other), (
                key
            )  # right or wrong: seeds may well agree


def test_without_a_checkpoint_nothing_is_taken_from_the_work_folder(
    smoke: config.Params, processed: Path, tmp_path: Path
) -> None:
    whole = train(make(smoke, processed, "even"), tmp_path / "whole")
    with pytest.raises(SystemExit):
        train(make(smoke, processed, "even"), tmp_path / "parts", StopAt(30))
    for path in (tmp_path / "parts" / "work" / "snapshots").iterdir():
        path.unlink()
    assert train(make(smoke, processed, "even"), tmp_path / "parts") == whole


def bce(logits: torch.Tensor, target: float) -> torch.Tensor:
    """The library's own cross-entropy, per seed."""
    losses = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, torch.full_like(logits, target), reduction="none"
    )
    return losses.mean(dim=(1, 2))


def test_even_updates_G_first_and_shows_D_the_same_images(smoke: config.Params, processed: Path) -> None:
    training, fresh = make(smoke, processed, "even"), make(smoke, processed, "even")
    z, real = fresh.noise[0], fresh.real[0]
    gen_img = fresh.G(z).detach()
    seen = loop.train_step(training)
    assert not torch.equal(fresh.G.weight0, training.G.weight0)
    # G's loss is that against the untrained D; D then sees the images of the untrained G.
    torch.testing.assert_close(seen["loss_G"][0], bce(fresh.D(gen_img), 1))
    torch.testing.assert_close(seen["D_gen"][0], fresh.D(gen_img))
    torch.testing.assert_close(seen["loss_D"][0], (bce(fresh.D(real), 1) + bce(fresh.D(gen_img), 0)) / 2)
    loop.train_step(training)
    assert training.step == 2


def test_bits1010_is_the_articles_step(smoke: config.Params, processed: Path) -> None:
    """Against the step written out in plain torch for one seed."""
    training, fresh = make(smoke, processed, "bits1010"), make(smoke, processed, "bits1010")
    seed = 3
    D = [p.detach()[seed].clone().requires_grad_() for p in fresh.D.parameters()]
    G = [p.detach()[seed].clone().requires_grad_() for p in fresh.G.parameters()]

    def forward(net: list[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        for weight, bias in zip(net[::2], net[1::2], strict=True):
            x = torch.sigmoid(x @ weight + bias)
        return x

    def update(net: list[torch.Tensor], loss: torch.Tensor) -> float:
        for p, gradient in zip(net, torch.autograd.grad(loss, net), strict=True):
            p.data -= 0.01 * gradient
        return loss.item()

    half, real = torch.full((1, 1), 0.5), fresh.real[0][seed]
    expected = [
        update(D, (forward(D, real) - 1).square().mean()),
        update(D, forward(D, forward(G, half).detach()).square().mean()),
        update(G, (forward(D, forward(G, half)) - 1).square().mean()),
    ]
    seen = loop.train_step(training)
    found = [seen["loss_D"][0][seed], seen["loss_D"][1][seed], seen["loss_G"][0][seed]]
    torch.testing.assert_close(torch.stack(found), torch.tensor(expected))
    for stacked, plain in zip([*training.D.parameters(), *training.G.parameters()], [*D, *G], strict=True):
        torch.testing.assert_close(stacked[seed], plain)


def test_dcgan_mnist_gives_G_two_updates_on_the_same_z_and_smooths_real_labels(
    smoke: config.Params, processed: Path
) -> None:
    training = make(smoke, processed, "dcgan-mnist")
    inputs = []
    training.G.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    seen = loop.train_step(training)
    assert (len(seen["loss_D"]), len(seen["loss_G"])) == (1, 2)
    assert len(inputs) == 2  # the images that D saw serve G's first update: G has not changed since
    assert all(torch.equal(z, training.noise[0]) for z in inputs)
    torch.testing.assert_close(seen["loss_D"][0], bce(seen["D_real"][0], 0.9) + bce(seen["D_gen"][0], 0))
    loop.train_step(training)
    assert torch.equal(inputs[2], training.noise[1])


@pytest.mark.parametrize(
    ("name", "smoothing", "updates"),
    [("dcgan-mnist", 0.1, [0, 0]), ("dcgan-celeba", 0.0, [1]), ("dcgan-anime", 0.0, [0])],
)
def test_a_step_is_the_articles_loop_with_torchs_own_optimisers(
    smoke: config.Params, processed: Path, name: str, smoothing: float, updates: list[int]
) -> None:
    """`updates`: for each update of G, how many z after D's it draws its own."""
    training, plain = make(smoke, processed, name), make(smoke, processed, name)
    row, target = training.experiment, torch.nn.functional.binary_cross_entropy_with_logits
    made = {
        net: torch.optim.Adam(net.parameters(), row.optimiser.lr, (row.optimiser.beta1, 0.999))
        for net in (plain.G, plain.D)
    }

    def against(logits: torch.Tensor, value: float) -> torch.Tensor:
        return target(logits, torch.full_like(logits, value))

    for step in range(2):
        real_img, z = plain.real[step], [plain.noise[step * (1 + sum(updates)) + i] for i in range(2)]
        loss_D = against(plain.D(real_img), 1 - smoothing) + against(plain.D(plain.G(z[0]).detach()), 0)
        made[plain.D].zero_grad()
        loss_D.backward()
        made[plain.D].step()
        for later in updates:
            loss_G = against(plain.D(plain.G(z[later])), 1)
            made[plain.G].zero_grad()
            loss_G.backward()
            made[plain.G].step()
        seen = loop.train_step(training)
        torch.testing.assert_close(seen["loss_D"][0][0], loss_D.detach())
        torch.testing.assert_close(seen["loss_G"][-1][0], loss_G.detach())
    # Not the weights: a bias before batch normalisation has no gradient but rounding, which Adam blows up.
    torch.testing.assert_close(training.G(z[0]), plain.G(z[0]), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(training.D(real_img), plain.D(real_img), rtol=1e-3, atol=1e-4)


def test_G_learns_while_D_is_frozen_and_only_then(smoke: config.Params, processed: Path) -> None:
    training = make(smoke, processed, "even")
    loop.train_step(training)  # ends with D's update
    assert all(p.requires_grad and p.grad is not None for p in training.D.parameters())
    training.freeze_D(True)
    assert not any(p.requires_grad for p in training.D.parameters())


def test_d_alone_trains_no_G(smoke: config.Params, processed: Path) -> None:
    training = make(smoke, processed, "bits1010-d-alone")
    assert list(training.optimisers) == ["D"]
    assert "loss_G" not in loop.train_step(training)


def test_a_non_finite_loss_stops_and_names_the_step(smoke: config.Params, processed: Path, tmp_path: Path) -> None:
    training = make(smoke, processed, "even")
    training.D.weight0.data[3] = float("nan")
    with pytest.raises(
        loop.TrainingError, match="even: the loss is not finite at step 1; the state of step 0"
    ) as error:
        train(training, tmp_path)
    assert error.value.exit_code == 1
    assert not (tmp_path / "out").exists()


def test_images_come_at_every_snapshot(smoke: config.Params, processed: Path, tmp_path: Path) -> None:
    images: dict[int, torch.Tensor] = {}
    training = make(smoke, processed, "dcgan-mnist")

    def report(step: int, scalars: dict[str, float], img: torch.Tensor | None) -> None:
        if img is not None:
            images[step] = img

    loop.train(training, tmp_path / "out", tmp_path / "work", {}, report, Stop())
    assert sorted(images) == [0, 4, 8, 12]
    assert images[12].shape == (36, 1, 32, 32)
    assert images[12].dtype == torch.uint8


def test_auc_counts_pairs_in_order() -> None:
    real, gen = torch.tensor([[[1.0], [3.0]]]), torch.tensor([[[0.0], [1.0], [2.0], [4.0]]])
    assert loop.auc(real, gen).tolist() == [(1 + 0.5 + 3) / 8]
    assert loop.auc(real, real - 10).tolist() == [1.0]


def test_an_update_done_several_times_is_that_many_updates(smoke: config.Params, processed: Path) -> None:
    def trained(row: config.Experiment) -> torch.Tensor:
        training = loop.start("x", row, smoke.datasets["mnist"].form, processed / "mnist", [0], CPU)
        for _ in range(2):
            loop.train_step(training)
        return torch.cat([weight.flatten() for weight in training.G.parameters()])

    row = smoke.experiments["dcgan-mnist"]
    first, twice, again = row.schedule
    assert twice == again
    shorter = row.model_copy(update={"schedule": [first, twice.model_copy(update={"times": 2})]})
    assert [update.update for update in shorter.updates] == ["D", "G", "G"]
    assert torch.equal(trained(shorter), trained(row))
    once = row.model_copy(update={"schedule": [first, twice]})
    assert not torch.equal(trained(once), trained(row))
