"""The Wasserstein loss with gradient penalty (Gulrajani et al. 2017, "Improved training of Wasserstein GANs")."""

from __future__ import annotations

import numpy as np
import torch

from repligan.core.randomness import rng
from repligan.training.losses import Images, Loss, Network, OfD


class Wasserstein(Loss):
    """A critic's mean difference, with `penalty` times the squared distance of its gradient's norm from 1."""

    def __init__(self, penalty: float):
        self.penalty = penalty

    def draw(self, batch: int, seed: int, index: int) -> torch.Tensor:
        """The share of the real image in each mixture, uniform, float32 [1, B, 1, 1, 1]."""
        return torch.from_numpy(rng(seed, "mix", index).random((1, batch, 1, 1, 1), np.float32))

    def of_D(self, D: Network, real_img: Images, gen_img: Images, drawn: torch.Tensor | None = None) -> OfD:
        assert real_img is not None
        assert gen_img is not None
        assert drawn is not None
        mixed = gen_img + drawn * (real_img - gen_img)  # a random point between each real and each generated image
        real_logits, gen_logits = D(real_img), D(gen_img)
        # The critic maximises D(x) - D(G(z)) - penalty (|grad D(mix)| - 1)^2 (algorithm 1).
        loss = (gen_logits - real_logits).mean(dim=(1, 2))
        return OfD(loss + self.penalty * steepness(D, mixed), real_logits, gen_logits)

    def of_G(self, D: Network, gen_img: torch.Tensor) -> torch.Tensor:
        return -D(gen_img).mean(dim=(1, 2))  # G maximises D(G(z))


def steepness(D: Network, img: torch.Tensor) -> torch.Tensor:
    """(|dD/dx| - 1)^2 at images [S, B, ...], their mean [S]; its own gradient reaches D's weights."""
    point = img.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(D(point).sum(), point, create_graph=True)
    squares = gradient.flatten(2).square().sum(dim=2)
    norm = squares * (squares + 1e-12).rsqrt()  # not torch.sqrt: its bits differ between CPU models
    return (norm - 1).square().mean(dim=1)
