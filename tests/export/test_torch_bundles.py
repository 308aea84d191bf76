"""A bundle of each kind of head, run by the policy that a robot runs, is the same in PyTorch and in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_runtime.backends import ort
from edge_runtime.backends.base import Backend
from edge_runtime.bundle import Bundle, open_bundle
from edge_runtime.policies.runners import runner
from export.layouts.options import Options
from export.pipeline import export_checkpoint
from export.torch_graph import Engine
from export.verify import Outcome, example, run
from tests.export import tiny, tiny_prismatic

VOCAB = 20
MAKE: dict[str, Callable[[Path], Path]] = {
    "flow": tiny.saved,
    "tokens": lambda folder: tiny_prismatic.saved(folder / "c", tiny_prismatic.openvla()),
    "regression": lambda folder: tiny_prismatic.saved(folder / "c", tiny_prismatic.oft()),
}
CAMERAS = {"flow": {}, "tokens": {"image": (20, 30)}, "regression": {"front": (20, 30), "hand": (33, 21)}}


def outcome(bundle: Bundle, engine: Backend, seed: int) -> Outcome:
    return run(runner(bundle, engine, on_malformed="pad"), example(bundle.spec, VOCAB, seed))


@pytest.mark.slow
@pytest.mark.parametrize("head", MAKE)
def test_every_output_of_every_graph_and_the_actions(head: str, tmp_path: Path) -> None:
    folder = export_checkpoint(MAKE[head](tmp_path), tmp_path / "bundle", Options(cameras=CAMERAS[head]))
    bundle = open_bundle(folder)
    assert type(bundle.spec.head).__struct_config__.tag == head
    last: list[Any] = []
    for seed in (0, 1):
        wanted, found, streamed = (
            outcome(bundle, engine, seed) for engine in (ort.Engine(), Engine(), Engine(budget=0))
        )
        assert found.tokens == wanted.tokens
        assert {name.partition(".")[0] for name in found.outputs} == bundle.manifest.graphs.keys()
        for name, arrays in wanted.outputs.items():
            for a, b, c in zip(arrays, found.outputs[name], streamed.outputs[name], strict=True):
                np.testing.assert_allclose(b, a, rtol=0, atol=1e-4 * max(1.0, np.abs(a).max()), err_msg=name)
                assert b.tobytes() == c.tobytes()
        scale = max(1.0, np.abs(wanted.actions).max())
        np.testing.assert_allclose(found.actions, wanted.actions, rtol=0, atol=1e-4 * scale)
        last.append(list(found.outputs.values())[-1][0])
    assert np.abs(last[0] - last[1]).max() > 1e-3, "what is seen counts"
