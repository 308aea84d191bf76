"""The simulated workplace: what counts as a grasp, what does not, and that the same seed is the same world."""

from __future__ import annotations

import numpy as np
import pytest

from drivers.sim import arm
from drivers.sim.contact import PAD_HALF_HEIGHT_M
from drivers.sim.cups import CUP_HEIGHT_M, CUP_RADIUS_M, SPACING_M, Cup
from drivers.sim.world import HELD_S, LIFTED_M, START_RAD, World

AT = np.array([0.25, 0.05, 0.0])
GRASP_M = 0.05


def one_cup(*more: Cup) -> World:
    """A world with a resting red cup at `AT`, and `more`."""
    world = World(0)
    world.cups = [Cup("red", AT.copy(), np.zeros(3)), *more]
    world.torque_on[:] = True
    return world


def put(world: World, offset: tuple[float, float], height: float, gripper: float) -> None:
    """The grip point beside the cup: `offset` along the fingers and across them, m."""
    q = np.append(arm.top_down(AT + np.array([0, 0, height])), gripper)
    pose = arm.forward(q)
    tip = AT + np.array([0, 0, height]) + offset[0] * pose.finger + offset[1] * pose.side
    q[:5] = arm.top_down(tip)
    world.servos.place(q)
    world.torque_on[:] = True


def move(world: World, height: float, gripper: float, seconds: float) -> None:
    """Command the grip point straight up or down, and the gripper."""
    tip = arm.tip_position(world.position_rad)
    world.goal_rad[:] = np.append(arm.top_down(np.array([tip[0], tip[1], height])), gripper)
    world.step(seconds)


def test_both_pads_hold_and_a_lift_counts() -> None:
    world = one_cup()
    put(world, (0.008, 0.006), GRASP_M, 1.0)
    move(world, GRASP_M, 0.42, 0.8)
    assert world.gripped == 0
    assert not world.success("red")
    move(world, 0.15, 0.42, 1.0)
    assert world.lifted
    assert world.cups[0].position[2] > LIFTED_M
    world.step(HELD_S)
    assert world.success("red")
    assert not world.success("blue")
    move(world, 0.15, 1.0, 0.5)
    assert world.gripped is None
    assert not world.success("red")
    assert world.cups[0].position[2] == 0.0


def test_success_needs_the_whole_time() -> None:
    world = one_cup()
    put(world, (0.0, 0.0), GRASP_M, 1.0)
    move(world, GRASP_M, 0.42, 0.8)
    for _ in range(200):
        move(world, 0.15, 0.42, 0.01)
        if world.lifted:
            break
    assert world.lifted
    assert not world.success("red")
    world.step(HELD_S - 0.02)
    assert not world.success("red")
    world.step(0.03)
    assert world.success("red")


def test_a_push_from_one_side_moves_and_does_not_hold() -> None:
    world = one_cup()
    put(world, (-0.10, 0.0), GRASP_M, 0.3)
    start = world.cups[0].position.copy()
    tip = arm.tip_position(world.position_rad)
    finger = arm.forward(world.position_rad).finger
    for step in range(60):
        world.goal_rad[:5] = arm.top_down(tip + finger * 0.08 * (step + 1) / 60)
        world.step(0.02)
    assert world.gripped is None
    pushed = world.cups[0].position - start
    assert float(np.linalg.norm(pushed)) > 0.005
    assert not world.cups[0].fallen


def test_pads_above_the_rim_close_on_nothing() -> None:
    world = one_cup()
    put(world, (0.0, 0.0), CUP_HEIGHT_M + 0.02, 1.0)
    move(world, CUP_HEIGHT_M + 0.02, 0.3, 0.8)
    assert world.gripped is None
    assert world.position_rad[5] < 0.4
    assert np.allclose(world.cups[0].position, AT)


def test_pads_that_barely_pass_the_rim_do_not_hold() -> None:
    world = one_cup()
    height = CUP_HEIGHT_M + 0.0125 - 0.006
    put(world, (0.0, 0.0), height, 1.0)
    world._bottom_m = height - 0.0125  # it did not come from above just now
    move(world, height, 0.3, 0.8)
    assert world.gripped is None


def test_pads_outside_the_friction_cone_squeeze_the_cup_out() -> None:
    world = one_cup()
    put(world, (0.0, 0.030), GRASP_M, 1.0)
    before = world.cups[0].position.copy()
    move(world, GRASP_M, 0.2, 0.8)
    assert world.gripped is None
    assert np.linalg.norm(world.cups[0].position - before) > 0.005


