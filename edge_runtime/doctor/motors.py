"""The motors: who answers, how they are, and how long an answer takes. Torque is never touched.

Like every start of the robot this opens the port and reads; what `connect` sets up in a servo it sets up here too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from drivers.errors import DriverError, Overload
from drivers.motors.base import Identity, MotorBus
from edge_runtime import config
from edge_runtime.buses import ACTION_NS
from edge_runtime.calibration_files import bus_file
from edge_runtime.config import Robot
from edge_runtime.devices import make_bus
from edge_runtime.doctor import calibration
from edge_runtime.doctor.check import Check
from edge_runtime.errors import EdgeError
from edge_runtime.loop import CYCLE_SHARE

READS = 200
"""How often the motors are asked for their state to see how long that takes."""
WARM_C = 60.0
"""Feetech's STS3215 switches off at 70 °C as delivered, Robotis' X series at 70 to 80 °C."""


def check(robot: Robot, bus: config.Bus) -> Iterator[Check]:
    """One bus of the robot."""

    def more(driver: MotorBus) -> Iterator[Check]:
        if robot.calibration and bus_file(Path(robot.calibration), bus.name).exists():
            yield calibration.motors(robot, driver, _soon_ns())
        yield answer_time(driver, share_ms(robot))

    return ask(bus.name, lambda: make_bus(bus), more)


def ask(
    name: str, make: Callable[[], MotorBus], more: Callable[[MotorBus], Iterable[Check]] = lambda _bus: ()
) -> Iterator[Check]:
    """Connect to a bus, ask each of its motors, then whatever `more` asks, and leave it as it was."""
    try:
        driver = make()
        driver.connect(_soon_ns())
    except (DriverError, EdgeError) as error:
        yield Check(f"motors {name}", "bad", str(error))
        return
    try:
        yield from (Check(f"motors {name}", "warn", note) for note in driver.notes)
        yield from present(driver)
        yield from more(driver)
    except DriverError as error:
        yield Check(f"motors {name}", "bad", str(error))
    finally:
        driver.disconnect()


def present(bus: MotorBus) -> Iterator[Check]:
    """A line for each motor: model, firmware, voltage, temperature, and the fault that it reports."""
    for index, motor in enumerate(bus.settings.motors):
        name, fault = f"{motor.name} (id {motor.id})", ""
        who = bus.identify(index, _soon_ns())
        try:
            bus.read_health(index, _soon_ns())
        except Overload as error:
            fault = str(error)
        state = bus.state
        found = f"{_who(who)}, {_measured(state.voltage_v[index], 'V')}, {_measured(state.temperature_c[index], '°C')}"
        if fault:
            yield Check(name, "bad", fault)
        elif state.temperature_c[index] >= WARM_C:
            yield Check(name, "warn", found, "let it rest: it switches off not far from here")
        else:
            yield Check(name, "ok", found)


def share_ms(robot: Robot) -> float:
    """What the control loop leaves one bus for its read (`Buses`): a cycle is a write and a read of every bus."""
    cycle_ms = min(robot.deadlines.serial_ms, CYCLE_SHARE * 1e3 / robot.control.rate_hz)
    return cycle_ms / (2 * len(robot.buses))


def answer_time(bus: MotorBus, most_ms: float) -> Check:
    """How long a read of all motors takes, and how much of it is the line: the rest is adapter and machine."""
    name = f"answers {bus.settings.name}"
    times_ms = []
    for _ in range(READS):
        began = time.monotonic_ns()
        bus.read_state(began + ACTION_NS)
        times_ms.append((time.monotonic_ns() - began) * 1e-6)
    p50, p99 = np.percentile(times_ms, [50, 99])
    line_ms = min(bus.read_wire_s * 1e3, p50)  # the driver's figure is the longest that the line may take
    line = f", at most {line_ms:.2f} ms of it the line" if line_ms else ""
    found = f"{len(bus.settings.motors)} motors read in {p50:.2f} ms{line}; p99 {p99:.2f} ms, {most_ms:g} ms allowed"
    remedy = "see the adapter above; a faster line, or a higher deadlines.serial_ms"
    if p50 > most_ms:
        return Check(name, "bad", found, remedy)
    return Check(name, "warn", found, remedy) if p99 > most_ms else Check(name, "ok", found)


def _who(motor: Identity) -> str:
    return f"{motor.model}, firmware {motor.firmware}" if motor.firmware else motor.model


def _measured(value: float, unit: str) -> str:
    """Zero is what a driver leaves where its motors do not say."""
    return f"{value:.1f} {unit}" if value else f"no {unit}"


def _soon_ns() -> int:
    return time.monotonic_ns() + ACTION_NS
