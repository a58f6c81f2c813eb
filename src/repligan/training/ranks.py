"""One training by several processes, its ranks, each of which computes on its part of every batch.

Data-parallel training as by torch's DistributedDataParallel (Li et al. 2020, "PyTorch Distributed"), whose class wraps
one network with one backward pass a step. Here two networks take turns, D is frozen while G learns, and a penalty asks
for gradients of gradients. So the gradients of each update are averaged after its backward pass, in one message.

Rank 0 trains as if it were alone: checkpoints, alarms and outputs are its own. The others take each step that it takes.
Every rank draws the whole batch, which is a function of (seed, step), and keeps its part.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import distributed, nn

from repligan.core.signals import ENDING
from repligan.training import loop
from repligan.training.gradients import Autograd
from repligan.training.graphs import Drawn, Replayed
from repligan.training.losses import Images, OfD

WAIT = timedelta(minutes=10)  # for a rank that lives and does not answer; one that has died is noticed at once
STEP, END = 1, 0


@contextmanager
def joined(on_gpu: bool) -> Iterator[None]:
    """With the other ranks, whose number and place torchrun says in the environment; each on a GPU of its own."""
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=WAIT)
    yield
    distributed.destroy_process_group()  # not after a loss: it would wait for the others


def together(training: loop.Training, sync_norm: bool, lead: Callable[[], None]) -> None:
    """Train by all ranks that are joined: rank 0 by `lead`, which trains as if it were alone, the others after it.

    `sync_norm`: whether batch normalisation uses the statistics of the whole batch, or each rank those of its part.
    Raises RuntimeError where another rank was lost; SystemExit on all ranks where `lead` does, or fails.
    """
    _divide(training, sync_norm)
    if distributed.get_rank():
        _follow(training)
        return
    try:
        lead()
    except BaseException as error:
        _order(END, int(error.code or 0) if isinstance(error, SystemExit) else 1)
        raise
    _order(END, 0)


def _divide(training: loop.Training, sync_norm: bool) -> None:
    assert isinstance(training.gradients, Autograd)
    training.gradients = Averaged(training.gradients)
    # A step that waits for other ranks is no CUDA graph.
    training.run = Divided(training, training.run.step if isinstance(training.run, Replayed) else training.run)
    for _, net in training.networks():
        for layer in net.modules():
            if sync_norm and isinstance(layer, nn.BatchNorm2d):
                layer.__class__ = SyncedBatchNorm  # the optimiser has its parameters


def _follow(training: loop.Training) -> None:
    for one in ENDING:  # rank 0 hears them, and says when to end
        signal.signal(one, signal.SIG_IGN)
    kind, step, told = _order()
    while kind == STEP:
        training.step = step
        loop.train_step(training, bool(told))
        kind, step, told = _order()
    if code := step:
        raise SystemExit(code)


def _order(kind: int = END, step: int = 0, told: int = 0) -> list[int]:
    """What rank 0 says to all: STEP, the steps done and whether the losses of the next one are told; or END, a code."""
    order = torch.tensor([kind, step, told])
    distributed.broadcast(order, src=0)
    return order.tolist()


class Divided:
    """A step of this rank on its part of what is drawn; `told`, what all ranks made."""

    def __init__(self, training: loop.Training, step: Callable[[Drawn, bool], loop.Step]):
        self.training, self.step, self.begun = training, step, False

    def __call__(self, drawn: Drawn, told: bool) -> loop.Step:
        """Tensors [S, B, ...], B the whole batch."""
        rank, num = distributed.get_rank(), distributed.get_world_size()
        if rank == 0:
            _order(STEP, self.training.step, told)
        if not self.begun:  # only rank 0 has read a checkpoint
            for x in self.training.trained().values():
                state = x.contiguous()
                distributed.broadcast(state, src=0)
                x.copy_(state)
            self.begun = True
        done = self.step([[x.chunk(num, dim=1)[rank] for x in part] for part in drawn], told)
        return _of_all(done) if told else done


def _of_all(done: loop.Step) -> loop.Step:
    losses = {name: [_mean(one) for one in found] for name, found in done.losses.items()}
    seen = [OfD(_mean(one.loss), _whole(one.real_logits), _whole(one.gen_logits)) for one in done.seen]
    return loop.Step(losses, seen, _whole(done.real_img), _whole(done.gen_img))


def _mean(x: torch.Tensor) -> torch.Tensor:
    total = x.detach().clone()
    distributed.all_reduce(total)
    return total / distributed.get_world_size()


def _whole(x: torch.Tensor | None) -> torch.Tensor | None:
    if x is None:
        return None
    parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, x.detach().contiguous())
    return torch.cat(parts, dim=1)


class Averaged:
    """The gradients of the whole batch: the mean of those of its parts, which are of one size."""

    def __init__(self, of_part: Autograd):
        self.of_part, self.loss = of_part, of_part.loss

    def generate(self, z: torch.Tensor, kept: bool) -> torch.Tensor:
        """G(z) of this rank's part of z."""
        return self.of_part.generate(z, kept)

    def of_D(self, real_img: Images, gen_img: Images, drawn: torch.Tensor | None, told: bool) -> OfD:
        """Gradients of D's loss; the loss is of this rank's part."""
        found = self.of_part.of_D(real_img, gen_img, drawn, told)
        _average(self.of_part.D)
        return found

    def of_G(self, gen_img: torch.Tensor, told: bool) -> torch.Tensor:
        """Gradients of G's loss; the loss is of this rank's part."""
        found = self.of_part.of_G(gen_img, told)
        _average(self.of_part.G)
        return found


def _average(net: nn.Module) -> None:
    grads = [weight.grad for weight in net.parameters() if weight.grad is not None]
    mean = _mean(torch.cat([grad.flatten() for grad in grads]))
    for grad, part in zip(grads, mean.split([grad.numel() for grad in grads]), strict=True):
        grad.copy_(part.view_as(grad))


class _Summed(torch.autograd.Function):
    """The sum over all ranks, of which each rank's share has the sum of all ranks' gradients."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        total = x.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        return _Summed.apply(grads[0])


class SyncedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation by the statistics of the whole batch (torch's SyncBatchNorm is for GPUs only)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, C, H, W] -> the same shape; N images of this rank."""
        if not self.training:
            return super().forward(x)
        shape, n = (1, -1, 1, 1), x.numel() // x.shape[1] * distributed.get_world_size()
        mean = _Summed.apply(x.float().sum(dim=(0, 2, 3))) / n
        centred = x.float() - mean.view(shape)
        variance = _Summed.apply(centred.square().sum(dim=(0, 2, 3))) / n
        kept: Any = self  # torch allows None for what these networks have
        with torch.no_grad():
            kept.num_batches_tracked += 1
            kept.running_mean.lerp_(mean, kept.momentum)
            kept.running_var.lerp_(variance * (n / (n - 1)), kept.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()  # not torch.sqrt: its bits differ between CPU models
        return (centred * scale.view(shape) + self.bias.view(shape)).to(x.dtype)
