"""Networks from their rows, their weights to and from files, and what G makes of z."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from repligan.core.randomness import rng
from repligan.data.rows import Form
from repligan.models.mlp import StackedMlp

if TYPE_CHECKING:
    from repligan.models.rows import DRow, GRow


def build(G: GRow, D: DRow, dim: int, form: Form, seeds: Sequence[int]) -> tuple[nn.Module, nn.Module]:
    """(G, D) for z of `dim` and data of `form`, each seed's weights drawn from its own streams."""
    made = [
        row.build(name, dim, form, [rng(seed, f"init_{name}") for seed in seeds])  # type: ignore[arg-type]
        for name, row in (("G", G), ("D", D))
    ]
    return made[0], made[1]


def pack(G: nn.Module, D: nn.Module, num_seeds: int) -> dict[str, torch.Tensor]:
    """Weights and buffers of the first `num_seeds` networks as "G.*" and "D.*", each [num_seeds, ...]."""
    return {
        f"{name}.{key}": value[:num_seeds] if isinstance(net, StackedMlp) else value[None]
        for name, net in (("G", G), ("D", D))
        for key, value in net.state_dict().items()
    }


def unpack(tensors: dict[str, torch.Tensor], G: nn.Module, D: nn.Module) -> None:
    """Load into G and D what `pack` made; both must be built for the same seeds."""
    for name, net in (("G", G), ("D", D)):
        state = {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
        net.load_state_dict(state if isinstance(net, StackedMlp) else {key: value[0] for key, value in state.items()})


@torch.no_grad()
def sample(G: nn.Module, z: torch.Tensor) -> torch.Tensor:
    """G(z) [S, B, ...] on the CPU, with population statistics in batch normalisation; leaves G's mode as it was."""
    was_training = G.training
    device = next((weight.device for weight in G.parameters()), z.device)
    G.eval()
    gen_img = G(z.to(device))
    G.train(was_training)
    return gen_img.cpu()
