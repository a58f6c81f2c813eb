"""Walks through the latent space of a trained G: traversal, interpolation, arithmetic, and what they change.

Arithmetic on z and its pictures after Radford et al. 2016, section 6.3.2; spherical interpolation after
White 2016, "Sampling generative networks", section 2.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from repligan.core.progress import Progress
from repligan.core.randomness import rng
from repligan.data.batches import denormalise
from repligan.evaluation.comparison import Comparison
from repligan.evaluation.extractor import AT_ONCE, Features, extract
from repligan.evaluation.rows import OPERATIONS, Walk
from repligan.metrics.intervals import interval
from repligan.models.noise import fixed_z
from repligan.models.rows import Noise
from repligan.models.weights import sample

MOVED = 0.2  # share of latents whose factor changes, from which on a component is said to move that factor
Pictures = dict[str, torch.Tensor]


def traverse(z: torch.Tensor, component: int, reach: float, frames: int) -> torch.Tensor:
    """z [M, dim] -> [M, frames, dim]: `component` swept from -reach to reach, all others as they are."""
    swept = z[:, None].repeat(1, frames, 1)
    swept[:, :, component] = torch.linspace(-reach, reach, frames)
    return swept


def linear(a: torch.Tensor, b: torch.Tensor, frames: int) -> torch.Tensor:
    """a, b [P, dim] -> [P, frames, dim], straight from a to b."""
    t = torch.linspace(0, 1, frames)[None, :, None]
    return a[:, None] * (1 - t) + b[:, None] * t


def spherical(a: torch.Tensor, b: torch.Tensor, frames: int) -> torch.Tensor:
    """a, b [P, dim] -> [P, frames, dim], along the arc from a to b; straight where they are parallel."""
    rows = []
    for one, other in zip(a.double(), b.double(), strict=True):
        cosine = float(one @ other / (one.norm() * other.norm()))
        angle = math.acos(max(-1.0, min(1.0, cosine)))
        if math.sin(angle) < 1e-6:
            rows.append(linear(one[None], other[None], frames)[0])
            continue
        steps = [i / (frames - 1) for i in range(frames)]
        weights = [(math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)) for t in steps]
        rows.append(torch.stack([one * left + other * right for left, right in weights]))
    return torch.stack(rows).float()


def arithmetic(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a, b [P, dim] -> [P, 5, dim], the OPERATIONS in their order, component by component."""
    return torch.stack([a, b, a + b, (a - b).abs(), a * b], dim=1)


def render(G: torch.nn.Module, z: torch.Tensor) -> torch.Tensor:
    """z [..., dim] -> uint8 images [..., C, H, W], a chunk at a time."""
    flat = z.reshape(1, -1, z.shape[-1])
    img = torch.cat([denormalise(sample(G, chunk)[0]) for chunk in flat.split(AT_ONCE, dim=1)])
    return img.reshape(*z.shape[:-1], *img.shape[1:])


def pictures(G: torch.nn.Module, noise: Noise, walk: Walk, seed: int = 0) -> Pictures:
    """uint8 images "component <c>" [midpoints, frames, C, H, W]; "linear", "spherical", "arithmetic" [pairs, ...]."""
    z = fixed_z(noise, seed, walk.midpoints, "midpoints")[0]
    a, b = fixed_z(noise, seed, 2 * walk.pairs, "parents")[0].split(walk.pairs)
    walks = {f"component {c}": traverse(z, c, walk.reach, walk.frames) for c in walk.components}
    walks |= {"linear": linear(a, b, walk.frames), "spherical": spherical(a, b, walk.frames)}
    return {name: render(G, walk) for name, walk in (walks | {"arithmetic": arithmetic(a, b)}).items()}


def scores(G: torch.nn.Module, noise: Noise, walk: Walk, comparison: Comparison) -> tuple[dict[str, Any], Pictures]:
    """What the components move and where the results of arithmetic lie: JSON-able means with intervals, and values.

    Values, float64: "shift" and "factors_moved" of each component; "nearer <operation>" of each pair of latents, how
    much nearer the result's image is to both parents' than a stranger's. Of this G, [1]: "mix", the mean over pairs of
    how much nearer A + B is to the parent that it is less like; "opposite", how alike the changes are when a component
    moves one way and the other from its middle (mean cosine), and "opposite_random", those to two random images;
    "entangled", the share of components that move two or more factors, and "entangled_random", the same of random
    directions of equal length.
    """
    found, values = _components(G, noise, walk, comparison)
    table, nearer = _arithmetic(G, noise, walk, comparison)
    return found | {"arithmetic": table}, values | nearer


