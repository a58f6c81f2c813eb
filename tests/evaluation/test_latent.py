from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from repligan.data.batches import denormalise, normalise
from repligan.evaluation import latent
from repligan.evaluation.comparison import Comparison
from repligan.evaluation.extractor import AT_ONCE, Features
from repligan.evaluation.rows import OPERATIONS, CnnReference, Walk
from repligan.models.noise import fixed_z
from repligan.models.rows import Noise
from repligan.models.weights import build, sample
from repligan.params import Params

DIM, NUM = 4, 2000
WALK = Walk(components=[0, 1, 2], reach=1.0, frames=9, midpoints=3, pairs=4, num=8)
REFERENCE = CnnReference(
    kind="cnn", num=6, repeats=2, threads=1, width=4, features=4, epochs=1, batch=9, lr=0.001
)  # its numbers play no part


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape)).float()


def test_a_traversal_changes_one_component_from_end_to_end() -> None:
    z = normal(3, 5)
    before = z.clone()
    walk = latent.traverse(z, 2, 1.5, 7)
    assert walk.shape == (3, 7, 5)
    others = [0, 1, 3, 4]
    assert torch.equal(walk[:, :, others], z[:, None, others].expand(-1, 7, -1))
    torch.testing.assert_close(walk[:, :, 2], torch.tensor([-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5]).expand(3, -1))
    assert torch.equal(walk[:, [0, -1], 2], torch.tensor([[-1.5, 1.5]]).expand(3, -1))
    assert torch.equal(z, before)


