from __future__ import annotations

import os
import signal

import pytest

from repligan.core.signals import stop_on_signal


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_noted_and_the_handlers_come_back(signum: signal.Signals) -> None:
    before = signal.getsignal(signum)
    with stop_on_signal() as stop:
        assert stop.signal == 0
        os.kill(os.getpid(), signum)
        assert stop.signal == signum
    assert signal.getsignal(signum) is before
