from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch

from repligan.core import runtime
from repligan.core.files import from_file, tree_digest
from repligan.core.signals import Stop
from repligan.models.mlp import StackedMlp
from repligan.params import Params
from repligan.training import loop
from repligan.training.losses import NonSaturating
from repligan.training.rows import Experiment, RowId, snapshot_name

CPU = torch.device("cpu")
EVEN, BITS, MNIST = (RowId(experiment=name) for name in ("even", "bits1010", "dcgan-mnist"))
ALONE = RowId(experiment="bits1010", variant="d-alone")
CRITIC = {
    "G": {"kind": "resnet", "width": 4},
    "D": {"kind": "resnet", "width": 4},
    "loss": {"kind": "wgan-gp", "penalty": 10.0},
    "schedule": [{"update": "D", "sees": ["real", "fresh_z"], "times": 2}, {"update": "G", "sees": ["fresh_z"]}],
}


class StopAt(Stop):
    """A stop signal that arrives at a step."""

    def __init__(self, step: int):
        self.step = step

    def report(self, step: int, scalars: dict[str, float], img: torch.Tensor | None) -> None:
        if step == self.step:
            self.signal = signal.SIGTERM


def make(params: Params, processed: Path, row: RowId, seeds: list[int] | None = None, **changes: object):
    experiment = Experiment.model_validate(params.rows[row].model_dump() | changes)
    chosen = seeds or (range(experiment.seeds) if experiment.stacked else [0])
    form = params.datasets[experiment.dataset].form
    return loop.start(str(row), experiment, form, processed / experiment.dataset, chosen, CPU)


def train(training: loop.Training, folder: Path, stop: StopAt | None = None) -> str:
    """Train into `folder`; returns the digest of what was written."""
    stop = stop or StopAt(-1)
    loop.train(training, folder / "out", folder / "work", {"name": training.name}, stop.report, stop)
    assert not (folder / "work").exists()
    return tree_digest(folder / "out", "*")


@pytest.mark.parametrize(
    ("row", "changes"), [(EVEN, {}), (BITS, {}), (ALONE, {}), (MNIST, {}), (MNIST, CRITIC)], ids=str
)
def test_stopped_and_continued_is_the_same_bits(
    smoke: Params, processed: Path, tmp_path: Path, row: RowId, changes: dict[str, object]
) -> None:
    steps = smoke.rows[row].steps
    whole = train(make(smoke, processed, row, **changes), tmp_path / "whole")
    for step in (steps // 3, steps // 2):
        with pytest.raises(SystemExit) as stopped:
            train(make(smoke, processed, row, **changes), tmp_path / "parts", StopAt(step))
        assert stopped.value.code == 128 + signal.SIGTERM
        assert not (tmp_path / "parts" / "out").exists()
    assert train(make(smoke, processed, row, **changes), tmp_path / "parts") == whole


@pytest.mark.parametrize("row", [EVEN, BITS, ALONE], ids=str)
def test_a_seed_alone_is_the_same_bits_as_among_others(
    smoke: Params, processed: Path, tmp_path: Path, row: RowId
) -> None:
    train(make(smoke, processed, row), tmp_path / "many")
    train(make(smoke, processed, row, [17]), tmp_path / "alone")
    last = snapshot_name(smoke.rows[row].steps)
    for file in (last, "history.safetensors"):
        many, alone = (from_file(tmp_path / folder / "out" / file)[0] for folder in ("many", "alone"))
        for key, value in alone.items():
            assert torch.equal(value, many[key][:, 17:18] if file != last else many[key][17:18]), key
            other = many[key][:, 16:17] if file != last else many[key][16:17]
            assert key in ("acc_D", "auc_D") or not torch.equal(value, other), (
                key
            )  # right or wrong: seeds may well agree


def test_without_a_checkpoint_nothing_is_taken_from_the_work_folder(
    smoke: Params, processed: Path, tmp_path: Path
) -> None:
    whole = train(make(smoke, processed, EVEN), tmp_path / "whole")
    with pytest.raises(SystemExit):
        train(make(smoke, processed, EVEN), tmp_path / "parts", StopAt(30))
    for path in (tmp_path / "parts" / "work" / "snapshots").iterdir():
        path.unlink()
    assert train(make(smoke, processed, EVEN), tmp_path / "parts") == whole


def bce(logits: torch.Tensor, target: float) -> torch.Tensor:
    """The library's own cross-entropy, per seed."""
    losses = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, torch.full_like(logits, target), reduction="none"
    )
    return losses.mean(dim=(1, 2))


