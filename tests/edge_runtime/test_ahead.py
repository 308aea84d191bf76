"""What a policy is told of the running chunk: its actions at the new chunk's times, and how many are gone by then."""

from __future__ import annotations

import numpy as np
import pytest

from edge_runtime.ahead import Running
from edge_runtime.policies.base import Ahead
from tests.edge_runtime.fakes import DT_NS, HORIZON, spec
from tests.edge_runtime.motion import T0, chunk

ACTIONS = np.arange(HORIZON, dtype=np.float32)[:, None] + np.array([0.0, 10.0, 20.0], np.float32)


@pytest.fixture
def running() -> Running:
    made = Running(spec(("a", "b", "c"), ("base",)), np.full(3, -50.0), np.array([50.0, 50.0, 25.0]))
    published = chunk(ACTIONS.astype(float) * 0.01, DT_NS)  # what control follows is in other units
    published.request = 3
    made.keep(ACTIONS, published)
    return made


def ahead(running: Running, observed_ns: int, taken_ns: int) -> Ahead:
    found = running.ahead(3, observed_ns, taken_ns)
    assert found is not None
    return found


def test_it_is_the_running_chunk_at_the_times_of_the_new_one(running: Running) -> None:
    found = ahead(running, T0 + 2 * DT_NS, T0 + 2 * DT_NS)
    assert found.known == HORIZON - 2
    assert found.committed == 1
    np.testing.assert_allclose(found.actions[: found.known], np.minimum(ACTIONS[2:], [50.0, 50.0, 25.0]))
    found = ahead(running, T0 + DT_NS // 2, T0 + DT_NS // 2)
    np.testing.assert_allclose(found.actions[: found.known], np.minimum(ACTIONS[:-1] + 0.5, [50.0, 50.0, 25.0]))


@pytest.mark.parametrize(("late_ns", "committed"), [(0, 1), (1, 2), (DT_NS, 2), (DT_NS + 1, 3), (100 * DT_NS, HORIZON)])
def test_committed_is_what_was_due_before_the_new_chunk_is_followed_and_one_more_that_shapes_the_way_there(
    running: Running, late_ns: int, committed: int
) -> None:
    assert ahead(running, T0, T0 + late_ns).committed == committed


def test_nothing_is_ahead_of_a_new_request_or_of_a_chunk_that_is_over(running: Running) -> None:
    assert running.ahead(4, T0, T0) is None
    assert running.ahead(3, T0 + HORIZON * DT_NS, T0 + HORIZON * DT_NS) is None
    fresh = Running(spec(("a", "b", "c"), ("base",)), np.zeros(3), np.ones(3))
    assert fresh.ahead(0, T0, T0) is None


def test_a_policy_can_be_warmed_up_with_all_of_it(running: Running) -> None:
    example = running.example()
    assert (example.known, example.committed) == (HORIZON, 1)
    assert np.isfinite(example.actions).all()


def test_a_stepwise_joint_is_at_the_action_that_was_due_last() -> None:
    joints = spec(("a", "b", "c"), ("base",))
    made = Running(joints, np.full(3, -50.0), np.full(3, 50.0), stepwise=np.array([True, False, False]))
    published = chunk(ACTIONS.astype(float), DT_NS)
    published.request = 3
    made.keep(ACTIONS, published)
    found = ahead(made, T0 + DT_NS // 2, T0)
    np.testing.assert_allclose(found.actions[:3, 0], [0.0, 1.0, 2.0])
    np.testing.assert_allclose(found.actions[:3, 1], [10.5, 11.5, 12.5], atol=1e-5)
