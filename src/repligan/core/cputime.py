"""CPU time: what work costs, whether it is paused, shares its cores or goes on after an interruption."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from repligan.core.files import write_bytes

SPENT = "cpu-seconds"


@contextmanager
def cpu_time(unfinished: Path) -> Iterator[Callable[[], float | None]]:
    """Gives what the work in `unfinished` has cost so far, in seconds of one core, including its earlier parts.

    It counts this process and those that it has waited for. A part that ends early leaves its time in the folder, if
    there is one. After a part that left none, since `kill -9` ended it, the cost is None.
    """
    kept = unfinished / SPENT
    before, began = _before(kept), _so_far()

    def spent() -> float | None:
        return None if before is None else round(before + _so_far() - began, 1)

    try:
        yield spent
    finally:
        if unfinished.is_dir() and before is not None:
            with suppress(OSError):  # a full disk
                write_bytes(kept, f"{spent()}\n".encode())


def _before(kept: Path) -> float | None:
    """What the earlier parts left; None where some left nothing."""
    if not kept.parent.is_dir():
        return 0.0
    try:
        return float(kept.read_text())
    except (OSError, ValueError):
        return None


def _so_far() -> float:
    return sum(os.times()[:4])
