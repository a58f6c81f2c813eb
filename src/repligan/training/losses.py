"""Losses as pure functions of logits, any shape in, the same shape out."""

from collections.abc import Callable

import torch
from torch.nn.functional import softplus


def bce(logits: torch.Tensor, target: float) -> torch.Tensor:
    """Binary cross-entropy of sigmoid(logits) against `target` in [0, 1] (Goodfellow et al. 2014, eq. 1)."""
    return target * softplus(-logits) + (1 - target) * softplus(logits)  # -t log s(x) - (1-t) log(1-s(x))


def mse(logits: torch.Tensor, target: float) -> torch.Tensor:
    """Squared error of sigmoid(logits) against `target`."""
    return (torch.sigmoid(logits) - target).square()  # (s(x) - t)^2


LOSSES: dict[str, Callable[[torch.Tensor, float], torch.Tensor]] = {"bce": bce, "mse": mse}
