"""What is tried to bring the robot down while it works: the safe action has to follow, and the service to come back."""

from __future__ import annotations

import time

from benchmarks.boot import hold_lock
from benchmarks.boot.results import Wrong, until
from benchmarks.boot.robot import SAFE, Robot
from edge_runtime.deploy import places

STARTS_S = 120.0
TOO_QUICK = "Start request repeated too quickly"
"""What systemd says where a start limit is reached."""


def restarts_what_hangs(robot: Robot) -> str:
    robot.work()
    limit = robot.service()["WatchdogUSec"]
    pid, since_ns = robot.kill("STOP")
    return f"watchdog of {limit}: {_comes_back(robot, pid, since_ns, 'watchdog')}"


def restarts_what_holds_the_lock(robot: Robot) -> str:
    robot.work()
    pid = int(robot.service()["MainPID"])
    since_ns = time.monotonic_ns()
    robot.box.sure("sh", "-c", f"echo hold > {hold_lock.ORDERS}")
    return _comes_back(robot, pid, since_ns, "signal", "ALRM")


def survives_kill_9(robot: Robot) -> str:
    robot.work()
    pid, since_ns = robot.kill("KILL")
    return _comes_back(robot, pid, since_ns, "signal", "KILL")


def _comes_back(robot: Robot, pid: int, since_ns: int, result: str, signal: str = "") -> str:
    """The safe action, then another process, DISARMED; systemd has to have called its end by that name."""
    safe_s = robot.safe_after_s(since_ns)
    ready_s = robot.restarted_s(pid, since_ns)
    end = _how_it_ended(robot, pid)
    seen = f"{end}; safe after {safe_s:.1f} s, READY again after {ready_s:.1f} s, {robot.state()}"
    if robot.state() != "DISARMED" or robot.torque != SAFE or f"'{result}'" not in end or signal not in end:
        raise Wrong(seen)
    return seen


def _how_it_ended(robot: Robot, pid: int) -> str:
    """systemd's own lines about the last end of the service."""
    command = ("journalctl", f"UNIT={places.SERVICE}", "_PID=1", "--output=cat", "--no-pager", "--lines=60")
    lines = robot.box.sure(*command).splitlines()
    exits = [line for line in lines if "Main process exited" in line]
    results = [line for line in lines if "Failed with result" in line]
    code = exits[-1].partition("Main process exited, ")[2] if exits else f"process {pid} without a word"
    return f"{code} {results[-1].partition('Failed with ')[2] if results else ''}".strip(" .")


def gives_up(robot: Robot) -> str:
    """Killed again and again as soon as it is there."""
    robot.work()
    killed: list[int] = []
    began_ns = time.monotonic_ns()

    def failed() -> bool:
        unit = robot.service()
        pid = int(unit["MainPID"])
        if pid and pid not in killed:
            killed.append(pid)
            robot.box.run("kill", "-KILL", str(pid))
        return unit["ActiveState"] == "failed"

    seconds = until(failed, STARTS_S, lambda: f"killed {len(killed)} times: {robot.last_words()}")
    safe_s = robot.safe_after_s(began_ns)
    robot.box.sure("journalctl", f"UNIT={places.SERVICE}", "--lines=5", f"--grep={TOO_QUICK}")
    return f'"{TOO_QUICK}" after {len(killed)} kills in {seconds:.0f} s; safe after {safe_s:.1f} s'


def comes_back_by_hand(robot: Robot) -> str:
    robot.begin_anew()
    robot.wait_for("DISARMED")
    return "systemctl reset-failed and start: DISARMED"
