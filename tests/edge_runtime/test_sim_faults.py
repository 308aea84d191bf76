"""The real process against the simulated robot, byte for byte: what it does when things break, and the way back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from drivers.sim.process import SimProcess
from tests.edge_runtime.process import ROOT, Process


def test_servos_that_fall_silent_and_come_back(sim: SimProcess, robot: Process) -> None:
    robot.start_task()
    sim.ask(cmd="fault", kind="silence", on=True)
    status = robot.until("SAFE", seconds=5.0)
    assert "serial cycles in a row failed" in status["cause"]
    sim.ask(cmd="fault", kind="silence", on=False)
    robot.say("reset")
    robot.say("arm")
    robot.until("READY")
    robot.process.send_signal(signal.SIGTERM)
    assert robot.wait() == 0, robot.errors


def test_a_camera_that_freezes_ends_in_hold_and_unplugs_and_returns(sim: SimProcess, robot: Process) -> None:
    robot.start_task()
    sim.ask(cmd="fault", kind="freeze_camera", target="wrist", on=True)
    robot.until("HOLD", seconds=5.0)
    sim.ask(cmd="fault", kind="freeze_camera", target="wrist", on=False)
    sim.ask(cmd="fault", kind="unplug_camera", target="base", on=True)
    time.sleep(0.5)
    sim.ask(cmd="fault", kind="unplug_camera", target="base", on=False)
    end = time.monotonic() + 10
    while max(robot.say("status")["age_ms"][f"frame {name}"] for name in ("base", "wrist")) > 150:
        assert time.monotonic() < end
        time.sleep(0.05)
    status = robot.say("status")
    assert status["state"] == "HOLD"
    assert status["counters"]["camera base reopened"] >= 1
    robot.say("reset")
    robot.say("task", instruction="go on")
    robot.until("RUN", "task")
    robot.process.send_signal(signal.SIGINT)
    assert robot.wait() == 0, robot.errors
    names = [event.partition(":")[0] for event in robot.record["events"]]
    first = names.index("RUN (task)")
    assert [name for name in names[first:] if name.split(" ")[0] in ("COAST", "HOLD")][:2] == ["COAST (task)", "HOLD"]


def test_after_kill_9_the_safe_stop_reaches_the_servos(sim: SimProcess, robot: Process) -> None:
    robot.start_task()
    os.kill(robot.process.pid, signal.SIGKILL)
    robot.wait()
    command = [sys.executable, "-m", "edge_runtime.safe_stop", str(sim.directory / "robot.toml")]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=20)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("bus arm: safe: shoulder_pan hold, ")
    busy = Process(sim.directory)
    busy.until("DISARMED")
    refused = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=20)
    assert refused.returncode == 2  # the port is the running robot's: `edge stop` is the way there
    assert "busy" in refused.stderr
    busy.kill()


def test_a_port_that_disappears(sim: SimProcess, robot: Process) -> None:
    robot.start_task()
    sim.__exit__(None, None, None)
    status = robot.until("SAFE", seconds=5.0)
    assert "gone away" in status["cause"]
    robot.process.send_signal(signal.SIGTERM)
    assert robot.wait() != 0  # nobody confirmed the safe action
    assert "edge safe-stop" in robot.errors
