"""ONNX operators in PyTorch on the CPU: operator → a function of tensors.

Each function has its operator's inputs as arguments, in order, and its attributes as keywords with their defaults. What
is not among them is not supported. Inputs are of the types that ONNX demands; none is changed.

float16 and bfloat16: every node computes in float32 and rounds once, to nearest even, to its type. Addition,
subtraction, multiplication and division do so by themselves; everything else is wrapped in `widened`. PyTorch's own
half kernels would do for products and convolutions: they add up in float32 and round once, so that fewer than 1 % of
their results differ from float64, rounded, as many as here; but where a processor has no instructions for it, products
take a hundred times as long. Its erf of half types takes the smallest numbers for zero. A device that adds up products
in float16 is less exact than this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce, wraps
from typing import Any

import torch
import torch.nn.functional as F
from onnx import TensorProto
from torch import Tensor

from export.onnx_weights import DTYPES
from export.torch_moves import MOVES

Op = Callable[..., Any]
"""Returns a tensor; `Split` alone returns several."""
HALF = frozenset({torch.float16, torch.bfloat16})
FLOAT8_MAX = 448.0


def widened(op: Op) -> Op:
    """`op` in float32 where it is given half types; what it returns is rounded to the type of its first input."""

    @wraps(op)
    def computed(*inputs: Tensor | None, **attributes: Any) -> Tensor:
        first = inputs[0]
        assert first is not None
        wide = [x.float() if x is not None and x.dtype in HALF else x for x in inputs]
        found: Tensor = op(*wide, **attributes)
        return found.to(first.dtype)

    return computed


def _one(function: Callable[[Tensor], Tensor]) -> Op:
    """An operator of one value; its torch function has no signature to check a node against."""

    def op(x: Tensor) -> Tensor:
        return function(x)

    return op


def _two(function: Callable[[Tensor, Tensor], Tensor]) -> Op:
    def op(x: Tensor, y: Tensor) -> Tensor:
        return function(x, y)

    return op


def _many(function: Callable[[Tensor, Tensor], Tensor]) -> Op:
    def op(x: Tensor, *others: Tensor) -> Tensor:
        return reduce(function, others, x)

    return op


def div(x: Tensor, y: Tensor) -> Tensor:
    """Integers are divided towards zero."""
    return torch.div(x, y, rounding_mode=None if x.is_floating_point() else "trunc")


def power(x: Tensor, y: Tensor) -> Tensor:
    """The result is of the type of `x`, whatever that of `y` is."""
    if x.is_floating_point():
        return torch.pow(x, y.to(x.dtype))
    return torch.pow(x.double(), y.double()) if y.is_floating_point() else torch.pow(x, y)


def clip(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    x = x if low is None else torch.maximum(x, low)
    return x if high is None else torch.minimum(x, high)


def gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    return F.gelu(x, approximate=approximate)


def softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    return torch.softmax(x, dim=axis)


def layer_normalization(
    x: Tensor,
    scale: Tensor,
    bias: Tensor | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = TensorProto.FLOAT,
) -> Tensor:
    if stash_type != TensorProto.FLOAT:
        raise ValueError(f"stash_type {stash_type} is not supported")
    shape = x.shape[axis % x.ndim :]
    return F.layer_norm(x, shape, scale.expand(shape), None if bias is None else bias.expand(shape), epsilon)


def cumsum(x: Tensor, axis: Tensor, *, exclusive: int = 0, reverse: int = 0) -> Tensor:
    along = int(axis)
    x = x.flip(along) if reverse else x
    if exclusive:
        x = torch.cat((torch.zeros_like(x.narrow(along, 0, 1)), x.narrow(along, 0, x.shape[along] - 1)), dim=along)
    total = torch.cumsum(x, along, dtype=x.dtype)
    return total.flip(along) if reverse else total


def _reduction(function: Callable[[Tensor, list[int], bool], Tensor]) -> Op:
    """Over `axes`; where there are none, over all of them, or not at all."""

    def op(x: Tensor, axes: Tensor | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
        along: list[int] = [] if axes is None else axes.tolist()
        if not along and noop_with_empty_axes:
            return x
        return function(x, along or list(range(x.ndim)), bool(keepdims))

    return widened(op)


def gemm(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Tensor:
    a, b = a.T if transA else a, b.T if transB else b
    return alpha * torch.mm(a, b) if c is None else torch.addmm(c, a, b, beta=beta, alpha=alpha)


def einsum(*factors: Tensor, equation: str) -> Tensor:
    return torch.einsum(equation, *factors)


def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] | None = None,
    group: int = 1,
    kernel_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Tensor:
    """[1, in, *size] and [out, in / group, *kernel] → [1, out, *size]. `pads`: before every axis, then after."""
    _check_window(weight, auto_pad, kernel_shape)
    rank = x.ndim - 2
    around = list(pads or [0] * 2 * rank)
    padded = F.pad(x, [around[i + side] for i in reversed(range(rank)) for side in (0, rank)])
    function = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
    return function(padded, weight, bias, tuple(strides or [1] * rank), 0, tuple(dilations or [1] * rank), group)


def conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] | None = None,
    group: int = 1,
    kernel_shape: Sequence[int] | None = None,
    output_padding: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Tensor:
    """[1, in, *size] and [in, out / group, *kernel] → [1, out, *size]; `pads` are cut off."""
    _check_window(weight, auto_pad, kernel_shape)
    rank = x.ndim - 2
    ones = [1] * rank
    function = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[rank - 1]
    more, spread = tuple(output_padding or [0] * rank), tuple(dilations or ones)
    whole = function(x, weight, bias, tuple(strides or ones), 0, more, group, spread)
    around = list(pads or [0] * 2 * rank)
    return F.pad(whole, [-around[i + side] for i in reversed(range(rank)) for side in (0, rank)])


def _check_window(weight: Tensor, auto_pad: str, kernel_shape: Sequence[int] | None) -> None:
    if auto_pad != "NOTSET":
        raise ValueError(f"auto_pad {auto_pad} is not supported")
    if kernel_shape is not None and tuple(kernel_shape) != weight.shape[2:]:
        raise ValueError(f"kernel_shape is {list(kernel_shape)}, the weight has {list(weight.shape[2:])}")


def cast(x: Tensor, *, to: int, saturate: int = 1) -> Tensor:
    """To nearest even; from real numbers to integers towards zero."""
    if to == TensorProto.INT4 or to not in DTYPES or not saturate:
        raise ValueError(f"a cast to type {to} with saturate={saturate} is not supported")
    if DTYPES[to] == torch.float8_e4m3fn:
        return _float8(x.float())
    return (x.float() if x.dtype == torch.float8_e4m3fn else x).to(DTYPES[to])


def _float8(x: Tensor) -> Tensor:
    return x.clamp(-FLOAT8_MAX, FLOAT8_MAX).to(torch.float8_e4m3fn)


def quantize_linear(
    x: Tensor,
    scale: Tensor,
    zero: Tensor | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    saturate: int = 1,
) -> Tensor:
    """x / scale to nearest even, + zero, saturated; the division is in float32 for every type of `x`."""
    if not saturate:
        raise ValueError("saturate=0 is not supported")
    dtype = zero.dtype if zero is not None else DTYPES[output_dtype or TensorProto.UINT8]
    number = x.float() / _along(scale, x, axis, block_size)
    number = number if dtype == torch.float8_e4m3fn else number.round()
    number = number if zero is None else number + _along(zero, x, axis, block_size)
    if dtype == torch.float8_e4m3fn:
        return _float8(number)
    return number.clamp(torch.iinfo(dtype).min, torch.iinfo(dtype).max).to(dtype)


def dequantize_linear(
    x: Tensor, scale: Tensor, zero: Tensor | None = None, *, axis: int = 1, block_size: int = 0
) -> Tensor:
    """(x - zero) · scale in float32, rounded once to the type of `scale`."""
    number = x.to(torch.float32, copy=True)
    if zero is not None:
        number -= _along(zero, x, axis, block_size)
    number *= _along(scale, x, axis, block_size)
    return number.to(scale.dtype)


def _along(values: Tensor, x: Tensor, axis: int, block: int) -> Tensor:
    """Scales or zero points, float32, as they meet `x`: one for all, or for each index of `axis`, or for each block."""
    wide = values.float()
    if values.numel() == 1:
        return wide.reshape(())
    if not block:
        return wide.reshape([len(values) if i == axis % x.ndim else 1 for i in range(x.ndim)])
    wide = wide.repeat_interleave(block, axis).narrow(axis, 0, x.shape[axis])
    if wide.shape != x.shape:
        raise ValueError(f"{list(x.shape)} in blocks of {block} along axis {axis} takes no {list(values.shape)}")
    return wide


OPS: Mapping[str, Op] = {
    **MOVES,
    "Abs": _one(torch.abs),
    "Add": _two(torch.add),
    "And": _two(torch.logical_and),
    "Cast": cast,
    "Ceil": _one(torch.ceil),
    "Clip": clip,
    "Conv": widened(conv),
    "ConvTranspose": widened(conv_transpose),
    "Cos": widened(_one(torch.cos)),
    "CumSum": widened(cumsum),
    "DequantizeLinear": dequantize_linear,
    "Div": div,
    "Einsum": widened(einsum),
    "Equal": _two(torch.eq),
    "Erf": widened(_one(torch.erf)),
    "Exp": widened(_one(torch.exp)),
    "Floor": _one(torch.floor),
    "Gelu": widened(gelu),
    "Gemm": widened(gemm),
    "Greater": _two(torch.gt),
    "GreaterOrEqual": _two(torch.ge),
    "LayerNormalization": widened(layer_normalization),
    "Less": _two(torch.lt),
    "LessOrEqual": _two(torch.le),
    "Log": widened(_one(torch.log)),
    "MatMul": widened(_two(torch.matmul)),
    "Max": _many(torch.maximum),
    "Min": _many(torch.minimum),
    "Mul": _two(torch.mul),
    "Neg": _one(torch.neg),
    "Not": _one(torch.logical_not),
    "Or": _two(torch.logical_or),
    "Pow": widened(power),
    "QuantizeLinear": quantize_linear,
    "Reciprocal": widened(_one(torch.reciprocal)),
    "ReduceMax": _reduction(torch.amax),
    "ReduceMean": _reduction(torch.mean),
    "ReduceSum": _reduction(lambda x, axes, keep: torch.sum(x, axes, keep, dtype=x.dtype)),
    "Relu": _one(torch.relu),
    "Round": _one(torch.round),
    "Sigmoid": widened(_one(torch.sigmoid)),
    "Sin": widened(_one(torch.sin)),
    "Softmax": widened(softmax),
    "Sqrt": widened(_one(torch.sqrt)),
    "Sub": _two(torch.sub),
    "Tanh": widened(_one(torch.tanh)),
}
"""Operator → its function, in the meaning of opsets 18 to 22."""
