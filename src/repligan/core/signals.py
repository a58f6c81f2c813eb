"""Signals as something to look at between two steps, so that work is saved first."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """`signal`: the number of the SIGINT, SIGTERM or SIGHUP that came, else 0."""

    signal = 0


def undo_inherited() -> None:
    """Make signals do what a command counts on, whatever its parent has handed down.

    Blocked ones never come; an ignored SIGCHLD lets every failed child look like a success.
    """
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def heeded() -> list[signal.Signals]:
    """The signals that end a command: not Ctrl-C in a shell's background job, nor a closed terminal under nohup."""
    return [one for one in ENDING if one == signal.SIGTERM or signal.getsignal(one) != signal.SIG_IGN]


@contextmanager
def stop_on_signal() -> Iterator[Stop]:
    """While inside, the signals that end a command only set `signal`: the work saves, then leaves."""
    stop = Stop()

    def note(signum: int, frame: object) -> None:
        stop.signal = signum

    before = {signum: signal.signal(signum, note) for signum in heeded()}
    try:
        yield stop
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
