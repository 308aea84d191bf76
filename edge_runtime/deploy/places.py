"""Where everything is on a robot that the package was installed on, and on one that is still a folder."""

from __future__ import annotations

from pathlib import Path

PREFIX = Path("/opt/edge-runtime")
"""The runtime: a virtual environment whose every file dpkg owns. Nobody writes there."""
PYTHON = PREFIX / "bin/python"
EDGE = PREFIX / "bin/edge"
FACTORY = PREFIX / "bundle"
"""The bundle that came in the package, adopted where the robot has none yet."""
PACKAGED_CALIBRATION = PREFIX / "calibration"
"""The calibration that came in the package: what the robot has not measured itself is as there."""

CONFIG = Path("/etc/edge-runtime")
ROBOT = CONFIG / "robot.toml"
TRUST = CONFIG / "trust.pem"
"""Certificate whose key signs bundles and system updates for this robot."""

STATE = Path("/var/lib/edge-runtime")
"""What outlives a system update; a partition of its own where there are two system slots."""
BUNDLES = STATE / "bundles"
CURRENT = BUNDLES / "current"
"""Link to the bundle that runs: what robot.toml of a robot names."""
CALIBRATION = STATE / "calibration"
BLACK_BOX = STATE / "black-box"
REPORTS = STATE / "reports"
WRITTEN = (STATE, BUNDLES, CALIBRATION, BLACK_BOX, REPORTS)
"""The folders that the service writes."""
LATCH = STATE / "last-run"
"""How the last run ended, where it did not end as it was asked to: no autostart then."""

RUN = Path("/run/edge-runtime")
SOCKET = RUN / "control.sock"
HEALTHY = RUN / "healthy.json"
"""There once the service has proved itself after a start: `HEALTHY_TICKS` in time, accuracy and latency as asked."""
HEALTHY_TICKS = 1000
"""In a row. At 100 Hz it takes 10 s to prove itself: long enough for a leak of time to show, and for every motor's
health to have been read."""

USER = "edge"
"""The service's user; members of the group of that name may command the robot and deploy bundles to it."""
SERVICE = "edge-runtime.service"

SYSTEMD = Path("/usr/lib/systemd")
UNITS = SYSTEMD / "system"


def under(root: Path, place: Path) -> Path:
    """Where the robot's file "/…" is: below `root`, which is "/" on the robot itself."""
    return root / place.relative_to("/")
