"""Root file systems as small as they can be, and bundles of them."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

from edge_runtime.deploy.places import under
from edge_runtime.deploy.systems import SYSTEMS
from edge_runtime.deploy.update import build, layout, system_files
from edge_runtime.deploy.update.layout import SYSTEM_CONFIG

DEBIAN, JETSON = SYSTEMS["debian12-amd64"], SYSTEMS["jetpack6-orin"]


def rootfs(folder: Path, content: bytes = b"") -> Path:
    """A folder with what `edge update build` asks for, and something more."""
    conf = under(folder, SYSTEM_CONFIG)
    conf.parent.mkdir(parents=True)
    conf.write_text(system_files.system_conf(DEBIAN))
    (folder / "usr/bin").mkdir(parents=True)
    (folder / "usr/bin/tool").write_bytes(content or random.Random(5).randbytes(1 << 15))
    (folder / "usr/bin/tool").chmod(0o755)
    (folder / "bin").symlink_to("usr/bin")
    for place in (layout.kernel(DEBIAN), *layout.STARTS):
        under(folder, place).parent.mkdir(exist_ok=True)
        under(folder, place).symlink_to("tool")
    return folder


def archive(folder: Path, into: Path) -> Path:
    subprocess.run(["tar", "--create", "--auto-compress", "--file", into, "-C", folder, "."], check=True)
    return into


def bundle(out: Path, version: str, keys: Path, source: Path) -> Path:
    build.build(DEBIAN, source, version, keys / "key.pem", keys / "cert.pem", out)
    return out
