"""The program as users start it, beside the simulated arm: what it leaves of a fault, of a kill, and of nothing."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from drivers.sim.process import SimProcess
from edge_runtime import cli
from edge_runtime.black_box import read
from tests.edge_runtime.process import Process


def boxes(sim: SimProcess, count: int, seconds: float = 10.0) -> list[Path]:
    """The black boxes, once there are so many."""
    end = time.monotonic() + seconds
    while len(found := sorted((sim.directory / "black-box").glob("*.mcap"))) < count:
        assert time.monotonic() < end, found
        time.sleep(0.05)
    return found


def test_servos_that_fall_silent_leave_a_black_box(
    sim: SimProcess, robot: Process, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    robot.start_task()
    time.sleep(0.5)
    sim.ask(cmd="fault", kind="silence", on=True)
    cause = robot.until("SAFE", seconds=5.0)["cause"]
    (path,) = boxes(sim, 1)
    sim.ask(cmd="fault", kind="silence", on=False)
    robot.process.send_signal(signal.SIGTERM)
    robot.wait()
    assert boxes(sim, 1) == [path], "the end of a run is no incident"
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert f"black box: {path}" in robot.record["events"]
    assert robot.record["counters"]["black boxes written"] == 1

    one = read.read(path)
    assert one.trigger.state == "SAFE"
    assert cause in [event.cause for event in one.events]
    at = int(np.searchsorted(one.t_ns, one.trigger.t_ns))
    assert {one.header.states[s] for s in one.state[at - 40 : at - 20]} <= {"RUN", "COAST"}
    assert {one.header.states[s] for s in one.state[at + 1 :]} <= {"HOLD", "SAFE"}
    sent = [piece for piece in one.bytes["arm"] if not piece.received]
    received = [piece for piece in one.bytes["arm"] if piece.received]
    assert all(piece.data.startswith(b"\xff\xff") for piece in sent)
    assert max(piece.t_ns for piece in received) < one.trigger.t_ns < max(piece.t_ns for piece in sent)
    assert min(len(frames) for frames in one.frames.values()) > 5
    assert one.chunks
    assert one.inference_ns.size

    code = cli.main(["report", str(path), "--report", str(tmp_path / "page"), "--json", str(tmp_path / "found.json")])
    said = capsys.readouterr().out
    assert code == 0
    assert said.startswith("HOLD → SAFE on ")
    assert cause in said
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["incident"]["cause"] == one.trigger.cause
    assert found["control"]["ticks"] == one.t_ns.size
    page = (tmp_path / "page" / "report.html").read_text()
    assert page.count("data:image/jpeg;base64,") >= 2


def test_kill_9_leaves_a_black_box(sim: SimProcess, robot: Process) -> None:
    robot.start_task()
    time.sleep(0.3)
    os.kill(robot.process.pid, signal.SIGKILL)
    robot.wait()
    (path,) = boxes(sim, 1)
    one = read.read(path)
    assert (one.trigger.state, one.trigger.cause) == ("KILLED", "the process was killed")
    assert one.header.states[one.state[-1]] == "RUN"
    names = [event.name for event in one.events if event.name != "tick late"]  # a busy machine's
    assert names[-1] == "RUN (task)"


def test_a_run_that_was_never_armed_leaves_nothing(sim: SimProcess, robot: Process) -> None:
    robot.until("DISARMED")
    os.kill(robot.process.pid, signal.SIGKILL)
    robot.wait()
    time.sleep(1.0)
    assert list((sim.directory / "black-box").iterdir()) == []
