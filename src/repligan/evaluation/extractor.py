"""A small classifier trained on the real images: its last hidden layer gives the features of distances.

It learns the factors that the images are labelled with or, where there are none, by how many quarter turns an
image was rotated (Gidaris et al. 2018, "Unsupervised representation learning by predicting image rotations"). And it
learns to tell images from noise: what a classifier never saw falls into the middle of its features, among real images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from repligan.core.progress import Progress
from repligan.core.randomness import rng
from repligan.data.batches import normalise
from repligan.evaluation.rows import CnnReference
from repligan.training.optimisers import Optimiser
from repligan.training.rows import Adam

AT_ONCE = 500  # images in memory
TURNS = 4
NONE = 3  # images for each one that is none, while the extractor learns
SQUARES = 4  # a side, of an image whose squares are shuffled


class Extractor(nn.Module):
    """Images [N, C, H, W] float32 in [-1, 1] -> (features [N, d] float32, logits [N, values] of each factor and, last,
    [N, 2] of being an image at all)."""

    def __init__(self, config: CnnReference, channels: int, size: int, values: list[int]):
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
        self.head = nn.Linear(config.features, sum(values) + 2)
        self.values = values
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

    def forward(self, img: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        features = self.body(img)
        return features, self.head(features).split([*self.values, 2], dim=1)

    def look(self, img: np.ndarray) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """(features, logits of each factor) of uint8 images [N, C, H, W]."""
        features, logits = self(normalise(img).to(self.head.weight.device))
        return features, logits[:-1]


class FeatureExtractor(Protocol):
    """Whatever turns uint8 images [N, C, H, W] into (features [N, d], logits [N, values] of each factor)."""

    def look(self, img: np.ndarray) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]: ...


@dataclass
class Features:
    """What an extractor saw in N images, on the CPU: features [N, d] and, of each factor, logits [N, values]."""

    features: torch.Tensor
    logits: tuple[torch.Tensor, ...]

    @property
    def values(self) -> torch.Tensor:
        """The likeliest value of each factor, int64 [N, K]."""
        return torch.stack([one.argmax(dim=1) for one in self.logits], dim=1)

    def __getitem__(self, rows: torch.Tensor) -> Features:
        return Features(self.features[rows], tuple(one[rows] for one in self.logits))


def fit(
    config: CnnReference, img: np.ndarray, labels: np.ndarray | None, values: list[int], device: torch.device
) -> Extractor:
    """Train on uint8 images [N, C, H, W] and int64 labels [N, K] with values[k] values each, None for rotations."""
    net = Extractor(config, img.shape[1], img.shape[2], values).to(device)
    optimiser = Optimiser(Adam(kind="adam", lr=config.lr, beta1=0.9, beta2=0.999), net.parameters())
    per_epoch = len(img) // config.batch
    progress = Progress("extractor", config.epochs * per_epoch)
    for step in range(config.epochs * per_epoch):
        epoch, i = divmod(step, per_epoch)
        if i == 0:
            order = rng(0, "extractor_batches", epoch).permutation(len(img))
        rows = np.sort(order[i * config.batch : (i + 1) * config.batch])
        seen, wanted = pose(img[rows], None if labels is None else labels[rows], step)
        both = np.concatenate([seen, not_images(seen, step)])
        _, (*factors, image) = net(normalise(both).to(device))
        target = torch.from_numpy(wanted).to(device)
        told = torch.stack([cross_entropy(one[: len(seen)], target[:, k]) for k, one in enumerate(factors)]).mean()
        loss = told + cross_entropy(image, (torch.arange(len(both), device=device) < len(seen)).long())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        progress(step + 1, loss=float(loss.detach()))
    return net.eval()


def pose(img: np.ndarray, labels: np.ndarray | None, index: int) -> tuple[np.ndarray, np.ndarray]:
    """The task on uint8 images [N, C, H, W]: themselves and their labels [N, K], or rotated and the turns [N, 1]."""
    if labels is not None:
        return img, labels
    turns = rng(0, "rotations", index).integers(TURNS, size=len(img))
    rotated = np.stack([np.rot90(one, turn, axes=(1, 2)) for one, turn in zip(img, turns, strict=True)])
    return rotated, turns[:, None]


def not_images(img: np.ndarray, index: int) -> np.ndarray:
    """Of N uint8 images [N, C, H, W] N // NONE that are none: a third noise, with shuffled pixels and squares each.

    The noise of each channel is uniform in a range of its own, so that light and dark, strong and weak noise is there.
    """
    g = rng(0, "not_images", index)
    noise, pixels, squares = np.array_split(img[g.permutation(len(img))[: len(img) // NONE]], 3)
    low, high = np.sort(g.integers(256, size=(2, *noise.shape[:2], 1, 1)), axis=0)
    drawn = g.integers(low, high + 1, size=noise.shape).astype(np.uint8)
    return np.concatenate([drawn, shuffled(pixels, 1, g), shuffled(squares, img.shape[2] // SQUARES, g)])


def shuffled(img: np.ndarray, side: int, g: np.random.Generator) -> np.ndarray:
    """Images [N, C, H, W] whose squares of `side` x `side` pixels change places, in every image in another way."""
    num, channels, height, width = img.shape
    grid = (num, channels, height // side, side, width // side, side)
    squares = img.reshape(grid).transpose(0, 2, 4, 1, 3, 5)
    listed = squares.reshape(num, -1, channels, side, side)
    order = g.permuted(np.tile(np.arange(listed.shape[1]), (num, 1)), axis=1)
    moved = np.take_along_axis(listed, order[:, :, None, None, None], axis=1).reshape(squares.shape)
    return moved.transpose(0, 3, 1, 4, 2, 5).reshape(img.shape)


@torch.no_grad()
def extract(net: FeatureExtractor, img: np.ndarray) -> Features:
    """What `net` sees in uint8 images [N, C, H, W], a chunk in memory at a time."""
    chunks = [net.look(img[start : start + AT_ONCE]) for start in range(0, len(img), AT_ONCE)]
    features, logits = zip(*chunks, strict=True)
    return Features(torch.cat(features).cpu(), tuple(torch.cat(one).cpu() for one in zip(*logits, strict=True)))


def accuracy(net: Extractor, img: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """Share [K] of uint8 images [N, C, H, W] whose factor, or rotation, is told right."""
    right = np.zeros(len(net.values))
    for start in range(0, len(img), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        seen, wanted = pose(img[rows], None if labels is None else labels[rows], start)
        right += (extract(net, seen).values.numpy() == wanted).sum(axis=0)
    return right / len(img)
