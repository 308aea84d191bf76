"""Where everything is on a robot that the package was installed on."""

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

RUN = Path("/run/edge-runtime")
SOCKET = RUN / "control.sock"
HEALTHY = RUN / "healthy.json"
"""There once the service has proved itself after a start: enough ticks in time, accuracy and latency as asked."""

USER = "edge"
"""The service's user; members of the group of that name may command the robot and deploy bundles to it."""
SERVICE = "edge-runtime.service"
