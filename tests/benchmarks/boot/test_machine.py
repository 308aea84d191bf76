"""The virtual machine of the boot tests, with a small program in qemu's place."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.boot.machine import Machine, MachineError, Result

FAKE = (sys.executable, str(Path(__file__).with_name("fake_qemu.py")))
WAIT_S = 20.0


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with Machine(FAKE, tmp_path) as machine:
        machine.wait_for_agent(WAIT_S)
        yield machine


def test_a_command_comes_to_its_status_and_output(machine: Machine) -> None:
    assert machine.run("cat; echo more >&2; exit 3", data=b"words\n") == Result(3, "words\nmore\n")
    assert machine.output("echo '  x '") == "x"
    with pytest.raises(MachineError, match=r"echo no; false: status 1: no"):
        machine.output("echo no; false")


def test_a_file_comes_byte_for_byte(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(range(256)))
    assert machine.read(str(tmp_path / "file")) == bytes(range(256))


def test_waiting_until_a_command_succeeds_ends(machine: Machine, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    assert machine.wait_until(f"test -e {flag} && echo yes || ! touch {flag}", WAIT_S) == "yes"
    with pytest.raises(MachineError, match="status 1: no"):
        machine.wait_until("echo no; false", 0.1)


def test_lines_of_the_console_are_found_once_and_whole(machine: Machine) -> None:
    machine.console.write_text("[1] Started one\n[2] Started two\nStarted th")
    assert machine.wait_for_line("Started", WAIT_S) == "[1] Started one"
    assert machine.wait_for_line("two", WAIT_S) == "[2] Started two"
    with pytest.raises(MachineError, match=r'"Started th" on its console; the console is in .*console\.log'):
        machine.wait_for_line("Started th", 0.1)


def test_what_a_reset_cut_off_is_forgotten(tmp_path: Path) -> None:
    with Machine((*FAKE, "resets"), tmp_path) as machine:
        assert machine.wait_for_event("WATCHDOG", WAIT_S)["data"] == {"action": "reset"}
        machine.wait_for_agent(WAIT_S)
        assert machine.output("echo still here") == "still here"


def test_a_power_cut_takes_its_console_up_where_it_was(machine: Machine) -> None:
    machine.console.write_text("before\n")
    machine.power_cut()
    machine.start()
    machine.wait_for_agent(WAIT_S)
    with machine.console.open("a") as console:
        console.write("after\n")
    assert machine.wait_for_line("", WAIT_S) == "after"
    assert 0.0 < machine.up_s < WAIT_S
    machine.stop(WAIT_S)


def test_a_qemu_that_does_not_start_says_why_at_once(tmp_path: Path) -> None:
    began_s = time.monotonic()
    with pytest.raises(MachineError, match="qemu has ended, status 1: qemu: no such machine"):
        Machine((*FAKE, "broken"), tmp_path).start()
    assert time.monotonic() - began_s < WAIT_S
