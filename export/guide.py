"""The guide graph: how a flow is moved so that it goes on from what the arm does already. Only where it is asked for.

Black, Galliker, Levine 2025, "Real-Time Execution of Action Chunking Flow Policies" (https://arxiv.org/abs/2506.07339),
equations 2 and 3: of the noisy actions x at flow time t the model foretells the finished ones, Â = x + (t_end - t)·v,
and x is moved along the vector-Jacobian product Jᵀ·(weight·(target - Â)) with J = dÂ/dx, so that Â nears the target.
The paper's time runs from noise at 0 to actions at 1, its Â is x + (1 - τ)·v. How far x is moved, the runtime knows
(`edge_runtime.policies.guidance`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch._decomp import get_decompositions
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call, vjp
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional as F

from export.graphs import ModelGraph
from export.onnx_file import Signature
from export.tracing import AttentionInProducts, weights_of

_OWN = ("target", "weight", "left")


class GuideGraph(nn.Module):
    """What `step` takes, `target` and `weight` [1, H, padded], and `left` [1], the flow time that is left, t_end - t →
    `velocity` and `correction` [1, H, padded].

    The product is autograd's here, and written out in what is exported (`written_out`): one is held against the other.
    """

    def __init__(self, step: ModelGraph) -> None:
        super().__init__()
        self.model, self.step = step.model, step
        given = step.signature().inputs
        like = {name: torch.zeros_like(given["x_t"]) for name in _OWN[:2]}
        self.inputs = {**given, **like, "left": torch.zeros(1)}

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        given, (target, weight, left) = self.split(inputs)
        with torch.enable_grad():
            given["x_t"] = x = given["x_t"].detach().requires_grad_()
            (velocity,) = self.step(*given.values())
            foretold = x + left * velocity
            (correction,) = torch.autograd.grad(foretold, x, weight * (target - foretold.detach()))
        return velocity.detach(), correction

    def split(self, inputs: Sequence[Tensor]) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
        """The step's inputs by name; target, weight, left."""
        given = dict(zip(self.inputs, inputs, strict=True))
        own = tuple(given.pop(name) for name in _OWN)
        return given, own

    def signature(self) -> Signature:
        return Signature(self.inputs, ("velocity", "correction"))


class _WrittenOut(nn.Module):
    """A guide graph as plain operations: `calculate`, of its model's weights `names` and of its inputs."""

    def __init__(self, guide: GuideGraph, calculate: Callable[..., Any], names: Sequence[str]) -> None:
        super().__init__()
        self.model, self.signature = guide.model, guide.signature
        self.calculate, self._names = calculate, tuple(names)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        weights = weights_of(self.model)
        velocity, correction = self.calculate([weights[name] for name in self._names], *inputs)
        return velocity, correction


def written_out(guide: GuideGraph) -> nn.Module:
    """A module that computes what `guide` does and can be traced: the exporter knows no vector-Jacobian product."""
    weights = weights_of(guide.model)
    names = list(weights)

    def calculate(values: Sequence[Tensor], *inputs: Tensor) -> tuple[Tensor, Tensor]:
        given, (target, weight, left) = guide.split(inputs)
        named = {f"model.{name}": value for name, value in zip(names, values, strict=True)}

        def foretell(x: Tensor) -> tuple[Tensor, Tensor]:
            (velocity,) = functional_call(guide.step, named, tuple({**given, "x_t": x}.values()))
            return x + left * velocity, velocity

        foretold, pull, velocity = cast(Any, vjp(foretell, given["x_t"], has_aux=True))
        return velocity, pull(weight * (target - foretold))[0]

    with FakeTensorMode(), torch.no_grad():
        values = [torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu") for tensor in weights.values()]
        inputs = [torch.empty(tensor.shape, dtype=tensor.dtype) for tensor in guide.inputs.values()]
        with AttentionInProducts():
            traced = make_fx(calculate, decomposition_table=_BACKWARD)(values, *inputs)
    return _WrittenOut(guide, traced, names)


def _slice_backward(grad: Tensor, sizes: Sequence[int], dim: int, start: int, end: int, step: int) -> Tensor:
    """Zeros around what was cut out: a Pad, where the exporter would scatter."""
    assert step == 1
    axis, size = dim % len(sizes), sizes[dim]
    start, end = (min(at + size * (at < 0), size) for at in (start, end))
    return F.pad(grad, [0, 0] * (len(sizes) - 1 - axis) + [start, size - end])


_aten = torch.ops.aten
_BACKWARD: dict[Any, Callable[..., Any]] = {
    **get_decompositions([_aten.silu_backward, _aten.gelu_backward, _aten._softmax_backward_data]),
    _aten.slice_backward.default: _slice_backward,
}
"""What the exporter does not know, in operations that it knows."""