def _components(
    G: torch.nn.Module, noise: Noise, walk: Walk, comparison: Comparison
) -> tuple[dict[str, Any], Pictures]:
    """`moves`: component -> share of latents whose factor changes between its two ends, and the shift in features.

    A shift of 1 is the mean distance between the images of two independent z.
    """
    z, strangers = (fixed_z(noise, 0, walk.num, name)[0] for name in ("moved_z", "stranger_z"))
    here, there = (_seen(G, one, comparison) for one in (z, strangers))
    unit = float(_distance(here, there).mean()) or 1.0  # 0: a G of one image
    shifts, moved, opposed, by_chance = [], [], [], []
    progress = Progress("exploring components", noise.dim)
    for component in range(noise.dim):
        along = traverse(z, component, walk.reach, 3)
        if comparison.factors:
            along = torch.cat([along, _elsewhere(z, component, walk.reach)], dim=1)
        low, middle, high, *chance = _seen_each(G, along, comparison)
        shifts.append(float(_distance(low, high).mean() / unit))
        moved.append(_moved(low, high, comparison))
        opposed.append(_cosine(middle, low, high).mean())
        if comparison.factors:
            by_chance.append(_moved(chance[0], chance[1], comparison))
        progress(component + 1)
    elsewhere = there[torch.arange(walk.num).roll(1)]
    values = {
        "shift": np.array(shifts),
        "opposite": np.mean(opposed, keepdims=True),
        "opposite_random": _cosine(here, there, elsewhere).mean(keepdims=True),
    }
    if comparison.factors:
        values |= _entangled(moved, by_chance)
    table: dict[str, Any] = {"moves": [{"shift": one, **more} for one, more in zip(shifts, moved, strict=True)]}
    table |= {name: interval(values[name]) for name in ("shift", "factors_moved") if name in values}
    return table, {name: torch.from_numpy(one) for name, one in values.items()}


def _moved(low: Features, high: Features, comparison: Comparison) -> dict[str, float]:
    """factor -> share of latents whose factor is another at the other end; nothing where no factor is known."""
    if not comparison.factors:
        return {}
    shares = (low.values != high.values).double().mean(dim=0).tolist()
    return dict(zip(comparison.factors, shares, strict=True))


def _entangled(moved: Sequence[dict[str, float]], by_chance: Sequence[dict[str, float]]) -> dict[str, np.ndarray]:
    """How many factors each component moves, and which share of components and of random directions several."""
    counts, chance = ([sum(share >= MOVED for share in one.values()) for one in each] for each in (moved, by_chance))
    return {
        "factors_moved": np.array(counts, float),
        "entangled": np.array([np.mean([count >= 2 for count in counts])]),
        "entangled_random": np.array([np.mean([count >= 2 for count in chance])]),
    }


def _elsewhere(z: torch.Tensor, component: int, reach: float) -> torch.Tensor:
    """z [M, dim] -> [M, 2, dim]: moved along a random direction as far as a traversal of one component moves it."""
    drawn = rng(component, "direction").normal(size=z.shape[1])
    step = torch.from_numpy((drawn / (drawn @ drawn) ** 0.5 * reach).astype(np.float32))
    along = (z @ step / reach)[:, None] * step / reach  # the traversal too sets a coordinate, and does not add to it
    return torch.stack([z - along - step, z - along + step], dim=1)


def _arithmetic(
    G: torch.nn.Module, noise: Noise, walk: Walk, comparison: Comparison
) -> tuple[dict[str, Any], Pictures]:
    """operation -> mean distance of its image to both parents', in distances between strangers; and what it inherits.

    `inherits`: share of factors in which it is like A or B; for "stranger" what chance gives.
    """
    a, b, other = fixed_z(noise, 0, 3 * walk.num, "parents")[0].split(walk.num)
    results = arithmetic(a, b).unbind(1)
    seen = [_seen(G, z, comparison) for z in (*results, (a + b) / 2, other)]
    A, B = seen[:2]
    unit = float((_distance(A, seen[-1]) + _distance(B, seen[-1])).mean() / 2) or 1.0
    names = (*OPERATIONS[2:], "(A + B) / 2", "stranger")
    table, apart = {}, {}
    for name, one in zip(names, seen[2:], strict=True):
        apart[name] = (_distance(one, A) + _distance(one, B)) / 2 / unit
        row = {"distance": interval(apart[name].numpy())}
        if comparison.factors:
            like = ((one.values == A.values) | (one.values == B.values)).double().mean(dim=1)
            row["inherits"] = interval(like.numpy())
        table[name] = row
    gains = [(_distance(seen[-1], parent) - _distance(seen[2], parent)) / unit for parent in (A, B)]
    nearer = {f"nearer {name}": apart["stranger"] - apart[name] for name in names[:-1]}
    return table, nearer | {"mix": torch.minimum(*gains).mean()[None]}


def _seen(G: torch.nn.Module, z: torch.Tensor, comparison: Comparison) -> Features:
    return extract(comparison.net, render(G, z).numpy())


def _seen_each(G: torch.nn.Module, z: torch.Tensor, comparison: Comparison) -> list[Features]:
    """z [M, K, dim] -> what is seen at each of the K places: in one batch, since a small one costs its calls."""
    seen = _seen(G, z.transpose(0, 1).flatten(0, 1), comparison)
    return [seen[rows] for rows in torch.arange(len(seen.features)).split(len(z))]


def _cosine(middle: Features, one: Features, other: Features) -> np.ndarray:
    """[N]: how alike the changes from `middle` to `one` and to `other` are, 1 to -1; 0 where nothing changes."""
    a, b = (side.features.double() - middle.features.double() for side in (one, other))
    product, sizes = (a * b).sum(dim=1).numpy(), (a.square().sum(dim=1) * b.square().sum(dim=1)).numpy() ** 0.5
    return np.divide(product, sizes, out=np.zeros_like(product), where=sizes > 0)


def _distance(a: Features, b: Features) -> torch.Tensor:
    # numpy's root: torch.sqrt gives other bits on other CPU models.
    return torch.from_numpy((a.features.double() - b.features.double()).square().sum(dim=1).numpy() ** 0.5)
