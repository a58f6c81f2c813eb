"""A step of a training on a GPU as one CUDA graph: the GPU gets all of its operations by one call.

A step of a small network is hundreds of short operations, and asking for one takes longer than doing it. A graph is
recorded from a step that is run as always, on tensors that stay where they are; then each step copies what it draws
into them and replays the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Generic, TypeVar

import torch

from repligan.core.errors import Fault

WARM_UP = 3  # steps before the recording, in which libraries choose algorithms and take memory
Drawn = Sequence[Sequence[torch.Tensor]]
"""What a step draws, on the device: real batches, z, what the loss draws."""
Made = TypeVar("Made")


class Replayed(Generic[Made]):
    """`step(drawn, told)`, replayed on a GPU; elsewhere an ordinary call, on the same fixed tensors.

    A graph always tells, and overwrites what it returned before. `changed`: all tensors that a step changes, each in
    place. Raises Fault where a step cannot be recorded.
    """

    def __init__(self, name: str, step: Callable[[Drawn, bool], Made], changed: Iterable[torch.Tensor]):
        self.name, self.step, self.changed = name, step, list(changed)
        self.inputs: list[list[torch.Tensor]] = []
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, drawn: Drawn, told: bool) -> Made:
        if not self.inputs:
            self.inputs = [[x.clone() for x in part] for part in drawn]
            if self.changed[0].is_cuda:
                self._record()
        for buffer, x in zip(chain(*self.inputs), chain(*drawn), strict=True):
            buffer.copy_(x)
        if self.graph is None:
            return self.step(self.inputs, told)
        self.graph.replay()
        return self.made

    def _record(self) -> None:
        before = [x.clone() for x in self.changed]
        stream, current = torch.cuda.Stream(), torch.cuda.current_stream()
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self.step(self.inputs, True)
        current.wait_stream(stream)
        for x, value in zip(self.changed, before, strict=True):
            x.copy_(value)
        graph = torch.cuda.CUDAGraph()
        with refused_in_one_line(self.name), torch.cuda.graph(graph, stream=stream):
            self.made = self.step(self.inputs, True)
        self.graph = graph


@contextmanager
def refused_in_one_line(name: str) -> Iterator[None]:
    """What CUDA refuses while it records becomes a Fault that names the training and CUDA's first complaint."""
    try:
        yield
    except RuntimeError as error:
        cause: BaseException = error
        while cause.__context__ is not None:  # the later ones only say that the recording was broken off
            cause = cause.__context__
        said = (str(cause).splitlines() or [type(cause).__name__])[0]
        raise Fault(
            f"{name}: found a step that cannot be a CUDA graph ({said}); allowed in networks and losses: operations "
            "on the GPU alone, nothing read back to the CPU; runtime.device: cpu trains without a graph"
        ) from None
