"""What ONNX Runtime makes of our graphs: norms are one node each, and nothing is moved that need not be."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort
import pytest
import torch
from torch import Tensor

from export.graphs import ModelGraph, cache, mask
from export.models.decoder import Decoder, DecoderConfig
from export.models.pi0 import Pi0
from export.onnx_file import write_onnx
from tests.export import tiny_pi

LENGTH = 7
SIZES: dict[str, Any] = {"width": 16, "depth": 3, "mlp_dim": 24, "head_dim": 8}


def fused(graph: ModelGraph, folder: Path) -> Counter[str]:
    """The operators that are left when ONNX Runtime has put together what it can."""
    write_onnx(graph, graph.signature(), folder / "graph.onnx")
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(folder / "fused.onnx")
    options.log_severity_level = 4
    ort.InferenceSession(str(folder / "graph.onnx"), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "fused.onnx").graph.node)


def step(kind: str) -> ModelGraph:
    config = {"pi0": tiny_pi.PI0, "pi05": tiny_pi.PI05}[kind]
    made = tiny_pi.model(kind, config)
    assert isinstance(made, Pi0)
    expert = config.expert
    shapes = cache(expert.depth, expert.num_kv_heads, LENGTH, expert.head_dim)
    noisy = {"x_t": torch.zeros(1, config.horizon, config.action_padded), "cond": made.cond(torch.ones(1))}
    inputs = {**shapes, **mask("prefix_mask", LENGTH), **noisy}
    if kind == "pi0":
        inputs["state"] = torch.zeros(1, config.state_padded)
    return ModelGraph(made, "velocity", inputs, ("velocity",))


@pytest.mark.parametrize("kind", ["pi0", "pi05"])
def test_every_norm_is_one_node(kind: str, tmp_path: Path) -> None:
    found = fused(step(kind), tmp_path)
    assert found["SimplifiedLayerNormalization"] == 2 * tiny_pi.EXPERT.depth + 1
    assert not found.keys() & {"Pow", "ReduceMean", "Sqrt", "Reciprocal", "Div"}


class Cached(Decoder):
    """A decoder as a graph has it: keys and values alone, or one token more."""

    def keys_and_values(self, x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        return self.cache(x, positions, torch.zeros(1, 1, x.shape[1]))


def decoder(kv_heads: int) -> Cached:
    torch.manual_seed(0)
    return Cached(DecoderConfig(num_heads=4, num_kv_heads=kv_heads, **SIZES), vocab=9).eval()


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@torch.no_grad()
def test_a_cache_is_what_the_whole_decoder_leaves(kv_heads: int) -> None:
    made, x, positions = decoder(kv_heads), torch.randn(2, 5, 16), torch.arange(5.0)[None].expand(2, -1)
    bias = torch.randn(2, 5, 5)
    _, *wanted = made(x, positions, bias)
    for one, other in zip(made.cache(x, positions, bias), wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_one_head_of_keys_and_values_moves_nothing(tmp_path: Path) -> None:
    inputs = {"x": torch.zeros(1, 5, 16), "positions": torch.arange(5.0)[None]}
    found = {n: fused(ModelGraph(decoder(n), "keys_and_values", inputs, ("k", "v")), tmp_path) for n in (1, 2)}
    assert found[1]["Transpose"] == 0
    assert found[2]["Transpose"] > 0


def test_one_token_moves_nothing(tmp_path: Path) -> None:
    token = {"token": torch.zeros(1, 1, dtype=torch.int64), **mask("cache_mask", LENGTH)}
    inputs = {**token, **cache(3, 2, LENGTH, 8)}
    assert fused(ModelGraph(decoder(2), "one_more", inputs, ("hidden", "k", "v")), tmp_path)["Transpose"] == 0
