"""Signs that an image GAN's training goes wrong, read from the batches that it has seen anyway."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import torch

from repligan.training.rows import Alarms

NEAR = 0.1  # two images are twins within this share of the real images' root mean square distance


class Alarm(NamedTuple):
    """What held at every logged step from `first` to `last`."""

    kind: str
    first: int
    last: int


def diagnostics(
    real_img: torch.Tensor, gen_img: torch.Tensor, parameters: Iterable[torch.nn.Parameter]
) -> dict[str, torch.Tensor]:
    """Of batches [B, C, H, W] and G's parameters with the gradient of its last update, float32 [1] each.

    spread: variance over the batch, summed over pixels, of G's images over the real ones'; twins: share of G's images
    that nearly equal another one; grad_G: sum of the squares of G's gradient.
    """
    real, gen = real_img.flatten(1).double(), gen_img.detach().flatten(1).double()
    # The mean square distance between two images of a batch is twice the summed variance.
    variance = real.var(dim=0).sum()
    gram = gen @ gen.T
    norm = gram.diagonal()
    square = norm[:, None] + norm[None] - 2 * gram
    square.fill_diagonal_(torch.inf)
    near = square.min(dim=1).values <= NEAR**2 * 2 * variance
    found = {
        "spread": gen.var(dim=0).sum() / variance,
        "twins": near.double().mean(),
        "grad_G": torch.stack([p.grad.double().square().sum() for p in parameters if p.grad is not None]).sum(),
    }
    return {key: value.float()[None].cpu() for key, value in found.items()}


def raised(history: Mapping[str, Iterable[torch.Tensor]], limits: Alarms, log_every: int) -> list[Alarm]:
    """The alarms of a training by their first step; `history`: spread, twins and but for critics acc_D, [1] a step."""
    spread, twins = (torch.stack(list(history[key])).flatten() for key in ("spread", "twins"))
    holds = {"G collapses": (spread <= limits.spread) | (twins >= limits.twins)}
    if "acc_D" in history:
        accuracy = torch.stack(list(history["acc_D"])).flatten()
        holds = {"D separates": accuracy >= limits.accuracy} | holds
    found = []
    for kind, held in holds.items():
        index = 0
        for holding, run in groupby(held.tolist()):
            first, index = index + 1, index + len(list(run))
            if holding and (index - first + 1) * log_every >= limits.lasting:
                found.append(Alarm(kind, first * log_every, index * log_every))
    return sorted(found, key=lambda alarm: alarm.first)


def standing(history: Mapping[str, Sequence[torch.Tensor]], limits: Alarms, log_every: int) -> set[str]:
    """The kinds of alarm that hold at the last logged step."""
    wanted = -(-limits.lasting // log_every)
    recent = {key: history[key][-wanted:] for key in ("acc_D", "spread", "twins") if key in history}
    return {alarm.kind for alarm in raised(recent, limits, log_every)}
