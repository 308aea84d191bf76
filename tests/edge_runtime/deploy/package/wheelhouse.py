"""Wheels of a few bytes and a lock of them, in the place of the real ones."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from edge_runtime.bundle import sha256
from edge_runtime.deploy.package import wheels
from edge_runtime.deploy.systems import SYSTEMS

TINY = {
    "tiny/__init__.py": b"SAYS = 'tiny'\n",
    "tiny/run": b"#!/bin/sh\n",
    "tiny-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
    "tiny-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
}


def write(
    folder: Path,
    files: Mapping[str, bytes] = TINY,
    *,
    name: str = "tiny-1.0-py3-none-any.whl",
    record: str | None = None,
) -> Path:
    """A wheel of `files`, with the RECORD that they have, or another one."""
    folder.mkdir(parents=True, exist_ok=True)
    path, info = folder / name, "-".join(name.split("-")[:2]) + ".dist-info"
    rows = "".join(f"{file},sha256={_digest(content)},{len(content)}\n" for file, content in files.items())
    with zipfile.ZipFile(path, "w") as archive:
        for file, content in files.items():
            entry = zipfile.ZipInfo(file, (2024, 1, 1, 0, 0, 0))
            entry.external_attr = (0o755 if content.startswith(b"#!") else 0o644) << 16
            archive.writestr(entry, content)
        archive.writestr(zipfile.ZipInfo(f"{info}/RECORD"), f"{rows}{info}/RECORD,,\n" if record is None else record)
    return path


def lock(folder: Path, monkeypatch: pytest.MonkeyPatch, *found: Path) -> None:
    """Every system's lock says these wheels, and its other lock none."""
    lines = (f"{w.name.split('-')[0]}=={w.name.split('-')[1]} --hash=sha256:{sha256(w)}\n" for w in found)
    text = "# A lock.\n" + "".join(lines)
    folder.mkdir()
    for system in SYSTEMS:
        (folder / f"{system}.txt").write_text(text)
        (folder / f"{system}.kinematics.txt").write_text("# A lock.\n")
    monkeypatch.setattr(wheels, "LOCKS", folder)


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
