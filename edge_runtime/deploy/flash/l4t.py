"""NVIDIA's flashing tree, Linux_for_Tegra: its release, the boards it knows, and what its root file system has.

Source: NVIDIA's Jetson Linux Developer Guide (36.4, 38.4), "Flashing Support", and the tree's own README files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.deploy.flash.deb_file import Named, given
from edge_runtime.deploy.systems import System
from edge_runtime.errors import EdgeError
from edge_runtime.suggest import did_you_mean

RELEASES = {"jetpack6-orin": (36,), "jetpack7-orin": (39,), "jetpack7-thor": (38, 39)}
"""Major releases of Jetson Linux by target (NVIDIA's JetPack release notes; Orin joined JetPack 7 with 39)."""
CHIPS = {"jetpack6-orin": "234", "jetpack7-orin": "234", "jetpack7-thor": "264"}
"""The chip by target, as the names of its files have it: tegra234, t264."""

_BRANCH = re.compile(r"^BSP_BRANCH=(\d+)", re.MULTILINE)
_RELEASE = re.compile(r"^# R(\d+) \(release\)", re.MULTILINE)
_CHIP = re.compile(r"\bt(?:egra)?(\d{3})\b|\btegra(\d{3})-")
_SOURCED = re.compile(r"^\s*(?:source|\.)\s+.*?([\w.+-]+\.conf(?:\.common)?)\"?\s*;?\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Tree:
    """`path`: the folder Linux_for_Tegra."""

    path: Path

    @property
    def rootfs(self) -> Path:
        return self.path / "rootfs"

    @property
    def applied(self) -> bool:
        """NVIDIA's own packages are in the root file system already."""
        return (self.rootfs / "etc/nv_tegra_release").is_file()

    def release(self) -> int:
        """The major release of Jetson Linux, such as 36. Raises `EdgeError` where this is no such tree."""
        for name, pattern in (("nv_tegra/bsp_version", _BRANCH), ("rootfs/etc/nv_tegra_release", _RELEASE)):
            file = self.path / name
            if file.is_file() and (found := pattern.search(file.read_text(errors="replace"))):
                return int(found[1])
        raise EdgeError(f"{self.path}: neither nv_tegra/bsp_version nor rootfs/etc/nv_tegra_release says its release")

    def check(self, system: System, board: str) -> None:
        """Raises `EdgeError`, one line, where a package for `system` cannot be flashed to `board` from this tree."""
        if not self.path.is_dir():
            raise EdgeError(f"--l4t: {self.path} is not there: unpack NVIDIA's Jetson Linux and name Linux_for_Tegra")
        self.need("apply_binaries.sh", "unpack NVIDIA's Jetson Linux there")
        if system.name not in RELEASES:
            raise EdgeError(
                f"the package is for {system.title}, which is no Jetson: edge package --target jetpack6-orin"
            )
        release, right = self.release(), RELEASES[system.name]
        if release not in right:
            wanted = " or ".join(str(one) for one in right)
            raise EdgeError(f"{self.path}: is Jetson Linux {release}, and {system.title} is {wanted}")
        self.need("rootfs/etc", "unpack NVIDIA's sample root file system into rootfs, with sudo tar xpf")
        boards = sorted(file.stem for file in self.path.glob("*.conf"))
        if board not in boards:
            raise EdgeError(f'--board: {self.path} has no "{board}.conf"{did_you_mean(board, boards)}')
        chips = set(self._chips(self.path / f"{board}.conf"))
        if chips and CHIPS[system.name] not in chips:
            raise EdgeError(f"--board: {board} has a tegra{min(chips)}, and the package is for {system.title}")

    def need(self, name: str, remedy: str) -> str:
        """`name`, which must be in the tree. Raises `EdgeError` with the remedy."""
        if not (self.path / name).exists():
            raise EdgeError(f"{self.path}: {name} is missing: {remedy}")
        return name

    def installed(self) -> frozenset[Named]:
        """Every package in the root file system, and what they provide (dpkg's status file)."""
        status = self.rootfs / "var/lib/dpkg/status"
        text = status.read_text(errors="replace") if status.is_file() else ""
        found: set[Named] = set()
        for entry in text.split("\n\n"):
            fields = dict(line.split(": ", 1) for line in entry.splitlines() if ": " in line and line[0] != " ")
            if fields.get("Status", "").endswith(" installed"):
                found.update(given(fields))
        return frozenset(found)

    def has_user(self, name: str) -> bool:
        """Whether that user is in the root file system."""
        users = self.rootfs / "etc/passwd"
        return users.is_file() and any(line.startswith(f"{name}:") for line in users.read_text().splitlines())

    def _chips(self, conf: Path, depth: int = 3) -> Iterator[str]:
        """The chips that a board's configuration, and those that it begins with, speak of."""
        if not conf.is_file():
            return
        text = conf.read_text(errors="replace")
        yield from (found[1] or found[2] for found in _CHIP.finditer(text))
        if depth:
            for name in _SOURCED.findall(text):
                yield from self._chips(self.path / name, depth - 1)
