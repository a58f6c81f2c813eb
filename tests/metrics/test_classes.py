from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric

from repligan.metrics.classes import auc, classifier_score, luminance, modes, total_variation


def drawn(num: int, classes: int, scale: float) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(0, scale, size=(num, classes)))


@pytest.mark.parametrize("scale", [0.1, 3, 300])
def test_classifier_score_against_torch_fidelity(scale: float) -> None:
    logits = drawn(500, 10, scale)
    expected = isc_features_to_metric(logits, splits=1)[KEY_METRIC_ISC_MEAN]
    assert classifier_score(logits) == pytest.approx(expected, rel=1e-12)
    assert classifier_score(logits.softmax(dim=1).log()) == pytest.approx(expected, rel=1e-12)


def test_classifier_score_known() -> None:
    """Sure and spread evenly: K; all alike: 1, sure or not; two sides at 3 to 1 are exp(ln 2 - H(1/4))."""
    assert classifier_score(torch.eye(7).log()) == pytest.approx(7, rel=1e-12)
    assert classifier_score(torch.eye(7)[:1].repeat(5, 1).log()) == 1
    assert classifier_score(torch.zeros(5, 7)) == pytest.approx(1, rel=1e-12)
    entropy = -0.25 * math.log(0.25) - 0.75 * math.log(0.75)
    two = torch.tensor([[0.25, 0.75], [0.75, 0.25]]).log()
    assert classifier_score(two) == pytest.approx(math.exp(math.log(2) - entropy), rel=1e-6)


def test_classifier_score_refuses() -> None:
    for logits in (torch.tensor([[0.0, torch.nan]]), torch.zeros(0, 3)):
        with pytest.raises(ValueError, match="logits: found"):
            classifier_score(logits)


def test_total_variation() -> None:
    a, b = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 2])
    assert total_variation(a, a.flip(0)) == 0
    assert total_variation(a, b) == total_variation(b, a) == 0.25
    assert total_variation(torch.tensor([0]), torch.tensor([3])) == 1


def test_modes() -> None:
    """The share counts, its own value included; 7 of 100 is 0.07, though 0.07 * 100 > 7."""
    labels = torch.tensor([0] * 92 + [1] * 7 + [3])
    assert [modes(labels, 5, share) for share in (0.01, 0.02, 0.07, 0.08)] == [3, 2, 2, 1]
    assert modes(labels, 5) == 3
    assert modes(torch.cat([labels, torch.zeros(1, dtype=torch.int64)]), 5) == 2
    for wrong in (labels - 1, labels + 2, labels[:0]):
        with pytest.raises(ValueError, match="labels: found"):
            modes(wrong, 5)


def test_luminance() -> None:
    """Black, white, the three colours, and grey as one channel and as three."""
    img = torch.zeros(5, 3, 4, 6, dtype=torch.uint8)
    img[1] = 255
    for colour in range(3):
        img[2 + colour, colour] = 255
    np.testing.assert_allclose(luminance(img).numpy(), [0, 1, 0.299, 0.587, 0.114], rtol=1e-15)
    grey = torch.from_numpy(np.random.default_rng(0).integers(256, size=(7, 1, 8, 8), dtype=np.uint8))
    assert torch.equal(luminance(grey), luminance(grey.expand(-1, 3, -1, -1)))
    np.testing.assert_allclose(luminance(grey).numpy(), grey.double().mean(dim=(1, 2, 3)).numpy() / 255, rtol=1e-12)
    for wrong in (img.float(), img[:, :2], img[0]):
        with pytest.raises(ValueError, match="img: found"):
            luminance(wrong)


def test_auc_counts_pairs_in_order() -> None:
    real, gen = torch.tensor([[[1.0], [3.0]]]), torch.tensor([[[0.0], [1.0], [2.0], [4.0]]])
    assert auc(real, gen).tolist() == [(1 + 0.5 + 3) / 8]
    assert auc(real, real - 10).tolist() == [1.0]
