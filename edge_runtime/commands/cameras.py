"""`edge cameras`: which cameras this machine has and what they can do, and what a robot's own cameras see."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_runtime.commands.output import emit, json_option, warn

if TYPE_CHECKING:
    from edge_runtime.config import Camera
    from edge_runtime.look import Look

NONE = (
    "no V4L2 camera on this machine: nothing at /dev/video*: is one plugged in, and does `lsusb` list it? "
    "(CSI and network cameras show only in a robot.toml)"
)
READABLE = ("YUYV", "MJPG")
"""Pixel formats that robot.toml can name."""


@click.command()
@click.argument("robot", metavar="[ROBOT.TOML]", required=False)
@click.option("--seconds", type=click.FloatRange(0.1, 60), default=1.0, show_default=True, help="How long to watch.")
@click.option("--save", metavar="DIR", type=click.Path(path_type=Path), help="Write the newest frame of each as PNG.")
@json_option
def cameras(robot: str | None, seconds: float, save: Path | None, json_file: str | None) -> int:
    """List the cameras of this machine, and look through a robot's.

    With ROBOT.TOML each of its cameras is opened in its mode and watched: rate, age of its frames, who stamps them,
    what was dropped, late or frozen. In a terminal its newest frame is shown too.
    """
    from edge_runtime import config, plugins

    if save is not None and robot is None:
        raise click.UsageError("--save needs a robot.toml, whose cameras are opened")
    named = config.load(robot).cameras if robot is not None else ()
    v4l2 = plugins.require("drivers.v4l2")
    found = v4l2.cameras()
    looks = _look(named, seconds)
    rows = [_row(look, v4l2.stable_name(look.camera.device), save) for look in looks]
    devices = [{**vars(device), "modes": [mode._asdict() for mode in device.modes]} for device in found]
    words = [
        *(map(_device, found) if found else [NONE]),
        *(_seen(look, row) for look, row in zip(looks, rows, strict=True)),
    ]
    emit({"devices": devices, "cameras": rows}, "\n".join(words), json_file)
    wrong = [look.error for look in looks if look.error]
    for error in wrong:
        warn(error)
    return 2 if wrong else 0


def _look(named: Sequence[Camera], seconds: float) -> list[Look]:
    """Look through the robot's cameras; nothing is loaded for none."""
    if not named:
        return []
    from edge_runtime.look import look

    return look(named, seconds)


def _row(look: Look, stable: str, save: Path | None) -> dict[str, Any]:
    """What was seen of one camera, for programs; its newest frame goes to `save` where one is given."""
    row = {**look.summary(), "stable_device": stable or None, "file": None}
    if save is not None and look.frame is not None:
        from edge_runtime import preview

        row["file"] = str(save / f"{look.camera.name}.png")
        preview.save(look.frame, Path(row["file"]))
    return row


def _device(device: Any) -> str:
    """One camera of this machine: its name, where it is, and a line for each pixel format."""
    head = f"{device.stable or device.path}  {device.name}" + (f", {device.bus}" if device.bus else "")
    known = [mode for mode in device.modes if mode.format in READABLE]
    others = sorted({mode.format for mode in device.modes} - set(READABLE))
    lines = [f"    {name}  {_sizes([m for m in known if m.format == name])}" for name in READABLE]
    lines = [line for line in lines if line.strip() not in READABLE]
    if others:
        lines.append(f"    and in {len(others)} other pixel formats: {', '.join(others[:6])}{' …' * (len(others) > 6)}")
    return "\n".join([head, *lines])


def _sizes(modes: Any) -> str:
    """Each size with its rates: 640x480 at 30, 15."""
    rates: dict[str, list[str]] = {}
    for mode in sorted(modes, key=lambda m: (m.width, m.height, -m.fps)):
        rates.setdefault(f"{mode.width}x{mode.height}", []).append(f"{mode.fps:g}")
    return "; ".join(f"{size} at {', '.join(fps)}" for size, fps in rates.items())


def _seen(look: Look, row: dict[str, Any]) -> str:
    """What was seen of one of the robot's cameras, and its frame where this is a terminal."""
    camera = look.camera
    lines = [
        "",
        f"{camera.name}  {camera.kind}, {camera.width}x{camera.height} at {camera.fps:g} {camera.format}".rstrip(),
    ]
    if row["stable_device"] not in (None, camera.device):
        lines.append(f'    a name that stays: device = "{row["stable_device"]}"')
    if row["age_ms"]:
        lines.append(f"    {look.rate_hz:.1f} of {camera.fps:g} frames/s, stamped by {_STAMPS[look.stamp]}")
        lines.append("    {p50:.1f} ms old as they come, {max:.1f} at most".format(**row["age_ms"]))
        lines.append(f"    {', '.join(f'{what} {count}' for what, count in look.counts.items())}")
    if row["file"]:
        lines.append(f"    {row['file']}")
    if look.frame is not None and _terminal():
        from edge_runtime import preview

        lines.append(preview.half_blocks(look.frame))
    return "\n".join(lines)


def _terminal() -> bool:
    return sys.stdout.isatty()


_STAMPS = {
    "": "nobody",
    "device": "the device",
    "dequeue": "us as they come",
    "both": "the device and in part by us as they come",
}

COMMANDS: tuple[click.Command, ...] = (cameras,)
