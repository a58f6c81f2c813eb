from __future__ import annotations

import pytest
import torch
from torch import nn

from repligan.core.randomness import rng
from repligan.params import Params
from repligan.training.losses import Loss, NonSaturating, SquaredError
from repligan.training.rows import Bce, Experiment, Mse, WganGp
from repligan.training.wgan_gp import Wasserstein, steepness

LOGITS = torch.tensor([-3.0, -0.5, 0.0, 2.0])
bce, mse = NonSaturating.against, SquaredError.against
SHAPE = (1, 6, 2, 8, 8)


@pytest.mark.parametrize("target", [0.0, 0.9, 1.0])
def test_bce_is_the_cross_entropy_of_probabilities(target: float) -> None:
    p = torch.sigmoid(LOGITS.double())
    expected = -(target * p.log() + (1 - target) * (1 - p).log())
    torch.testing.assert_close(bce(LOGITS.double(), target), expected)


def test_bce_keeps_its_gradient_where_the_sigmoid_is_flat() -> None:
    logits = torch.tensor([-30.0], requires_grad=True)
    bce(logits, 1.0).sum().backward()
    assert logits.grad is not None
    assert logits.grad.item() == pytest.approx(-1.0, abs=1e-6)


def test_mse_of_a_balanced_pair_is_a_quarter() -> None:
    assert mse(torch.zeros(2), 1.0).tolist() == mse(torch.zeros(2), 0.0).tolist() == [0.25, 0.25]


@pytest.mark.parametrize("against", [bce, mse])
def test_losses_fall_towards_their_target(against: object) -> None:
    for target in (0.0, 1.0):
        steps = against(LOGITS, target).diff()  # type: ignore[operator]
        assert (steps < 0).all() if target else (steps > 0).all()


def pixel(img: torch.Tensor) -> torch.Tensor:
    """A D whose logits [S, B, 1] are the first numbers of what it sees."""
    return img.flatten(2)[..., :1]


@pytest.mark.parametrize("kind", [NonSaturating, SquaredError])
def test_the_halves_of_D_are_added_or_averaged_and_real_labels_smoothed(kind: type[NonSaturating]) -> None:
    real, gen = LOGITS.reshape(2, 2, 1), LOGITS.flip(0).reshape(2, 2, 1)
    on_real, on_gen = kind.against(real, 0.9).mean(dim=(1, 2)), kind.against(gen, 0.0).mean(dim=(1, 2))
    both = kind("sum", 0.1).of_D(pixel, real, gen)
    torch.testing.assert_close(both.loss, on_real + on_gen)
    assert torch.equal(both.real_logits, real)
    assert torch.equal(both.gen_logits, gen)
    torch.testing.assert_close(kind("mean", 0.1).of_D(pixel, real, gen).loss, (on_real + on_gen) / 2)
    torch.testing.assert_close(kind("mean", 0.1).of_D(pixel, real, None).loss, on_real)
    alone = kind("mean", 0.1).of_D(pixel, None, gen)
    torch.testing.assert_close(alone.loss, on_gen)
    assert alone.real_logits is None
    torch.testing.assert_close(kind("sum", 0.1).of_G(pixel, gen), kind.against(gen, 1.0).mean(dim=(1, 2)))


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (Bce(kind="bce", halves="sum", smoothing=0.0), NonSaturating),
        (Mse(kind="mse", halves="mean", smoothing=0.0), SquaredError),
        (WganGp(kind="wgan-gp", penalty=10.0), Wasserstein),
    ],
)
def test_a_row_builds_its_loss(row: Bce | Mse | WganGp, kind: type[Loss]) -> None:
    assert type(row.build()) is kind
    assert row.is_probability == (kind is not Wasserstein)


