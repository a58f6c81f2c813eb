"""What a classifier, or the brightness, says of images: classifier score, class shares, modes, luminance."""

from __future__ import annotations

import math

import torch

LUMA = (299, 587, 114)  # thousandths of red, green and blue (ITU-R BT.601)


def classifier_score(logits: torch.Tensor) -> float:
    """exp(E KL(p(y|x) || p(y))) of logits [N, K] (Salimans et al. 2016, section 4): 1 (all alike) to K.

    The Inception Score where the classifier is Inception. Logarithms of probabilities, -inf included, are logits.
    Raises ValueError if there are none or NaNs.
    """
    p = logits.double().softmax(dim=1)
    if logits.ndim != 2 or not len(logits) or p.isnan().any():
        raise ValueError(f"logits: found {list(logits.shape)}, some of them NaN or none; allowed: [N, K], N at least 1")
    log_p = logits.double().log_softmax(dim=1)
    inside = torch.where(p > 0, p * log_p, 0.0).sum(dim=1).mean()
    # By math, a class at a time: torch.log gives other bits on other CPU models.
    outside = sum(share * math.log(share) for share in p.mean(dim=0).tolist() if share)
    return math.exp(max(0.0, float(inside) - outside))


def total_variation(a: torch.Tensor, b: torch.Tensor) -> float:
    """Total variation distance between the class shares of two int64 vectors, 0 (alike) to 1."""
    size = int(torch.cat([a, b]).max()) + 1
    shares = [torch.bincount(side, minlength=size).double() / len(side) for side in (a, b)]
    return float((shares[0] - shares[1]).abs().sum() / 2)


def modes(labels: torch.Tensor, num_classes: int, at_least: float = 0.01) -> int:
    """How many classes hold at least the share `at_least` of int64 labels [N], each in 0..num_classes - 1.

    A hundredth: a classifier's errors alone put a few samples into a class that G never draws. It suits up to about
    30 classes of like size; where fair shares come near it, pass less. Raises ValueError if a label is out of range.
    """
    if not len(labels) or int(labels.min()) < 0 or int(labels.max()) >= num_classes:
        raise ValueError(
            f"labels: found {len(labels)}, some out of range; allowed: 0 to {num_classes - 1}, at least one"
        )
    shares = torch.bincount(labels, minlength=num_classes).double() / len(labels)
    return int((shares >= at_least).sum())


def luminance(img: torch.Tensor) -> torch.Tensor:
    """Mean luma [N], float64 in 0..1, of uint8 images [N, C, H, W]: grey where C is 1, Rec. 601 of RGB where it is 3.

    Raises ValueError for others.
    """
    if img.dtype != torch.uint8 or img.ndim != 4 or img.shape[1] not in (1, 3):
        raise ValueError(f"img: found {img.dtype} {list(img.shape)}; allowed: uint8 [N, 1 or 3, H, W]")
    weights = torch.tensor(LUMA if img.shape[1] == 3 else (sum(LUMA),), device=img.device)
    # Whole numbers until the last division, so that no order of sums matters.
    total = (img.sum(dim=(2, 3)) * weights).sum(dim=1)
    return total.double() / (255 * sum(LUMA) * img.shape[2] * img.shape[3])


def auc(real: torch.Tensor, gen: torch.Tensor) -> torch.Tensor:
    """[S]: how often a real logit is above a generated one, both [S, B, 1], a tie counting half."""
    return torch.sign(real - gen.transpose(1, 2)).mean(dim=(1, 2)).add(1) / 2
