"""`edge bench --sim`: the loop on the simulated robot, beside the floor that the same machine shows a C program.

The floor is measured half before and half after the loop, with the simulator at work as during it, at the loop's period
and priority. Beside the loop it could not be: two threads of one priority would wait for each other.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import threading
from collections.abc import Callable
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from edge_runtime import app, config_check, floor, plugins, report_files
from edge_runtime.config import Robot
from edge_runtime.errors import EdgeError
from edge_runtime.floor import Floor
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

Say = Callable[[str], None]


def bench_sim(rate_hz: float, seconds: float, bundle: Path | None, folder: Path | None, say: Say) -> dict[str, Any]:
    """Run the loop for `seconds`, task after task, and measure the floor. Returns the report; files go to `folder`.

    `say` is told, a line at a time, what begins and what could not be done. Raises `EdgeError` and `DriverError`.
    """
    policy = _bundle(bundle, say)
    process = plugins.require("drivers.sim.process")
    with tempfile.TemporaryDirectory(prefix="edge-bench-") as place, process.SimProcess(Path(place), SEED) as sim:
        robot = _robot(Path(place), policy, rate_hz)
        half_s = min(seconds / 2, FLOOR_S)
        before = _floor(robot, half_s, say)
        say(f"the loop at {rate_hz:g} Hz for {seconds:g} s")
        record = app.run_robot(robot, seconds=seconds, beside=partial(keep_busy, sim.ask))
        after = _floor(robot, half_s, say) if before is not None else None
    under = before + after if before is not None and after is not None else None
    if folder is None:
        return summary(record, under)
    written = report_files.write(record, folder, under)
    say(f"{written.json_file}\n{written.html_file}")
    return written.report


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


def _tell(session: Session, over: threading.Event, request: dict[str, Any]) -> None:
    """A command as a client of the control socket gives it, until it is answered or the loop is `over`."""
    waiting = session.handle(request)
    while waiting() is None and not over.wait(POLL_S):
        pass


def _floor(robot: Robot, seconds: float, say: Say) -> Floor | None:
    control = robot.control
    say(f"cyclictest's floor for {seconds:g} s")
    try:
        return floor.measure(round(1e6 / control.rate_hz), control.priority, seconds, control.cpu)
    except EdgeError as error:
        say(str(error))
        return None


def _robot(place: Path, bundle: Path, rate_hz: float) -> Robot:
    """The simulated robot, armed at once."""
    text = resources.files("drivers.sim").joinpath("robot.toml").read_bytes()
    robot = config_check.parse(text, place)
    change = msgspec.structs.replace
    return change(
        robot,
        policy=change(robot.policy, bundle=str(bundle.absolute()), autostart=True),
        control=change(robot.control, rate_hz=rate_hz),
    )


def _bundle(named: Path | None, say: Say) -> Path:
    """The bundle to run: the one that was named, the demo's, or one made of the demo's checkpoint now."""
    if named is not None:
        return named
    if not (BUNDLE / "manifest.json").is_file():
        if not CHECKPOINT.is_dir() or not os.access(Path(), os.W_OK):
            raise EdgeError(f"{BUNDLE}: no such bundle: make demo makes it, or name one with --bundle")
        say(f"export of {CHECKPOINT} to {BUNDLE}")
        plugins.require("export.cli").run(CHECKPOINT, BUNDLE)
    return BUNDLE
