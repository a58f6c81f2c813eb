"""Metrics in words, and numbers as they are printed."""

from __future__ import annotations

SHARES = {"even_rate", "all_even", "coverage", "match", "inside"}
LABELS = {
    "even_rate": "even numbers, over all 128 z",
    "all_even": "seeds with 16 of 16 samples even",
    "coverage": "of the 64 even numbers that appear",
    "tv": "distance to the uniform distribution (total variation)",
    "distinct": "different numbers among 16 samples",
    "match": "seeds that say 1010 (threshold 0.5)",
    "inside": "seeds inside the real ranges",
    "out_0": "1st output (real: 0.8 to 1)",
    "out_1": "2nd output (real: 0 to 0.2)",
    "out_2": "3rd output (real: 0.8 to 1)",
    "out_3": "4th output (real: 0 to 0.2)",
    "class_tv": "distance to the real class shares (total variation)",
    "loss_D": "loss of D",
    "loss_G": "loss of G",
    "D_real": "mean D(x)",
    "D_gen": "mean D(G(z))",
}


def label(metric: str) -> str:
    """What `metric` means, in a few words."""
    if metric.startswith("fd_cnn_"):
        return f"Frechet distance, classifier features, {metric.removeprefix('fd_cnn_')} images a side"
    return LABELS.get(metric, metric)


def number(metric: str, value: float) -> str:
    """`value` as a percentage or with three significant digits."""
    return f"{100 * value:.1f} %" if metric in SHARES else f"{value:.3g}"


def with_interval(metric: str, value: dict[str, float]) -> tuple[str, str]:
    """(mean, 95 % interval), the interval empty where there is none."""
    interval = f"{number(metric, value['lo'])} to {number(metric, value['hi'])}" if "lo" in value else ""
    return number(metric, value["mean"]), interval
