"""Networks from plain values: `build` is the one place that maps a params.yaml row to modules.

Every network maps [S, B, ...] to [S, B, ...] with S seeds; a convolutional one takes S = 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from repligan.core.config import DcganD, DcganG, Experiment, Form, Identity, ImagesForm, Mlp
from repligan.core.randomness import rng
from repligan.models.dcgan import Discriminator, Generator
from repligan.models.mlp import StackedMlp


def build(experiment: Experiment, form: Form, seeds: Sequence[int]) -> tuple[nn.Module, nn.Module]:
    """(G, D) of `experiment` for `seeds`, each seed's weights drawn from its own streams."""
    return _network("G", experiment, form, seeds), _network("D", experiment, form, seeds)


def _network(name: str, experiment: Experiment, form: Form, seeds: Sequence[int]) -> nn.Module:
    config = experiment.G if name == "G" else experiment.D
    rngs = [rng(seed, f"init_{name}") for seed in seeds]
    match config:
        case Identity():
            return nn.Identity()
        case Mlp():
            return StackedMlp(config.widths, rngs, squash=name == "G")
        case DcganG():
            assert isinstance(form, ImagesForm)
            return Generator(config, experiment.z.dim, form.channels, form.size, rngs[0])
        case DcganD():
            assert isinstance(form, ImagesForm)
            return Discriminator(config, form.channels, form.size, rngs[0])


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
