"""The calibration that came in the package: a robot that has none of its own begins with it.

Done at each start, as where there are two system slots the data partition is not there when the package is installed.
"""

from __future__ import annotations

from pathlib import Path

from edge_runtime.files import write_whole


def seed_calibration(packaged: Path, own: Path) -> list[str]:
    """Copy what is in `packaged` and not in `own`; the names of it. What the robot has measured itself stays."""
    missing = [file for file in sorted(packaged.glob("*.json")) if not (own / file.name).exists()]
    for file in missing:
        write_whole(own / file.name, file.read_bytes())
    return [file.name for file in missing]
