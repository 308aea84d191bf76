"""How long the service manager waits for the service, from what its robot may take.

All in whole seconds, rounded up.
"""

from __future__ import annotations

import math

from edge_runtime import buses, safe_stop
from edge_runtime.black_box import box
from edge_runtime.config import Robot
from edge_runtime.deploy.service.notify import SHARE
from edge_runtime.stopping import TICKS, longest_stops
from edge_runtime.torque import longest_call_s

START_S = 300
"""From start to READY. A bundle of 15 GB that is hashed and loaded at 100 MB/s takes all of it; whoever compiles or
copies meanwhile asks for more (EXTEND_TIMEOUT_USEC)."""
RESTART_S = 2
STARTS, START_LIMIT_S = 5, 6 * 3600
"""Five failures within six hours, however slow the starts, and it stays down, with the safe action done. An end that
was asked for is none, and those before it are forgotten (unit.py)."""
APART_S = 10.0
"""Ending threads, cameras and hand; the inference in flight and the black box have limits of their own."""
PYTHON_S = 5.0
"""Until a Python that starts on a busy machine has read robot.toml."""


def watchdog_s(robot: Robot) -> int:
    """Longest silence of a control thread that is well: it spoke up, just before it would again comes its longest call,
    and after that a tick as late as it may ever be."""
    silent_s = longest_call_s(len(robot.buses)) + robot.deadlines.stuck_ms / 1e3
    return math.ceil(silent_s / (1.0 - 1.0 / SHARE))


def stop_s(robot: Robot) -> int:
    """The longer of: the service's own end (the call in progress, the stop, the safe action, the inference in flight,
    everything put away), and `edge safe-stop` after it. systemd gives each of the two this time (systemd.service(5),
    TimeoutStopSec=)."""
    lines = len(robot.buses)
    stop = max(stop.duration_s for stop in longest_stops(robot)) + TICKS / robot.control.rate_hz
    action = buses.ATTEMPTS * buses.ACTION_NS / 1e9 * lines
    inference = robot.deadlines.hung_ms / 1e3
    own = longest_call_s(lines) + stop + action + inference + APART_S + box.JOIN_S
    after = PYTHON_S + safe_stop.ATTEMPTS * (safe_stop.ATTEMPT_NS / 1e9 + safe_stop.PAUSE_S) * lines
    return math.ceil(max(own, after))
