"""What every backend on the GPU has: its memory, and programs that are one CUDA graph."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from edge_runtime.backends.base import Backend, Buffer
from edge_runtime.backends.cuda.gpu import gpu
from edge_runtime.backends.cuda.program import GpuProgram
from edge_runtime.backends.program.program import Program
from edge_runtime.backends.program.steps import Step
from edge_runtime.backends.program.tensor import Tensor


class GpuBackend(Backend):
    """A backend whose graphs are `GpuGraph`s."""

    def shared(self, shape: tuple[int, ...], dtype: type[np.generic]) -> Tensor:
        return gpu().shared(shape, np.dtype(dtype), "the policy's observations and actions")

    def private(self, shape: tuple[int, ...], dtype: type[np.generic]) -> Tensor:
        return gpu().private(shape, np.dtype(dtype), "the policy's steps")

    def constant(self, values: Buffer) -> Tensor:
        return gpu().filled(values, "the policy's constants")

    def program(self, steps: Iterable[Step]) -> Program:
        return GpuProgram(steps)
