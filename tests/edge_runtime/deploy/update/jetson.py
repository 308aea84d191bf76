"""A Jetson as far as its boot slots go: `nvbootctrl` and the firmware's variables, kept in a folder.

What it prints and takes is NVIDIA's (Jetson Linux 35 and later; "Root File System", "Rootfs A/B"): get-current-slot,
set-active-boot-slot, dump-slots-info and verify, for `-t rootfs`. The firmware counts a try with each start and passes
over a slot that has none left or is marked (edk2-nvidia, L4TRootfsValidation.c).
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edge_runtime.deploy.update.system_files import text
from tests.edge_runtime.deploy.update.programs import first, program

GUID = "781e084c-a330-417c-b678-38e696380cb9"
TRIES = 3
NORMAL, UNBOOTABLE = bytes((7, 0, 0, 0, 0, 0, 0, 0)), bytes((7, 0, 0, 0, 0xFF, 0, 0, 0))
_NVBOOTCTRL = """\
import json, sys
from pathlib import Path

file, variables = Path({state!r}), Path({variables!r})
state = json.loads(file.read_text())
state["calls"].append(" ".join(sys.argv[1:]))
words = sys.argv[1:]
rootfs = words[:2] == ["-t", "rootfs"]
words = words[2:] if rootfs else words


def status(slot):
    path = variables / f"RootfsStatusSlot{{'AB'[slot]}}-{guid}"
    return "normal" if path.read_bytes()[4:] == bytes(4) else "unbootable"


code = 0
if words == ["dump-slots-info"] and rootfs and not state["redundant"]:
    print("Rootfs A/B is not enabled.")
    code = 1
elif words == ["dump-slots-info"] and rootfs:
    print(f"Current rootfs slot: {{'AB'[state['current']]}}")
    print(f"Active rootfs slot: {{'AB'[state['active']]}}")
    print("num_slots: 2")
    for slot in (0, 1):
        gap = " " * 13
        print(f"slot: {{slot}},{{gap}}retry_count: {{state['tries'][slot]}},{{gap}}status: {{status(slot)}}")
elif words == ["get-current-slot"]:
    print(state["current"])
elif words[:1] == ["set-active-boot-slot"] and words[1:] in (["0"], ["1"]):
    if state["obeys"]:
        state["active"] = int(words[1])
elif words == ["verify"]:
    print("Info: variable BootChainFwStatus is not found.")
    slot = state["current"]
    state["tries"][slot] = {tries}
    (variables / f"RootfsStatusSlot{{'AB'[slot]}}-{guid}").write_bytes(bytes((7, 0, 0, 0, 0, 0, 0, 0)))
else:
    print("nvbootctrl: invalid command", file=sys.stderr)
    code = 64
file.write_text(json.dumps(state))
sys.exit(code)
"""


@dataclass(frozen=True)
class Jetson:
    """`backend`: RAUC's, as it is on the robot."""

    state: Path
    variables: Path
    backend: Path

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([self.backend, *words], capture_output=True, text=True, check=False)

    def says(self, *words: str) -> str:
        done = self.call(*words)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.strip()

    def facts(self) -> dict[str, Any]:
        return dict(json.loads(self.state.read_text()))

    def change(self, **facts: Any) -> None:
        self.state.write_text(json.dumps({**self.facts(), **facts}))

    def variable(self, name: str) -> Path:
        return self.variables / f"{name}-{GUID}"

    def start(self) -> str:
        """The firmware starts a slot: the active one, or the other where that one is not to be started."""
        facts = self.facts()
        for slot in (facts["active"], 1 - facts["active"]):
            status = self.variable(f"RootfsStatusSlot{'AB'[slot]}")
            if status.read_bytes() == NORMAL and facts["tries"][slot] > 0:
                facts["tries"][slot] -= 1
                self.change(current=slot, active=slot, tries=facts["tries"])
                return "AB"[slot]
            status.write_bytes(UNBOOTABLE)
        return "recovery"


def jetson(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Jetson:
    """One that was flashed with two root file systems and runs A."""
    made = Jetson(folder / "jetson.json", folder / "efivars", folder / "nvboot")
    made.variables.mkdir()
    for slot in "AB":
        made.variable(f"RootfsStatusSlot{slot}").write_bytes(NORMAL)
    facts = {"current": 0, "active": 0, "tries": [TRIES, TRIES], "redundant": True, "obeys": True, "calls": []}
    made.state.write_text(json.dumps(facts))
    code = _NVBOOTCTRL.format(state=str(made.state), variables=str(made.variables), guid=GUID, tries=TRIES)
    program(folder / "bin/nvbootctrl", f"#!{sys.executable} -SE\n{code}")
    program(folder / "bin/chattr", "#!/bin/sh\nexit 0\n")
    program(made.backend, text("nvboot.sh"))
    first(folder / "bin", monkeypatch)
    monkeypatch.setenv("EFIVARS", str(made.variables))
    return made
