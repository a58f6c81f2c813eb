"""Metrics in words, and numbers as they are printed."""

from __future__ import annotations

BITS = ("1st", "2nd", "3rd", "4th")
SHARES = {
    "even_rate",
    "all_even",
    "coverage",
    "match",
    "inside",
    "precision",
    "recall",
    "covered",
    "copied",
    "acc_D_heldout",
}
EXTRACTORS = {"cnn": "classifier", "inception": "Inception-v3"}
LABELS = {
    "even_rate": "even numbers, over all 128 z",
    "all_even": "seeds with 16 of 16 samples even",
    "coverage": "of the 64 even numbers that appear",
    "tv": "distance to the uniform distribution (total variation)",
    "distinct": "different numbers among 16 samples",
    "match": "seeds that say 1010 (threshold 0.5)",
    "inside": "seeds inside the real ranges",
    **{f"inside_{i}": f"seeds whose {bit} output is inside its real range" for i, bit in enumerate(BITS)},
    "out_0": "1st output (real: 0.8 to 1)",
    "out_1": "2nd output (real: 0 to 0.2)",
    "out_2": "3rd output (real: 0.8 to 1)",
    "out_3": "4th output (real: 0 to 0.2)",
    "kid": "kernel distance (KID), unbiased",
    "kid_se": "standard error of the kernel distance",
    "precision": "precision: generated images among real ones",
    "recall": "recall: real images among generated ones",
    "density": "density of real images around generated ones (real: about 1)",
    "covered": "coverage: real images with a generated one near",
    "copied": "nearer to a training image than 95 % of held-out ones",
    "luma": "mean luminance, 0 to 1",
    "class_score": "classifier score (1 to the number of classes)",
    "class_tv": "distance to the real class shares (total variation)",
    "modes": "classes that hold at least 1 % of the images",
    "loss_D": "loss of D",
    "loss_G": "loss of G",
    "D_real": "mean D(x)",
    "D_gen": "mean D(G(z))",
    "acc_D": "share that D tells right",
    "auc_D": "how well D orders real above generated (AUC, 0.5: a guess)",
    "acc_D_heldout": "share of held-out and of new images that D tells right",
    "spread": "variance of a batch of G's images over the real one's",
    "twins": "share of a batch that nearly equals another image of it",
    "grad_G": "squared gradient of G",
}


def label(metric: str) -> str:
    """What `metric` means, in a few words."""
    if metric.startswith("fd_"):
        _, kind, num = metric.split("_")
        return f"Frechet distance, {EXTRACTORS[kind]} features, {num} images a side"
    return LABELS.get(metric, metric)


def number(metric: str, value: float) -> str:
    """`value` as a percentage or with three significant digits."""
    return f"{100 * value:.1f} %" if metric in SHARES or metric.startswith("inside_") else f"{value:.3g}"


def with_interval(metric: str, value: dict[str, float]) -> tuple[str, str]:
    """(mean, 95 % interval), the interval empty where there is none."""
    interval = f"{number(metric, value['lo'])} to {number(metric, value['hi'])}" if "lo" in value else ""
    return number(metric, value["mean"]), interval
