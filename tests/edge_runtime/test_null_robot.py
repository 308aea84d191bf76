"""The robot that is not there has room for whatever its policy may ask of it, however that is normalised."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edge_runtime.bundle_spec import Normalisation, VectorSpec
from edge_runtime.footage import Take
from edge_runtime.null_robot import describe
from tests.edge_runtime.replay_probe import SPEC

RAD = VectorSpec(("a", "b"), ("rad", ""), 4)
STATES = np.array([[5.0, 5.0], [6.0, 6.0]])


def ranges(take: np.ndarray[Any, Any] = STATES, **spec: Any) -> list[tuple[float, float]]:
    """Joint positions of the robot for footage whose states and actions are `take`."""
    told = msgspec.structs.replace(SPEC, **({"state": RAD, "action": RAD} | spec))
    robot = describe(told, [Take(0, "go", {}, take, take)], 10.0, Path("b"), Path("s"))
    return [joint.position for joint in robot.joints]


def room(low: float, high: float) -> tuple[float, float]:
    """As much again on either side."""
    return pytest.approx((2 * low - high, 2 * high - low))


def test_without_normalisation_the_footage_says_what_there_is() -> None:
    assert ranges() == [room(5.0, 6.0)] * 2


@pytest.mark.parametrize(
    ("normalisation", "low", "high"),
    [
        (Normalisation("mean_std", (10.0, 5.5), (2.0, 0.01)), (2.0, 5.0), (18.0, 6.0)),  # four deviations
        (Normalisation("quantiles", (-2.0, 5.0), (0.0, 5.5)), (-2.0, 5.0), (6.0, 6.0)),
        (Normalisation("min_max", (5.5, 0.0), (7.0, 20.0)), (5.0, 0.0), (7.0, 20.0)),
        (Normalisation("min_max", (0.0, 0.0), (0.0, 20.0), mask=(False, True)), (-1.0, 0.0), (6.0, 20.0)),
    ],
)
def test_the_ends_of_what_the_policy_may_ask_for_are_in_reach(
    normalisation: Normalisation, low: tuple[float, float], high: tuple[float, float]
) -> None:
    assert ranges(action_normalisation=normalisation) == [room(*ends) for ends in zip(low, high, strict=True)]


def test_relative_actions_begin_at_any_state_of_the_footage() -> None:
    steps = Normalisation("min_max", (-3.0, -3.0), (1.0, 1.0))
    assert ranges(action_normalisation=steps, relative=(True, False)) == [room(2.0, 7.0), room(-3.0, 6.0)]


def test_ranges_are_radians() -> None:
    degrees = VectorSpec(("a", "b"), ("deg", "deg"), 4)
    steps = Normalisation("min_max", (0.0, 0.0), (180.0, 90.0))
    found = ranges(state=degrees, action=degrees, action_normalisation=steps)
    assert found == [room(0.0, math.pi), room(0.0, math.pi / 2)]
