"""`edge update status`: which slot runs, what is in each, what is on trial, and whose updates are taken."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from edge_runtime.deploy.places import TRUST, under
from edge_runtime.deploy.update import layout, rauc, record
from edge_runtime.deploy.update.before_install import running_version
from edge_runtime.deploy.update.keygen import fingerprint


def facts(root: Path = Path("/")) -> dict[str, Any]:
    """For programs. Raises `EdgeError` where this is no robot with two slots."""
    status = rauc.status(root)
    trust = under(root, TRUST)
    return {
        "compatible": status.compatible,
        "version": running_version(root),
        "booted": status.booted.bootname,
        "primary": status.primary,
        "slots": [asdict(slot) for slot in status.slots],
        "trial": msgspec.to_builtins(record.on_trial(root)),
        "last": msgspec.to_builtins(record.last(root)),
        "keyring": {"file": str(TRUST), "sha256": fingerprint(trust) if trust.is_file() else None},
    }


def text(found: dict[str, Any]) -> str:
    """For people."""
    version = found["version"] or f"unknown ({layout.SYSTEM_VERSION} is not there)"
    lines = [f"{found['compatible']}, version {version}"]
    lines += [_slot(slot, found) for slot in found["slots"]]
    trial, last, keyring = found["trial"], found["last"], found["keyring"]
    if trial:
        lines.append(f"on trial: version {trial['version']} in slot {trial['slot']}")
    if last:
        lines.append(
            f"last update: version {last['version']} was {'kept' if last['good'] else 'given up'}: {last['why']}"
        )
    lines.append(f"takes updates of {keyring['file']}, sha256 {keyring['sha256'] or '- (not there: none are taken)'}")
    return "\n".join(lines)


def _slot(slot: dict[str, Any], found: dict[str, Any]) -> str:
    words = ["runs"] if slot["booted"] else []
    words += ["starts next"] if slot["bootname"] == found["primary"] else []
    version = slot["version"] or "as it was made"
    state = "good" if slot["good"] else "not good"
    return f"  slot {slot['bootname']}  {version:<14}  {state:<8}  {', '.join(words):<17}  {slot['device']}".rstrip()
