"""Progress of long work: named steps of equal length, and within one the part of its weights that were read."""

from __future__ import annotations

import math
from collections.abc import Callable

import onnx_ir as ir
import torch
from torch import nn

from export.weights import Weights

Progress = Callable[[str, float], None]
"""Called with what is being done and which part of the whole is done, 0 to 1."""


class Steps:
    """Progress over `names`, which may grow once it is known what there is to do; begins with `first`."""

    def __init__(self, progress: Progress | None, first: str) -> None:
        self._progress = progress
        self.names: tuple[str, ...] = (first,)
        self.begin(first)

    def begin(self, name: str) -> None:
        self._name = name
        self.say(0.0)

    def counting(self, weights: Weights, module: nn.Module) -> Weights:
        """The same weights, and the part of the module's numbers that was read is told."""
        sizes = {name: parameter.numel() for name, parameter in module.named_parameters()}
        passed = self._passing(sum(sizes[name] for name in weights if name in sizes))

        def counted(name: str, read: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
            def reading() -> torch.Tensor:
                passed(sizes.get(name, 0))
                return read()

            return reading

        return {name: counted(name, read) for name, read in weights.items()}

    def count(self, graph: ir.Graph) -> None:
        """From now on, the part of the graph's weights that was read is told."""
        sizes = {value: math.prod(value.shape.numpy()) for value in graph.initializers.values() if value.shape}
        passed = self._passing(sum(sizes.values()))

        def counted(tensor: ir.TensorProtocol, size: int) -> Callable[[], ir.TensorProtocol]:
            def reading() -> ir.TensorProtocol:
                passed(size)
                return ir.Tensor(tensor.numpy(), dtype=tensor.dtype)

            return reading

        for value, size in sizes.items():
            tensor, shape = value.const_value, value.shape
            if tensor is not None and shape is not None:
                value.const_value = ir.LazyTensor(counted(tensor, size), tensor.dtype, shape, name=tensor.name)

    def _passing(self, total: int) -> Callable[[int], None]:
        """What is called with how many of `total` numbers are read now."""
        done = 0

        def passed(count: int) -> None:
            nonlocal done
            done += count
            self.say(min(1.0, done / max(1, total)))

        return passed

    def say(self, part: float) -> None:
        if self._progress is not None:
            at = self.names.index(self._name) if self._name in self.names else len(self.names)
            self._progress(self._name, min(1.0, (at + part) / len(self.names)))
