"""The emulated robot with two system slots: its disk, its power, and what can be asked of it from outside."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.boot import grub, releases
from benchmarks.boot.disk import EFI_SYSTEM, Disk, Partition, ext4
from benchmarks.boot.machine import Machine
from benchmarks.boot.results import Wrong
from edge_runtime.deploy import places
from edge_runtime.deploy.update import layout

SLOT_MIB, DATA_MIB, ESP_MIB, STICK_MIB = 1100, 2048, 64, 1100
SLOTS = {"A": "edge-a", "B": "edge-b"}
BOOT_S, READY_S, HEALTHY_S, INSTALL_S, ROLLBACK_S = 240.0, 300.0, 900.0, 600.0, 900.0
"""Limits for a machine that is emulated by two cores which others use too."""
_STARTS = re.compile(r"Starting slot ([AB]), try (\d)")


class Start(NamedTuple):
    """What GRUB says that it starts."""

    slot: str
    tried: int


class TwoSlots:
    """A disk with the first system in slot A and nothing in slot B, and a machine around it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.disk = Disk(
            folder / "disk.img",
            (
                Partition(layout.ESP_LABEL, ESP_MIB, EFI_SYSTEM),
                *(Partition(label, SLOT_MIB) for label in SLOTS.values()),
                Partition(layout.DATA_LABEL, DATA_MIB),
            ),
        )
        self.machine = Machine(self._qemu(), folder)

    def lay(self, tree: Path) -> str:
        """Make the disk: what docs/robot.md tells a person to do with a real one."""
        self.disk.make()
        config = (tree / layout.GRUB_CONFIG.relative_to("/")).read_text(encoding="utf-8")
        self.disk.fat(layout.ESP_LABEL, grub.system_partition(config, self._folder))
        self.disk.ext4(SLOTS["A"], tree)
        self.disk.ext4(layout.DATA_LABEL)
        labels = ", ".join(f"{p.label} {p.size_mib} MiB" for p in self.disk.partitions.values())
        return f"GPT: {labels}"

    def lay_stick(self, bundles: Path) -> str:
        """The disk that brings the bundles."""
        ext4(self._folder / "stick.img", STICK_MIB, bundles)
        return f"{len(list(bundles.iterdir()))} bundles"

    def _qemu(self) -> list[str]:
        code, variables = grub.FIRMWARE / "OVMF_CODE_4M.fd", self._folder / "variables.fd"
        shutil.copy(grub.FIRMWARE / "OVMF_VARS_4M.fd", variables)
        firmware = (f"file={code},readonly=on", f"file={variables}")
        drives = (f"file={self.disk.path}", f"file={self._folder / 'stick.img'},readonly=on")
        return [
            *("nice", "-n", "-10"),  # a robot's processor is its own, also where this machine is busy
            *("qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max"),
            *("-smp", "2", "-m", "1536", "-nic", "none"),
            *(word for unit in firmware for word in ("-drive", f"if=pflash,format=raw,{unit}")),
            *(word for drive in drives for word in ("-drive", f"if=virtio,format=raw,{drive}")),
        ]

    def power_on(self) -> None:
        """Or off and on again, at once."""
        self.machine.start()

    def reboot(self) -> None:
        """Orderly, and late enough that the answer to this command still comes."""
        self.machine.output("systemd-run --quiet sh -c 'sleep 2; systemctl reboot'")

    def starts(self, within_s: float = BOOT_S) -> Start:
        """The next slot that GRUB starts."""
        line = self.machine.wait_for_line("Starting slot", within_s)
        found = _STARTS.search(line)
        if found is None:
            raise Wrong(f"GRUB says: {line}")
        return Start(found[1], int(found[2]))

    def ready(self, slot: str) -> str:
        """Boot to READY in that slot; how long it took since power-on."""
        start = self.starts()
        if start.slot != slot:
            raise Wrong(f"GRUB starts slot {start.slot}, not {slot}")
        return self.ready_in(slot)

    def ready_in(self, slot: str) -> str:
        """The same, once GRUB has said that it starts it."""
        self.machine.wait_for_agent(BOOT_S)
        state = f"$(systemctl is-active {places.SERVICE})"
        self.wait(f"case {state} in active|failed) ;; *) false ;; esac", READY_S)
        if self.machine.output(f"echo {state}") != "active":
            raise Wrong(f"the service in slot {slot} failed: {self.journal(places.SERVICE, 12)}")
        booted = self.status()["booted"]
        if booted != slot:
            raise Wrong(f"slot {booted} runs, not {slot}")
        return f"slot {slot} READY"

    def journal(self, unit: str, lines: int = 1) -> str:
        """The last lines of a unit of this start."""
        said = self.machine.run(f"journalctl --boot --unit {unit} --lines {lines} --output cat --no-pager")
        return said.output.strip()

    def status(self) -> dict[str, Any]:
        """What `edge update status` says."""
        said: dict[str, Any] = json.loads(self.machine.output("edge update status --json"))
        return said

    def slot(self, name: str) -> dict[str, Any]:
        """What it says of one slot."""
        return next(slot for slot in self.status()["slots"] if slot["bootname"] == name)

    def wait(self, command: str, within_s: float) -> None:
        """Until its status is 0. It waits in the machine: asking often would take the processor from the robot."""
        waiting = f"until {command}; do sleep 2; done"
        if self.machine.run(f"timeout {within_s:.0f} sh -c '{waiting}'", within_s + BOOT_S).status != 0:
            raise Wrong(f"not within {within_s:.0f} s: {command}; {self.journal(places.SERVICE, 3)}")

    def until_over(self, within_s: float) -> dict[str, Any]:
        """Until no update is on trial any more; the status then."""
        self.wait(f"test ! -e {layout.TRIAL}", within_s)
        return self.status()

    def install(self, bundle: str) -> None:
        """`edge update install`, which has to go well."""
        self.machine.output(f"edge update install {releases.STICK}/{bundle}.raucb", INSTALL_S)

    def boot_state(self) -> tuple[str, str]:
        """Digests of GRUB's environment and of the slot that does not run: what an update changes."""
        other = SLOTS["B" if self.status()["booted"] == "A" else "A"]
        environment = self.machine.read(str(layout.GRUB_ENVIRONMENT))
        self.machine.output("sync")
        start = self.disk.starts[other]
        with self.disk.path.open("rb") as file:
            file.seek(start)
            content = hashlib.sha256()
            for _ in range(self.disk.partitions[other].size_mib):
                content.update(file.read(1 << 20))
        return hashlib.sha256(environment).hexdigest(), content.hexdigest()
