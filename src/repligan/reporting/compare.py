"""Values side by side, but only where they were measured in the same way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from repligan.reporting.results import Result

# What has to be the same. Not the seeds: other draws of the same thing may stand beside each other.
CARD = (
    "extractor", "extractor_sha256", "layer", "real_sha256", "num_real", "num_gen", "split", "resizer", "range", "bn",
    "dtype",
)  # fmt: skip


def card(result: Result) -> dict[str, Any]:
    """The part of a result's protocol on which its values depend; of toys nothing."""
    return {key: result.metrics["protocol"].get(key) for key in CARD}


def column(results: Sequence[Result], metric: str, when: str) -> list[dict[str, float]]:
    """The values of `metric` at `when`, "best" or "step_<n>"; raises ValueError if they do not compare."""
    different = sorted({key for key in CARD for result in results if card(result)[key] != card(results[0])[key]})
    if different:
        names = ", ".join(result.called for result in results)
        raise ValueError(f"{metric}: found different {', '.join(different)} in {names}; allowed: the same card")
    return [result.metrics[when][metric] for result in results]


def comparable(results: Sequence[Result]) -> list[list[Result]]:
    """The image GANs in groups that share a card."""
    groups = defaultdict(list)
    for result in results:
        if "model" in result.metrics:
            groups[str(card(result))].append(result)
    return list(groups.values())
