from __future__ import annotations

import numpy as np
import pytest
import torch
from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

from repligan.metrics import neighbours
from repligan.metrics.classes import classifier_score, modes, total_variation
from repligan.metrics.frechet import frechet_distance, gaussian
from repligan.metrics.kernel import kid
from repligan.metrics.neighbours import memorised, nearest, prdc, radii


def drawn(num: int, dim: int, seed: int, std: float = 1) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0, std, size=(num, dim)).astype(np.float32))


def line(*values: float) -> torch.Tensor:
    return torch.tensor(values)[:, None]


def distances(a: torch.Tensor, b: torch.Tensor) -> np.ndarray:
    """[N, M], by differences."""
    return np.linalg.norm(a.double().numpy()[:, None] - b.double().numpy()[None], axis=2)


def test_by_hand() -> None:
    """Radii of real: 1, 1, 1, 8; of gen: 29.5 twice. 0.5 lies around 0 and 1; 30 around none, beyond all of them."""
    real, gen = line(0, 1, 2, 10), line(0.5, 30)
    assert radii(real, 1).tolist() == [1, 1, 1, 8]
    assert radii(real, 3).tolist() == [10, 9, 8, 10]
    assert prdc(gen, real, k=1) == {"precision": 0.5, "recall": 1, "density": 1, "coverage": 0.5, "outlying": 0.5}


@pytest.mark.parametrize("k", [1, 3, 5])
def test_precision_and_recall_against_torch_fidelity(k: int) -> None:
    gen, real = drawn(400, 16, 0, 0.8).double(), drawn(300, 16, 1).double()
    options = {"prc_neighborhood": k, "prc_batch_size": 1000, "save_cpu_ram": False, "verbose": False}
    expected = prc_features_to_metric(gen, real, **options)
    found = prdc(gen, real, k)
    assert 0.1 < found["recall"] < 0.9 < found["precision"] + 0.2
    assert found["precision"] == pytest.approx(expected[KEY_METRIC_PRECISION], abs=1e-6)
    assert found["recall"] == pytest.approx(expected[KEY_METRIC_RECALL], abs=1e-6)


@pytest.mark.parametrize("k", [1, 5])
def test_density_and_coverage_against_all_distances(k: int) -> None:
    gen, real = drawn(300, 16, 0, 1.1), drawn(200, 16, 1)
    around = np.sort(distances(real, real), axis=1)[:, k]
    within = distances(gen, real) <= around
    found = prdc(gen, real, k)
    assert found["density"] == within.sum() / (k * len(gen))
    assert found["coverage"] == within.any(axis=0).mean()
    assert 0.1 < found["coverage"] < 1
    far = np.sort(distances(gen, real), axis=1)[:, k - 1]
    assert found["outlying"] == (far >= np.sort(around)[-10]).mean() > 0.05
    np.testing.assert_allclose(radii(real, k).numpy(), around, rtol=1e-6)


def test_copies_are_exact() -> None:
    """Each copy lies on the radius of the k whose k-th neighbour it is: one rounding error and density is not 1.2."""
    real = drawn(500, 64, 0) + 100
    copies = real[torch.from_numpy(np.random.default_rng(0).permutation(500))]
    found = prdc(copies, real, 5)
    assert found.pop("outlying") < 0.05  # a copy has one neighbour more, at 0
    assert found == {"precision": 1, "recall": 1, "density": 1.2, "coverage": 1}
    assert nearest(copies, real).tolist() == [0] * 500


def test_sets_of_any_size_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    gen, real = drawn(60, 16, 0), drawn(90, 16, 1)
    expected = prdc(gen, real), nearest(gen, real)
    monkeypatch.setattr(neighbours, "ENTRIES", 1000)
    assert [len(squares) for _, squares in neighbours._squares(gen, real, 500)] == [11] * 5 + [5]
    found = prdc(gen, real), nearest(gen, real)
    assert found[0] == expected[0]
    assert torch.equal(found[1], expected[1])


def test_neither_chunks_nor_given_radii_change_a_bit() -> None:
    """With copies among the samples, so that many distances are equal."""
    gen, real = torch.cat([drawn(150, 32, 0, 0.9), drawn(50, 32, 1)]), drawn(230, 32, 1)
    assert torch.equal(radii(real, 5), radii(real, 5, chunk=7))
    assert torch.equal(nearest(gen, real), nearest(gen, real, chunk=7))
    found = prdc(gen, real)
    assert found == prdc(gen, real, chunk=7) == prdc(gen, real, real_radii=radii(real, 5, chunk=3), chunk=11)
    order = torch.arange(230).flip(0)
    assert found == prdc(gen, real[order]) == prdc(gen, real[order].double())


def test_nearest() -> None:
    gen, train = drawn(100, 8, 0) + 1000, drawn(70, 8, 1) + 1000
    np.testing.assert_allclose(nearest(gen, train).numpy(), distances(gen, train).min(axis=1), atol=1e-6)
    img = torch.from_numpy(np.random.default_rng(0).integers(256, size=(20, 192), dtype=np.uint8))
    np.testing.assert_allclose(nearest(img[:8], img[8:]).numpy(), distances(img[:8], img[8:]).min(axis=1), rtol=1e-15)


