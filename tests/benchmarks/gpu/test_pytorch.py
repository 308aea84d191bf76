"""PyTorch's side computes what our bundle does: the same answers from the same observations, on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.gpu import bundle, models, ours
from benchmarks.gpu.agreement import agreement
from benchmarks.gpu.pytorch import Inference
from edge_runtime.backends import ort
from edge_runtime.bundle import open_bundle
from edge_runtime.policies.runners import runner
from export import torch_graph
from tests.benchmarks.gpu.small import SMALL


@pytest.mark.parametrize("name", ["smolvla", "openvla"])
def test_both_sides_answer_alike(name: str, tmp_path: Path) -> None:
    model, cameras = SMALL[name], SMALL[name].cameras[0]
    bundle.write_graphs(model, cameras, tmp_path / "b", "fp32")
    policy = runner(open_bundle(bundle.finish(model, cameras, tmp_path / "b", {})), ort.Engine(), on_malformed="pad")
    inference = Inference(model.checkpoint(cameras), "cpu", torch.float32)
    first, second = models.observations(policy.spec, model.config.vocab, 2)
    for one in (first, second, first):
        wanted, found = ours.answer(policy, one), inference.answer(one.observation, one.noise)
        assert set(wanted) == set(found)
        for key, rows in wanted.items():
            np.testing.assert_allclose(found[key], rows, rtol=1e-4, atol=1e-5)
    assert not np.array_equal(ours.answer(policy, second)[key], wanted[key])


def test_in_bfloat16_they_agree_as_far_as_that_goes(tmp_path: Path) -> None:
    """ONNX Runtime has no bfloat16 on the CPU: here PyTorch runs the graph's nodes one by one."""
    model, cameras = SMALL["pi05"], 2
    bundle.write_graphs(model, cameras, tmp_path / "b", "bf16")
    opened = open_bundle(bundle.finish(model, cameras, tmp_path / "b", {}))
    assert {cost.precision for graph, cost in opened.manifest.costs.items() if graph != "image"} == {"bfloat16"}
    policy = runner(opened, torch_graph.Engine(), on_malformed="pad")
    inference = Inference(model.checkpoint(cameras), "cpu", torch.bfloat16)
    (one,) = models.observations(policy.spec, model.config.vocab, 1)
    answers = inference.answer(one.observation, one.noise)
    inference.to(torch.float32)
    answers |= {f"exact_{key}": rows for key, rows in inference.answer(one.observation, one.noise).items()}
    told = agreement(ours.answer(policy, one), answers)
    assert told["verdict"] == "pass"
    assert 0.0 < told["ours_to_float32"] < 0.05
