"""Runs the PyTorch modules in place of the ONNX graphs that they became: what a bundle is compared with."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from edge_runtime.backends.base import Backend, Buffer, Feeds, Graph, feed_buffers
from edge_runtime.errors import BackendError, one_line
from export.onnx_file import GraphModule, Signature
from export.tracing import weights_of
from export.weights import Weights

BUDGET_BYTES = 3_000_000_000


class Engine(Backend):
    """PyTorch on the CPU. `modules`: component name → the graph's module, and what reads its weights if it has none.

    A module has its parameters in memory, or on the meta device beside `weights`. Of these, what a graph uses is read
    once where it fits into `budget` bytes, over all graphs together; elsewhere each weight is read for every operation
    that takes it, and dropped after it. The modules stay as they are, on the meta device.

    Required of a module: every weight goes into torch operations as it is, among their arguments or in a list of them.
    Whose weight it is does not matter: `self.table.weight[rows]` is as good as `self.table(rows)`.
    """

    def __init__(
        self, modules: Mapping[str, tuple[nn.Module, Weights | None]], threads: int = 1, budget: int = BUDGET_BYTES
    ) -> None:
        super().__init__(threads)
        self._modules, self._left = modules, budget

    def load(self, path: Path, feeds: Feeds | None = None, inner: Collection[str] = ()) -> Graph:  # noqa: ARG002
        if path.stem not in self._modules:
            raise BackendError(f"{path}: there is no module {path.stem}; known are {', '.join(self._modules)}")
        module, weights = self._modules[path.stem]
        signature = cast(GraphModule, module.eval()).signature()
        outputs, used = _shapes(module, signature)
        given: dict[str, Buffer] = {name: torch.zeros_like(t).numpy() for name, t in signature.inputs.items()}
        fed = feed_buffers(path, given, feeds)
        reader = self._reader(module, weights, used)
        return ReferenceGraph(path, module, reader, given | fed, fed, outputs)

    def _reader(self, module: nn.Module, weights: Weights | None, used: Mapping[str, Tensor]) -> _Instead | None:
        """What gives `module` its weights while it runs; what it uses is kept if there is room for all of it."""
        if weights is None:
            return None
        size = sum(tensor.numel() * tensor.itemsize for tensor in used.values())
        keep = size <= self._left
        self._left -= size if keep else 0
        named = {name: tensor for name, tensor in weights_of(module).items() if tensor.is_meta and name in weights}
        return _Instead({id(t): cache(weights[name]) if keep else weights[name] for name, t in named.items()})


def reading(module: nn.Module, weights: Weights) -> TorchFunctionMode:
    """A mode in which parts of a module on the meta device can be called: each weight is read when it is needed."""
    named = {name: tensor for name, tensor in weights_of(module).items() if tensor.is_meta and name in weights}
    return _Instead({id(tensor): weights[name] for name, tensor in named.items()})


class ReferenceGraph(Graph):
    """One module between buffers. `given` are all of its inputs in order, those in `fed` being another graph's."""

    def __init__(
        self,
        path: Path,
        module: nn.Module,
        reader: _Instead | None,
        given: dict[str, Buffer],
        fed: Collection[str],
        outputs: dict[str, Buffer],
    ) -> None:
        self.inputs = {name: buffer for name, buffer in given.items() if name not in fed}
        self.outputs = outputs
        self._path, self._module, self._reader = path, module, reader
        self._given = [torch.from_numpy(buffer) for buffer in given.values()]

    @torch.no_grad()
    def run(self) -> None:
        try:
            with self._reader or nullcontext():
                found = _tuple(self._module(*self._given))
        except (RuntimeError, NotImplementedError) as error:
            raise BackendError(f"{self._path}: its module failed: {one_line(error)}") from error
        for buffer, tensor in zip(self.outputs.values(), found, strict=True):
            np.copyto(buffer, tensor.numpy())


class _Instead(TorchFunctionMode):
    """Gives every operation what `instead` returns for those of its arguments that it has, by their identity."""

    def __init__(self, instead: Mapping[int, Callable[[], Tensor]]) -> None:
        super().__init__()
        self._instead = instead

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in _SHAPE_ONLY:
            return func(*args, **(kwargs or {}))
        args, kwargs = tree_map_only(Tensor, self._value, (args, kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _value(self, tensor: Tensor) -> Tensor:
        return self._instead[id(tensor)]() if id(tensor) in self._instead else tensor


_SHAPE_ONLY: frozenset[Any] = frozenset(
    {*(getattr(Tensor, name).__get__ for name in ("shape", "dtype", "ndim")), Tensor.size, Tensor.dim, Tensor.numel}
)
"""What needs no values."""


@torch.no_grad()
def _shapes(module: nn.Module, signature: Signature) -> tuple[dict[str, Buffer], dict[str, Tensor]]:
    """A buffer for every output of `module`, and the weights that it uses: found by a run on tensors without memory."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    used: dict[str, Tensor] = {}

    def fake(name: str, tensor: Tensor) -> Tensor:
        used[name] = tensor
        return torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")

    unread = _Instead({id(t): partial(fake, name, t) for name, t in weights_of(module).items() if t.is_meta})
    inputs = [mode.from_tensor(tensor) for tensor in signature.inputs.values()]
    with mode, unread:
        found = _tuple(module(*inputs))
    outputs = {n: torch.zeros(t.shape, dtype=t.dtype).numpy() for n, t in zip(signature.outputs, found, strict=True)}
    return outputs, used


def _tuple(found: Any) -> tuple[Tensor, ...]:
    return (found,) if isinstance(found, Tensor) else tuple(found)
