"""A training seen in MLflow while it runs."""

from __future__ import annotations

import os
import queue
import threading
import time
from typing import TYPE_CHECKING

from repligan.tracking.store import FINGERPRINT, open_store, origin, short, uri, warn

if TYPE_CHECKING:
    import numpy as np
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

MOST_PICTURES = 20  # steps that MLflow's slider can show
LIVE_AFTER = 20.0  # seconds, unless REPLIGAN_LIVE_AFTER says otherwise
MACHINE_AFTER = 60.0  # seconds after which the machine's load is recorded too
PATIENCE = 10.0  # seconds that a finished training waits for MLflow to catch up


class Live:
    """Called like a report, works in a thread, never fails or blocks.

    It begins LIVE_AFTER seconds into the training: a short one is over before MLflow is imported, and the report
    stage adds its run.
    """

    def __init__(self, name: str, fingerprint: str):
        self.name, self.fingerprint = name, fingerprint
        self.run_id: str | None = None
        self.waiting: queue.Queue[tuple[int, dict[str, float], np.ndarray | None] | None] = queue.Queue()
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.began = time.time()
        self.due = time.monotonic() + float(os.environ.get("REPLIGAN_LIVE_AFTER", LIVE_AFTER))
        self.long = time.monotonic() + MACHINE_AFTER

    def __call__(self, step: int, scalars: dict[str, float], img: np.ndarray | None) -> None:
        """Log means over the seeds, and sample images uint8 [N, C, H, W]."""
        if scalars or img is not None:
            self.waiting.put((step, scalars, img))
        if self.thread.ident is None and time.monotonic() > self.due:
            self.thread.start()

    def close(self) -> None:
        """Wait a little for what is still to be logged."""
        if self.thread.ident is None:
            return
        self.waiting.put(None)
        self.thread.join(PATIENCE)
        if self.thread.is_alive():
            warn(f"{self.name}: MLflow is slow; `repligan sync` adds the rest")

    def _work(self) -> None:
        machine: SystemMetricsMonitor | None = None
        try:
            from mlflow.entities import Metric

            store = open_store()
            run = store.find(FINGERPRINT, self.fingerprint) or store.client.create_run(
                store.experiment_id, int(self.began * 1000), origin() | {FINGERPRINT: self.fingerprint}, self.name
            )
            self.run_id = run.info.run_id
            # A training that goes on from a checkpoint passes some steps for the second time.
            logged = store.logged_steps(self.run_id, list(run.data.metrics))
            shown = {step for _, step in store.shown(self.run_id)}
            while (item := self.waiting.get()) is not None:
                step, scalars, img = item
                now, new = int(time.time() * 1000), [key for key in scalars if step not in logged.get(key, ())]
                store.log(self.run_id, [Metric(key, scalars[key], now, step) for key in new])
                if img is not None and step not in shown and len(shown) < MOST_PICTURES:
                    store.log_picture(self.run_id, step, img)
                    shown.add(step)
                if machine is None and time.monotonic() > self.long:
                    machine = _watch_machine(self.run_id)
        except Exception as error:  # whatever a server does, the training goes on
            warn(f"{self.name}: MLflow: {short(error)}; `repligan sync` adds the run later")
        finally:
            if machine:
                machine.finish()


class Sweep(Live):
    """How far a sweep on many machines is, as a run of its own, which ends with it."""

    def close(self) -> None:
        """Wait a little, as a training does, then end the run."""
        super().close()
        if self.run_id is None or self.thread.is_alive():
            return
        try:
            open_store().client.set_terminated(self.run_id)
        except Exception as error:  # whatever a server does, the sweep is done
            warn(f"{self.name}: MLflow: {short(error)}")


def _watch_machine(run_id: str) -> SystemMetricsMonitor:
    """Record the load of processor, memory, disk, network and GPU, every ten seconds, in a thread."""
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor = SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=uri())
    monitor.start()
    return monitor
