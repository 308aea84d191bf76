"""The package under test, made by `edge package` as a user makes it, of the simulated robot and the demo's bundle."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from benchmarks.boot.image import Skip

EDGE = (sys.executable, "-m", "edge_runtime")
WHEELS_S, PACKAGE_S = 300.0, 300.0


def robot_toml(folder: Path, devices: str, edits: Mapping[str, str]) -> Path:
    """The simulated robot's robot.toml and URDF in `folder`; on the robot its port and sockets are in `devices`.

    `edits`: texts of it, each of which is there once, and what stands in their place.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shipped = resources.files("drivers.sim")
    text = shipped.joinpath("robot.toml").read_text(encoding="utf-8").replace('= "./', f'= "{devices}/')
    for old, new in edits.items():
        if text.count(old) != 1:
            raise ValueError(f"the simulated robot's robot.toml has {text.count(old)} of {old!r}")
        text = text.replace(old, new)
    (folder / "robot.toml").write_text(text, encoding="utf-8")
    (folder / "arm.urdf").write_bytes(shipped.joinpath("arm.urdf").read_bytes())
    return folder / "robot.toml"


def wheels(system: str, folder: Path) -> Path:
    """The wheelhouse of a system, fetched by `edge package wheels`. `Skip` where no registry of wheels answers."""
    if not folder.exists():
        try:
            edge("package", "wheels", "--target", system, "-o", str(folder), folder=folder.parent, limit_s=WHEELS_S)
        except subprocess.SubprocessError as error:
            raise Skip(f"no wheelhouse: {error}") from error
    return folder


def make(system: str, robot: Path, bundle: Path, folder: Path, *options: str) -> Path:
    """The package for `system`, as folder/edge-runtime.deb; `options` go to `edge package` as they are."""
    out = folder / "edge-runtime.deb"
    wheelhouse = wheels(system, folder / f"wheels-{system}")
    chosen = ("--target", system, "--wheels", str(wheelhouse), "-o", str(out), *options)
    edge("package", *chosen, str(robot), str(bundle), folder=folder, limit_s=PACKAGE_S)
    return out


def edge(*arguments: str, limit_s: float, folder: Path | None = None) -> str:
    """`edge` of this checkout, its temporary files in `folder`, and what it prints. `Failed` where it fails."""
    environment = dict(os.environ) if folder is None else {**os.environ, "TMPDIR": str(folder)}
    done = subprocess.run(
        [*EDGE, *arguments], capture_output=True, text=True, timeout=limit_s, check=False, env=environment
    )
    if done.returncode:
        raise Failed(done.returncode, done.args, done.stdout, done.stderr)
    return done.stdout


class Failed(subprocess.CalledProcessError):
    """A command that has failed, and its last line."""

    def __str__(self) -> str:
        words = (self.stderr or self.output or "").strip().splitlines()
        return f"{' '.join(map(str, self.cmd))}: {words[-1] if words else f'exit code {self.returncode}'}"
