"""Adam (Kingma and Ba 2015) and plain SGD by torch's fused kernels.

Not by torch.optim's classes, which import torch's compiler at their first use: 1.2 s in each of dozens of
processes; nor by its functions, which take longer to sort out their arguments than to update a stack of small
networks. Fused, because the other kinds call torch.sqrt, whose bits differ between CPU models.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from repligan.training.rows import Adam, Sgd


class Optimiser:
    """Updates `weights` in place from their gradients; all but the weights is in `moments`, name -> tensors."""

    def __init__(self, config: Adam | Sgd, weights: Iterable[torch.Tensor]):
        self.config, self.parameters = config, list(weights)
        self.weights = [weight.detach() for weight in self.parameters]  # the same memory, outside of any graph
        self.moments: dict[str, list[torch.Tensor]] = {}
        if isinstance(config, Adam):
            self.moments = {key: [torch.zeros_like(w) for w in self.weights] for key in ("exp_avg", "exp_avg_sq")}
            self.moments["step"] = [torch.zeros((), device=self.weights[0].device)]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for weight in self.parameters:
            weight.grad = None

    def step(self) -> None:
        """One update; every weight must have a gradient."""
        grads = [weight.grad for weight in self.parameters if weight.grad is not None]
        assert len(grads) == len(self.weights)
        match self.config:
            case Adam(lr=lr, beta1=beta1, beta2=beta2):
                (step,) = self.moments["step"]
                step.add_(1)
                torch._fused_adam_(
                    self.weights, grads, self.moments["exp_avg"], self.moments["exp_avg_sq"], [], [step] * len(grads),
                    amsgrad=False, beta1=beta1, beta2=beta2, lr=lr, weight_decay=0.0, eps=1e-8, maximize=False,
                )  # fmt: skip
            case Sgd(lr=lr):
                torch._fused_sgd_(
                    self.weights, grads, [], weight_decay=0.0, momentum=0.0, lr=lr, dampening=0.0, nesterov=False,
                    maximize=False, is_first_step=False,
                )  # fmt: skip

    def state(self) -> dict[str, torch.Tensor]:
        """The moments as named tensors."""
        return {f"{i}.{key}": moment for key, moments in self.moments.items() for i, moment in enumerate(moments)}

    def load_state(self, tensors: dict[str, torch.Tensor]) -> None:
        """Continue from what `state` gave."""
        for key, moment in self.state().items():
            moment.copy_(tensors[key])