def test_even_updates_G_first_and_shows_D_the_same_images(smoke: Params, processed: Path) -> None:
    training, fresh = make(smoke, processed, EVEN), make(smoke, processed, EVEN)
    z, real = fresh.noise[0].float(), fresh.real[0].float()
    gen_img = fresh.G(z).detach()
    done = loop.train_step(training)
    assert not torch.equal(fresh.G.flat, training.G.flat)
    # G's loss is that against the untrained D; D then sees the images of the untrained G.
    torch.testing.assert_close(done.losses["G"][0], bce(fresh.D(gen_img), 1))
    torch.testing.assert_close(done.seen[0].gen_logits, fresh.D(gen_img))
    torch.testing.assert_close(done.losses["D"][0], (bce(fresh.D(real), 1) + bce(fresh.D(gen_img), 0)) / 2)
    loop.train_step(training)
    assert training.step == 2


def test_bits1010_is_the_articles_step(smoke: Params, processed: Path) -> None:
    """Against the step written out in plain torch for one seed."""
    training, fresh = make(smoke, processed, BITS), make(smoke, processed, BITS)
    seed = 3

    def parts(net: StackedMlp) -> list[torch.Tensor]:
        layers = [layer.detach()[:, :, seed].clone() for layer in net.layers()]
        return [part.clone().requires_grad_() for layer in layers for part in (layer[:-1], layer[-1])]

    D, G = parts(fresh.D), parts(fresh.G)

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
    done = loop.train_step(training)
    found = [done.losses["D"][0][seed], done.losses["D"][1][seed], done.losses["G"][0][seed]]
    torch.testing.assert_close(torch.stack(found), torch.tensor(expected))
    for stacked, plain in zip([*parts(training.D), *parts(training.G)], [*D, *G], strict=True):
        torch.testing.assert_close(stacked, plain)


def test_dcgan_mnist_gives_G_two_updates_on_the_same_z_and_smooths_real_labels(smoke: Params, processed: Path) -> None:
    training = make(smoke, processed, MNIST)
    inputs = []
    training.G.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    done = loop.train_step(training)
    assert (len(done.losses["D"]), len(done.losses["G"])) == (1, 2)
    assert len(inputs) == 2  # the images that D saw serve G's first update: G has not changed since
    assert all(torch.equal(z, training.noise[0]) for z in inputs)
    (seen,) = done.seen
    torch.testing.assert_close(done.losses["D"][0], bce(seen.real_logits, 0.9) + bce(seen.gen_logits, 0))
    loop.train_step(training)
    assert torch.equal(inputs[2], training.noise[1])


@pytest.mark.parametrize(
    ("name", "smoothing", "updates"),
    [("dcgan-mnist", 0.1, [0, 0]), ("dcgan-celeba", 0.0, [1]), ("dcgan-anime", 0.0, [0])],
)
def test_a_step_is_the_articles_loop_with_torchs_own_optimisers(
    smoke: Params, processed: Path, name: str, smoothing: float, updates: list[int]
) -> None:
    """`updates`: for each update of G, how many z after D's it draws its own."""
    training, plain = (make(smoke, processed, RowId(experiment=name)) for _ in range(2))
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
        done = loop.train_step(training)
        torch.testing.assert_close(done.losses["D"][0][0], loss_D.detach())
        torch.testing.assert_close(done.losses["G"][-1][0], loss_G.detach())
    # Not the weights: a bias before batch normalisation has no gradient but rounding, which Adam blows up.
    torch.testing.assert_close(training.G(z[0]), plain.G(z[0]), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(training.D(real_img), plain.D(real_img), rtol=1e-3, atol=1e-4)


def test_G_learns_while_D_is_frozen_and_only_then(smoke: Params, processed: Path) -> None:
    training = make(smoke, processed, MNIST)
    loop.train_step(training)  # ends with G's update
    assert not any(p.requires_grad for p in training.D.parameters())
    gen_img = training.gradients.generate(training.noise[1], kept=False)
    training.gradients.of_D(training.real[1], gen_img, None, told=True)
    assert all(p.requires_grad and p.grad is not None for p in training.D.parameters())


@pytest.mark.parametrize("native", [True, False])
def test_fast_is_bfloat16_only_where_the_cpu_has_it(
    smoke: Params, processed: Path, monkeypatch: pytest.MonkeyPatch, native: bool
) -> None:
    monkeypatch.setattr(runtime, "native_bfloat16", lambda: native)
    row, form = smoke.published("dcgan-mnist"), smoke.datasets["mnist"].form
    seen = set()
    fast = loop.start("x", row, form, processed / "mnist", [0], CPU, "fast")
    plain = loop.start("x", row, form, processed / "mnist", [0], CPU)
    for module in fast.D.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda module, given, out: seen.add(out.dtype))
    found = [loop.train_step(training).losses["D"][0] for training in (fast, plain)]
    assert seen == {torch.bfloat16 if native else torch.float32}
    torch.testing.assert_close(found[0], found[1], rtol=0.05, atol=0.05)


