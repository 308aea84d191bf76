"""What the simulator writes down about packets and joints, and what another process finds in the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from drivers.feetech import packets, sts
from drivers.sim import trace
from drivers.sim.feetech_device import FeetechDevice
from drivers.sim.horns import Horns
from drivers.sim.trace import ROWS, Trace
from drivers.sim.world import World


def test_each_packet_of_goals_is_a_row_and_nothing_else_is(tmp_path: Path) -> None:
    world = World(3)
    horns = Horns(world)
    device, written = FeetechDevice(horns), Trace(tmp_path / "trace.npy", horns, world.servos)
    device.told = written.told
    for goal in (2100, 2200):
        rows = {id: goal.to_bytes(2, "little") for id in range(1, 7)}
        device.feed(packets.sync_write(rows, sts.GOAL_POSITION.address, 2))
    device.feed(packets.sync_write(dict.fromkeys(range(1, 7), b"\x01"), sts.TORQUE_ENABLE.address, 1))
    written.looked()
    found = trace.read(tmp_path / "trace.npy")
    assert found["told"].tolist() == [True, True, False]
    assert (np.diff(found["t_ns"]) > 0).all()
    np.testing.assert_allclose(found["goal_rad"][:2, 0], (np.array([2100, 2200]) - 2048) * sts.RAD_PER_STEP)
    assert found["torque_on"].all(axis=1).tolist() == [False, False, True]
    np.testing.assert_array_equal(found["link_rad"][2], world.servos.link_rad)


def test_the_newest_rows_are_kept_in_their_order(tmp_path: Path) -> None:
    world = World(3)
    written = Trace(tmp_path / "trace.npy", world, world.servos)
    for count in range(ROWS + 5):
        world.servos.goal_rad[0] = count
        written.looked()
    found = trace.read(tmp_path / "trace.npy")
    assert found["goal_rad"][:, 0].tolist() == list(range(5, ROWS + 5))
