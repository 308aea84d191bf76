"""A program for `test_app.py`: the real process around fake devices, which write down what they were told.

`python -m tests.edge_runtime.run_fake FOLDER [SECONDS|-] [FAULT]`: socket, `bus.log`, `record.json` are in FOLDER.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import msgspec
import numpy as np

from drivers.cameras.base import Stamp
from drivers.errors import Timeout
from drivers.estops.base import Estop, EstopSettings
from drivers.motors.base import BusSettings, Floats
from edge_runtime import app, config
from edge_runtime.clock import MonotonicClock
from edge_runtime.config import Robot
from edge_runtime.devices import bus_settings, camera_settings
from tests.edge_runtime.fakes import FakeBus, FakeCamera, FakePolicy, robot, spec

ABSENT = "absent"
"""Fault of a bus that answers once there is a file `power`."""
BAD = {"spin": "a control thread that never comes back", "raise": "a bug on the control path"}


class LoggedBus(FakeBus):
    """Writes each call but those of the cycle to `bus.log`, and each setpoint to `setpoints.bin`."""

    def __init__(self, settings: BusSettings, folder: Path, fault: str) -> None:
        super().__init__(settings, MonotonicClock())
        self._power = folder / "power" if fault == ABSENT else None
        self._log = (folder / "bus.log").open("w", buffering=1)
        self._setpoints = (folder / "setpoints.bin").open("wb", buffering=0)
        self._fault = fault if fault in BAD else ""

    def _call(self, name: str, deadline_ns: int) -> None:
        if name not in ("read_state", "read_health", "write_setpoints", "identify"):
            self._log.write(f"{name}\n")
        if name == "connect" and self._power is not None and not self._power.exists():
            raise Timeout(f"bus {self.settings.name}: nobody answers")
        if name == "write_setpoints" and self._fault and len(self.writes) > 100:
            if self._fault == "raise":
                raise ZeroDivisionError(BAD["raise"])
            while True:
                pass

    def write_setpoints(self, position_rad: Floats, deadline_ns: int) -> None:
        super().write_setpoints(position_rad, deadline_ns)
        self._setpoints.write(position_rad.tobytes())


class FileEstop(Estop):
    """Pressed while there is a file of that name."""

    def __init__(self, path: Path) -> None:
        super().__init__(EstopSettings("button", str(path), "file"))

    def open(self) -> None: ...

    def read(self, timeout_s: float) -> bool:
        time.sleep(min(timeout_s, 0.01))
        return Path(self.settings.device).exists()

    def close(self) -> None: ...


class PacedCamera(FakeCamera):
    """A frame every 20 ms, stamped with the present."""

    def read_into(self, frame: np.ndarray, timeout_s: float) -> Stamp:
        time.sleep(0.02)
        stamp = super().read_into(frame, timeout_s)
        return Stamp(stamp.frame_id, time.monotonic_ns(), "dequeue")


def configured(folder: Path) -> Robot:
    """With deadlines that a busy machine keeps: these tests are about signals, sockets and exit codes."""
    patience = dict.fromkeys(("frame_age_ms", "inference_ms", "chunk_age_ms", "stuck_ms"), 2_000.0)
    made = robot(folder, deadlines=patience)
    if (folder / "autostart").exists():
        policy = msgspec.structs.replace(made.policy, autostart=True, instruction="begin at once")
        made = msgspec.structs.replace(made, policy=policy)
    control = msgspec.structs.replace(made.control, socket=str(folder / "control.sock"))
    return msgspec.structs.replace(made, control=control)


def main(folder: Path, seconds: float | None, fault: str) -> None:
    """With a robot.toml in `folder`, the devices that it names; only policy and e-stop are fake ones then.

    The e-stop is pressed while there is a file `pressed`. Where there is a folder `recording`, the run is recorded.
    """
    estops = [FileEstop(folder / "pressed")]
    record_to = folder / "recording" if (folder / "recording").exists() else None
    if (folder / "robot.toml").exists():
        settings = config.load(folder / "robot.toml")
        policy = FakePolicy(spec(settings.joint_names), step=0.005)
        record = app.run_robot(settings, seconds=seconds, policy=policy, estops=estops, record_to=record_to)
    else:
        settings = configured(folder)
        record = app.run_robot(
            settings,
            seconds=seconds,
            policy=FakePolicy(msgspec.structs.replace(spec(settings.joint_names), dt_s=0.2), step=0.08),
            cameras=[PacedCamera(camera_settings(c), lambda n: n) for c in settings.cameras],
            buses=[LoggedBus(bus_settings(settings.buses[0]), folder, fault)],
            estops=estops,
        )
    told = {
        "ticks": record.ticks,
        "kept": len(record.t_ns),
        "chunks": record.chunks,
        "inferences": len(record.inference_ns),
        "episodes": record.episodes,
        "successes": record.successes,
        "states": record.state_seconds,
        "events": [f"{event.name}: {event.cause}" for event in record.events],
        "machine": record.machine,
        "counters": record.counters,
        "sensor_age_ms": [int(age) / 1e6 for age in record.sensor_age_ns if age >= 0],
    }
    (folder / "record.json").write_text(json.dumps(told))


if __name__ == "__main__":
    place, limit, planned = sys.argv[1:] + ["-", ""][len(sys.argv) - 2 :]
    main(Path(place), None if limit == "-" else float(limit), planned)
