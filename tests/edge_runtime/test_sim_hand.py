"""The real process and the simulated robot with a person beside it: a leader arm, an e-stop, a cable that is pulled."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from importlib import resources
from itertools import pairwise
from pathlib import Path

import pytest

from drivers.sim.adapter import Adapter
from drivers.sim.feetech_device import FeetechDevice
from drivers.sim.ports import PseudoTerminal
from drivers.sim.process import SimProcess
from edge_runtime.errors import CommandError
from edge_runtime.recording_spec import episode_path, read_description, read_steps
from tests.drivers.fake_joints import FakeJoints
from tests.edge_runtime.process import Process

LEADER = """
[leader]
kind = "feetech"
port = "./leader"
joints = [{ id = 1 }, { id = 2 }, { id = 3 }, { id = 4 }, { id = 5 }, { id = 6 }]
"""


class Leader:
    """A second arm of servos on a pseudo-terminal; a test moves its joints."""

    def __init__(self, folder: Path) -> None:
        self.joints = FakeJoints()
        self._servos = FeetechDevice(self.joints)
        self._path = folder / "leader"
        self.plug_in()

    def plug_in(self) -> None:
        self._adapter = Adapter(PseudoTerminal(self._path), self._servos.feed, self._servos.idle)

    def unplug(self) -> None:
        self._adapter.close()

    def move(self, by_rad: float, seconds: float = 1.0) -> None:
        for _ in range(round(seconds * 50)):
            self.joints.position_rad[0] += by_rad / round(seconds * 50)
            time.sleep(0.02)


@pytest.fixture
def sim(tmp_path: Path) -> Iterator[SimProcess]:
    toml = resources.files("drivers.sim").joinpath("robot.toml").read_text()
    (tmp_path / "robot.toml").write_text(toml + LEADER)
    (tmp_path / "recording").mkdir()
    with SimProcess(tmp_path, seed=3) as made:
        yield made


@pytest.fixture
def leader(sim: SimProcess) -> Leader:
    return Leader(sim.directory)


@pytest.fixture
def robot(leader: Leader, sim: SimProcess) -> Iterator[Process]:
    made = Process(sim.directory)
    yield made
    made.kill()


def pan(sim: SimProcess) -> float:
    return float(sim.ask(cmd="state")["joints"]["shoulder_pan"])


def until(true: Callable[[], bool], seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def done(robot: Process) -> list[str]:
    """Names of the events of a run that is ended now."""
    robot.process.send_signal(signal.SIGTERM)
    assert robot.wait() == 0, robot.errors
    return [event.partition(":")[0] for event in robot.record["events"]]


def test_a_person_takes_the_arm_over_and_hands_it_back(sim: SimProcess, robot: Process, leader: Leader) -> None:
    robot.start_task()
    until(lambda: robot.say("status")["age_ms"]["chunk"] is not None)  # the policy has answered, and is recorded
    assert robot.say("takeover")["state"] == "TAKEOVER"
    before = pan(sim)
    leader.move(0.4)
    until(lambda: abs(pan(sim) - before - 0.4) < 0.03)
    assert 0 <= robot.say("status")["age_ms"]["hand"] < 200
    assert robot.say("handback") == {"ok": True, "state": "RUN", "phase": "task", "instruction": "stay there"}
    robot.until("RUN", "task")
    until(lambda: robot.say("status")["age_ms"]["chunk"] is not None)
    time.sleep(0.5)
    assert robot.say("done")["phase"] == "park"
    robot.until("READY")
    names = done(robot)
    assert [n for n in names if "task" in n or "TAKE" in n][-3:] == ["RUN (task)", "TAKEOVER (task)", "RUN (task)"]
    folder = sim.directory / "recording"
    flags = [placed.step.person for placed in read_steps(episode_path(folder, 0), read_description(folder))]
    assert flags[0] is flags[-1] is False
    assert sum(flags) >= 5
    assert sum(a != b for a, b in pairwise(flags)) == 2  # one intervention


def test_a_leader_that_is_pulled_ends_in_hold_and_comes_back(sim: SimProcess, robot: Process, leader: Leader) -> None:
    robot.start_task()
    robot.say("takeover")
    leader.unplug()
    status = robot.until("HOLD", seconds=5.0)
    assert "newest reading of the hand" in status["cause"]
    robot.say("reset")
    with pytest.raises(CommandError, match=r"the hand is lost: bus leader on .*there is no such port"):
        robot.say("takeover")
    leader.plug_in()
    until(lambda: robot.say("status")["age_ms"]["hand"] < 100)
    assert robot.say("takeover")["state"] == "TAKEOVER"
    assert {"hand lost", "hand back"} <= set(done(robot))


def test_an_e_stop_holds_the_arm_until_it_is_released_and_reset(sim: SimProcess, robot: Process) -> None:
    robot.start_task()
    button = sim.directory / "pressed"
    button.touch()
    status = robot.until("HOLD", seconds=5.0)
    assert (status["cause"], status["estops"]) == ("e-stop button is pressed", {"button": "pressed"})
    time.sleep(0.5)
    with pytest.raises(CommandError, match="cannot reset in HOLD: e-stop button is pressed: release it first"):
        robot.say("reset")
    button.unlink()
    until(lambda: robot.say("status")["estops"] == {"button": "released"})
    assert robot.say("reset")["state"] == "READY"
    assert robot.say("estop")["state"] == "HOLD"
    time.sleep(0.5)
    assert robot.say("reset")["state"] == "READY"
    assert robot.say("status")["counters"]["e-stop button"] == 1


def test_a_cable_that_is_pulled_and_plugged_in_again(sim: SimProcess, robot: Process) -> None:
    robot.start_task()
    sim.__exit__(None, None, None)
    assert "gone away" in robot.until("SAFE", seconds=5.0)["cause"]
    time.sleep(1.0)
    with SimProcess(sim.directory, seed=3):
        until(lambda: robot.say("status")["buses"] == {"arm": "connected"})
        assert robot.say("status")["state"] == "SAFE"
        assert robot.say("reset")["state"] == "DISARMED"
        robot.say("arm")
        robot.until("READY")
        names = done(robot)
    first = names.index("SAFE")
    assert names[first - 1] == "HOLD"
    assert "no connection" in names[first:]
    assert names[first:].index("bus back") < names[first:].index("DISARMED")


def test_a_supply_that_fails_is_told_from_a_cable(sim: SimProcess, robot: Process) -> None:
    robot.start_task()
    sim.ask(cmd="fault", kind="supply", on=True)
    assert "no motor answers though the port is there" in robot.until("SAFE", seconds=8.0)["cause"]
    sim.ask(cmd="fault", kind="supply", on=False)
    until(lambda: robot.say("status")["buses"] == {"arm": "connected"})
    assert robot.say("reset")["state"] == "DISARMED"
    robot.say("arm")
    robot.until("READY")
    assert "bus back" in done(robot)
