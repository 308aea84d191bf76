"""`edge update build`: a root file system becomes a RAUC bundle that a robot with that system, and key, takes.

The bundle is of RAUC's verity form: its signature covers the root of a hash tree over every block (RAUC, "Bundle
Formats"). Its payload is the same for the same root file system; the bundle is not, RAUC salts the tree.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from edge_runtime.deploy import tools
from edge_runtime.deploy.models.signature import refuse_other_key
from edge_runtime.deploy.places import under
from edge_runtime.deploy.systems import System
from edge_runtime.deploy.update import layout, rootfs
from edge_runtime.deploy.update.rootfs import Rootfs
from edge_runtime.deploy.update.system_files import text as beside
from edge_runtime.deploy.update.version import order
from edge_runtime.errors import UpdateError

HOOK = "hook"
_SCRIPTS = {HOOK: "hook.sh", "accounts": "accounts.sh"}
"""Their names in the bundle: RAUC calls the one, and that the other."""
_BUNDLE_S = 7200.0


def build(system: System, source: Path, version: str, key: Path, certificate: Path, out: Path) -> dict[str, Any]:
    """Write the bundle `out`. Raises `EdgeError`, and then `out` is as it was."""
    order(version)
    tools.need("rauc", "mksquashfs", "tar")
    opened = rootfs.opened(source)
    _is_for(opened, system)
    _boots(opened, system)
    refuse_other_key(key, certificate)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".update-") as name:
        content, made = Path(name, "content"), Path(name, "bundle.raucb")
        content.mkdir()
        payload = opened.lay(content)
        payload_bytes = payload.stat().st_size
        _fill(content, payload.name, system, version)
        signed = [f"--cert={certificate}", f"--key={key}", f"--keyring={certificate}"]
        tools.run(["rauc", "bundle", *signed, content, made], timeout_s=_BUNDLE_S, what=f"{out}")
        made.replace(out)
    return {
        "bundle": str(out),
        "bytes": out.stat().st_size,
        "rootfs_bytes": payload_bytes,
        "version": version,
        "compatible": layout.compatible(system.name),
    }


def _is_for(opened: Rootfs, system: System) -> None:
    """Without the runtime and RAUC's configuration in it, a system could neither prove itself nor be updated again."""
    found = opened.read(str(layout.SYSTEM_CONFIG.relative_to("/")))
    if found is None:
        raise UpdateError(
            f"{opened.path}: has no {layout.SYSTEM_CONFIG}: install a package of edge package --updates in it first"
        )
    if f"compatible={layout.compatible(system.name)}" not in found.splitlines():
        raise UpdateError(f"{opened.path}: its {layout.SYSTEM_CONFIG} is not for {system.name}")


def _boots(opened: Rootfs, system: System) -> None:
    """Refuse a folder that a machine could not start from. An archive or an image is what somebody made of one."""
    wanted = (layout.kernel(system), *layout.STARTS)
    missing = [place for place in wanted if not os.path.lexists(under(opened.path, place))]
    if opened.kind == "folder" and missing:
        raise UpdateError(f"{opened.path}: no robot could start from it: has no {' and no '.join(map(str, missing))}")


def _fill(content: Path, payload: str, system: System, version: str) -> None:
    for name, script in _SCRIPTS.items():
        (content / name).write_text(beside(script), encoding="utf-8")
        (content / name).chmod(0o755)
    (content / "manifest.raucm").write_text(manifest(payload, system, version), encoding="utf-8")


def manifest(payload: str, system: System, version: str) -> str:
    """RAUC's manifest (RAUC reference, "Manifest")."""
    return (
        f"[update]\ncompatible={layout.compatible(system.name)}\nversion={version}\n\n"
        f"[bundle]\nformat=verity\n\n[hooks]\nfilename={HOOK}\n\n"
        f"[image.rootfs]\nfilename={payload}\nhooks=post-install\n"
    )


def text(made: dict[str, Any]) -> str:
    """For people."""
    return f"{made['bundle']}: {made['bytes'] / 1e6:.1f} MB, version {made['version']}, for {made['compatible']}"
