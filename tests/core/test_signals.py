from __future__ import annotations

import os
import signal
import subprocess

import pytest

from repligan.core.signals import stop_on_signal, undo_inherited


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_noted_and_the_handlers_come_back(signum: signal.Signals) -> None:
    before = signal.getsignal(signum)
    with stop_on_signal() as stop:
        assert stop.signal == 0
        os.kill(os.getpid(), signum)
        assert stop.signal == signum
    assert signal.getsignal(signum) is before


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGHUP])
def test_one_that_the_parent_ignores_stays_ignored(signum: signal.Signals) -> None:
    """A shell's background job and nohup say so by that."""
    before = signal.signal(signum, signal.SIG_IGN)
    try:
        with stop_on_signal() as stop:
            os.kill(os.getpid(), signum)
            assert stop.signal == 0
    finally:
        signal.signal(signum, before)


def test_a_parents_ignored_and_blocked_signals_are_undone() -> None:
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert subprocess.run(["false"], check=False).returncode == 0
        undo_inherited()
        assert subprocess.run(["false"], check=False).returncode == 1
        assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    finally:
        signal.signal(signal.SIGCHLD, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
