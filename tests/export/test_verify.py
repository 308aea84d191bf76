"""What the judge shows to both sides, and what it compares."""

from __future__ import annotations

import msgspec
import numpy as np

from export.verify import example, measure
from tests.export import tiny

REFERENCE = np.array([10.0, -4.0, 0.5], np.float32)


def test_all_pairs_are_held_to_the_gate_together() -> None:
    """A part of the largest value of any of them; the figures themselves are tests/edge_runtime/test_accuracy.py's."""
    close, far = REFERENCE + np.float32(0.9e-3), REFERENCE + np.float32(1.1e-3)
    small = np.ones(2, np.float32)
    assert measure([(close, REFERENCE), (small, small)], 1e-4).verdict == "pass"
    assert measure([(close, REFERENCE), (far, REFERENCE)], 1e-4).verdict == "fail"
    assert measure([(small + np.float32(0.9e-3), small)], 1e-4).verdict == "fail"
    assert measure([], 1e-4).verdict == "fail"
    made = measure([(REFERENCE, REFERENCE), (np.float32(2.0) - REFERENCE, -REFERENCE)], None)
    assert (made.max_error, made.mean_error, made.scale, made.verdict) == (2.0, 1.0, 10.0, "pass")


def test_examples_follow_their_seed_and_one_lacks_a_camera() -> None:
    spec = tiny.spec()
    first, again, second = example(spec, 30, 0), example(spec, 30, 0), example(spec, 30, 1)
    assert np.array_equal(first.noise, again.noise)
    assert not np.array_equal(first.noise, second.noise)
    assert list(first.observation.frames) == ["base", "wrist"]
    assert list(second.observation.frames) == ["base"]
    assert first.observation.prompt.mask[0]
    assert first.observation.prompt.tokens.max() < 30


def test_a_camera_that_the_model_cannot_do_without_is_there_in_every_example() -> None:
    spec = tiny.spec()
    needed = tuple(msgspec.structs.replace(camera, missing="refuse") for camera in spec.cameras)
    second = example(msgspec.structs.replace(spec, cameras=needed), 30, 1)
    assert list(second.observation.frames) == ["base", "wrist"]