@pytest.mark.parametrize("path", [latent.linear, latent.spherical])
@pytest.mark.parametrize("frames", [2, 9])
def test_interpolations_begin_and_end_at_the_pair(path: Any, frames: int) -> None:
    a, b = normal(6, 64), normal(6, 64, seed=1)
    walk = path(a, b, frames)
    assert (walk.shape, walk.dtype) == ((6, frames, 64), torch.float32)
    torch.testing.assert_close(walk[:, 0], a, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(walk[:, -1], b, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(path(b, a, frames), walk.flip(1), rtol=1e-5, atol=1e-5)


def test_the_linear_way_is_straight() -> None:
    a, b = normal(3, 8), normal(3, 8, seed=1)
    torch.testing.assert_close(latent.linear(a, b, 5)[:, 1], 0.75 * a + 0.25 * b)


def test_the_spherical_way_keeps_the_norm_where_the_linear_one_dips() -> None:
    a, b = (nn.functional.normalize(normal(6, 64, seed=seed)) * 8 for seed in (0, 1))
    torch.testing.assert_close(latent.spherical(a, b, 9).norm(dim=2), torch.full((6, 9), 8.0))
    assert (latent.linear(a, b, 9).norm(dim=2)[:, 4] < 7).all()


def test_the_spherical_way_turns_evenly() -> None:
    a, b = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    angles = torch.linspace(0, math.pi / 2, 7)
    torch.testing.assert_close(latent.spherical(a, b, 7)[0], 2 * torch.stack([angles.cos(), angles.sin()], dim=1))


@pytest.mark.parametrize("factor", [1.0, 2.0, 1 + 1e-7, -1.0, 0.0])
def test_between_parallel_vectors_the_way_is_straight(factor: float) -> None:
    a = normal(1, 16)
    walk = latent.spherical(a, factor * a, 5)
    torch.testing.assert_close(walk, latent.linear(a, factor * a, 5), atol=1e-5, rtol=1e-5)


def test_one_pair_does_not_change_another() -> None:
    a, b = normal(3, 8), normal(3, 8, seed=1)
    b[1] = a[1]
    together = latent.spherical(a, b, 5)
    for i in range(3):
        assert torch.equal(latent.spherical(a[i : i + 1], b[i : i + 1], 5)[0], together[i])


def test_arithmetic_is_component_by_component_in_the_order_of_the_operations() -> None:
    a, b = torch.tensor([[1.0, -2.0], [0.5, 3.0]]), torch.tensor([[3.0, 4.0], [-1.0, 1.0]])
    formulas = {
        "A": a,
        "B": b,
        "A + B": torch.tensor([[4.0, 2.0], [-0.5, 4.0]]),
        "|A - B|": torch.tensor([[2.0, 6.0], [1.5, 2.0]]),
        "A * B": torch.tensor([[3.0, -8.0], [-0.5, 3.0]]),
    }
    assert torch.equal(latent.arithmetic(a, b), torch.stack([formulas[name] for name in OPERATIONS], dim=1))


@pytest.mark.parametrize("name", ["dcgan-mnist", "dcgan-anime"])
def test_rendering_is_sampling_chunk_by_chunk(smoke: Params, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    row, form = smoke.published(name), smoke.dataset_of(name).form
    G, _ = build(row.G, row.D, row.z.dim, form, [0])
    z = normal(3, 5, row.z.dim)
    sizes: list[int] = []

    def watched(net: nn.Module, chunk: torch.Tensor) -> torch.Tensor:
        sizes.append(chunk.shape[1])
        return sample(net, chunk)

    monkeypatch.setattr(latent, "sample", watched)
    monkeypatch.setattr(latent, "AT_ONCE", 4)
    img = latent.render(G, z)
    assert sizes == [4, 4, 4, 3]
    assert (img.shape, img.dtype) == ((3, 5, form.channels, form.size, form.size), torch.uint8)
    for i in range(3):
        assert torch.equal(img[i], denormalise(sample(G, z[i][None])[0]))
    assert not torch.equal(img[0], img[1])
    assert AT_ONCE > 4


def test_pictures_are_the_walks_of_the_row(smoke: Params) -> None:
    row, form = smoke.published("dcgan-mnist"), smoke.dataset_of("dcgan-mnist").form
    G, _ = build(row.G, row.D, row.z.dim, form, [0])
    made = latent.pictures(G, row.z, WALK)
    assert {name: tuple(img.shape) for name, img in made.items()} == {
        **{f"component {c}": (3, 9, 1, form.size, form.size) for c in (0, 1, 2)},
        "linear": (4, 9, 1, form.size, form.size),
        "spherical": (4, 9, 1, form.size, form.size),
        "arithmetic": (4, 5, 1, form.size, form.size),
    }
    for name in ("linear", "spherical"):
        for frame, parent in ((0, 0), (-1, 1)):
            difference = made[name][:, frame].int() - made["arithmetic"][:, parent].int()
            assert difference.abs().max() <= 1
    again, other = latent.pictures(G, row.z, WALK), latent.pictures(G, row.z, WALK, seed=1)
    assert all(torch.equal(again[name], img) for name, img in made.items())
    assert not any(torch.equal(other[name], img) for name, img in made.items())


class Lamp(nn.Module):
    """z [S, B, dim] -> grey images: the first component alone says how bright."""

    def __init__(self, per_unit: float):
        super().__init__()
        self.per_unit = per_unit

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        bright = (self.per_unit * z[..., 0]).clamp(-1, 1)
        return bright[..., None, None, None].expand(-1, -1, 1, 8, 8)


class Eye(nn.Module):
    """The mean brightness is the only feature; one factor says whether it is above 0, the other never changes."""

    def __init__(self) -> None:
        super().__init__()

    def look(self, img: np.ndarray) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        bright = normalise(img).mean(dim=(1, 2, 3))[:, None]
        return bright, (torch.cat([-bright, bright], dim=1), torch.tensor([[1.0, 0.0]]).expand(len(img), -1))


FACTORS = {"bright": ["no", "yes"], "constant": ["a", "b"]}


def explored(
    factors: dict[str, list[str]], num: int = NUM, G: nn.Module | None = None, eye: nn.Module | None = None
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    noise = Noise(kind="normal", dim=DIM, low=0.0, high=1.0)
    walk = WALK.model_copy(update={"reach": 3.0, "num": num})
    none, unseen = torch.empty(0), Features(torch.empty(0, 1), ())
    compared = Comparison(REFERENCE, eye or Eye(), unseen, none, unseen, none, none, factors)  # type: ignore[arg-type]
    return latent.scores(G or Lamp(0.1), noise, walk, compared)


def scored(factors: dict[str, list[str]], num: int = NUM) -> dict[str, Any]:
    return explored(factors, num)[0]


def test_values_are_those_behind_the_scores() -> None:
    scores, values = explored(FACTORS, num=30)
    nearer = {f"nearer {name}" for name in scores["arithmetic"]} - {"nearer stranger"}
    of_G = {"mix", "opposite", "opposite_random", "entangled", "entangled_random"}
    assert values.keys() == {"shift", "factors_moved", *of_G, *nearer}
    assert {len(values[name]) for name in of_G} == {1}
    assert (len(values["shift"]), len(values["nearer A + B"])) == (DIM, 30)
    assert values["factors_moved"].mean().item() == pytest.approx(scores["factors_moved"]["mean"])
    apart = {name: row["distance"]["mean"] for name, row in scores["arithmetic"].items()}
    assert values["nearer A + B"].mean().item() == pytest.approx(apart["stranger"] - apart["A + B"])
    assert values["mix"].item() < values["nearer A + B"].mean().item()  # of both parents the less like one counts


@pytest.fixture(scope="module")
def scores() -> dict[str, Any]:
    return scored(FACTORS)


def strangers() -> float:
    """Mean distance of two independent normal numbers."""
    return 2 / math.pi**0.5


def test_only_the_component_that_does_something_moves_anything(scores: dict[str, Any]) -> None:
    moves = scores["moves"]
    assert len(moves) == DIM
    assert moves[0].keys() == {"shift", "bright", "constant"}
    assert (moves[0]["bright"], moves[0]["constant"]) == (1.0, 0.0)
    assert moves[0]["shift"] == pytest.approx(6 / strangers(), rel=0.06)  # from -3 to 3
    assert moves[1:] == [{"shift": 0.0, "bright": 0.0, "constant": 0.0}] * (DIM - 1)
    assert scores["factors_moved"]["mean"] == 1 / DIM
    assert scores["shift"]["mean"] == pytest.approx(moves[0]["shift"] / DIM)


def test_distances_of_results_to_their_parents(scores: dict[str, Any]) -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 10**5))
    results = {"A + B": a + b, "|A - B|": abs(a - b), "A * B": a * b, "(A + B) / 2": (a + b) / 2}
    assert scores["arithmetic"].keys() == {*results, "stranger"}
    for name, result in results.items():
        expected = (abs(result - a) + abs(result - b)).mean() / 2 / strangers()
        assert scores["arithmetic"][name]["distance"]["mean"] == pytest.approx(expected, rel=0.06), name
    assert scores["arithmetic"]["stranger"]["distance"]["mean"] == pytest.approx(1)
    for row in scores["arithmetic"].values():
        assert row["distance"]["lo"] < row["distance"]["mean"] < row["distance"]["hi"]


@pytest.mark.parametrize(
    ("name", "bright"),
    [("A + B", 1), ("(A + B) / 2", 1), ("|A - B|", 0.75), ("A * B", 0.75), ("stranger", 0.75)],
)
def test_what_a_result_inherits(scores: dict[str, Any], name: str, bright: float) -> None:
    """Two dark parents, a fourth of the pairs, have a bright child where their signs are lost or not theirs."""
    found = scores["arithmetic"][name]["inherits"]["mean"]
    assert found == pytest.approx((bright + 1) / 2, abs=0.02)  # the constant factor is always inherited


def test_without_factors_there_are_distances_only(scores: dict[str, Any]) -> None:
    found = scored({})
    assert found.keys() == {"moves", "shift", "arithmetic"}
    assert found["moves"] == [{"shift": row["shift"]} for row in scores["moves"]]
    for name, row in found["arithmetic"].items():
        assert row == {"distance": scores["arithmetic"][name]["distance"]}


class Panes(nn.Module):
    """z [S, B, 4] -> grey images: each quarter is `of` a sum of components, weighed by a row of `weights`."""

    def __init__(self, weights: torch.Tensor, of: Callable[[torch.Tensor], torch.Tensor] = lambda z: 0.1 * z):
        super().__init__()
        self.weights, self.of = weights, of

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        bright = self.of(z @ self.weights.T).clamp(-1, 1)
        quarters = bright.reshape(*z.shape[:2], 1, 2, 2)
        return quarters.repeat_interleave(4, dim=3).repeat_interleave(4, dim=4)


class FourEyes(nn.Module):
    """The brightness of each quarter is a feature, and whether it is above 0 a factor."""

    def look(self, img: np.ndarray) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        bright = normalise(img)[:, 0, ::4, ::4].flatten(1)
        return bright, tuple(torch.stack([-one, one], dim=1) for one in bright.unbind(1))


QUARTERS = {f"quarter {i}": ["dark", "bright"] for i in range(DIM)}
APART = torch.eye(DIM)
MIXED = torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2  # a rotation


@pytest.mark.parametrize(("weights", "entangled"), [(APART, 0.0), (MIXED, 1.0)], ids=["apart", "mixed"])
def test_components_are_entangled_where_each_moves_several_factors(weights: torch.Tensor, entangled: float) -> None:
    scores, values = explored(QUARTERS, 200, Panes(weights), FourEyes())
    assert values["entangled"].tolist() == [entangled]
    assert values["entangled_random"].tolist() == [1.0]  # a random direction does, whatever the components are
    assert set(values["factors_moved"].tolist()) == ({4.0} if entangled else {1.0})
    assert not any(name.startswith("entangled") for name in scores)


@pytest.mark.parametrize(
    ("of", "opposite"), [(lambda z: 0.1 * z, -1), (lambda z: 0.1 * z.abs(), 1)], ids=["linear", "even"]
)
def test_the_other_way_does_the_opposite_where_G_is_linear(
    of: Callable[[torch.Tensor], torch.Tensor], opposite: float
) -> None:
    _, values = explored({}, 200, Panes(APART, of), FourEyes())
    assert values["opposite"].item() == pytest.approx(opposite)
    assert values["opposite_random"].item() == pytest.approx(0.5, abs=0.1)  # both ways lead away from here


def test_of_two_parts_that_change_together_and_apart_the_larger_decides() -> None:
    """Each component moves two quarters up and down, and two up either way."""

    def mixed(z: torch.Tensor) -> torch.Tensor:
        return torch.cat([0.1 * z[..., :2], 0.05 * z[..., 2:].abs()], dim=-1)

    _, values = explored({}, 200, Panes(torch.ones(DIM, DIM), mixed), FourEyes())
    assert -1 < values["opposite"].item() < -0.2


def test_what_changes_nothing_is_neither_the_same_nor_the_opposite() -> None:
    _, values = explored({}, 200)
    assert values["opposite"].item() == -1 / DIM  # only the first component of Lamp does anything


def test_of_one_factor_nothing_is_entangled() -> None:
    _, values = explored(FACTORS, num=200)
    assert (values["entangled"].item(), values["entangled_random"].item()) == (0.0, 0.0)


def test_a_random_direction_reaches_as_far_as_a_component() -> None:
    z = normal(50, DIM)
    ends = latent._elsewhere(z, 1, 3.0)
    along = ends[:, 1] - ends[:, 0]
    torch.testing.assert_close(along.norm(dim=1), torch.full((50,), 6.0))
    direction = along[0] / 6
    torch.testing.assert_close(along, 6 * direction.expand(50, -1))
    torch.testing.assert_close(ends @ direction, torch.tensor([-3.0, 3.0]).expand(50, -1))
    across = z - (z @ direction)[:, None] * direction
    torch.testing.assert_close(ends.mean(dim=1), across)  # all else stays as it is
    assert not torch.allclose(latent._elsewhere(z, 2, 3.0), ends)


class Pixels(nn.Module):
    """z [S, B, 64] -> grey images 8 x 8: each pixel is what `of` makes of one component."""

    def __init__(self, of: Callable[[torch.Tensor], torch.Tensor]):
        super().__init__()
        self.of = of

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.of(z).clamp(-1, 1).reshape(*z.shape[:2], 1, 8, 8)


class EyeOfPixels(nn.Module):
    """Each pixel is a feature."""

    def look(self, img: np.ndarray) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        return normalise(img).flatten(1), (torch.zeros(len(img), 1),)


def mix(of: Callable[[torch.Tensor], torch.Tensor]) -> float:
    noise, walk = Noise(kind="normal", dim=64, low=0.0, high=1.0), WALK.model_copy(update={"num": NUM})
    none, unseen = torch.empty(0), Features(torch.empty(0, 64), ())
    compared = Comparison(REFERENCE, EyeOfPixels(), unseen, none, unseen, none, none, {})  # type: ignore[arg-type]
    found: float = latent._arithmetic(Pixels(of), noise, walk, compared)[1]["mix"].item()
    return found


def test_a_linear_G_mixes_its_parents_and_one_without_order_does_not() -> None:
    a, b, stranger = np.random.default_rng(0).normal(size=(3, 20_000, 64))
    away, stays = (lambda x, y: np.linalg.norm(x - y, axis=1)), np.linalg.norm
    gains = [away(stranger, a) - stays(b, axis=1), away(stranger, b) - stays(a, axis=1)]  # A + B is as far as B is long
    expected = np.minimum(*gains).mean() / away(a, stranger).mean()
    assert expected > 0.2
    assert mix(lambda z: 0.1 * z) == pytest.approx(expected, abs=0.01)
    assert -0.1 < mix(lambda z: 0.3 * (1000 * z).sin()) < 0  # the lesser of two gains that are 0 in the mean


def test_scores_are_the_same_every_time_and_can_be_written() -> None:
    first = scored(FACTORS, num=30)
    assert json.loads(json.dumps(first)) == first == scored(FACTORS, num=30)
    assert first != scored(FACTORS, num=31)


def test_parents_and_strangers_are_different_latents() -> None:
    noise = Noise(kind="normal", dim=DIM, low=0.0, high=1.0)
    streams = [fixed_z(noise, 0, 5, name) for name in ("moved_z", "stranger_z", "parents", "midpoints")]
    assert len({stream.numpy().tobytes() for stream in streams}) == 4