def test_a_finger_that_lands_on_the_rim_topples_the_cup() -> None:
    world = one_cup()
    put(world, (0.045, 0.0), CUP_HEIGHT_M + 0.04, 1.0)
    move(world, GRASP_M, 1.0, 1.0)
    assert world.cups[0].fallen
    assert world.gripped is None


def test_the_table_stops_the_fingers() -> None:
    world = one_cup()
    put(world, (0.1, 0.0), 0.03, 0.5)
    low = world.goal_rad.copy()
    low[1:4] += (0.15, 0.0, -0.15)
    world.goal_rad[:] = low
    world.step(1.0)
    assert arm.tip_position(world.servos.link_rad)[2] > 0.0
    assert world.current_a[1] > 0.3


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_same_seed_same_world(seed: int) -> None:
    worlds = [World(seed), World(seed + 1)]
    worlds[1].reset(seed)
    for world in worlds:
        world.torque_on[:] = True
        world.goal_rad[:] = (0.4, 0.2, 1.8, 1.1, 0.1, 0.9)
        world.step(0.4)
    assert np.array_equal(worlds[0].position_rad, worlds[1].position_rad)
    for a, b in zip(worlds[0].cups, worlds[1].cups, strict=True):
        assert a.colour == b.colour
        assert np.array_equal(a.position, b.position)
    assert worlds[0].instruction_for(0) == worlds[1].instruction_for(0)


def test_layouts_keep_their_distance_and_some_cups_move_within_the_region() -> None:
    moved = 0
    for seed in range(40):
        world = World(seed)
        assert 2 <= len(world.cups) <= 4
        assert len({c.colour for c in world.cups}) == len(world.cups)
        places = np.array([c.position[:2] for c in world.cups])
        gaps = np.linalg.norm(places[:, None] - places[None], axis=-1) + np.eye(len(places))
        assert gaps.min() >= SPACING_M
        world.step(2.0)
        for before, cup in zip(places, world.cups, strict=True):
            way = float(np.linalg.norm(cup.position[:2] - before))
            assert way <= 0.0301
            moved += way > 0.005
            assert 0.165 <= np.hypot(*cup.position[:2]) <= 0.335
    assert 10 < moved < 60


def test_without_torque_the_arm_sinks_slowly_and_draws_idle_current() -> None:
    world = World(4)
    world.goal_rad[:] = 0.0
    before = world.position_rad
    world.step(1.0)
    assert 0.0 <= world.position_rad[1] - before[1] < 0.05
    assert (world.current_a < 0.1).all()


def test_stalled_gripper_warms() -> None:
    world = one_cup()
    put(world, (0.0, 0.0), GRASP_M, 1.0)
    move(world, GRASP_M, 0.42, 0.8)
    cool = world.temperature_c[5]
    for _ in range(20):
        world.step(0.1)
    assert world.current_a[5] > 1.0
    assert world.temperature_c[5] > cool + 0.5
    assert np.isclose(world.position_rad[5] * arm.HALF_GAP_M_PER_RAD, CUP_RADIUS_M, atol=0.001)


@pytest.mark.parametrize("goal", [START_RAD, arm.HIGH_RAD * [0, 0, 1, 0, 0, 0.5]])
def test_an_arm_that_has_sunk_onto_the_table_lifts_off_it(goal: np.ndarray) -> None:
    world = World(1)
    world.cups = []
    world.servos.place(np.array([0.0, 0.98, 2.29, 1.04, 0.0, 0.6]))
    world.step(8.0)
    assert world.velocity_rad_s == pytest.approx(0.0, abs=1e-3)
    assert arm.tip_position(world.servos.link_rad)[2] == pytest.approx(PAD_HALF_HEIGHT_M, abs=1e-4)
    world.goal_rad[:] = sunk = world.position_rad
    world.torque_on[:] = True
    for way in np.linspace(0.0, 1.0, 150):
        world.goal_rad[:] = sunk + way * (goal - sunk)
        world.step(0.02)
        assert arm.tip_position(world.servos.link_rad)[2] > PAD_HALF_HEIGHT_M - 1e-3
    world.step(1.0)
    assert world.position_rad == pytest.approx(goal, abs=0.02)


def test_an_arm_that_is_told_to_reach_through_the_table_stays_above_it() -> None:
    world = World(1)
    world.cups = []
    world.torque_on[:] = True
    for _ in range(200):
        world.goal_rad[1] += 0.01
        world.step(0.02)
        assert arm.tip_position(world.servos.link_rad)[2] > PAD_HALF_HEIGHT_M - 1e-3
    assert world.current_a[1] > 1.0
