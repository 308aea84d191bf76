"""The regression policy: image → model → a whole chunk, once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_runtime.errors import BundleError
from edge_runtime.policies.base import Observation
from edge_runtime.policies.regression import Runner
from tests.edge_runtime.policies.arithmetic import Parts, regression_bundle, regression_graphs


def test_one_run_of_each_graph_is_a_chunk_in_the_robots_units(tmp_path: Path) -> None:
    """By hand: pixels 1 + 2, state (1.5-1)/0.5 + (10-2)/4 = 3, and the tiny bundle's means and deviations."""
    subject = Runner(regression_bundle(tmp_path), Parts(regression_graphs()))
    frames = {"base": np.full((4, 6, 3), 1, np.uint8), "wrist": np.full((3, 3, 3), 2, np.uint8)}
    chunk = np.full((3, 2), np.nan, np.float32)
    seen = Observation(frames, np.array([1.5, 10.0], np.float32), subject.prompt("up"))
    for runs in (1, 2):
        subject.infer(seen, chunk)
        assert subject.normalised.tolist() == [[3.0, 3.0], [4.0, 3.0], [5.0, 3.0]]
        np.testing.assert_allclose(chunk, [[5.0, 3.75], [7.0, 3.75], [9.0, 3.75]], rtol=1e-6)
        assert [graph.runs for graph in subject.graphs.values()] == [runs, runs]  # type: ignore[attr-defined]


def test_the_chunk_is_a_copy_of_what_the_graph_wrote(tmp_path: Path) -> None:
    """The next inference writes into the graph's buffer; what the last one meant stays."""
    subject = Runner(regression_bundle(tmp_path), Parts(regression_graphs()))
    seen = Observation({}, np.array([1.0, 2.0], np.float32), subject.prompt("up"))
    subject.infer(seen, np.zeros((3, 2), np.float32))
    subject.graphs["model"].outputs["actions"][:] = 9.0
    assert subject.normalised.tolist() == [[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]]


@pytest.mark.parametrize("shape", [(1, 1, 2), (1, 3, 5), (3, 2)])
def test_a_chunk_of_another_shape_is_refused_when_it_is_loaded(tmp_path: Path, shape: tuple[int, ...]) -> None:
    graphs = regression_graphs()
    graphs["model"].outputs = {"actions": np.zeros(shape, np.float32)}
    with pytest.raises(BundleError, match=r"model\.onnx: output actions is float32 .*, expected float32 \[1, 3, 2\]"):
        Runner(regression_bundle(tmp_path), Parts(graphs))
