"""`edge safe-stop robot.toml`: bring every motor to its declared safe action, whatever became of the loop.

A small program of its own that loads the configuration and the bus driver and nothing else: it has to work after the
robot's process was killed, and when its policy, its cameras or its memory are gone.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from drivers.errors import DriverError
from edge_runtime import config
from edge_runtime.devices import make_bus
from edge_runtime.errors import EdgeError

ATTEMPTS = 5
"""How often each bus is tried."""
ATTEMPT_NS = 1_000_000_000
PAUSE_S = 0.2
"""Between two attempts: a port that has just lost its process may stay busy for a moment."""


def main(arguments: Sequence[str]) -> int:
    """Exit code 0 where every motor of every bus has confirmed; 2 and a line about each bus where one has not."""
    if len(arguments) != 1:
        print("usage: edge safe-stop robot.toml", file=sys.stderr)
        return 2
    try:
        robot = config.load(arguments[0], calibrated=False)  # no angle matters to it
    except EdgeError as error:
        print(f"edge: {error}", file=sys.stderr)
        return 2
    safe = [_make_safe(bus) for bus in robot.buses]  # all of them, whatever one says
    return 0 if all(safe) else 2


def _make_safe(settings: config.Bus) -> bool:
    error: Exception = DriverError(f"bus {settings.name}: never tried")
    for attempt in range(ATTEMPTS):
        time.sleep(PAUSE_S if attempt else 0.0)
        try:
            bus = make_bus(settings)
            try:
                bus.safe_action(time.monotonic_ns() + ATTEMPT_NS)
            finally:
                bus.disconnect()
        except Exception as failure:  # noqa: BLE001  a bug in one driver must not keep the next arm from its safe action
            error = failure
            continue
        actions = ", ".join(f"{joint.name} {joint.safe}" for joint in settings.joints)
        print(f"bus {settings.name}: safe: {actions}")
        return True
    why = str(error) if isinstance(error, (DriverError, EdgeError)) else f"{type(error).__name__}: {error}"
    print(f"edge: bus {settings.name}: NOT SAFE after {ATTEMPTS} attempts: {why}", file=sys.stderr)
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
