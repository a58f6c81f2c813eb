"""CPU time: what work costs, whether it is paused, shares its cores or goes on after an interruption."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SPENT = "cpu-seconds"


@contextmanager
def cpu_time(unfinished: Path) -> Iterator[Callable[[], float]]:
    """Gives what the work in `unfinished` has cost so far, in seconds of one core, with what its earlier parts did.

    It counts this process and those that it has waited for. A part that ends early leaves its time in the folder, where
    there is one; one that `kill -9` ends leaves none.
    """
    kept = unfinished / SPENT
    before = (float(kept.read_text()) if kept.exists() else 0.0) - _so_far()

    def spent() -> float:
        return round(before + _so_far(), 1)

    try:
        yield spent
    finally:
        with suppress(OSError):  # no folder, or a full disk
            kept.write_text(f"{spent()}\n")


def _so_far() -> float:
    return sum(os.times()[:4])
