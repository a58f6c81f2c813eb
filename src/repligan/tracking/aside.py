"""A process beside this one, for exports, which take torch, and for charts: MLflow's tables keep this one busy."""

from __future__ import annotations

import atexit
import gc
import os
import signal
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread


@dataclass(frozen=True)
class Aside:
    """Takes calls, which it makes one after the other; in `folder` they may leave what is large."""

    executor: Executor
    folder: Path


@contextmanager
def aside() -> Iterator[Aside]:
    """Such a process, which starts with its first call, and ends with this context or with its parent."""
    with TemporaryDirectory() as folder:
        executor = ProcessPoolExecutor(1, get_context("spawn"), _end_with_parent)
        try:
            yield Aside(executor, Path(folder))
        finally:
            executor.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    gc.set_threshold(100_000)  # most of its time it imports
    atexit.register(os._exit, 0)  # taking torch apart takes a second, for which its parent would wait
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = parent_process()
    assert parent
    parent.join()
    os._exit(1)  # its queue never would
