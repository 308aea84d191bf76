"""What the doctor makes of a kernel, by the files that kernels have."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from edge_runtime.doctor import kernel
from edge_runtime.doctor.check import Check
from edge_runtime.exchange import Exchange
from edge_runtime.realtime import RealtimeReport
from tests.edge_runtime.doctor.machine import Machine

VERSION = "Linux version 6.1.0-9-amd64 (debian-kernel@lists.debian.org) (gcc-12) #1 SMP {} Debian 6.1.27-1"


@pytest.mark.parametrize(
    ("files", "level", "says"),
    [
        ({"/proc/version": VERSION.format("PREEMPT_RT")}, "ok", "PREEMPT_RT, 6.1.0-9-amd64"),
        ({"/proc/version": VERSION.format("PREEMPT"), "/sys/kernel/realtime": "1\n"}, "ok", "PREEMPT_RT"),
        ({"/proc/version": VERSION.format("PREEMPT_DYNAMIC")}, "warn", "PREEMPT_DYNAMIC, 6.1.0"),
        ({"/proc/version": VERSION.format("PREEMPT")}, "warn", "PREEMPT, 6.1.0"),
        ({"/proc/version": VERSION.format("")}, "warn", "no preemption inside the kernel"),
        ({}, "unknown", "cannot be read"),
    ],
)
def test_preemption(tmp_path: Path, files: dict[str, str], level: str, says: str) -> None:
    found = kernel.preemption(Machine(tmp_path, files))
    assert found.level == level
    assert says in found.found
    assert bool(found.remedy) == (level == "warn")


def test_what_was_refused_is_bad_with_its_remedy() -> None:
    given = RealtimeReport(
        ("collector frozen", "switch interval 0.1 ms", "memory locked"),
        (
            "SCHED_FIFO 50 (Operation not permitted: set LimitRTPRIO or `ulimit -r` to 50 or more)",
            "nice -15 for its helpers (Permission denied: set LimitNICE=-15)",
        ),
    )
    assert list(kernel.limits(given)) == [
        Check("memory locked", "ok", "given to this user"),
        Check(
            "SCHED_FIFO 50",
            "bad",
            "refused: Operation not permitted",
            "set LimitRTPRIO or `ulimit -r` to 50 or more",
        ),
        Check("nice -15 for its helpers", "warn", "refused: Permission denied", "set LimitNICE=-15"),
    ]


GROUPED = {"/proc/version": VERSION.format(""), "/boot/config-6.1.0-9-amd64": "CONFIG_RT_GROUP_SCHED=y\n"}
SHARES = {
    "/proc/self/cgroup": "4:memory:/m\n3:cpu,cpuacct:/user\n0::/x\n",
    "/sys/fs/cgroup/cpu/cpu.rt_runtime_us": "950000\n",
}


@pytest.mark.parametrize(
    ("files", "level"),
    [
        ({**GROUPED, **SHARES, "/sys/fs/cgroup/cpu/user/cpu.rt_runtime_us": "0\n"}, "bad"),
        ({**GROUPED, **SHARES, "/sys/fs/cgroup/cpu/user/cpu.rt_runtime_us": "500000\n"}, "ok"),
        ({**GROUPED, **SHARES}, "unknown"),
        (GROUPED, "unknown"),
        ({**GROUPED, "/boot/config-6.1.0-9-amd64": "# CONFIG_RT_GROUP_SCHED is not set\n"}, "ok"),
        ({"/proc/version": VERSION.format("")}, "unknown"),
    ],
)
def test_group_scheduling(tmp_path: Path, files: dict[str, str], level: str) -> None:
    assert kernel.group_scheduling(Machine(tmp_path, files)).level == level


def test_the_configuration_may_be_compressed_and_damaged(tmp_path: Path) -> None:
    host = Machine(tmp_path, {"/proc/version": VERSION.format("")})
    host.path("/proc/config.gz").write_bytes(gzip.compress(b"# CONFIG_RT_GROUP_SCHED is not set\n"))
    assert kernel.group_scheduling(host).level == "ok"
    host.path("/proc/config.gz").write_bytes(b"\x1f\x8b no")
    assert kernel.group_scheduling(host).level == "unknown"


@pytest.mark.parametrize(
    ("runtime", "level", "says"),
    [("950000", "ok", "95 %"), ("-1", "ok", "100 %"), ("0", "bad", "none"), ("x", "unknown", "cannot be read")],
)
def test_throttling(tmp_path: Path, runtime: str, level: str, says: str) -> None:
    files = {"/proc/sys/kernel/sched_rt_runtime_us": runtime, "/proc/sys/kernel/sched_rt_period_us": "1000000"}
    found = kernel.throttling(Machine(tmp_path, files))
    assert found.level == level
    assert says in found.found


@pytest.mark.parametrize(
    ("isolated", "online", "cpu", "level", "says"),
    [
        ("3", "0-3", 3, "ok", "core 3 is control's alone"),
        ("", "0-3", 3, "warn", "isolcpus=3"),
        ("2-3", "0-3", -1, "warn", "control.cpu = 3"),
        ("", "0-7", -1, "warn", "isolcpus=7"),
        ("", "0-1", -1, "ok", "none to spare"),
    ],
)
def test_isolation(tmp_path: Path, isolated: str, online: str, cpu: int, level: str, says: str) -> None:
    folder = "/sys/devices/system/cpu"
    found = kernel.isolation(Machine(tmp_path, {f"{folder}/isolated": isolated, f"{folder}/online": online}), cpu)
    assert found.level == level
    assert says in f"{found.found} {found.remedy}"


def test_no_list_of_cores_is_unknown(tmp_path: Path) -> None:
    assert kernel.isolation(Machine(tmp_path, {}), -1).level == "unknown"


@pytest.mark.parametrize(
    ("source", "level"), [("tsc", "ok"), ("hpet", "warn"), ("sundial", "unknown"), (None, "unknown")]
)
def test_clock(tmp_path: Path, source: str | None, level: str) -> None:
    file = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
    assert kernel.clock(Machine(tmp_path, {file: f"{source}\n"} if source else {})).level == level


@pytest.mark.parametrize(
    ("text", "locked", "level"),
    [
        ("Filename\tType\n", False, "ok"),
        ("Filename\tType\n/dev/zram0 partition 1 0 5\n", True, "ok"),
        ("Filename\tType\n/dev/zram0 partition 1 0 5\n", False, "warn"),
        (None, True, "unknown"),
    ],
)
def test_swap(tmp_path: Path, text: str | None, locked: bool, level: str) -> None:
    assert kernel.swap(Machine(tmp_path, {"/proc/swaps": text} if text else {}), locked).level == level


def test_who_does_the_serial_cycle() -> None:
    assert kernel.serial_cycle(object.__new__(Exchange)).level == "ok"
    found = kernel.serial_cycle("in Python, as there was no C compiler at installation: install one")
    assert (found.level, found.found) == ("warn", "in Python, as there was no C compiler at installation")
    assert found.remedy == "install one"
