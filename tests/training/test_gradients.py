"""Gradients in closed form against autograd's, and against finite differences in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from repligan.core.errors import InputError
from repligan.core.randomness import rng
from repligan.models.mlp import StackedMlp
from repligan.training.gradients import Autograd, ClosedForm
from repligan.training.losses import NonSaturating, SquaredError, Target
from repligan.training.slopes import refuse_wrong_slope

SEEDS, BATCH = 32, 5
LOSSES = [
    kind(halves, smoothing)
    for kind in (NonSaturating, SquaredError)
    for halves, smoothing in (("mean", 0.0), ("sum", 0.1))
]


def networks(G: list[int], D: list[int]) -> tuple[StackedMlp, StackedMlp]:
    return tuple(
        StackedMlp(widths, [rng(seed, name) for seed in range(SEEDS)], squash=name == "G")
        for name, widths in (("G", G), ("D", D))
    )  # type: ignore[return-value]


def gradient(net: StackedMlp) -> torch.Tensor:
    assert net.flat.grad is not None
    return net.flat.grad.clone()


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: f"{type(loss).__name__}-{loss.divisor}")
@pytest.mark.parametrize("widths", [([7, 7], [7, 1]), ([1, 3, 4], [4, 3, 1]), ([2, 6, 5, 3], [3, 5, 6, 1])], ids=str)
def test_they_are_autograds(widths: tuple[list[int], list[int]], loss: Target) -> None:
    (G, D), (plain_G, plain_D) = networks(*widths), networks(*widths)
    closed, plain = ClosedForm(G, D, loss, BATCH), Autograd(plain_G, plain_D, loss, halved=False)
    real, z = torch.rand(SEEDS, BATCH, widths[1][0]), torch.rand(SEEDS, BATCH, widths[0][0])
    for sees_real, sees_gen in ((True, False), (False, True), (True, True)):
        told = [
            one.of_D(
                real if sees_real else None, one.generate(z, kept=False) if sees_gen else None, None, told=True
            ).loss.detach()  # type: ignore[union-attr]
            for one in (closed, plain)
        ]
        torch.testing.assert_close(told[0], told[1], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(gradient(D), gradient(plain_D), rtol=1e-5, atol=1e-6)
    lost = [one.of_G(one.generate(z, kept=True), told=True) for one in (closed, plain)]
    torch.testing.assert_close(lost[0], lost[1], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient(G), gradient(plain_G), rtol=1e-5, atol=1e-6)
    assert gradient(G).abs().max() > 1e-4


@pytest.mark.parametrize("loss", LOSSES[::2], ids=lambda loss: type(loss).__name__)
def test_they_are_the_slope_of_the_loss(loss: Target) -> None:
    G, D = (net.double() for net in networks([2, 3], [3, 4, 1]))
    real, z = torch.rand(SEEDS, BATCH, 3).double(), torch.rand(SEEDS, BATCH, 2).double()

    def slope(net: StackedMlp, lost: Callable[[ClosedForm], torch.Tensor]) -> None:
        lost(closed())
        found, h = gradient(net), 1e-6
        for i in range(len(net.flat)):
            at = []
            for move in (h, -2 * h):
                net.flat.data[i] += move
                at.append(lost(closed()))
            net.flat.data[i] += h
            torch.testing.assert_close((at[0] - at[1]) / (2 * h), found[i], rtol=1e-6, atol=1e-8)

    def closed() -> ClosedForm:
        return ClosedForm(G, D, loss, BATCH)

    slope(D, lambda one: one.of_D(real, one.generate(z, kept=False), None, told=True).loss)  # type: ignore[union-attr]
    slope(G, lambda one: one.of_G(one.generate(z, kept=True), told=True))  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("kind", [NonSaturating, SquaredError])
def test_an_edit_of_the_loss_alone_is_refused(kind: type[Target], monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_wrong_slope(kind("mean", 0.0))
    against = kind.against
    monkeypatch.setattr(kind, "against", staticmethod(lambda logits, target: 1.01 * against(logits, target)))
    with pytest.raises(InputError, match=rf"losses\.py: {kind.__name__}\.slope: found other values"):
        refuse_wrong_slope(kind("mean", 0.0))


def test_what_is_not_told_has_the_same_gradients() -> None:
    found = []
    for told in (True, False):
        G, D = networks([7, 7], [7, 1])
        one = ClosedForm(G, D, NonSaturating("mean", 0.0), BATCH)
        img = one.generate(torch.ones(SEEDS, BATCH, 7), kept=True)
        assert (one.of_D(img, img, None, told) is None) != told
        assert (one.of_G(img, told) is None) != told
        found.append((gradient(G), gradient(D)))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
