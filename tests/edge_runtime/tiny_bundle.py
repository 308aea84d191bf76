"""A sealed bundle without a model: enough for whatever reads bundles and runs no graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edge_runtime.accuracy import FLOAT32_GATE, Accuracy, ActionErrors, Measure
from edge_runtime.bundle import seal
from edge_runtime.bundle_spec import (
    CameraSpec,
    Cost,
    FlowSpec,
    Manifest,
    Normalisation,
    PolicySpec,
    PromptSpec,
    Source,
    VectorSpec,
)
from edge_runtime.policies.base import Observation, Prompt
from edge_runtime.probes import Probe, write_probes

SPEC = PolicySpec(
    cameras=(CameraSpec("base", 4, 6), CameraSpec("wrist", 3, 3)),
    state=VectorSpec(("a", "b"), ("rad", "rad"), 4),
    action=VectorSpec(("a", "b"), ("rad", "rad"), 5),
    horizon=3,
    dt_s=0.05,
    control_mode="absolute",
    head=FlowSpec(steps=4, t_start=1.0, t_end=0.0, cache=("keys", "values", "prefix_mask")),
    prompt=PromptSpec("{instruction}\n", 8, 2, 0),
    state_normalisation=Normalisation("mean_std", (1.0, 2.0), (0.5, 4.0), eps_in=1e-8),
    action_normalisation=Normalisation("mean_std", (-1.0, 3.0), (2.0, 0.25), eps_in=1e-8),
)
MANIFEST = Manifest(
    source=Source("pi0", "lerobot", "c" * 64, "checkpoint"),
    spec=SPEC,
    graphs={"image": "image.onnx", "prefix": "prefix.onnx", "step": "step.onnx"},
    costs={
        "image": Cost(12, "float32", 48, 3456),
        "prefix": Cost(1_234_567, "float32", 4_938_268, 987_654_321),
        "step": Cost(89, "float32", 356, 5340),
    },
    constants="constants.safetensors",
    tokenizer="tokenizer.json",
    accuracy="accuracy.json",
    probes="probes.safetensors",
    verdict="pass",
)
ROW = Measure(1.0, 4e-7, 2e-6, 1e-7, 3.0, 1e-4, "pass")
ACTIONS = ActionErrors(2, "rad", 1e-7, 1e-6, 2e-6, 2e-8, 2e-7, 4e-6, "b", {"b": 4e-6}, None, FLOAT32_GATE, "pass")
ACCURACY = Accuracy("pass", "PyTorch", "2 seeded observations", {"keys": ROW}, ACTIONS)


def probe(spec: PolicySpec = SPEC, seed: int = 0) -> Probe:
    """A seeded observation that `spec` takes, with an answer of zeros."""
    rng = np.random.default_rng(seed)
    frames = {c.name: rng.integers(0, 256, (c.height, c.width, 3), np.uint8) for c in spec.cameras}
    tokens = np.arange(spec.prompt.max_tokens)
    state = rng.standard_normal(spec.state.dims, np.float32)
    noise = rng.standard_normal((spec.horizon, spec.action.padded), np.float32)
    answer = np.zeros((spec.horizon, spec.action.dims), np.float32)
    return Probe(Observation(frames, state, Prompt("", tokens, tokens < 3)), noise, answer)


def write(folder: Path, manifest: Manifest = MANIFEST, **spec: Any) -> Path:
    """Write and seal a bundle whose graphs are a few bytes; `spec` replaces fields of the policy's spec."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*manifest.graphs.values(), manifest.constants, manifest.tokenizer):
        (folder / name).write_bytes(f"this is {name}".encode())
    (folder / "prefix.onnx.data").write_bytes(bytes(range(256)))
    (folder / manifest.accuracy).write_bytes(msgspec.json.encode(ACCURACY))
    changed = msgspec.structs.replace(manifest.spec, **spec)
    write_probes(folder / manifest.probes, [probe(changed)])
    seal(folder, msgspec.structs.replace(manifest, spec=changed))
    return folder
