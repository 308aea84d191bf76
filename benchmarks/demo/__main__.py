"""`make demo`: the main job. Checkpoint → verified bundle → simulated robot → several instructions → report."""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.demo.bundle import demo_bundle
from benchmarks.demo.process import RobotProcess
from drivers.errors import DriverError
from drivers.sim.process import SimProcess
from edge_runtime.bundle import open_bundle
from edge_runtime.errors import EdgeError

OUT = Path("runs/demo")
START_S, MOVE_S, STOP_S, POLL_S = 30.0, 15.0, 15.0, 0.05


@dataclass(frozen=True)
class Task:
    """One table of cups and the cup that is asked for; with `change_s`, the next one is asked for after that time."""

    seed: int
    cup: int
    change_s: float = 0.0


TASKS = (Task(9001, 0), Task(9002, 1), Task(9003, 0, change_s=1.5), Task(9004, 1), Task(9005, 0))
"""Tables that the policy has not seen. They are numbered in a row, not chosen."""
NEEDED = 4
"""Tasks that must succeed for the demo to pass."""


def main() -> int:
    """Run the demo. Exit code 0: passed; 1: it ran and failed; 2: something has to be mended first."""
    console = Console(highlight=False)
    try:
        return demo(console)
    except (EdgeError, DriverError) as error:
        console.print(f"demo: {error}", style="red", markup=False, soft_wrap=True)
        return 2


def demo(console: Console) -> int:
    """Everything in order, told on `console`."""
    began = time.monotonic()
    console.print("[bold]1/4[/] demo checkpoint → verified policy bundle")
    made = demo_bundle(OUT / "bundle", Stages(console))
    manifest = open_bundle(made).manifest
    console.print(f"    {made}: {len(manifest.files)} files as sealed; against PyTorch: {manifest.verdict}")
    for name in ("robot.toml", "arm.urdf"):
        (OUT / name).write_bytes(resources.files("drivers.sim").joinpath(name).read_bytes())
    console.print("[bold]2/4[/] simulated robot and runtime, each a process of its own")
    with ExitStack() as stack:
        simulator = stack.enter_context(SimProcess(OUT))
        robot = stack.enter_context(RobotProcess(OUT / "robot.toml", OUT))
        robot.wait_for("DISARMED", START_S)
        console.print("    edge arm → torque on where the arm stands, then to the start pose")
        robot.say("arm")
        robot.wait_for("READY", MOVE_S)
        console.print(f"[bold]3/4[/] {len(TASKS)} instructions in real time")
        successes = sum(perform(console, robot, simulator, task) for task in TASKS)
        console.print("[bold]4/4[/] SIGTERM → the arm stops, the report is written")
        robot.end(STOP_S)
    return verdict(console, successes, time.monotonic() - began)


class Stages:
    """A line for each stage of the export as it begins."""

    def __init__(self, console: Console) -> None:
        self._console, self._last = console, ""

    def __call__(self, stage: str, part: float) -> None:
        if stage != self._last:
            self._console.print(f"    {part:4.0%} {stage}")
            self._last = stage


def perform(console: Console, robot: RobotProcess, simulator: SimProcess, task: Task) -> bool:
    """One task from instruction to park pose. The simulator's judge gives the success signal, as a sensor would."""
    cups = simulator.ask(cmd="lay", seed=task.seed)["cups"]
    wanted = cups[task.cup]
    robot.say("task", instruction=wanted["instruction"])
    said, began, changed = [wanted["instruction"]], time.monotonic(), not task.change_s
    with Progress(
        TextColumn("    {task.description}"), BarColumn(20), TimeElapsedColumn(), console=console, transient=True,
        disable=not console.is_terminal,
    ) as bar:  # fmt: skip
        bar.add_task(said[-1], total=None)
        running = False
        while True:
            time.sleep(POLL_S)
            status = robot.say("status")
            running = running or status["phase"] == "task"
            if running and not changed and time.monotonic() - began >= task.change_s:
                wanted, changed = cups[(task.cup + 1) % len(cups)], True
                robot.say("task", instruction=wanted["instruction"])
                said.append(wanted["instruction"])
            held = simulator.ask(cmd="state")["cups"]
            success = any(cup["success"] for cup in held if cup["colour"] == wanted["colour"])
            if success or (running and status["phase"] != "task"):
                break
    seconds = time.monotonic() - began
    if success:
        robot.say("done")
    words = " → ".join(f'"{instruction}"' for instruction in said)
    mark = f"[green]done[/] in {seconds:4.1f} s" if success else f"[red]not done[/] ({robot.say('status')['state']})"
    console.print(f"    {words}: {mark}")
    robot.wait_for("READY", MOVE_S)
    return bool(success)


def verdict(console: Console, successes: int, seconds: float) -> int:
    """Print what the report says and whether the demo passed."""
    report: dict[str, Any] = json.loads((OUT / "report.json").read_text())
    faults = report["faults"]["holds"] + (report["faults"]["safe_s"] > 0)
    passed = successes >= NEEDED and not faults
    control, age = report["control"], report["sensor_to_motor_ms"]
    console.print(
        f"\n    tasks            {successes} of {len(TASKS)}"
        f"\n    control ticks    {control['ticks']} at {control['rate_hz']:g} Hz, {control['missed']} missed"
        f"\n    tick lateness    p50 {control['lateness_us']['p50']:.0f} µs, p99 {control['lateness_us']['p99']:.0f} µs"
        f"\n    sensor to motor  p50 {age['p50']:.0f} ms, p99 {age['p99']:.0f} ms"
        f"\n    inference        p50 {report['inference_ms']['p50']:.0f} ms, p99 {report['inference_ms']['p99']:.0f} ms"
        f"\n    faults           {faults}\n"
    )
    for name in ("report.json", "report.html"):
        console.print(f"    {OUT / name}")
    word = "[bold green]PASS[/]" if passed else "[bold red]FAIL[/]"
    tasks = f"{successes} of {len(TASKS)} tasks ({NEEDED} needed)"
    console.print(f"\n{word}: {tasks}, {faults} faults, {seconds:.0f} s")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
