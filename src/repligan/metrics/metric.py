"""What each metric is: its name, its words, its unit, which way is better, what it can be, how far it may drift.

The formulas are the other modules of this room; they stand apart from these words, so that a better word measures
nothing anew, and whoever only reads values does without torch. A metric is a function there and a line here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

EXTRACTORS = {"cnn": "classifier", "inception": "Inception-v3"}
Interval = dict[str, float]


@dataclass(frozen=True)
class Metric:
    """A metric in words.

    `unit`: a share is printed as a percentage. `better`: the direction of improvement, None where there is none. `low`,
    `high`: the range of possible values. `relative`, `absolute`: the band around a committed value where bits are not
    promised. `alone`: whether it gets a panel of its own; shares always share one. `log`: a logarithmic axis.
    """

    name: str
    label: str
    unit: Literal["share", "number"] = "number"
    better: Literal["up", "down"] | None = None
    low: float | None = 0.0
    high: float | None = None
    relative: float = 0.1
    absolute: float = 0.05
    alone: bool = False
    log: bool = False

    def number(self, value: float) -> str:
        """`value` as a percentage or with three significant digits."""
        return f"{100 * value:.1f} %" if self.unit == "share" else f"{value:.3g}"

    def with_interval(self, value: Interval) -> tuple[str, str]:
        """(mean, 95 % interval), the interval empty where there is none."""
        interval = f"{self.number(value['lo'])} to {self.number(value['hi'])}" if "lo" in value else ""
        return self.number(value["mean"]), interval


def _share(name: str, label: str, better: Literal["up", "down"] | None = None) -> Metric:
    return Metric(name, label, "share", better, 0.0, 1.0)


BITS = ("1st", "2nd", "3rd", "4th")
RANGES = ("0.8 to 1", "0 to 0.2", "0.8 to 1", "0 to 0.2")
FRECHET = Metric(
    "fd", "Frechet distance", better="down", relative=1.0, absolute=5.0, alone=True, log=True
)  # of an extractor and a number of images: fd_<extractor>_<num>
KNOWN = (
    _share("even_rate", "even numbers, over all 128 z", "up"),
    _share("all_even", "seeds with 10 of 10 samples even", "up"),
    _share("coverage", "of the 64 even numbers that appear", "up"),
    Metric("tv", "distance to the uniform distribution (total variation)", better="down", high=1.0, alone=True),
    Metric("distinct", "different numbers among 10 samples", better="up", low=1.0, high=10.0, alone=True),
    Metric("evens", "even numbers among 10 samples", better="up", high=10.0, alone=True),
    _share("match", "seeds that say 1010 (threshold 0.5)", "up"),
    _share("inside", "seeds inside the real ranges", "up"),
    *(_share(f"inside_{i}", f"seeds whose {bit} output is inside its real range", "up") for i, bit in enumerate(BITS)),
    *(
        Metric(f"out_{i}", f"{bit} output (real: {real})", high=1.0)
        for i, (bit, real) in enumerate(zip(BITS, RANGES, strict=True))
    ),
    FRECHET,
    Metric("kid", "kernel distance (KID), unbiased", better="down", low=None),
    Metric("kid_se", "standard error of the kernel distance"),
    _share("precision", "precision: generated images among real ones", "up"),
    _share("recall", "recall: real images among generated ones", "up"),
    Metric("density", "density of real images around generated ones (real: about 1)", better="up"),
    _share("covered", "coverage: real images with a generated one near", "up"),
    _share("outlying", "images as far from real ones as the outermost 5 % of these"),
    _share("copied", "nearer to a training image than 95 % of held-out ones", "down"),
    Metric("luma", "mean luminance, 0 to 1", high=1.0, alone=True),
    _share("dark", "images whose middle is darker than nine of ten real ones'"),
    Metric("class_score", "classifier score (1 to the number of classes)", better="up", low=1.0),
    Metric(
        "class_tv", "distance to the real class shares (total variation)", better="down", high=1.0, relative=0.5,
        absolute=0.1, alone=True,
    ),
    Metric("modes", "classes that hold at least 1 % of the images", better="up"),
    Metric("loss_D", "loss of D", low=None),
    Metric("loss_G", "loss of G", low=None),
    Metric("D_real", "mean D(x)", low=None),
    Metric("D_gen", "mean D(G(z))", low=None),
    _share("acc_D", "share that D tells right"),
    Metric("auc_D", "how well D orders real above generated (AUC, 0.5: a guess)", high=1.0),
    _share("acc_D_heldout", "share of held-out and of new images that D tells right"),
    Metric("gap_D", "real images that D calls real: of those it saw, less of those it never saw", low=-1.0, high=1.0),
    Metric("extreme_D", "size of D's logits, held-out and generated images"),
    Metric("steep_D", "gradient of D's logit by a generated image"),
    _share("dead_D", "units of D that hand no gradient on", "down"),
    Metric("spread", "variance of a batch of G's images over the real one's"),
    _share("twins", "share of a batch that nearly equals another image of it", "down"),
    Metric("grad_G", "squared gradient of G"),
    Metric("shift", "shift by one component, end to end"),
    Metric("factors_moved", "factors that one component moves"),
    Metric("mix", "how much nearer A + B is to its less like parent than a stranger", low=None),
    Metric(
        "opposite", "what a component of z does one way against the other (cosine; -1: the opposite, 1: the same)",
        low=-1.0, high=1.0,
    ),
    Metric("opposite_random", "the same of the ways to two random images (cosine)", low=-1.0, high=1.0),
    _share("entangled", "components of z that move two or more factors"),
    _share("entangled_random", "random directions that move two or more factors"),
)  # fmt: skip
BY_NAME = {metric.name: metric for metric in KNOWN}


def metric(name: str) -> Metric:
    """The metric called `name`; one that nobody described is its own label."""
    if name.startswith("fd_"):
        _, kind, num = name.split("_")
        return replace(FRECHET, name=name, label=f"Frechet distance, {EXTRACTORS[kind]} features, {num} images a side")
    return BY_NAME.get(name, Metric(name, name, low=None))


def frechet(names: Iterable[str]) -> str | None:
    """Which of `names` is the Frechet distance, whatever its extractor and number of images."""
    return next((name for name in names if name == FRECHET.name or name.startswith(f"{FRECHET.name}_")), None)
