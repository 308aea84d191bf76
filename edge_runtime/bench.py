"""`edge bench`: the loop under measurement, beside the floor that the same machine shows a C program.

The floor is measured half before and half after the loop, with the same load and the simulator at work as during it, at
the loop's period and priority. Beside the loop it could not be: two threads of one priority would wait for each other.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import threading
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from edge_runtime import app, config_check, floor, plugins, report_files
from edge_runtime.bundle import open_bundle
from edge_runtime.config import Robot
from edge_runtime.doctor import power
from edge_runtime.doctor.host import Host
from edge_runtime.errors import EdgeError
from edge_runtime.floor import Floor
from edge_runtime.link import Request
from edge_runtime.load import load
from edge_runtime.loop import cycle_ns
from edge_runtime.page_faults import WARM_S, Watch
from edge_runtime.record import RunRecord
from edge_runtime.report import summary
from edge_runtime.session import Session
from edge_runtime.states import PARK, READY

BUNDLE = Path("runs/demo/bundle")
CHECKPOINT = Path(__file__).resolve().parents[1] / "benchmarks" / "demo" / "checkpoint"
FLOOR_S = 15.0
"""Longest half of the floor, so that all of a short bench lies in the same minute."""
SEED = 1
POLL_S = 0.05
"""Between two questions to the simulator's judge."""
LATE_NS = 500_000
"""A wake-up that is worth a word."""
NOBODYS = -2
"""Number of a request whose chunks no motion takes: those of tasks count from 1."""

Say = Callable[[str], None]


def bench_sim(
    rate_hz: float, seconds: float, bundle: Path | None, folder: Path | None, say: Say, kind: str | None = None
) -> dict[str, Any]:
    """Run the loop on the simulated arm, task after task, beside a load of this `kind` (`load.KINDS`), and the floor.

    Returns the report; files go to `folder`. `say` is told, a line at a time, what begins and what could not be done.
    Raises `EdgeError` and `DriverError`.
    """
    policy = _bundle(bundle, say)
    process = plugins.require("drivers.sim.process")
    with tempfile.TemporaryDirectory(prefix="edge-bench-") as place, process.SimProcess(Path(place), SEED) as sim:
        robot = simulated(Path(place), policy, rate_hz)
        return _measure(robot, seconds, partial(keep_busy, sim.ask), folder, say, kind)


def bench_robot(
    robot: Robot, rate_hz: float | None, seconds: float, folder: Path | None, say: Say, kind: str | None = None
) -> dict[str, Any]:
    """The same on a robot as it stands: motors are read and never written, torque stays as found.

    Cameras and inference work as during a task, on what they see; the chunks go nowhere, so that nothing is known of
    the age of what reaches a motor. It is DISARMED all the time, unless a person arms it.
    """
    change = msgspec.structs.replace
    robot = change(robot, policy=change(robot.policy, autostart=False))
    if rate_hz is not None:
        robot = change(robot, control=change(robot.control, rate_hz=rate_hz))
    return _measure(robot, seconds, infer_for_nobody, folder, say, kind)


def keep_busy(ask: Callable[..., dict[str, Any]], session: Session, over: threading.Event) -> None:
    """One table of cups after another, the first cup of each to be lifted; the judge says when that is done.

    `ask` is the judge. Returns when the loop is `over`. A faulted arm is left as it is: the report shows it.
    """
    for seed in itertools.count(SEED):
        while session.loop.director.mode not in (READY, PARK):
            if over.wait(POLL_S):
                return
        cup = ask(cmd="lay", seed=seed)["cups"][0]
        _tell(session, over, {"cmd": "task", "instruction": cup["instruction"]})
        while not over.wait(POLL_S) and session.loop.director.prompt is not None:
            if ask(cmd="state")["cups"][0]["success"]:
                _tell(session, over, {"cmd": "done"})
                break
        if over.is_set():
            return


def infer_for_nobody(session: Session, over: threading.Event) -> None:
    """One inference after another until the loop is `over`, of what the robot sees."""
    prompt = session.policy.prompt(session.robot.policy.instruction or session.robot.name)
    session.link.request = Request(NOBODYS, prompt)
    over.wait()


