"""Gradients of D's and G's losses: by autograd, and for stacks of small networks in closed form.

Both leave them in the networks' `grad`, and take the same loss. In closed form a step of 1,000 tiny networks is some
seventy vector instructions on arrays with the seeds last, and nothing else.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import nn

from repligan.models.mlp import StackedMlp
from repligan.training.losses import Images, Loss, OfD, Target, sigmoid_backward

Factors = list[tuple[torch.Tensor, torch.Tensor]]


class Gradients(Protocol):
    """What a step needs: images, and the gradients of one update."""

    @property
    def loss(self) -> Loss:
        """Whose gradients they are."""

    def generate(self, z: torch.Tensor, kept: bool) -> torch.Tensor:
        """G(z) [S, B, ...]; `kept`: an update of G on these images follows."""

    def of_D(self, real_img: Images, gen_img: Images, drawn: torch.Tensor | None, told: bool) -> OfD | None:
        """Gradients of D's loss, given what it has `drawn`; the loss itself where it is to be `told`."""

    def of_G(self, gen_img: torch.Tensor, told: bool) -> torch.Tensor | None:
        """Gradients of G's loss, of images that `generate` kept; the loss [S] where it is to be `told`."""


class Autograd:
    """By torch's autograd; `halved`: convolutions in bfloat16."""

    def __init__(self, G: nn.Module, D: nn.Module, loss: Loss, halved: bool):
        self.G, self.D, self.loss, self.halved = G, D, loss, halved
        self.frozen = False

    def _forward(self, net: nn.Module, x: torch.Tensor) -> torch.Tensor:
        if not self.halved:
            return net(x)
        with torch.autocast(x.device.type, torch.bfloat16):
            return net(x).float()

    def _D(self, x: torch.Tensor) -> torch.Tensor:
        return self._forward(self.D, x)

    def freeze_D(self, frozen: bool) -> None:
        """Spare D's weight gradients in G's update."""
        if frozen != self.frozen:
            self.D.requires_grad_(not frozen)
            self.frozen = frozen

    def generate(self, z: torch.Tensor, kept: bool) -> torch.Tensor:
        """G(z), with its graph where it is kept."""
        with torch.set_grad_enabled(kept):
            return self._forward(self.G, z.float())

    def of_D(self, real_img: Images, gen_img: Images, drawn: torch.Tensor | None, told: bool) -> OfD:
        """Gradients of D's loss."""
        self.freeze_D(False)
        real_img = None if real_img is None else real_img.float()
        found = self.loss.of_D(self._D, real_img, None if gen_img is None else gen_img.detach(), drawn)
        self._descend(self.D, found.loss)
        return found

    def of_G(self, gen_img: torch.Tensor, told: bool) -> torch.Tensor:
        """Gradients of G's loss."""
        self.freeze_D(True)
        loss = self.loss.of_G(self._D, gen_img)
        self._descend(self.G, loss)
        return loss.detach()

    @staticmethod
    def _descend(net: nn.Module, loss: torch.Tensor) -> None:
        for weight in net.parameters():
            weight.grad = None
        # The sum over seeds leaves each its own gradient; backward(ones) would do, and import sympy for it, 0.5 s.
        loss.sum().backward()


