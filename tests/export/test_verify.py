"""The judge itself: what passes, what does not, and that NaN never does."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from export.verify import example, measure
from tests.export import tiny

REFERENCE = np.array([10.0, -4.0, 0.5], np.float32)


def verdict(found: object, gate: float = 1e-4) -> str:
    return measure([(np.asarray(found, np.float32), REFERENCE)], gate).verdict


def test_the_gate_is_a_part_of_the_largest_value() -> None:
    assert verdict(REFERENCE + 0.9e-3) == "pass"
    assert verdict(REFERENCE + 1.1e-3) == "fail"


def test_small_references_are_held_to_the_least_scale() -> None:
    tiny_reference = np.array([1e-3], np.float32)
    assert measure([(tiny_reference + 0.9e-4, tiny_reference)], 1e-4).verdict == "pass"
    assert measure([(tiny_reference + 1.1e-4, tiny_reference)], 1e-4).verdict == "fail"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_fails_on_either_side(bad: float) -> None:
    broken = REFERENCE.copy()
    broken[1] = bad
    assert verdict(broken, gate=1e9) == "fail"
    assert measure([(REFERENCE, broken)], 1e9).verdict == "fail"
    assert measure([(broken, broken)], 1e9).verdict == "fail"


def test_figures() -> None:
    made = measure([(REFERENCE, REFERENCE), (-REFERENCE, -REFERENCE + np.float32(2.0))], 1e-4, "rad")
    assert (made.unit, made.max_error, made.mean_error, made.scale) == ("rad", 2.0, 1.0, 10.0)
    assert 0.9 < made.cosine < 1.0
    assert measure([(REFERENCE, REFERENCE)], 1e-4).cosine == pytest.approx(1.0)


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
