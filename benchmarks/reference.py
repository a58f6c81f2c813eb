"""The opponents: each article's training as one would write it in plain PyTorch, one seed, eager, float32.

Nothing of repligan is used here. Where there is a choice, the loops take the faster one that is still usual: batches
are drawn as tensors, and G's images are used again while G has not changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

IMAGES = 10_000  # random ones: the time of a step does not depend on what they show
BATCH = 128


class Loop(NamedTuple):
    """Two networks, and a step that trains both once and returns the last loss of D and of G."""

    G: nn.Module
    D: nn.Module
    step: Callable[[], tuple[torch.Tensor, torch.Tensor]]


def rate(step: Callable[[], object], steps: int) -> float:
    """Steps per second over `steps` steps, after a tenth as many, at least two, to warm up."""
    for _ in range(max(2, steps // 10)):
        step()
    wait()
    began = time.perf_counter()
    for _ in range(steps):
        step()
    wait()
    return steps / (time.perf_counter() - began)


def wait() -> None:
    """Until a GPU, if one is used, has done what it was asked for."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def even() -> Loop:
    """Even numbers of seven bits: G first, then D on real numbers and the same generated ones."""
    torch.manual_seed(0)
    G = nn.Sequential(nn.Linear(7, 7), nn.Sigmoid())
    D = nn.Sequential(nn.Linear(7, 1), nn.Sigmoid())
    opt_G, opt_D = (torch.optim.Adam(net.parameters(), lr=0.001) for net in (G, D))
    bce = nn.BCELoss()
    numbers = torch.arange(0, 128, 2)
    table = (numbers[:, None] >> torch.arange(6, -1, -1) & 1).float()
    ones, zeros = torch.ones(16, 1), torch.zeros(16, 1)

    def step() -> tuple[torch.Tensor, torch.Tensor]:
        opt_G.zero_grad()
        gen = G(torch.randint(2, (16, 7)).float())
        loss_G = bce(D(gen), ones)
        loss_G.backward()
        opt_G.step()
        opt_D.zero_grad()
        real = table[torch.randint(len(table), (16,))]
        loss_D = (bce(D(real), ones) + bce(D(gen.detach()), zeros)) / 2
        loss_D.backward()
        opt_D.step()
        return loss_D.detach(), loss_G.detach()

    return Loop(G, D, step)


def bits1010() -> Loop:
    """The pattern 1010, one example a batch: D on a real one, D on a generated one, then G."""
    torch.manual_seed(0)
    G = nn.Sequential(nn.Linear(1, 3), nn.Sigmoid(), nn.Linear(3, 4), nn.Sigmoid())
    D = nn.Sequential(nn.Linear(4, 3), nn.Sigmoid(), nn.Linear(3, 1), nn.Sigmoid())
    opt_G, opt_D = (torch.optim.SGD(net.parameters(), lr=0.01) for net in (G, D))
    mse = nn.MSELoss()
    low = torch.tensor([[0.8, 0.0, 0.8, 0.0]])
    z, one, zero = torch.full((1, 1), 0.5), torch.ones(1, 1), torch.zeros(1, 1)

    def update(opt: torch.optim.Optimizer, loss: torch.Tensor) -> torch.Tensor:
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss.detach()

    def step() -> tuple[torch.Tensor, torch.Tensor]:
        update(opt_D, mse(D(low + 0.2 * torch.rand(1, 4)), one))
        loss_D = update(opt_D, mse(D(G(z).detach()), zero))
        return loss_D, update(opt_G, mse(D(G(z)), one))

    return Loop(G, D, step)


def dcgan_mnist(width: int = 64, batch: int = BATCH, device: str = "cpu") -> Loop:
    """Digits of 32 x 32 pixels: D once on both sides, labels of real images at .9, then G twice on the same z.

    `width`: channels of D's first layer, half of those of G's last hidden one; 64 is the published size.
    """
    torch.manual_seed(0)
    G, D = generator(2 * width).to(device), discriminator(width).to(device)
    opt_G, opt_D = (torch.optim.Adam(net.parameters(), lr=0.0002, betas=(0.5, 0.999)) for net in (G, D))
    bce = nn.BCEWithLogitsLoss()
    batches = real_images(batch)
    smooth, ones, zeros = (torch.full((batch, 1), target, device=device) for target in (0.9, 1.0, 0.0))

    def step() -> tuple[torch.Tensor, torch.Tensor]:
        real = next(batches).to(device).float() / 127.5 - 1
        z = torch.rand(batch, 100, device=device) * 2 - 1
        gen = G(z)
        opt_D.zero_grad()
        loss_D = bce(D(real), smooth) + bce(D(gen.detach()), zeros)
        loss_D.backward()
        opt_D.step()
        for again in (False, True):
            opt_G.zero_grad()
            loss_G = bce(D(G(z) if again else gen), ones)
            loss_G.backward()
            opt_G.step()
        return loss_D.detach(), loss_G.detach()

    return Loop(G, D, step)


def real_images(batch: int) -> Iterator[torch.Tensor]:
    """uint8 [batch, 1, 32, 32], in epochs without end."""
    img = torch.randint(256, (IMAGES, 1, 32, 32), dtype=torch.uint8)
    loader = DataLoader(TensorDataset(img), batch_size=batch, shuffle=True, drop_last=True)
    while True:
        for (one,) in loader:
            yield one


def generator(width: int) -> nn.Module:
    """z [N, 100] -> images [N, 1, 32, 32] in (-1, 1)."""

    def up(n_in: int, n_out: int) -> nn.Module:
        return nn.ConvTranspose2d(n_in, n_out, 5, stride=2, padding=2, output_padding=1)

    net = nn.Sequential(
        nn.Linear(100, 4 * width * 4 * 4),
        nn.Unflatten(1, (4 * width, 4, 4)),
        nn.BatchNorm2d(4 * width),
        nn.ReLU(),
        up(4 * width, 2 * width),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        up(2 * width, width),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        up(width, 1),
        nn.Tanh(),
    )
    return net.apply(init)


def discriminator(width: int) -> nn.Module:
    """Images [N, 1, 32, 32] -> logits [N, 1]."""

    def down(n_in: int, n_out: int) -> nn.Module:
        return nn.Conv2d(n_in, n_out, 5, stride=2, padding=2)

    net = nn.Sequential(
        down(1, width),
        nn.LeakyReLU(0.2),
        down(width, 2 * width),
        nn.BatchNorm2d(2 * width),
        nn.LeakyReLU(0.2),
        down(2 * width, 4 * width),
        nn.BatchNorm2d(4 * width),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(4 * width * 4 * 4, 1),
    )
    return net.apply(init)


def init(layer: nn.Module) -> None:
    """Weights N(0, .02) and biases 0, as DCGANs start."""
    if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(layer.weight, 0.0, 0.02)
        assert layer.bias is not None
        nn.init.zeros_(layer.bias)