class _Pass:
    """Forward and backward through one stack; activations [B, n + 1, S], the last row of them 1, the bias's input.

    All views are made once: on arrays this small, making one takes as long as a sum. `after` another pass, its output
    is the input, and its delta the input's, where they lie.
    """

    last: torch.Tensor
    delta: torch.Tensor

    def __init__(self, net: StackedMlp, batch: int, after: _Pass | None = None):
        if net.flat.grad is None:
            net.flat.grad = torch.zeros_like(net.flat)
        weights, grads, seeds = net.layers(net.flat.detach()), net.layers(net.flat.grad), net.flat.shape[1]
        at = [net.flat.new_ones(batch, n + 1, seeds) for n in net.widths]
        delta = [net.flat.new_empty(batch, n, seeds) for n in net.widths]
        if after:
            at[0], delta[0] = after.last, after.delta
        # Of each layer: its output, whether a sigmoid follows, and the factors whose products add up to it.
        self.forwards: list[tuple[torch.Tensor, bool, tuple[torch.Tensor, torch.Tensor], Factors]] = []
        # Of each layer from the last one: its gradients and their factors; the same of its input, and the input.
        self.backwards: list[tuple[int, torch.Tensor, Factors, torch.Tensor, Factors, torch.Tensor]] = []
        for i, (weight, grad) in enumerate(zip(weights, grads, strict=True)):
            squashed = net.squash or i < len(weights) - 1
            sums = [(at[i][:, j : j + 1], weight[j]) for j in range(len(weight))]
            self.forwards.append((at[i + 1][:, :-1], squashed, sums[0], sums[1:]))
            of_weight = [(at[i][b][:, None], delta[i + 1][b]) for b in range(batch)]
            of_input = [(weight[:-1, o], delta[i + 1][:, o : o + 1]) for o in range(weight.shape[1])]
            self.backwards.insert(0, (i, grad, of_weight, delta[i], of_input, at[i][:, :-1]))
        self.x, self.last, self.delta = at[0][:, :-1], at[-1], delta[-1]
        self.out, self.lies = self.last[:, :-1], at[0].new_empty(0)
        self.generated = self.out.permute(2, 0, 1)

    def forward(self, x: torch.Tensor | None) -> torch.Tensor:
        """[S, B, widths[0]], None for what lies there -> [B, widths[-1], S], overwritten by the next call."""
        if x is not None and x is not self.lies:  # a constant z lies there from the first step on
            self.x.copy_(x.permute(1, 2, 0))
            self.lies = x
        for out, squashed, first, others in self.forwards:
            torch.mul(*first, out=out)
            for a, b in others:
                out.addcmul_(a, b)
            if squashed:
                torch.sigmoid(out, out=out)
        return self.out

    def backward(self, learns: bool, again: bool = False) -> None:
        """From `delta`, the gradient before the last layer's sigmoid, if it has one.

        To the weights' gradients where it `learns`, added to those that are there if `again`; or on to the input.
        """
        for i, grad, of_weight, delta, of_input, x in self.backwards:
            if learns:
                _add_products(grad, of_weight, again)
            if i or not learns:
                _add_products(delta, of_input, False)
            if i:
                sigmoid_backward(delta, x)


def _add_products(to: torch.Tensor, factors: Factors, again: bool) -> None:
    if again:
        to.addcmul_(*factors[0])
    else:
        torch.mul(*factors[0], out=to)
    for a, b in factors[1:]:
        to.addcmul_(a, b)


class ClosedForm:
    """Of stacks of MLPs and losses that hold D's output against targets (backpropagation, Rumelhart et al. 1986)."""

    def __init__(self, G: nn.Module, D: StackedMlp, loss: Target, batch: int):
        self.G = _Pass(G, batch) if isinstance(G, StackedMlp) else None
        self.D, self.loss = _Pass(D, batch), loss
        self.of_gen = _Pass(D, batch, self.G) if self.G else self.D
        # Numbers as tensors: torch would make one of each, at each step.
        self.number = {x: D.flat.new_tensor(x) for x in (0.0, loss.real_target, 1.0)}
        self.whole, self.half = (D.flat.new_tensor(1 / (batch * sides)) for sides in (1, loss.divisor))

    def generate(self, z: torch.Tensor, kept: bool) -> torch.Tensor:
        """G(z), overwritten by the next call."""
        if self.G is None:
            return z
        self.G.forward(z)
        return self.G.generated

    def of_D(self, real_img: Images, gen_img: Images, drawn: torch.Tensor | None, told: bool) -> OfD | None:
        """Gradients of D's loss."""
        seen, sides = [], self.loss.sides(real_img, gen_img)
        share = self.half if len(sides) == 2 else self.whole
        for i, (img, target) in enumerate(sides):
            D, x = (self.of_gen, None) if img is gen_img and self.G else (self.D, img)
            logits = D.forward(x)
            if told:
                seen.append(logits.permute(2, 0, 1).clone())
            self.loss.slope(logits, self.number[target], share, D.delta)
            D.backward(learns=True, again=i > 0)
        passed = iter(seen)
        return self.loss.of_D(lambda img: next(passed), real_img, gen_img, drawn) if told else None

    def of_G(self, gen_img: torch.Tensor, told: bool) -> torch.Tensor | None:
        """Gradients of G's loss."""
        assert self.G is not None
        logits = self.of_gen.forward(None)
        loss = self.loss.of_G(lambda img: logits.permute(2, 0, 1), gen_img) if told else None
        self.loss.slope(logits, self.number[1.0], self.whole, self.of_gen.delta)
        self.of_gen.backward(learns=False)  # to G's delta
        sigmoid_backward(self.G.delta, self.G.out)
        self.G.backward(learns=True)
        return loss