def test_d_alone_trains_no_G(smoke: Params, processed: Path) -> None:
    training = make(smoke, processed, ALONE)
    assert list(training.optimisers) == ["D"]
    done = loop.train_step(training)
    assert (len(done.losses["D"]), done.losses["G"]) == (2, [])
    assert "loss_G" not in loop.summarised(training, done)


def test_a_non_finite_loss_stops_and_names_the_step(smoke: Params, processed: Path, tmp_path: Path) -> None:
    training = make(smoke, processed, EVEN)
    training.D.flat.data[3] = float("nan")
    with pytest.raises(
        loop.TrainingError, match="even: found weights that are not finite after step 10; the state of step 0"
    ) as error:
        train(training, tmp_path)
    assert error.value.exit_code == 1
    assert not (tmp_path / "out").exists()


def test_images_come_at_every_snapshot(smoke: Params, processed: Path, tmp_path: Path) -> None:
    images: dict[int, torch.Tensor] = {}
    training = make(smoke, processed, MNIST)

    def report(step: int, scalars: dict[str, float], img: torch.Tensor | None) -> None:
        if img is not None:
            images[step] = img

    loop.train(training, tmp_path / "out", tmp_path / "work", {}, report, Stop())
    assert sorted(images) == [0, 4, 8, 12]
    assert images[12].shape == (36, 1, 32, 32)
    assert images[12].dtype == torch.uint8


def test_an_update_done_several_times_is_that_many_updates(smoke: Params, processed: Path) -> None:
    def trained(row: Experiment) -> torch.Tensor:
        training = loop.start("x", row, smoke.datasets["mnist"].form, processed / "mnist", [0], CPU)
        for _ in range(2):
            loop.train_step(training)
        return torch.cat([weight.flatten() for weight in training.G.parameters()])

    row = smoke.published("dcgan-mnist")
    first, twice, again = row.schedule
    assert twice == again
    shorter = row.model_copy(update={"schedule": [first, twice.model_copy(update={"times": 2})]})
    assert [update.update for update in shorter.updates] == ["D", "G", "G"]
    assert torch.equal(trained(shorter), trained(row))
    once = row.model_copy(update={"schedule": [first, twice]})
    assert not torch.equal(trained(once), trained(row))


@pytest.fixture
def critic(smoke: Params, processed: Path) -> loop.Training:
    return make(smoke, processed, MNIST, **CRITIC)


def test_a_critic_sees_new_batches_and_mixtures_at_each_of_its_updates(
    critic: loop.Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    of_D = critic.gradients.loss.of_D

    def watched(D, real_img: torch.Tensor, gen_img: torch.Tensor, drawn: torch.Tensor):  # type: ignore[no-untyped-def]
        seen.append((drawn, real_img))
        return of_D(D, real_img, gen_img, drawn)

    monkeypatch.setattr(critic.gradients.loss, "of_D", watched)
    for _ in range(2):
        loop.train_step(critic)
    draw, batch = critic.gradients.loss.draw, critic.experiment.batch
    for i, index in enumerate((0, 1, loop.MIX_STREAM, loop.MIX_STREAM + 1)):
        assert torch.equal(seen[i][0], draw(batch, 0, index))
        assert torch.equal(seen[i][1], critic.real[i])


def test_of_a_critic_no_share_that_is_told_right_is_recorded(critic: loop.Training) -> None:
    done = loop.train_step(critic)
    values = loop.summarised(critic, done)
    assert set(values) == {"loss_D", "loss_G", "D_real", "D_gen", "auc_D", "spread", "twins", "grad_G"}
    logits = torch.stack([one.real_logits.mean() for one in done.seen if one.real_logits is not None])
    torch.testing.assert_close(values["D_real"], logits.detach().mean()[None])  # not its sigmoid


def test_of_a_discriminator_outputs_are_probabilities(smoke: Params, processed: Path) -> None:
    training = make(smoke, processed, MNIST)
    assert isinstance(training.gradients.loss, NonSaturating)
    done = loop.train_step(training)
    values, real = loop.summarised(training, done), done.seen[0].real_logits
    assert {"acc_D", "auc_D"} <= set(values)
    assert real is not None
    torch.testing.assert_close(values["D_real"], torch.sigmoid(real.detach()).mean()[None])