def test_memorised() -> None:
    """Held-out distances are 5 to 104: the nearest 5 % are at most 9 away."""
    heldout = torch.arange(5.0, 105.0)
    assert memorised(torch.tensor([0, 5, 9, 9.5, 50]), heldout) == 3 / 5
    assert memorised(torch.tensor([0, 5, 9, 9.5, 50]), heldout, share=0.5) == 1
    train, fresh, more = drawn(2000, 8, 0), drawn(1000, 8, 1), drawn(1000, 8, 2)
    apart = nearest(fresh, train)
    assert memorised(nearest(train[:300], train), apart) == 1
    assert memorised(nearest(more, train), apart) == pytest.approx(0.05, abs=0.025)


def test_what_it_refuses() -> None:
    x = drawn(6, 3, 0)
    for broken in (x / 0, x[:0], x[0]):
        for first, second in ((x, broken), (broken, x)):
            for metric in (nearest, lambda gen, real: prdc(gen, real, 1)):
                with pytest.raises(ValueError, match="features: found"):
                    metric(first, second)
    for few in (lambda: prdc(x[:5], x), lambda: prdc(x, x[:5])):
        with pytest.raises(ValueError, match="rows; allowed: more than k"):
            few()


NUM, CLASSES, SPREAD = 1000, 10, 0.7
TOLERANCE = {
    "fd": 0.1,
    "kid": 0.015,
    "precision": 0.04,
    "recall": 0.035,
    "density": 0.15,
    "coverage": 0.04,
    "outlying": 0.02,
    "memorised": 0.08,
    "modes": 0,
    "class_tv": 0.02,
    "classifier_score": 0.2,
}
MOVES = {
    "fresh": "",
    "blur": "fd+ kid+ precision+ recall- density+ outlying- memorised+",
    "noise": "fd+ kid+ precision- recall+ density- coverage- outlying+ classifier_score-",
    "dropped class": "fd+ kid+ recall- coverage- modes- class_tv+ classifier_score-",
    "each twice": "recall- coverage-",
    "copies": "memorised+",
}


class Mixture:
    """Real features of ten classes, ten Gaussians whose means are drawn from a wider one."""

    def __init__(self) -> None:
        self.means = torch.from_numpy(np.random.default_rng(0).normal(size=(CLASSES, 16)))
        self.train, self.real = self.draw(1), self.draw(2)
        self.fresh, noise = self.draw(3), self.draw(4) - self.draw(4, noise=0)
        self.gen = {
            "fresh": self.draw(5),
            "blur": (self.fresh + self.draw(3, noise=0)) / 2,
            "noise": self.fresh + noise / SPREAD,
            "dropped class": self.draw(3, classes=CLASSES - 1),
            "each twice": self.fresh[: NUM // 2].repeat(2, 1),
            "copies": self.train,
        }
        self.expected = self.metrics(self.fresh)

    def draw(self, seed: int, classes: int = CLASSES, noise: float = SPREAD) -> torch.Tensor:
        drawn = np.random.default_rng(seed).normal(0, 1, size=(NUM, 16))
        return self.means[torch.arange(NUM) % classes] + noise * torch.from_numpy(drawn)

    def metrics(self, gen: torch.Tensor) -> dict[str, float]:
        gen_logits, real_logits = (-(torch.cdist(x, self.means) ** 2) / (2 * SPREAD**2) for x in (gen, self.real))
        gen_labels, real_labels = gen_logits.argmax(dim=1), real_logits.argmax(dim=1)
        return prdc(gen, self.real) | {
            "fd": frechet_distance(gaussian(gen), gaussian(self.real)),
            "kid": kid(gen, self.real)[0],
            "memorised": memorised(nearest(gen, self.train), nearest(self.real, self.train)),
            "modes": modes(gen_labels, CLASSES),
            "class_tv": total_variation(gen_labels, real_labels),
            "classifier_score": classifier_score(gen_logits),
        }


@pytest.fixture(scope="module")
def mixture() -> Mixture:
    return Mixture()


@pytest.mark.parametrize("name", MOVES)
def test_what_moves_and_what_does_not(mixture: Mixture, name: str) -> None:
    """Against fresh samples: the named metrics by twice the tolerance in their direction, the rest within it.

    Blur halves the distance of every sample to its class's mean; noise has 1.4 times the spread of a class.
    """
    moves = {move[:-1]: 1 if move[-1] == "+" else -1 for move in MOVES[name].split()}
    assert moves.keys() <= TOLERANCE.keys()
    found = mixture.metrics(mixture.gen[name])
    for metric, tolerance in TOLERANCE.items():
        moved = found[metric] - mixture.expected[metric]
        if metric in moves:
            assert moved * moves[metric] > 2 * tolerance, f"{metric} moved by {moved}"
        else:
            assert abs(moved) <= tolerance, f"{metric} moved by {moved}"
