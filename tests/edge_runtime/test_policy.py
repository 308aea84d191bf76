"""From a path to the policy of its head, on the backend of that name."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge_runtime.bundle import open_bundle, seal
from edge_runtime.bundle_spec import GRAPHS, Quantization
from edge_runtime.engines.api import load_api
from edge_runtime.errors import BackendError, BundleError, EdgeError
from edge_runtime.policies import flow, regression, tokens
from edge_runtime.policies.base import Observation
from edge_runtime.policy import open_policy, refuse_backend, robot_policy
from tests.edge_runtime import fakes, tiny_bundle, tiny_tokenizer
from tests.edge_runtime.policies import token_bundle
from tests.edge_runtime.policies.arithmetic import (
    Parts,
    flow_bundle,
    flow_graphs,
    regression_bundle,
    regression_graphs,
    serve,
    token_graphs,
)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return tiny_bundle.write(tmp_path / "b")


def test_the_bundle_is_checked_first(bundle: Path) -> None:
    (bundle / "step.onnx").unlink()
    with pytest.raises(BundleError, match=r"step\.onnx"):
        open_policy(bundle, backend="none")


def test_a_backend_that_does_not_exist(bundle: Path) -> None:
    with pytest.raises(EdgeError, match=r'there is no "orr".*ort'):
        open_policy(bundle, backend="orr")


def test_each_kind_of_head_has_its_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bins = token_bundle.bins(tmp_path / "tokens")
    for kind, made, graphs in (
        (flow.Runner, flow_bundle(tmp_path / "flow"), flow_graphs()),
        (tokens.Runner, bins, token_graphs(range(100, 105), [100] * 6)),
        (regression.Runner, regression_bundle(tmp_path / "regression"), regression_graphs()),
    ):
        serve(monkeypatch, Parts(graphs))
        policy = open_policy(made.path)
        assert type(policy) is kind
        assert policy.spec == made.spec
        assert list(policy.graphs) == list(GRAPHS[type(made.spec.head)])


def test_what_a_head_has_no_use_for_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, Parts(regression_graphs()))
    assert open_policy(regression_bundle(tmp_path).path, flow_steps=3, seed=4, on_malformed="pad")


def test_flow_steps_and_seed_reach_the_flow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, chunks = flow_bundle(tmp_path).path, []
    for seed in (7, 7, 8):
        serve(monkeypatch, Parts(flow_graphs()))
        policy, chunk = open_policy(path, flow_steps=2, seed=seed), np.zeros((3, 2), np.float32)
        policy.infer(Observation({}, np.zeros(2, np.float32), policy.prompt("up")), chunk)
        assert policy.graphs["step"].runs == 2  # type: ignore[attr-defined]
        chunks.append(chunk.tolist())
    assert chunks[0] == chunks[1] != chunks[2]


def test_graphs_are_given_to_the_backend_of_that_name(tmp_path: Path) -> None:
    folder = tiny_bundle.write(tmp_path / "b")
    tiny_tokenizer.write(folder / "tokenizer.json")
    seal(folder, tiny_bundle.MANIFEST)
    with pytest.raises(BackendError, match=r"image\.onnx: ONNX Runtime .* refuses it"):
        open_policy(folder)


@pytest.mark.parametrize("backend", ["ort", "ort-cuda", "trt", "trt-rtx"])
def test_what_a_robots_backend_lacks_is_said_of_the_key_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    for library in ("onnxruntime", "tensorrt", "tensorrt_rtx_bindings"):
        monkeypatch.setitem(sys.modules, library, None)
    load_api.cache_clear()
    robot = fakes.robot()
    policy = msgspec.structs.replace(robot.policy, bundle=str(flow_bundle(tmp_path).path), backend=backend)
    with pytest.raises(
        BackendError,
        match=rf"^robot\.toml: policy\.backend: (no GPU can be reached from here: |backend {backend}: .*; pip )",
    ):
        robot_policy(msgspec.structs.replace(robot, policy=policy))
    load_api.cache_clear()


def quantized(folder: Path, precision: str = "int8", **floats: str) -> Path:
    """The tiny bundle, said to be quantized with floats of these types between its integers."""
    tiny_bundle.write(folder)
    (folder / "layers.json").write_text("{}")
    made = Quantization(
        target="jetpack6-orin",
        origin="f" * 64,
        parts=dict.fromkeys(floats, precision),
        floats=floats,
        ranges="max",
        block=128,
        kept=0,
        table="layers.json",
    )
    seal(folder, msgspec.structs.replace(tiny_bundle.MANIFEST, quantization=made))
    return folder


def test_onnx_runtime_is_not_given_bfloat16(tmp_path: Path) -> None:
    """It would refuse the first product of it, with words that help nobody."""
    folder = quantized(tmp_path / "b", vision="fp16", language="bf16")
    with pytest.raises(BundleError) as caught:
        open_policy(folder)
    assert str(caught.value) == (
        f"{folder}: made for jetpack6-orin: its language computes in bf16, which ONNX Runtime has not on a CPU; "
        "compile it there (edge compile) or quantize the original with --target cpu"
    )


def test_onnx_runtime_on_a_gpu_has_bfloat16_but_not_between_integers(tmp_path: Path) -> None:
    folder = quantized(tmp_path / "b", vision="fp16", language="bf16")
    for spelling in ("ort-cuda", "ort_cuda"):
        with pytest.raises(BundleError) as caught:
            refuse_backend(open_bundle(folder), spelling)
        assert str(caught.value) == (
            f"{folder}: made for jetpack6-orin: its language is in int8 with bf16 between, which ONNX Runtime has not "
            "on a GPU; compile it there (edge compile) or quantize the original with --precision language=bf16"
        )
    refuse_backend(open_bundle(quantized(tmp_path / "whole", precision="bf16", language="bf16")), "ort-cuda")
    refuse_backend(open_bundle(quantized(tmp_path / "half", language="fp16")), "ort-cuda")


def test_what_else_can_compute_bfloat16_is_given_it(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match=r'there is no "orr"'):
        open_policy(quantized(tmp_path / "b", language="bf16"), backend="orr")


@pytest.mark.parametrize("kind", ["fp32", "fp16"])
def test_other_floats_are_for_onnx_runtime_too(tmp_path: Path, kind: str) -> None:
    with pytest.raises(BundleError, match=r"tokenizer\.json"):  # the first thing behind the check
        open_policy(quantized(tmp_path / "b", language=kind))
