"""Steps in their order, as one piece of work: on the CPU one after the other, on a GPU one launch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from edge_runtime.backends.program.steps import Run, Step

if TYPE_CHECKING:
    from edge_runtime.backends.base import Graph

Watch = Callable[[str, "Graph"], None]
"""Called after each run of a graph with its name: its outputs can be read then."""


class Program:
    """Steps on the CPU."""

    def __init__(self, steps: Iterable[Step]) -> None:
        self.steps = tuple(steps)

    def run(self, times: int = 1, watch: Watch | None = None) -> None:
        """Do all steps, and that `times` times; return when they are done. Releases the interpreter lock meanwhile.

        Raises `BackendError` where a graph fails.
        """
        for _ in range(times):
            for step in self.steps:
                step.do()
                if watch is not None and isinstance(step, Run):
                    watch(step.name, step.graph)
