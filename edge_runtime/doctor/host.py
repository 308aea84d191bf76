"""The machine that is looked at: its files and its programs, so that a test can give it another one's."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.engines.key import l4t_release

_PROGRAM_S = 5.0


@dataclass(frozen=True)
class Host:
    """Files below `root`, which is "/" but in tests."""

    root: Path = Path("/")

    def path(self, path: str) -> Path:
        """Where the file "/…" of the machine is."""
        return self.root / path.lstrip("/")

    def read(self, path: str) -> str | None:
        """A small file, stripped; None where it is not there or not to be read."""
        return read(self.path(path))

    def glob(self, pattern: str) -> list[Path]:
        """Files that "/…" with wildcards names, sorted."""
        return sorted(self.root.glob(pattern.lstrip("/")))

    def run(self, *command: str) -> str | None:
        """What a program prints; None where it is not there, fails, or takes too long."""
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_PROGRAM_S, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout if done.returncode == 0 else None

    @property
    def jetson(self) -> bool:
        """Whether this is one of NVIDIA's boards with its own Linux."""
        return bool(l4t_release(self.path("/etc/nv_tegra_release")))


def read(path: Path) -> str | None:
    """As `Host.read`, of a path that `glob` gave."""
    try:
        return path.read_bytes()[: 1 << 20].decode(errors="replace").strip("\0 \t\r\n")
    except OSError:
        return None


def cores(text: str) -> list[int]:
    """The kernel's lists of cores: "0-2,5" is 0, 1, 2, 5. Raises `ValueError`."""
    found: list[int] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found.extend(range(int(first), int(last or first) + 1))
    return found


def shown(items: Sequence[object], most: int = 4) -> str:
    """ "a, b and 3 more"."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(map(str, items[:most])) + more
