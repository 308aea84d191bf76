"""The graphs that models become: prefix and step (flow), prefill and decode (tokens), model (regression).

Each is a module whose `forward` takes and returns exactly the graph's inputs and outputs, and whose `signature` names
them. Batch is 1 and every shape is static. The image graph is in `export.image`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edge_runtime.bundle_spec import PolicySpec
from export.onnx_file import Signature


class ModelGraph(nn.Module):
    """A graph that calls one method of a model with its inputs by name.

    `inputs` are examples; the method returns as many tensors as `outputs` names.
    """

    def __init__(self, model: nn.Module, method: str, inputs: dict[str, Tensor], outputs: Sequence[str]) -> None:
        super().__init__()
        self.model, self.method = model, method
        self._inputs, self._outputs = inputs, tuple(outputs)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(self._inputs, inputs, strict=True))
        found: tuple[Tensor, ...] | Tensor = getattr(self.model, self.method)(**given)
        return (found,) if isinstance(found, Tensor) else found

    def signature(self) -> Signature:
        return Signature(self._inputs, self._outputs)


class CommittedGraph(ModelGraph):
    """A step graph that takes some rows of x_t as they are: those in `committed`, bool [1, H], get no velocity and, in
    the place of `cond`, `clean` [1, W], what the model knows of t_end.

    Black et al. 2025, "Training-Time Action Conditioning for Efficient Real-Time Chunking"
    (https://arxiv.org/abs/2512.05964). The model's method takes a `cond` of every row's own.
    """

    def __init__(self, step: ModelGraph) -> None:
        given = step.signature().inputs
        rows = torch.zeros(given["x_t"].shape[:2], dtype=torch.bool)
        inputs = {**given, "committed": rows, "clean": torch.zeros_like(given["cond"])}
        super().__init__(step.model, step.method, inputs, step.signature().outputs)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(self._inputs, inputs, strict=True))
        committed, clean = given.pop("committed")[..., None], given.pop("clean")[:, None]
        given["cond"] = torch.where(committed, clean, given["cond"][:, None])
        velocity = getattr(self.model, self.method)(**given)
        return (torch.where(committed, 0.0, velocity),)


class PrefillGraph(ModelGraph):
    """A model's prefill, with room for `max_new` tokens behind its keys and values.

    Room is joined on, not padded: ONNX Runtime's CUDA provider has no Pad in bfloat16.
    """

    def __init__(self, model: nn.Module, inputs: dict[str, Tensor], max_new: int) -> None:
        super().__init__(model, "prefill", inputs, ("logits", "keys", "values", "prefix_mask"))
        self.max_new = max_new

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        logits, keys, values, mask = super().forward(*inputs)
        room = keys.new_zeros(()).expand(*keys.shape[:-2], self.max_new, keys.shape[-1])
        keys, values = (torch.cat([x, room], dim=-2) for x in (keys, values))
        return logits, keys, values, mask


def seen(spec: PolicySpec, channels: int, size: int) -> dict[str, Tensor]:
    """Examples of what every first graph takes: pixels, prompt, and the camera mask where a camera can be masked."""
    cameras, text = len(spec.cameras), spec.prompt.max_tokens
    inputs = {"pixels": torch.zeros(1, cameras, channels, size, size)}
    if any(camera.missing == "mask" for camera in spec.cameras):
        inputs["camera_mask"] = torch.ones(1, cameras, dtype=torch.bool)
    inputs["tokens"] = torch.zeros(1, text, dtype=torch.int64)
    inputs["token_mask"] = torch.ones(1, text, dtype=torch.bool)
    return inputs


def state(spec: PolicySpec) -> dict[str, Tensor]:
    """An example of the normalised, padded state."""
    return {"state": torch.zeros(1, spec.state.padded)}


def cache(depth: int, kv_heads: int, length: int, head_dim: int) -> dict[str, Tensor]:
    """Examples of keys and values [depth, 1, K, L, D]."""
    return {name: torch.zeros(depth, 1, kv_heads, length, head_dim) for name in ("keys", "values")}


def mask(name: str, length: int) -> dict[str, Tensor]:
    """An example of a mask bool [1, L]."""
    return {name: torch.ones(1, length, dtype=torch.bool)}


def flow_inputs(spec: PolicySpec, cond: int) -> dict[str, Tensor]:
    """Examples of noisy actions x_t [1, H, padded] and of `cond` numbers about flow time."""
    return {"x_t": torch.zeros(1, spec.horizon, spec.action.padded), "cond": torch.zeros(1, cond)}


def decode_inputs(depth: int, kv_heads: int, length: int, head_dim: int) -> dict[str, Tensor]:
    """Examples of a token and of a cache of `length` slots, room for what is generated included."""
    token = {"token": torch.zeros(1, 1, dtype=torch.int64)}
    return {**token, **mask("cache_mask", length), **cache(depth, kv_heads, length, head_dim)}


DECODED = ("logits", "new_keys", "new_values")
"""Outputs of every decode graph."""
