"""A small classifier trained on the real images: its last hidden layer gives the features of distances."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from repligan.config import CnnReference
from repligan.datasets.batches import normalise
from repligan.progress import Progress
from repligan.randomness import rng

CHUNK = 500


class Extractor(nn.Module):
    """Images [N, C, H, W] float32 in [-1, 1] -> (features [N, d] float32, class logits [N, classes])."""

    def __init__(self, config: CnnReference, channels: int, size: int, classes: int):
        super().__init__()
        width = config.width
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(4 * width * (size // 8) ** 2, config.features),
            nn.ReLU(),
        )
        self.head = nn.Linear(config.features, classes)
        self._init()

    def _init(self) -> None:
        g = rng(0, "extractor")
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                bound = (6 / layer.weight[0].numel()) ** 0.5  # He et al. 2015, eq. 10
                drawn = g.uniform(-bound, bound, tuple(layer.weight.shape)).astype(np.float32)
                layer.weight.data = torch.from_numpy(drawn)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def forward(self, img: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.body(img)
        return features, self.head(features)


def fit(config: CnnReference, img: np.ndarray, labels: np.ndarray, device: torch.device) -> Extractor:
    """Train on uint8 images [N, C, H, W] and int64 labels [N]."""
    classes = int(labels.max()) + 1
    net = Extractor(config, img.shape[1], img.shape[2], classes).to(device)
    optimiser = torch.optim.Adam(net.parameters(), config.lr, fused=True)
    per_epoch = len(img) // config.batch
    progress = Progress("extractor", config.epochs * per_epoch)
    for step in range(config.epochs * per_epoch):
        epoch, i = divmod(step, per_epoch)
        if i == 0:
            order = rng(0, "extractor_batches", epoch).permutation(len(img))
        rows = np.sort(order[i * config.batch : (i + 1) * config.batch])
        _, logits = net(normalise(img[rows]).to(device))
        loss = cross_entropy(logits, torch.from_numpy(labels[rows]).to(device))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        progress(step + 1, loss=float(loss.detach()))
    return net.eval()


@torch.no_grad()
def extract(net: Extractor, img: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(features [N, d], classes int64 [N]) of float32 images in [-1, 1], in chunks, on the CPU."""
    device = net.head.weight.device
    parts = [net(chunk.to(device)) for chunk in img.split(CHUNK)]
    return torch.cat([f for f, _ in parts]).cpu(), torch.cat([logits.argmax(dim=1) for _, logits in parts]).cpu()


def accuracy(net: Extractor, img: np.ndarray, labels: np.ndarray) -> float:
    """Share of uint8 images [N, C, H, W] whose class is right."""
    _, classes = extract(net, normalise(img))
    return float((classes.numpy() == labels).mean())
