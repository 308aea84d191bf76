"""What is tried on a robot that boots and works, one function a row: each answers what it saw, or raises `Wrong`."""

from __future__ import annotations

import json
import re
import time

from benchmarks.boot.installed import may_raise_limits
from benchmarks.boot.results import Wrong, until
from benchmarks.boot.robot import OPERATOR, STRANGER, Robot
from edge_runtime.deploy import places

EXPOSURE = 3.0
"""Highest score of `systemd-analyze security` that the unit may have; 10 is the worst."""
TABLES = (9001, 9002, 9003, 9004, 9005)
"""Seeds of the simulator's tables, those of `make demo`; one success is enough here."""
TASK_S = 25.0
PROOF_S = 40.0
"""A thousand ticks in time, in a row, on a shared machine."""


def boots(robot: Robot) -> str:
    robot.wait_ready()
    unit = robot.service()
    ready_s = int(unit["ActiveEnterTimestampMonotonic"]) / 1e6
    began_s = int(unit["ExecMainStartTimestampMonotonic"]) / 1e6
    if unit["NRestarts"] != "0":
        raise Wrong(f"READY only after {unit['NRestarts']} restarts")
    return f"READY {ready_s - robot.box.began_s:.1f} s after power-on, {ready_s - began_s:.1f} s after its start"


def waits_disarmed(robot: Robot) -> str:
    time.sleep(1.0)
    rows, state = robot.rows(), robot.state()
    told, powered = int(rows["told"].sum()), bool(rows["torque_on"].any())
    seen = f"{state}, goals told {told}, torque {'was on' if powered else 'never on'}"
    if state != "DISARMED" or told or powered:
        raise Wrong(seen)
    return seen


def is_hardened(robot: Robot) -> str:
    said = robot.box.sure("systemd-analyze", "security", "--no-pager", places.SERVICE)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
    if found is None or float(found[1]) > EXPOSURE:
        raise Wrong(said.splitlines()[-1])
    return f"exposure {found[1]}"


def is_real_time(robot: Robot) -> str:
    said = robot.box.sure("journalctl", "--unit", places.SERVICE, "--output=cat", "--no-pager", "--grep=^real time:")
    got = said.splitlines()[-1].removeprefix("real time: ")
    if "SCHED_FIFO" not in got or ("without" in got and may_raise_limits()):
        raise Wrong(got)
    return got if may_raise_limits() else f"{got} (this host lets no container raise limits)"


def keeps_the_journal_small(robot: Robot) -> str:
    asked = robot.box.sure("systemd-analyze", "cat-config", "systemd/journald.conf", "--no-pager")
    said = robot.box.sure("journalctl", "--identifier=systemd-journald", "--output=cat", "--no-pager")
    limits = re.findall(r"^System Journal \(\S+\) is \S+, max ([0-9]+)\S*M,", said, re.MULTILINE)
    wanted = re.findall(r"^SystemMaxUse=([0-9]+)M", asked, re.MULTILINE)
    if not limits or limits[-1] != wanted[-1]:
        raise Wrong(f"asked for {wanted}, in force {limits}")
    return f"SystemMaxUse={wanted[-1]}M, and journald says so"


def refuses_a_stranger(robot: Robot) -> str:
    done = robot.edge("arm", user=STRANGER)
    state = robot.state()
    if done.code != 2 or state != "DISARMED":
        raise Wrong(f"exit code {done.code}, {state}: {done.output}")
    return done.output


def arms(robot: Robot) -> str:
    robot.say("arm")
    seconds = robot.wait_for("READY")
    if not all(robot.torque):
        raise Wrong(f"READY, torque {robot.torque}")
    return f"armed by {OPERATOR}, at the start pose {seconds:.1f} s later"


def does_a_task(robot: Robot) -> str:
    tried = []
    for seed in TABLES:
        cup = robot.judge(cmd="lay", seed=seed)["cups"][0]
        tried.append(cup["instruction"])
        robot.work(cup["instruction"])
        began_s = time.monotonic()
        if _succeeds(robot, cup["colour"]):
            robot.say("done")
            robot.wait_for("READY")
            return f'"{cup["instruction"]}" in {time.monotonic() - began_s:.1f} s, try {len(tried)}'
    raise Wrong(f"none of {len(tried)} succeeded: {robot.state()}: {'; '.join(tried)}")


def _succeeds(robot: Robot, colour: str) -> bool:
    end_s = time.monotonic() + TASK_S
    while time.monotonic() < end_s:
        if any(cup["success"] for cup in robot.judge(cmd="state")["cups"] if cup["colour"] == colour):
            return True
        if "task" not in robot.state():
            return False
        time.sleep(0.1)
    return False


def proves_itself(robot: Robot) -> str:
    robot.begin_anew()
    healthy, reports = robot.box.path(places.HEALTHY), robot.box.path(places.REPORTS)
    until(healthy.exists, PROOF_S, lambda: f"no {places.HEALTHY}: {robot.last_words()}")
    told = json.loads(healthy.read_text(encoding="utf-8"))
    written = sorted(path.name for path in reports.rglob("*") if path.is_file())
    if not told["healthy"] or not {"report.json", "report.html"} <= set(written):
        raise Wrong(f"healthy {told['healthy']}, reports {written}")
    lateness = told["lateness_us"]
    return (
        f"{told['ticks']} ticks, {told['missed']} missed, lateness p50 {lateness['p50']:.0f} µs, "
        f"p99 {lateness['p99']:.0f} µs; {', '.join(written)}"
    )
