"""A module's computation as an ONNX graph whose weights have names, types and shapes, and no values yet."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import ExitStack, contextmanager
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

OPSET = 20
"""The newest that TensorRT 10.3 and ONNX Runtime 1.17 both read."""
_TALKERS = ("torch.onnx", "onnx_ir", "onnxscript")


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """What the graph of a module has no value for until it is written: parameters, and buffers on the meta device.

    By every name; a parameter that two modules share is there twice. Other buffers are constants of the graph.
    """
    buffers = ((name, b) for name, b in module.named_buffers(remove_duplicate=False) if b.is_meta)
    return {**dict(module.named_parameters(remove_duplicate=False)), **dict(buffers)}


def traced(module: nn.Module, inputs: dict[str, Tensor], outputs: tuple[str, ...]) -> ir.Model:
    """Trace `module` with static shapes on tensors without memory, wherever its parameters are, and simplify the graph.

    An initializer that `weights_of` names has no value, and where that has several names for it, the first. Constants
    of the module are folded into its graph.
    """
    mode = FakeTensorMode()
    with _quiet(), torch.no_grad(), _faked(module, mode) as faked, AttentionInProducts():
        program = torch.onnx.export(
            module.eval(),
            tuple(mode.from_tensor(value) for value in inputs.values()),
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=OPSET,
            dynamo=True,
            optimize=False,
            verbose=False,
        )
        assert program is not None
        _forget(program.model.graph.initializers, faked)
        program.optimize()
    model: ir.Model = program.model
    return model


class AttentionInProducts(TorchFunctionMode):
    """Attention in two products and a softmax, as runtimes know it. The exporter would scale keys as well as queries,
    every one of them in every run, and of its backward there is no ONNX."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return (_attention if func is F.scaled_dot_product_attention else func)(*args, **(kwargs or {}))


def _attention(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    scores: Tensor = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    return (scores if attn_mask is None else scores + attn_mask).softmax(-1) @ v


@contextmanager
def _faked(module: nn.Module, mode: FakeTensorMode) -> Iterator[dict[str, str]]:
    """Put tensors of `mode`, on the CPU and without memory, where the module's weights are; put these back at the end.

    Yields every name of what was replaced → the first name of the same. Shared stays shared.
    """
    weights = weights_of(module)
    with mode:
        fakes = {id(tensor): _fake(tensor) for tensor in weights.values()}
    with ExitStack() as stack:
        for name, tensor in weights.items():
            owner, _, leaf = name.rpartition(".")
            kind = "_parameters" if isinstance(tensor, nn.Parameter) else "_buffers"
            slots = getattr(module.get_submodule(owner), kind)
            stack.callback(slots.__setitem__, leaf, tensor)
            slots[leaf] = fakes[id(tensor)]
        first = {id(tensor): name for name, tensor in reversed(weights.items())}
        yield {name: first[id(tensor)] for name, tensor in weights.items()}


def _forget(initializers: MutableMapping[str, ir.Value], names: dict[str, str]) -> None:
    """Take away the values of those initializers that are in `names`, and give them the names that stand there."""
    for name in [name for name in initializers if name in names]:
        value = initializers.pop(name)
        value.const_value, value.name = None, names[name]
        initializers[names[name]] = value


def _fake(tensor: Tensor) -> Tensor:
    fake = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
    return nn.Parameter(fake, requires_grad=False) if isinstance(tensor, nn.Parameter) else fake


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks about its own insides from the person who waits for a bundle."""
    loggers = [logging.getLogger(name) for name in _TALKERS]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
