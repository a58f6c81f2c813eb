"""Progress of long work on stderr: step, rate, time left, last values."""

from __future__ import annotations

import sys
import time


class Progress:
    """Call it with every finished step; it speaks after 2 s, then seldom enough to be read.

    On a terminal one line that is written over, elsewhere a plain line every 10 s; `beside` others that speak, a plain
    line a minute.
    """

    def __init__(self, label: str, total: int, beside: bool = False):
        self.label, self.total, self.beside = label, total, beside
        self.tty = sys.stderr.isatty()
        self.began = time.monotonic()
        self.first = self.began + (60 if beside else 2)
        self.due = self.first
        self.values: dict[str, float] = {}
        self.start: int | None = None  # a continued training does not begin at 0
        self.last = 0

    def __call__(self, step: int, **values: float) -> None:
        self.values = values or self.values
        if step == self.last:
            return
        self.last = step
        self.start = step - 1 if self.start is None else self.start
        now = time.monotonic()
        if now < self.due and not (self.spoke and step == self.total):
            return
        self.due = now + (60 if self.beside else 0.5 if self.tty else 10)
        rate = (step - self.start) / (now - self.began)
        left = (self.total - step) / rate
        shown = "  ".join(f"{key} {value:.3f}" for key, value in self.values.items())
        line = f"{self.label}  step {step}/{self.total}  {rate:.1f}/s  {left:.0f} s left  {shown}".rstrip()
        end = "\n" if not self.tty or self.beside or step == self.total else ""
        print(f"\r{line}\x1b[K" if self.tty else line, end=end, file=sys.stderr, flush=True)

    @property
    def spoke(self) -> bool:
        """Whether a line was written: short work stays silent to its end."""
        return self.due > self.first
