"""Which slot GRUB starts: its own script, run by a shell with GRUB's commands as functions, through every state."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from edge_runtime.deploy.update.system_files import text

TRIES = 3
_COMMANDS = """\
insmod() { :; }
sleep() { :; }
regexp() { disk=hd0; }
load_env() { . "$environment"; }
save_env() {
    shift 2
    for name; do eval "echo SAVED $name=\\$$name"; done
}
linux() { echo "LINUX $*"; }
initrd() { echo "INITRD $*"; }
boot() { exit 0; }
reboot() { echo REBOOT; exit 0; }
"""


@dataclass(frozen=True)
class Environment:
    """RAUC's variables."""

    order: str = "A B"
    a_ok: int = 1
    a_try: int = 0
    b_ok: int = 1
    b_try: int = 0

    def ok(self, slot: str) -> bool:
        return bool(self.a_ok if slot == "A" else self.b_ok)

    def tried(self, slot: str) -> int:
        return self.a_try if slot == "A" else self.b_try

    def text(self) -> str:
        return (
            f'ORDER="{self.order}"\nA_OK={self.a_ok}\nA_TRY={self.a_try}\nB_OK={self.b_ok}\nB_TRY={self.b_try}\n'
            "CMDLINE=console=ttyS0\n"
        )


class Grub:
    def __init__(self, folder: Path, broken: str = "") -> None:
        """`broken`: a command that fails."""
        self.folder = folder
        script = re.sub(r"^(\s*)set (\w+)=", r"\1\2=", text("grub.cfg"), flags=re.MULTILINE)
        script = re.sub(r"(\(\$system\)/[a-z.]+)", r'"\1"', script)
        script = script.replace('environment="($root)/EFI/BOOT/grubenv"', f"environment={folder}/env")
        fails = f"{broken}() {{ return 1; }}\n" if broken else ""
        (folder / "script").write_text(f"root=hd0,gpt1\n{_COMMANDS}{fails}{script}")

    def start(self, environment: Environment) -> tuple[str, Environment, list[str]]:
        """The slot that is started, the environment then, and what was done."""
        (self.folder / "env").write_text(environment.text())
        shell = shutil.which("dash") or "/bin/sh"
        done = subprocess.run([shell, self.folder / "script"], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        lines = done.stdout.splitlines()
        saved = dict(re.findall(r"^SAVED (\w+)=(\d)$", done.stdout, re.MULTILINE))
        (slot,) = set(re.findall(r"^Starting slot (\w)", done.stdout, re.MULTILINE))
        tries = {name.lower(): int(value) for name, value in saved.items()}
        return slot, replace(environment, **tries), lines


STATES = [
    Environment(order, a_ok, a_try, b_ok, b_try)
    for order, a_ok, b_ok in itertools.product(("A B", "B A"), (0, 1), (0, 1))
    for a_try, b_try in itertools.product(range(TRIES + 1), repeat=2)
]


def expected(state: Environment) -> tuple[str, int]:
    """The rule, said once more: the slot, and which of its tries this is."""
    slots = state.order.split()
    usable = [slot for slot in slots if state.ok(slot) and state.tried(slot) < TRIES]
    if usable:
        return usable[0], state.tried(usable[0]) + 1
    return ([slot for slot in slots if state.ok(slot)] or slots)[0], 1


def test_every_state_starts_something_and_the_right_thing(tmp_path: Path) -> None:
    grub = Grub(tmp_path)
    for state in STATES:
        slot, after, lines = grub.start(state)
        assert (slot, after.tried(slot)) == expected(state), state
        other = "B" if slot == "A" else "A"
        assert after.tried(other) == state.tried(other), state
        assert (after.order, after.a_ok, after.b_ok) == (state.order, state.a_ok, state.b_ok)
        part, label = ("gpt2", "edge-a") if slot == "A" else ("gpt3", "edge-b")
        start = f"LINUX (hd0,{part})/vmlinuz root=PARTLABEL={label} rw rauc.slot={slot} panic=10 console=ttyS0"
        assert lines[-2:] == [start, f"INITRD (hd0,{part})/initrd.img"]


def test_a_system_that_never_comes_up_is_left_after_three_tries(tmp_path: Path) -> None:
    grub, state, started = Grub(tmp_path), Environment("B A"), []
    for _ in range(5):
        slot, state, _ = grub.start(state)
        started.append(slot)
        if slot == "A":
            state = replace(state, a_try=0)  # A proved itself before: it is confirmed in each start
    assert started == ["B", "B", "B", "A", "A"]


def test_power_cuts_at_power_on_leave_no_robot_without_a_system(tmp_path: Path) -> None:
    """Nothing is ever confirmed, twenty times in a row."""
    grub, state = Grub(tmp_path), Environment()
    for _ in range(20):
        slot, state, _ = grub.start(state)
        assert state.ok(slot)


INSTALL = (
    {"b_ok": 0, "b_try": 0},  # "marking target slot as non-bootable", before the first block is written
    {"b_ok": 1, "b_try": 0, "order": "B A"},  # "marking target slot as bootable", after the last
)
"""What RAUC 1.8 makes of the environment, in one write each (src/install.c, src/bootchooser.c: grub_set_state,
grub_set_primary)."""


@pytest.mark.parametrize("cut", range(len(INSTALL) + 1))
def test_power_that_goes_during_an_install_starts_a_whole_system(cut: int, tmp_path: Path) -> None:
    state = Environment(a_try=0)
    for step in INSTALL[:cut]:
        state = replace(state, **step)
    slot, _, _ = Grub(tmp_path).start(state)
    assert slot == ("B" if cut == len(INSTALL) else "A")


@pytest.mark.parametrize("command", ["linux", "initrd"])
def test_a_slot_without_a_kernel_costs_a_try_and_no_standstill(command: str, tmp_path: Path) -> None:
    _, after, lines = Grub(tmp_path, broken=command).start(Environment())
    assert lines[-1] == "REBOOT"
    assert after.a_try == 1
