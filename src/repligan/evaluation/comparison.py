"""How generated images compare with real ones, on an extractor's features, beside real images and beside noise.

Each of `repeats` measurements takes its own random half of the real images and its own z. The floor puts the other
half in the place of G's images, the ceiling uniform noise, at the same number of images a side. Blurred ones are
the other half at half the resolution and back: a loss of known size, which every number of images can be held against.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from repligan.core.errors import InputError
from repligan.core.files import from_file, load_array, read_json, sha256, to_bytes, write_bytes
from repligan.core.randomness import rng
from repligan.data.batches import denormalise
from repligan.evaluation.extractor import AT_ONCE, TURNS, Extractor, FeatureExtractor, Features, accuracy, extract, fit
from repligan.evaluation.inception import LAYER, Inception
from repligan.evaluation.rows import NEIGHBOURS, CnnReference, ImageReference, InceptionReference
from repligan.metrics.classes import classifier_score, luminance, modes, total_variation
from repligan.metrics.frechet import Gaussian, frechet_distance, gaussian
from repligan.metrics.kernel import kid
from repligan.metrics.neighbours import memorised, nearest, prdc, radii

Stats = dict[str, np.ndarray]
STANDARD = "extractor.pth"
DARK = 0.1  # share of real images whose middle counts as dark


@dataclass
class Half:
    """Images on one side of a comparison: what the extractor sees in them, their luma and that of their middle
    [N, 2], and to the nearest training image the distance [N]."""

    seen: Features
    luma: torch.Tensor
    copied: torch.Tensor


@dataclass
class Real:
    """A half of the real images with what every comparison with it needs."""

    half: Half
    moments: Gaussian
    radii: torch.Tensor


@dataclass
class Comparison:
    """An extractor and what it sees in the training images; `heldout` [M]: distance of each held-out image to them.

    `factors`: name -> names of its values; none where the extractor was not taught this dataset's.
    """

    config: ImageReference
    net: FeatureExtractor
    train: Features
    luma: torch.Tensor
    blurred_train: Features
    blurred_luma: torch.Tensor
    heldout: torch.Tensor
    factors: dict[str, list[str]]
    _real: dict[int, Real] = field(default_factory=dict)

    def rows(self, repeat: int, other: bool = False) -> torch.Tensor:
        """Indices [num] of a random half of the training images, or of the `other` one."""
        order = torch.from_numpy(rng(repeat, "halves").permutation(len(self.luma)))
        return order[self.config.num :][: self.config.num] if other else order[: self.config.num]

    def real(self, repeat: int) -> Real:
        """The real side of a repeat."""
        if repeat not in self._real:
            half = self._half_of_train(self.rows(repeat))
            self._real[repeat] = Real(half, gaussian(half.seen.features), radii(half.seen.features, NEIGHBOURS))
        return self._real[repeat]

    def floor(self) -> Stats:
        """Statistics [repeats] of real against real."""
        repeats = range(self.config.repeats)
        return self._statistics(self._half_of_train(self.rows(repeat, other=True)) for repeat in repeats)

    def blurred(self) -> Stats:
        """Statistics [repeats] of real images at half the resolution against real; `copied` means nothing there."""
        rows = [self.rows(repeat, other=True) for repeat in range(self.config.repeats)]
        return self._statistics(Half(self.blurred_train[one], self.blurred_luma[one], self.heldout) for one in rows)

    def ceiling(self, shape: tuple[int, ...]) -> Stats:
        """Statistics [repeats] of uniform noise, images of `shape` [C, H, W], against real."""
        noise = (
            rng(repeat, "ceiling").integers(256, size=(self.config.num, *shape), dtype=np.uint8)
            for repeat in range(self.config.repeats)
        )
        return self._statistics(self._half_of_new(img) for img in noise)

    def score(self, gen_img: Iterable[torch.Tensor]) -> Stats:
        """Statistics [repeats] of generated images, `repeats` times [num, C, H, W] float32 in [-1, 1]."""
        return self._statistics(self._half_of_new(denormalise(img).numpy()) for img in gen_img)

    def _half_of_train(self, rows: torch.Tensor) -> Half:
        # A training image is its own copy: held-out ones stand for real images that training did not see.
        return Half(self.train[rows], self.luma[rows], self.heldout)

    def _half_of_new(self, img: np.ndarray) -> Half:
        seen = extract(self.net, img)
        return Half(seen, _luma(img), nearest(seen.features, self.train.features))

    def _statistics(self, sides: Iterable[Half]) -> Stats:
        rows = [self._one(side, self.real(repeat)) for repeat, side in enumerate(sides)]
        return {key: np.array([row[key] for row in rows]) for key in rows[0]}

    def _one(self, side: Half, real: Real) -> dict[str, float]:
        mean, error = kid(side.seen.features, real.half.seen.features)
        near = prdc(side.seen.features, real.half.seen.features, NEIGHBOURS, real.radii)
        found = {
            f"fd_{self.config.kind}_{self.config.num}": frechet_distance(gaussian(side.seen.features), real.moments),
            "kid": mean,
            "kid_se": error,
            "precision": near["precision"],
            "recall": near["recall"],
            "density": near["density"],
            "covered": near["coverage"],
            "outlying": near["outlying"],
            "copied": memorised(side.copied, self.heldout),
            "luma": float(side.luma[:, 0].mean()),
            "dark": float((side.luma[:, 1] < np.quantile(real.half.luma[:, 1].numpy(), DARK)).double().mean()),
        }
        scores = [classifier_score(one) for one in side.seen.logits]
        if self.factors or isinstance(self.config, InceptionReference):
            found["class_score"] = float(np.mean(scores))
        if self.factors:
            pairs = list(zip(side.seen.values.T, real.half.seen.values.T, strict=True))
            found["class_tv"] = float(np.mean([total_variation(gen, real) for gen, real in pairs]))
            sizes = [len(names) for names in self.factors.values()]
            found["modes"] = float(sum(modes(gen, size) for (gen, _), size in zip(pairs, sizes, strict=True)))
        return found


def make(config: ImageReference, processed: Path, out: Path, device: torch.device) -> tuple[Comparison, dict[str, Any]]:
    """Make the extractor for the images in `processed`; write it and what it sees to the folder `out`.

    Inception-v3 takes its weights from `out`/extractor.pth. Returns the protocol and the identity card of its values;
    raises InputError if there are too few images.
    """
    img, heldout = (load_array(processed / f"{split}.npy") for split in ("train", "heldout"))
    if 2 * config.num > len(img):
        raise InputError(f"params.yaml: references: found num {config.num}; allowed: at most half of {len(img)} images")
    factors: dict[str, list[str]] = {}
    net: FeatureExtractor
    if isinstance(config, CnnReference):
        net, factors, learned = _taught(config, processed, img, heldout, out, device)
    else:
        net, learned = Inception(out / STANDARD, device), {"task": "ImageNet", "layer": f"pool3, {LAYER} features"}
    train = extract(net, img)
    apart = nearest(extract(net, heldout).features, train.features)
    blurry = blur(img)
    found = {"": (train, _luma(img)), "blurred_": (extract(net, blurry), _luma(blurry))}
    seen = {"heldout": apart}
    for name, (one, luma) in found.items():
        seen |= {f"{name}features": one.features, f"{name}logits": torch.cat(one.logits, dim=1), f"{name}luma": luma}
    write_bytes(out / "features.safetensors", to_bytes(seen, list(factors.items())))
    return Comparison(config, net, *found[""], *found["blurred_"], apart, factors), _card(
        config, processed, out
    ) | learned


def blur(img: np.ndarray) -> np.ndarray:
    """uint8 [N, C, H, W], H and W even: each square of four pixels becomes their mean, rounded up at a half."""
    num, channels, height, width = img.shape
    small = np.empty((num, channels, height // 2, width // 2), np.uint8)
    for i in range(0, num, AT_ONCE):
        four = img[i : i + AT_ONCE].reshape(-1, channels, height // 2, 2, width // 2, 2)
        small[i : i + AT_ONCE] = (four.sum(axis=(3, 5), dtype=np.uint16) + 2) // 4
    return small.repeat(2, axis=2).repeat(2, axis=3)


def _luma(img: np.ndarray) -> torch.Tensor:
    """uint8 [N, C, H, W] -> mean luminance of the whole image and of its middle, float64 [N, 2]."""
    # In place: small results kept between large temporaries leave no hole that is large enough for the next.
    quarter, found = img.shape[2] // 4, torch.empty(len(img), 2, dtype=torch.float64)
    for i in range(0, len(img), AT_ONCE):
        part = torch.from_numpy(img[i : i + AT_ONCE].copy())
        middle = part[:, :, quarter : 3 * quarter, quarter : 3 * quarter]
        found[i : i + AT_ONCE] = torch.stack([luminance(part), luminance(middle)], dim=1)
    return found


def _taught(
    config: CnnReference, processed: Path, img: np.ndarray, heldout: np.ndarray, out: Path, device: torch.device
) -> tuple[Extractor, dict[str, list[str]], dict[str, Any]]:
    labels, heldout_labels, factors = None, None, {}
    if (processed / "factors.json").exists():
        factors = dict(read_json(processed / "factors.json"))
        img, labels = _labelled(processed, "train", img, config.batch)
        heldout, heldout_labels = _labelled(processed, "heldout", heldout, 1)
    values = [len(names) for names in factors.values()] or [TURNS]
    net = fit(config, img, labels, values, device)
    shape = {"channels": img.shape[1], "size": img.shape[2], "values": values}
    write_bytes(out / "extractor.safetensors", to_bytes(net.state_dict(), shape))
    right = accuracy(net, heldout, heldout_labels)
    learned = {
        "task": "factors" if factors else "rotation",
        "layer": f"last hidden, {config.features} features",
        "accuracy": {
            "train": float(accuracy(net, img, labels).mean()),
            "heldout": float(right.mean()),
            "by_factor": dict(zip(factors or ["rotation"], right.tolist(), strict=True)),
        },
    }
    return net, factors, learned


def _card(config: ImageReference, processed: Path, out: Path) -> dict[str, Any]:
    """What one has to know before comparing a value with another."""
    return {
        "extractor": config.kind,
        "extractor_sha256": sha256(next(out.glob("extractor.*"))),
        "real_sha256": sha256(processed / "train.npy"),
        "num_real": config.num,
        "num_gen": config.num,
        "split": "random halves of the training images",
        "resizer": "Pillow bilinear" + (", then TensorFlow's to 299x299" if config.kind == "inception" else ""),
        "range": "uint8, 0 to 255",
        "bn": "G in eval mode, population statistics",
        "seeds": f"draws 0 to {config.repeats - 1} of z and halves",
        "neighbours": NEIGHBOURS,
        "dtype": "float32 features, float64 statistics",
    }


def read(config: ImageReference, folder: Path, device: torch.device) -> Comparison:
    """The protocol that `make` wrote to `folder`; raises InputError if it is missing or damaged."""
    found, factors = from_file(folder / "features.safetensors")
    net: FeatureExtractor
    if isinstance(config, CnnReference):
        weights, shape = from_file(folder / "extractor.safetensors")
        sizes = shape["values"]
        taught = Extractor(config, shape["channels"], shape["size"], sizes)
        taught.load_state_dict(weights)
        net = taught.to(device).eval()
    else:
        net, sizes = Inception(folder / STANDARD, device), [found["logits"].shape[1]]
    sides = [
        (Features(found[f"{of}features"], found[f"{of}logits"].split(sizes, dim=1)), found[f"{of}luma"])
        for of in ("", "blurred_")
    ]
    return Comparison(config, net, *sides[0], *sides[1], found["heldout"], dict(factors))


def _labelled(processed: Path, split: str, img: np.ndarray, least: int) -> tuple[np.ndarray, np.ndarray]:
    """Those of the images whose labels are all known, none of them below 0, and the labels; at `least` so many."""
    labels = load_array(processed / f"{split}_labels.npy")
    if len(labels) != len(img):
        found = f"{len(labels)} labels for {len(img)} images"
        raise InputError(f"{processed}: found {found}; allowed: one each, as `dvc repro` makes them")
    known = (labels >= 0).all(axis=1)
    if known.sum() < least:
        raise InputError(f"{processed}: found {known.sum()} {split} images with labels; allowed: at least {least}")
    return (img, labels) if known.all() else (img[known], labels[known])
