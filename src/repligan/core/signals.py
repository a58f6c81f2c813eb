"""SIGINT and SIGTERM as something to look at between two steps, so that work is saved first."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Stop:
    """`signal`: the number of the SIGINT or SIGTERM that came, else 0."""

    signal = 0


@contextmanager
def stop_on_signal() -> Iterator[Stop]:
    """While inside, SIGINT and SIGTERM only set `signal`: the work saves, then leaves."""
    stop = Stop()

    def note(signum: int, frame: object) -> None:
        stop.signal = signum

    before = {signum: signal.signal(signum, note) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