class Critic(nn.Module):
    """[1, B, C, H, W] -> [1, B, 1], curved enough for its second derivatives to matter."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Conv2d(2, 4, 3, 2), nn.Softplus(), nn.Flatten(), nn.Linear(36, 1)).double()

    def forward(self, img: torch.Tensor) -> torch.Tensor:
        return self.net(img[0])[None]


@pytest.fixture
def sides() -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    return tuple(torch.rand(SHAPE, generator=g, dtype=torch.float64) * 2 - 1 for _ in range(2))  # type: ignore[return-value]


def test_the_wasserstein_loss_and_its_gradient_are_those_of_the_article(
    sides: tuple[torch.Tensor, torch.Tensor],
) -> None:
    """Gulrajani et al. 2017, algorithm 1, written out image by image with torch's own norm."""
    D, (real, gen) = Critic(), sides
    share = rng(3, "mix", 5).random((1, 6, 1, 1, 1), "float32")[0]
    terms = []
    for i in range(6):
        one = (float(share[i, 0, 0, 0]) * real[:, i] + (1 - float(share[i, 0, 0, 0])) * gen[:, i])[None]
        one.requires_grad_()
        slope = torch.autograd.grad(D(one).squeeze(), one, create_graph=True)[0]
        steep = (torch.linalg.vector_norm(slope) - 1) ** 2
        terms.append(D(gen[:, i][None]).squeeze() - D(real[:, i][None]).squeeze() + 7 * steep)
    expected = torch.stack(terms).mean()
    wanted = torch.autograd.grad(expected, list(D.parameters()))
    loss = Wasserstein(7.0)
    found = loss.of_D(D, real, gen, loss.draw(6, 3, 5))
    torch.testing.assert_close(found.loss, expected[None].detach(), rtol=1e-6, atol=1e-8, check_dtype=False)
    # A bias of the last layer shifts both sides alike: no gradient.
    for one, other in zip(torch.autograd.grad(found.loss.sum(), list(D.parameters())), wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(found.real_logits, D(real))
    torch.testing.assert_close(found.gen_logits, D(gen))


def test_a_critic_of_slope_1_pays_nothing_and_its_loss_is_a_difference_of_means(
    sides: tuple[torch.Tensor, torch.Tensor],
) -> None:
    real, gen = sides
    expected = (pixel(gen) - pixel(real)).mean(dim=(1, 2))
    torch.testing.assert_close(Wasserstein(1000.0).of_D(pixel, real, gen, torch.rand(1, 6, 1, 1, 1)).loss, expected)
    torch.testing.assert_close(Wasserstein(1.0).of_G(pixel, gen), -pixel(gen).mean(dim=(1, 2)))
    for slope in (0.0, 0.5, 3.0):
        found = steepness(lambda img, slope=slope: slope * pixel(img), real)  # type: ignore[misc]
        assert found.tolist() == [pytest.approx((slope - 1) ** 2, abs=1e-6)]


def test_a_flat_critic_has_a_finite_gradient(sides: tuple[torch.Tensor, torch.Tensor]) -> None:
    """The slope of a norm at 0 is not defined: a critic that begins there must be able to leave."""
    weight = torch.zeros((), dtype=torch.float64, requires_grad=True)
    steepness(lambda img: weight * pixel(img), sides[0]).sum().backward()
    assert weight.grad is not None
    assert weight.grad.isfinite()


def test_mixtures_differ_by_seed_and_index_and_come_again(sides: tuple[torch.Tensor, torch.Tensor]) -> None:
    D, loss = Critic(), Wasserstein(10.0)
    found = {key: loss.of_D(D, *sides, loss.draw(6, *key)).loss.item() for key in ((0, 0), (0, 1), (1, 0))}
    assert len(set(found.values())) == 3
    assert loss.of_D(D, *sides, loss.draw(6, 0, 1)).loss.item() == found[0, 1]


WGAN = {"kind": "wgan-gp", "penalty": 10.0}


def test_wgan_gp_is_for_images_and_for_a_D_that_sees_both_sides(smoke: Params) -> None:
    of_images = next(row for row in smoke.rows.values() if not row.stacked)
    toy = next(row for row in smoke.rows.values() if row.stacked)
    both = of_images.model_dump() | {"loss": WGAN}
    assert Experiment.model_validate(both).loss == WganGp(kind="wgan-gp", penalty=10.0)
    with pytest.raises(ValueError, match=r"loss\.kind: found 'wgan-gp'; allowed for toys: 'bce', 'mse'"):
        Experiment.model_validate(toy.model_dump() | {"loss": WGAN})
    alone = [{"update": "D", "sees": ["real"]}, {"update": "D", "sees": ["fresh_z"]}]
    with pytest.raises(ValueError, match=r"schedule: found D on \['real'\]; allowed for wgan-gp: D on real and gen"):
        Experiment.model_validate(both | {"schedule": alone})
    for penalty in (0.0, -1.0):
        with pytest.raises(ValueError, match="penalty"):
            WganGp(kind="wgan-gp", penalty=penalty)
