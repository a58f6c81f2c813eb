"""Whether a loss and its derivative, which the toys learn by, still belong to each other."""

from __future__ import annotations

import torch

from repligan.core.errors import InputError
from repligan.training.losses import Loss, Target


def refuse_wrong_slope(loss: Loss) -> None:
    """Raises InputError unless `slope` is the derivative of `against`: an edit of only one of them would go unseen."""
    if not isinstance(loss, Target):
        return
    logits = torch.linspace(-4, 4, 17, dtype=torch.float64, requires_grad=True)
    for target, share in ((0.0, 1.0), (0.9, 0.5), (1.0, 1.0)):
        (wanted,) = torch.autograd.grad(share * loss.against(logits, target).sum(), logits)
        at, factor = (torch.tensor(value, dtype=torch.float64) for value in (target, share))
        if not torch.allclose(loss.slope(logits.detach(), at, factor, torch.empty_like(wanted)), wanted):
            name = type(loss).__name__
            raise InputError(
                f"src/repligan/training/losses.py: {name}.slope: found other values than the derivative of "
                f"{name}.against; allowed: its derivative, which the toys learn by"
            )