def _tell(session: Session, over: threading.Event, request: dict[str, Any]) -> None:
    """A command as a client of the control socket gives it, until it is answered or the loop is `over`."""
    waiting = session.handle(request)
    while waiting() is None and not over.wait(POLL_S):
        pass


def _measure(
    robot: Robot, seconds: float, beside: app.Companion, folder: Path | None, say: Say, kind: str | None
) -> dict[str, Any]:
    """Half of the floor, the loop, the other half: the report, and what the machine was like meanwhile."""
    half_s, watches = min(seconds / 2, FLOOR_S), list[Watch]()

    def watched(session: Session, over: threading.Event) -> None:
        watches.append(Watch(over, min(WARM_S, seconds / 2)))
        watches[0].start()
        beside(session, over)
        watches[0].join()

    machine = [_machine()]
    with load(kind) if kind is not None else nullcontext():
        before = _floor(robot, half_s, say)
        say(f"the loop at {robot.control.rate_hz:g} Hz for {seconds:g} s{f' beside busy {kind}' if kind else ''}")
        record = app.run_robot(robot, seconds=seconds, beside=watched)
        machine.append(_machine())
        after = _floor(robot, half_s, say) if before is not None else None
    under = before + after if before is not None and after is not None else None
    faults = watches[0].counted if watches else None
    more = {
        "load": kind,
        "late": _late(robot, record),
        "floor_missed": None if under is None else under.late_by(round(1e6 / robot.control.rate_hz)),
        "page_faults": faults and faults._asdict(),
        "power": dict(zip(("before", "after"), machine, strict=True)),
    }
    if folder is None:
        return {**summary(record, under), **more}
    written = report_files.write(record, folder, under, more)
    say(f"{written.json_file}\n{written.html_file}")
    return written.report


def _late(robot: Robot, record: RunRecord) -> dict[str, int]:
    """How many ticks woke `LATE_NS` late or more, and how many of those because the serial cycle before took too long.

    It is to be over at its deadline whatever the motors do: where it was not, the kernel kept the thread at the port.
    """
    late = record.lateness_ns[1:] >= LATE_NS
    overran = record.serial_ns[:-1] >= cycle_ns(robot) + LATE_NS
    return {"ticks": int(late.sum()), "after_serial": int((late & overran).sum())}


def _machine() -> dict[str, str]:
    """Power mode, clocks and temperature, as far as this machine says them."""
    host = Host()
    checks = [*power.check(host), power.frequency(host)]
    return {check.name: check.found for check in checks if check.level != "unknown"}


def _floor(robot: Robot, seconds: float, say: Say) -> Floor | None:
    control = robot.control
    say(f"cyclictest's floor for {seconds:g} s")
    try:
        return floor.measure(round(1e6 / control.rate_hz), control.priority, seconds, control.cpu)
    except EdgeError as error:
        say(str(error))
        return None


def simulated(place: Path, bundle: Path, rate_hz: float) -> Robot:
    """The simulated robot that is served in `place`, armed at once."""
    text = resources.files("drivers.sim").joinpath("robot.toml").read_bytes()
    robot = config_check.parse(text, place)
    change = msgspec.structs.replace
    return change(
        robot,
        policy=change(robot.policy, bundle=str(bundle.absolute()), autostart=True),
        control=change(robot.control, rate_hz=rate_hz),
    )


def _bundle(named: Path | None, say: Say) -> Path:
    """The bundle to run: the one that was named, the demo's, or one made of the demo's checkpoint now.

    Raises `EdgeError`, before anything is measured, where it is none.
    """
    if named is not None:
        return open_bundle(named).path
    if not (BUNDLE / "manifest.json").is_file():
        if not CHECKPOINT.is_dir() or not os.access(Path(), os.W_OK):
            raise EdgeError(f"{BUNDLE}: no such bundle: make demo makes it, or name one with --bundle")
        say(f"export of {CHECKPOINT} to {BUNDLE}")
        exporter = plugins.require("export.cli")
        exporter.run(CHECKPOINT, BUNDLE, exporter.Options())
    return BUNDLE
