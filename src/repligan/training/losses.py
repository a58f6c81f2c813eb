"""Losses of D and G. A loss owns the passes through D of one update and its regularisers; the loop owns the updates.

All values are per seed: of images or vectors [S, B, ...] a loss is [S].
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch.nn.functional import softplus

Network = Callable[[torch.Tensor], torch.Tensor]
"""D: [S, B, ...] -> logits [S, B, 1]."""
Images = torch.Tensor | None


# Called at once, without a look at the kinds of its arguments: three microseconds of a step of a small network.
_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input._op


def sigmoid_backward(grad: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """`grad` by the output of a sigmoid -> by its input, in place."""
    return _sigmoid_backward(grad, out, grad_input=grad)


class OfD(NamedTuple):
    """D's loss [S], and its logits [S, B, 1] of what it saw."""

    loss: torch.Tensor
    real_logits: torch.Tensor | None
    gen_logits: torch.Tensor | None


class Loss(ABC):
    """What the loop needs of a loss."""

    def draw(self, batch: int, seed: int, index: int) -> torch.Tensor | None:
        """The random numbers of one update of D, a function of (seed, index), on the CPU; None where it needs none."""
        return None

    @abstractmethod
    def of_D(self, D: Network, real_img: Images, gen_img: Images, drawn: torch.Tensor | None = None) -> OfD:
        """One update of D on real images, on generated ones or on both; `drawn`: what `draw` gave."""

    @abstractmethod
    def of_G(self, D: Network, gen_img: torch.Tensor) -> torch.Tensor:
        """One update of G: its loss [S]."""


class Target(Loss):
    """D's outputs against targets, element by element."""

    def __init__(self, halves: str, smoothing: float):
        self.divisor, self.real_target = 2 if halves == "mean" else 1, 1 - smoothing

    @staticmethod
    def against(logits: torch.Tensor, target: float) -> torch.Tensor:
        """The loss of each logit, of their shape."""
        raise AssertionError("each kind says its own")

    @staticmethod
    def slope(logits: torch.Tensor, target: torch.Tensor, share: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """The derivative of `against` by the logits times `share`, in `out`, of their shape."""
        raise AssertionError("each kind says its own")

    def sides(self, real_img: Images, gen_img: Images) -> list[tuple[torch.Tensor, float]]:
        """What D sees, with its target."""
        return [(img, at) for img, at in ((real_img, self.real_target), (gen_img, 0.0)) if img is not None]

    def of_D(self, D: Network, real_img: Images, gen_img: Images, drawn: torch.Tensor | None = None) -> OfD:
        # D maximises log D(x) + log(1 - D(G(z))).
        seen = [(D(img), target) for img, target in self.sides(real_img, gen_img)]
        halves = [self.against(logits, target).mean(dim=(1, 2)) for logits, target in seen]
        loss = halves[0] if len(halves) == 1 else torch.stack(halves).sum(dim=0) / self.divisor
        real_logits = None if real_img is None else seen[0][0]
        return OfD(loss, real_logits, None if gen_img is None else seen[-1][0])

    def of_G(self, D: Network, gen_img: torch.Tensor) -> torch.Tensor:
        return self.against(D(gen_img), 1.0).mean(dim=(1, 2))  # G maximises log D(G(z)), the non-saturating form


class NonSaturating(Target):
    """Binary cross-entropy (Goodfellow et al. 2014, eq. 1, and the form of section 3 for G)."""

    @staticmethod
    def against(logits: torch.Tensor, target: float) -> torch.Tensor:
        """Cross-entropy of sigmoid(logits) against `target` in [0, 1]."""
        return target * softplus(-logits) + (1 - target) * softplus(logits)  # -t log s(x) - (1-t) log(1-s(x))

    @staticmethod
    def slope(logits: torch.Tensor, target: torch.Tensor, share: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """sigmoid(logits) - target."""
        return torch.sigmoid(logits, out=out).sub_(target).mul_(share)


class SquaredError(Target):
    """Squared error."""

    @staticmethod
    def against(logits: torch.Tensor, target: float) -> torch.Tensor:
        """Squared error of sigmoid(logits) against `target`."""
        return (torch.sigmoid(logits) - target).square()  # (s(x) - t)^2

    @staticmethod
    def slope(logits: torch.Tensor, target: torch.Tensor, share: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """2 (s - target) s (1 - s), s = sigmoid(logits)."""
        s = torch.sigmoid(logits)
        return sigmoid_backward(torch.sub(s, target, out=out).mul_(share + share), s)
