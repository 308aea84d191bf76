"""What each layer alone does to the actions when it is quantized and everything else stays in float32."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_runtime.accuracy import span
from edge_runtime.backends.base import Backend
from edge_runtime.bundle import Bundle
from edge_runtime.bundle_spec import PolicySpec, TokenSpec
from edge_runtime.policies import tokens
from edge_runtime.policies.graph_policy import GraphPolicy
from edge_runtime.policies.runners import runner
from edge_runtime.probes import Probe
from edge_runtime.verify import answer
from export.layers import Layer
from export.quantize import Recipe, rounded_input, rounded_weight
from export.torch_graph import Engine, Tap

OF_ACTIONS = "mean change of the actions as a share of their ranges"
OF_LOGITS = "relative change of the first token's logits"
_MOST = float(np.finfo(np.float64).max)
"""A change that is not finite: the largest number that JSON has."""


def measure_of(bundle: Bundle) -> str:
    """What sensitivity is for a bundle: tokens flip or do not, which would tell nothing of most layers."""
    return OF_LOGITS if isinstance(bundle.spec.head, TokenSpec) else OF_ACTIONS


def sensitivities(
    bundle: Bundle,
    layers: Iterable[Layer],
    recipe: Recipe,
    probes: Sequence[Probe],
    threads: int,
    told: Callable[[float], None],
) -> dict[str, float]:
    """Layer → what quantizing it alone as `recipe` says changes, over `probes`: all of `layers` that are in it."""
    alone = _Alone(recipe)
    policy = _policy(bundle, Engine(threads, tap=lambda _: alone))
    reference = [_seen(policy, probe) for probe in probes]
    by_name = {layer.name: layer for layer in layers if layer.name in recipe.precision}
    changes = {}
    for done, (name, layer) in enumerate(by_name.items()):
        told(done / len(by_name))
        alone.quantize(layer)
        found = [_change(policy.spec, _seen(policy, p), r) for p, r in zip(probes, reference, strict=True)]
        changes[name] = float(np.nan_to_num(np.mean(found), nan=_MOST))
    return changes


class _FirstToken(tokens.Runner):
    """Writes nothing: the first token's logits are all that is asked for, and decoding reads every weight again."""

    def _decide(self) -> None:
        pass


def _policy(bundle: Bundle, engine: Backend) -> GraphPolicy:
    if isinstance(bundle.spec.head, TokenSpec):
        return _FirstToken(bundle, engine)
    return runner(bundle, engine)


def _seen(policy: GraphPolicy, probe: Probe) -> NDArray[np.float32]:
    """What is compared: actions, or the first token's logits."""
    actions, _ = answer(policy, probe)
    return policy.graphs[policy.first].outputs["logits"].copy() if isinstance(policy, _FirstToken) else actions


def _change(spec: PolicySpec, found: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    if isinstance(spec.head, TokenSpec):
        return float(np.linalg.norm(found - reference) / max(np.linalg.norm(reference), 1e-12))
    return float(np.mean(np.abs(found - reference) / span(spec)))


class _Alone(Tap):
    """Rounds input and weight of one layer, and nothing until it is told which."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._layer: Layer | None = None
        self._weight: Tensor | None = None

    def quantize(self, layer: Layer) -> None:
        """From now on, this layer instead."""
        assert layer.weight.const_value is not None
        weight = rounded_weight(np.asarray(layer.weight.const_value.numpy(), np.float32), layer, self._recipe)
        self._layer, self._weight = layer, torch.from_numpy(weight)

    def before(self, node: onnx.NodeProto, inputs: list[Tensor | None]) -> list[Tensor | None]:
        layer, x = self._layer, inputs[0] if inputs else None
        if layer is None or x is None or len(node.input) < 2 or node.input[1] != layer.name:
            return inputs
        return [torch.from_numpy(rounded_input(x.numpy(), layer, self._recipe)), self._weight, *inputs[2:]]
