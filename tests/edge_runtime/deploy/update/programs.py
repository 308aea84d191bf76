"""Programs that stand in for the robot's: they keep their state in a file and write down how they were called."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_RAUC = """\
import json, sys
from pathlib import Path

state = Path({state!r})
with Path({calls!r}).open("a") as calls:
    calls.write(" ".join(["rauc", *sys.argv[1:]]) + "\\n")
robot = json.loads(state.read_text())


def good(name):
    slot = robot["slots"][name]
    return slot["ok"] and not slot["tried"]


def entry(name):
    number = "AB".index(name)
    facts = {{"class": "rootfs", "device": f"/dev/{{name}}", "type": "ext4", "bootname": name, "parent": None}}
    facts["state"] = "booted" if name == robot["booted"] else "inactive"
    facts["boot_status"] = "good" if good(name) else "bad"
    facts["slot_status"] = {{"bundle": {{"compatible": None, "version": robot["slots"][name]["version"]}}}}
    return {{f"rootfs.{{number}}": facts}}


shell = "--output-format=shell" in sys.argv
words = [word for word in sys.argv[1:] if not word.startswith("-")]
if words[0] in robot["fails"] or " ".join(words) in robot["fails"]:
    sys.exit("rauc: the bus does not answer")
if words == ["status"] and shell:
    print(f"RAUC_SYSTEM_BOOTED_BOOTNAME='{{robot['booted']}}'\\nRAUC_SLOTS='1 2'")
    for number, name in enumerate("BA", 1):
        state, status = ("booted" if name == robot["booted"] else "inactive"), ("good" if good(name) else "bad")
        print(f"RAUC_SLOT_STATE_{{number}}='{{state}}'\\nRAUC_SLOT_BOOT_STATUS_{{number}}='{{status}}'")
elif words == ["status"]:
    first = [name for name in robot["order"] if good(name)]
    said = {{"compatible": "edge-runtime debian12-amd64", "variant": "", "booted": robot["booted"]}}
    said["boot_primary"] = f"rootfs.{{'AB'.index(first[0])}}" if first else None
    said["slots"] = [entry("B"), entry("A")]
    print(json.dumps(said))
elif words[0] == "status":
    other = "B" if robot["booted"] == "A" else "A"
    slot = robot["slots"][robot["booted"] if words[2] == "booted" else other]
    slot.update(ok=int(words[1] == "mark-good"), tried=0)
    state.write_text(json.dumps(robot))
"""
_SYSTEMCTL = '#!/bin/sh\necho "systemctl $*" >>{calls}\n'


@dataclass(frozen=True)
class Robot:
    """A robot with two slots below `root`, whose rauc and systemctl are on PATH."""

    root: Path
    state: Path
    calls: Path

    def slots(self) -> dict[str, Any]:
        return dict(json.loads(self.state.read_text())["slots"])

    def change(self, **facts: Any) -> None:
        self.state.write_text(json.dumps({**json.loads(self.state.read_text()), **facts}))

    def set(self, slot: str, **facts: Any) -> None:
        slots = self.slots()
        slots[slot].update(facts)
        self.change(slots=slots)

    def called(self) -> list[str]:
        """What was called and changes something, in order."""
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        return [line for line in lines if not line.startswith("rauc status --")]

    def start(self, slot: str, boot: str) -> None:
        """The bootloader starts `slot`: one try more."""
        self.set(slot, tried=self.slots()[slot]["tried"] + 1)
        self.change(booted=slot)
        (self.root / "proc/sys/kernel/random/boot_id").write_text(f"{boot}\n")

    def healthy(self, **facts: Any) -> None:
        said = {
            "bundle": "0123456789ab",
            "ticks": 1000,
            "missed": 0,
            "lateness_us": {"p50": 80.0, "p99": 210.0, "max": 900.0},
            "inference_ms": 12.5,
            "self_test": {"verdict": "pass", "inference_ms": 12.5, "actions": {}},
            "healthy": True,
        }
        path = self.root / "run/edge-runtime/healthy.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**said, **facts}))


def robot(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Robot:
    """A robot that runs slot A, as it was made."""
    made = Robot(folder / "root", folder / "rauc.json", folder / "calls")
    for path, text in (
        ("etc/rauc/system.conf", "[system]\n"),
        ("proc/sys/kernel/random/boot_id", "boot-1\n"),
        ("data/rauc/.keep", ""),
    ):
        (made.root / path).parent.mkdir(parents=True, exist_ok=True)
        (made.root / path).write_text(text)
    slot = {"ok": 1, "tried": 0, "version": ""}
    facts = {"booted": "A", "order": ["A", "B"], "slots": {"A": {**slot, "tried": 1}, "B": slot}, "fails": []}
    made.state.write_text(json.dumps(facts))
    code = _RAUC.format(state=str(made.state), calls=str(made.calls))
    program(folder / "bin/rauc", f"#!{sys.executable} -SE\n{code}")
    program(folder / "bin/systemctl", _SYSTEMCTL.format(calls=made.calls))
    first(folder / "bin", monkeypatch)
    return made


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs of `folder` come before all others."""
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
