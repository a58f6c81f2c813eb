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
        f"{name}.{key}": value[:num_seeds].contiguous()
        for name, net in (("G", G), ("D", D))
        for key, value in _by_seed(net).items()
    }


def unpack(tensors: dict[str, torch.Tensor], G: nn.Module, D: nn.Module) -> None:
    """Load into G and D what `pack` made; both must be built for the same seeds."""
    for name, net in (("G", G), ("D", D)):
        given = {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
        own = _by_seed(net)
        if {key: value.shape for key, value in given.items()} != {key: value.shape for key, value in own.items()}:
            raise ValueError(f"{name}: found weights of another network")
        for key, value in own.items():
            value.copy_(given[key])


def _by_seed(net: nn.Module) -> dict[str, torch.Tensor]:
    """Views of a network's weights and buffers, [S, ...]; of a stack "layer0" and on, the last row the bias."""
    if isinstance(net, StackedMlp):
        return {f"layer{i}": layer.detach().movedim(-1, 0) for i, layer in enumerate(net.layers())}
    return {key: value[None] for key, value in net.state_dict().items()}


@torch.no_grad()
def sample(G: nn.Module, z: torch.Tensor) -> torch.Tensor:
    """G(z) [S, B, ...] on the CPU, with population statistics in batch normalisation; leaves G's mode as it was."""
    was_training = G.training
    device = next((weight.device for weight in G.parameters()), z.device)
    G.eval()
    gen_img = G(z.to(device))
    G.train(was_training)
    return gen_img.cpu()
