"""What dpkg is told of a package: its name and needs, and what to run before and after its files change."""

from __future__ import annotations

import re
from pathlib import Path

from edge_runtime.config import Robot
from edge_runtime.deploy import places
from edge_runtime.deploy.package import tree
from edge_runtime.deploy.systems import System
from edge_runtime.deploy.update import system_files as update_files

NAME = "edge-runtime"
_SCRIPTS = Path(__file__).parent / "debian"
_KINEMATICS = {"arm64": ("libgomp1",), "amd64": ("libgomp1", "libquadmath0")}
"""Libraries of the system that the wheels for end-effector policies are linked to, besides those of all the others."""

_GSTREAMER = tuple(f"gstreamer1.0-{part}" for part in ("tools", "plugins-base", "plugins-good", "libav"))


def depends(system: System, robot: Robot, *, kinematics: bool, trust: bool, updates: bool) -> tuple[str, ...]:
    """Debian packages that the robot must have. Of Python its very minor version: the wheels are built for that."""
    needs = [f"python{system.python}", f"libc6 (>= {system.glibc})", "libgcc-s1", "libstdc++6", "systemd", "udev"]
    needs += _KINEMATICS[system.arch] if kinematics else ()
    needs += ["openssl", "rsync"] if trust else []
    needs += update_files.depends(system) if updates else ()
    needs += ["python3-libnvinfer"] if robot.policy.backend == "trt" else []
    needs += _GSTREAMER if any(camera.kind == "gstreamer" for camera in robot.cameras) else ()
    return tuple(needs)


def control(system: System, robot: Robot, version: str, installed_bytes: int, needs: tuple[str, ...]) -> str:
    """The file control (deb-control(5))."""
    fields = {
        "Package": NAME,
        "Version": version,
        "Architecture": system.arch,
        "Maintainer": "whoever made it with edge package <root@localhost>",
        "Installed-Size": str(-(-installed_bytes // 1024)),
        "Depends": ", ".join(needs),
        "Recommends": "openssh-server",
        "Section": "misc",
        "Priority": "optional",
        "Description": f"{robot.name}, for {system.title} ({system.name})",
    }
    return "".join(f"{key}: {value}\n" for key, value in fields.items())


def scripts(system: System) -> dict[str, str]:
    """The maintainer scripts by their names (deb-postinst(5), deb-prerm(5), deb-postrm(5))."""
    values = {
        "PREFIX": str(places.PREFIX),
        "SITE": str(tree.site_packages(system)),
        "CONFIG": str(places.CONFIG),
        "STATE": str(places.STATE),
        "USER": places.USER,
        "SERVICE": places.SERVICE,
    }
    texts = {path.name: path.read_text(encoding="utf-8") for path in sorted(_SCRIPTS.iterdir())}
    return {name: re.sub(r"@([A-Z]+)@", lambda match: values[match[1]], text) for name, text in texts.items()}
