"""Distances between generated and real images on the extractor's features, beside the real-vs-real floor.

Each of `repeats` measurements takes its own random half of the real images and its own z; the floor
compares that half with the other one, at the same number of images a side.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from repligan.core.config import CnnReference
from repligan.core.errors import InputError
from repligan.core.files import from_file, load_array, read_json, to_bytes, write_bytes
from repligan.core.randomness import rng
from repligan.evaluation.extractor import TURNS, Extractor, accuracy, extract, fit
from repligan.evaluation.frechet import Gaussian, frechet_distance, gaussian
from repligan.training.batches import denormalise

Stats = dict[str, np.ndarray]


@dataclass
class Protocol:
    """The extractor and what it sees in the real images: features [N, d] and, per factor, values [N, K].

    `factors`: name -> names of its values; none where the extractor learned rotations.
    """

    config: CnnReference
    net: Extractor
    features: torch.Tensor
    values: torch.Tensor
    factors: dict[str, list[str]]

    def half(self, repeat: int, other: bool = False) -> tuple[Gaussian, torch.Tensor]:
        """(moments, values) of a random half of the real images, or of the `other` one."""
        order = torch.from_numpy(rng(repeat, "halves").permutation(len(self.features)))
        rows = order[self.config.num :][: self.config.num] if other else order[: self.config.num]
        return gaussian(self.features[rows]), self.values[rows]

    def floor(self) -> Stats:
        """Statistics [repeats] of real against real."""
        return self._statistics([self.half(repeat, other=True) for repeat in range(self.config.repeats)])

    def score(self, gen_img: Iterable[torch.Tensor]) -> Stats:
        """Statistics [repeats] of generated images, `repeats` times [num, C, H, W] float32 in [-1, 1]."""
        seen = [extract(self.net, denormalise(img).numpy()) for img in gen_img]
        return self._statistics([(gaussian(features), values) for features, values in seen])

    def _statistics(self, sides: list[tuple[Gaussian, torch.Tensor]]) -> Stats:
        fd, tv = [], []
        for repeat, (moments, values) in enumerate(sides):
            real_moments, real_values = self.half(repeat)
            fd.append(frechet_distance(moments, real_moments))
            if self.factors:
                pairs = zip(values.T, real_values.T, strict=True)
                tv.append(np.mean([total_variation(gen, real) for gen, real in pairs]))
        return {f"fd_cnn_{self.config.num}": np.array(fd)} | ({"class_tv": np.array(tv)} if self.factors else {})


def total_variation(a: torch.Tensor, b: torch.Tensor) -> float:
    """Total variation distance between the class shares of two int64 vectors, 0 (alike) to 1."""
    size = int(torch.cat([a, b]).max()) + 1
    shares = [torch.bincount(side, minlength=size).double() / len(side) for side in (a, b)]
    return float((shares[0] - shares[1]).abs().sum() / 2)


def make(config: CnnReference, processed: Path, out: Path, device: torch.device) -> tuple[Protocol, dict[str, Any]]:
    """Train the extractor on the images in `processed`, write it and its features to the folder `out`.

    Returns the protocol and what the extractor learned and how well; raises InputError if there are too few images.
    """
    img, heldout = (load_array(processed / f"{split}.npy") for split in ("train", "heldout"))
    if 2 * config.num > len(img):
        raise InputError(f"params.yaml: references: found num {config.num}; allowed: at most half of {len(img)} images")
    labels, heldout_labels, factors = None, None, {}
    if (processed / "factors.json").exists():
        labels, heldout_labels = (_labels(processed, split, of) for split, of in (("train", img), ("heldout", heldout)))
        factors = dict(read_json(processed / "factors.json"))
    values = [len(names) for names in factors.values()] or [TURNS]
    net = fit(config, img, labels, values, device)
    features, found = extract(net, img)
    shape = {"channels": img.shape[1], "size": img.shape[2], "values": values, "factors": list(factors.items())}
    write_bytes(out / "extractor.safetensors", to_bytes(net.state_dict(), shape))
    write_bytes(out / "features.safetensors", to_bytes({"features": features, "values": found}))
    card = {
        "task": "factors" if factors else "rotation",
        "accuracy": {
            "train": float(accuracy(net, img, labels).mean()),
            "heldout": float((right := accuracy(net, heldout, heldout_labels)).mean()),
            "by_factor": dict(zip(factors or ["rotation"], right.tolist(), strict=True)),
        },
    }
    return Protocol(config, net, features, found, factors), card


def read(config: CnnReference, folder: Path, device: torch.device) -> Protocol:
    """The protocol that `make` wrote to `folder`; raises InputError if it is missing or damaged."""
    weights, shape = from_file(folder / "extractor.safetensors")
    real, _ = from_file(folder / "features.safetensors")
    net = Extractor(config, shape["channels"], shape["size"], shape["values"]).to(device)
    net.load_state_dict(weights)
    return Protocol(config, net.eval(), real["features"], real["values"], dict(shape["factors"]))


def _labels(processed: Path, split: str, img: np.ndarray) -> np.ndarray:
    labels = load_array(processed / f"{split}_labels.npy")
    if len(labels) != len(img):
        found = f"{len(labels)} labels for {len(img)} images"
        raise InputError(f"{processed}: found {found}; allowed: one each, as `dvc repro` makes them")
    return labels
