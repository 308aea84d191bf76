"""RAUC's pre-install handler: nothing of a bundle is written to a slot unless this ends well.

It runs in the system that is there, whatever the bundle brings: an older version is refused, the whole bundle is read
once (each block is checked as it is read, so a damaged one costs no slot), and the trial is put on record. RAUC has
checked the signature by then. Environment: RAUC, "Handler Scripts"/"Environment".
"""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from edge_runtime.deploy.places import under
from edge_runtime.deploy.update import layout, record
from edge_runtime.deploy.update.version import refuse_older
from edge_runtime.errors import EdgeError, UpdateError, one_line

_MANIFEST = "manifest.raucm"
_BLOCK_BYTES = 1 << 20
UNKNOWN = f"{layout.SYSTEM_VERSION}: not there, so nothing says how old the running system is: any version is taken"


def check(environment: Mapping[str, str], root: Path = Path("/")) -> None:
    """Raises `UpdateError` where the bundle that RAUC has mounted is not to be installed."""
    bundle = Path(environment["RAUC_BUNDLE_MOUNT_POINT"])
    version, made_for = (_value(bundle / _MANIFEST, "update", key) for key in ("version", "compatible"))
    refuse_other(made_for, _value(Path(environment["RAUC_SYSTEM_CONFIG"]), "system", "compatible"))
    running = running_version(root)
    refuse_older(version, running)
    refuse_on_trial(environment["RAUC_CURRENT_BOOTNAME"], root)
    slot = _target(environment)
    _read_all(bundle)
    record.begin(root, slot, version)
    if running is None:
        print(UNKNOWN, file=sys.stderr)


def refuse_other(made_for: str, compatible: str) -> None:
    """Raises `UpdateError` where a bundle is for another system. RAUC finds that too, but only after its handler."""
    if made_for != compatible:
        raise UpdateError(f'the bundle is for "{one_line(made_for, 80)}"; this robot is "{compatible}"')


def refuse_on_trial(running: str, root: Path) -> None:
    """Raises `UpdateError` while the slot that runs is on trial: the other one is what it would go back to."""
    trial = record.on_trial(root)
    if trial is not None and trial.slot == running:
        raise UpdateError(
            f"slot {running} is on trial itself (version {trial.version}): the other slot is kept until it has proved "
            "itself: edge update status"
        )


def running_version(root: Path) -> str | None:
    """The version of the system that runs; None where nobody gave it one."""
    try:
        return under(root, layout.SYSTEM_VERSION).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None


def _value(file: Path, section: str, key: str) -> str:
    """Of a file in the form that glib reads."""
    said = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        said.read_string(file.read_text(encoding="utf-8"))
        return said[section][key]
    except (OSError, UnicodeDecodeError, configparser.Error, KeyError) as error:
        raise UpdateError(f"{file.name}: says no {key}: {one_line(error)}") from error


def _target(environment: Mapping[str, str]) -> str:
    """The one slot that RAUC is going to write, which is not the one that runs."""
    numbers = environment["RAUC_TARGET_SLOTS"].split()
    names = [environment[f"RAUC_SLOT_BOOTNAME_{number}"] for number in numbers]
    if len(names) != 1 or not names[0] or names[0] == environment["RAUC_CURRENT_BOOTNAME"]:
        raise UpdateError(f"the bundle is for {len(names)} slots ({' '.join(names)}), not for the one that is free")
    return names[0]


def _read_all(bundle: Path) -> None:
    buffer = bytearray(_BLOCK_BYTES)
    for path in sorted(bundle.rglob("*")):
        try:
            if path.is_file():
                with path.open("rb", buffering=0) as file:
                    while file.readinto(buffer):
                        pass
        except OSError as error:
            raise UpdateError(f"{path.name}: the bundle is damaged: {error.strerror}") from error


def main(root: Path = Path("/")) -> int:
    """Exit code 1, and one line to RAUC and to the journal, where the bundle is refused."""
    try:
        check(os.environ, root)
    except (EdgeError, OSError, KeyError) as error:
        message = f"edge update: {one_line(error)}"
        print(f"<< error {message}", flush=True)
        print(message, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
