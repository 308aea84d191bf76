"""The kernel: does it leave whatever it does for a real-time thread, and does it let this user have one?"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator

from edge_runtime import exchange
from edge_runtime.config import Control
from edge_runtime.doctor.check import Check, Level
from edge_runtime.doctor.host import Host, cores
from edge_runtime.realtime import RealtimeReport

_RT_KERNEL = "install a real-time kernel (Debian, Ubuntu Pro: linux-image-rt; Jetson: nvidia-l4t-rt-kernel)"
_GOOD_CLOCKS = ("tsc", "arch_sys_counter", "kvm-clock", "hyperv_clocksource_tsc_page")
_POOR_CLOCKS = ("hpet", "acpi_pm", "jiffies", "refined-jiffies")
_NEEDED = ("SCHED_FIFO", "core")
"""Without these the control thread waits for others."""
_SPARE_CORES = 4
"""On fewer than these no core is to be spared for one thread."""


def check(host: Host, control: Control, given: RealtimeReport | None) -> Iterator[Check]:
    """`given` is what `realtime.obtain` gave for `control`; None where it is not this user's to ask for."""
    yield preemption(host)
    if given is not None:
        yield from limits(given)
    yield group_scheduling(host)
    yield throttling(host)
    yield isolation(host, control.cpu)
    yield clock(host)
    if given is not None:
        yield swap(host, locked="memory locked" in given.obtained)
    yield serial_cycle(exchange.load())


def preemption(host: Host) -> Check:
    """/sys/kernel/realtime is 1 on PREEMPT_RT; the model also stands in the kernel's version (/proc/version)."""
    version = host.read("/proc/version")
    if version is None:
        return Check("preemption", "unknown", "/proc/version cannot be read")
    release = "".join(version.split()[2:3])
    if host.read("/sys/kernel/realtime") == "1" or "PREEMPT_RT" in version:
        return Check("preemption", "ok", f"PREEMPT_RT, {release}")
    found = re.search(r"\bPREEMPT(_DYNAMIC)?\b", version)
    model = found[0] if found else "no preemption inside the kernel"
    return Check("preemption", "warn", f"{model}, {release}: a tick may be late by milliseconds", _RT_KERNEL)


def limits(given: RealtimeReport) -> Iterator[Check]:
    """What was asked for in this process, and what came of it."""
    for setting in given.obtained:
        if not setting.startswith(("collector", "switch")):
            yield Check(setting, "ok", "given to this user")
    for refusal in given.refused:
        setting, _, rest = refusal.removesuffix(")").partition(" (")
        why, _, remedy = rest.partition(": ")
        level: Level = "bad" if setting.startswith(_NEEDED) else "warn"
        yield Check(setting, level, f"refused: {why}", remedy)


def group_scheduling(host: Host) -> Check:
    """CONFIG_RT_GROUP_SCHED: a group of processes without real-time time of its own is refused SCHED_FIFO (EPERM)."""
    name = "RT_GROUP_SCHED"
    config = _kernel_config(host)
    shares = host.glob("/sys/fs/cgroup/cpu/cpu.rt_runtime_us") + host.glob(
        "/sys/fs/cgroup/cpu,cpuacct/cpu.rt_runtime_us"
    )
    if "CONFIG_RT_GROUP_SCHED=y" not in config and not shares:
        if config:
            return Check(name, "ok", "not in this kernel")
        return Check(name, "unknown", "the kernel does not show its configuration")
    found = re.search(r"^\d+:[^:\n]*\bcpu\b[^:\n]*:(/.*)$", host.read("/proc/self/cgroup") or "", re.MULTILINE)
    share = (
        host.read(f"{shares[0].parent.relative_to(host.root)}{found[1]}/cpu.rt_runtime_us")
        if shares and found
        else None
    )
    if share is None:
        why = "in this kernel; what this process's group may use is not to be seen"
        return Check(name, "unknown", why, "if SCHED_FIFO is refused: boot with rt_group_sched=0")
    if int(share or 0) == 0:
        return Check(name, "bad", "this process's group has no real-time time", "write 950000 to its cpu.rt_runtime_us")
    return Check(name, "ok", f"this process's group has {share} µs of real-time time")


def throttling(host: Host) -> Check:
    """sched_rt_runtime_us of each sched_rt_period_us for all real-time threads (sched-rt-group.rst); -1: all of it."""
    name = "real-time share"
    texts = [host.read(f"/proc/sys/kernel/sched_rt_{what}_us") for what in ("runtime", "period")]
    try:
        runtime, period = (int(text or "") for text in texts)
    except ValueError:
        return Check(name, "unknown", "/proc/sys/kernel/sched_rt_runtime_us cannot be read")
    if runtime == 0:
        return Check(name, "bad", "none: no real-time thread may run", "sudo sysctl kernel.sched_rt_runtime_us=950000")
    if runtime < 0 or runtime >= period:
        return Check(name, "ok", "100 %: a real-time thread that runs wild is not stopped")
    return Check(name, "ok", f"{100 * runtime / period:g} % of a core")


def isolation(host: Host, cpu: int) -> Check:
    """Cores that the scheduler leaves alone (isolcpus), beside the one that control is to have (control.cpu)."""
    name = "isolated cores"
    alone, online = host.read("/sys/devices/system/cpu/isolated"), host.read("/sys/devices/system/cpu/online")
    if alone is None or online is None:
        return Check(name, "unknown", "/sys/devices/system/cpu/isolated cannot be read")
    isolated, count = cores(alone), len(cores(online))
    if cpu >= 0:
        if cpu in isolated:
            return Check(name, "ok", f"core {cpu} is control's alone")
        return Check(name, "warn", f"other programs run on core {cpu} (control.cpu) too", f"boot with isolcpus={cpu}")
    if isolated:
        return Check(name, "warn", f"{alone}, and control does not use it", f"set control.cpu = {isolated[-1]}")
    if count < _SPARE_CORES:
        return Check(name, "ok", f"none, of {count}: there is none to spare")
    last = count - 1
    return Check(name, "warn", f"none, of {count}", f"boot with isolcpus={last} and set control.cpu = {last}")


def clock(host: Host) -> Check:
    """What CLOCK_MONOTONIC is read from: one that is slow to read or coarse makes every stamp worse."""
    name = "clock"
    source = host.read("/sys/devices/system/clocksource/clocksource0/current_clocksource")
    if source in _GOOD_CLOCKS:
        return Check(name, "ok", source)
    if source in _POOR_CLOCKS:
        return Check(
            name, "warn", f"{source}: slow to read", "see `dmesg | grep -i clocksource` for what was wrong with tsc"
        )
    return Check(name, "unknown", source or "the kernel does not say")


def swap(host: Host, locked: bool) -> Check:
    """A page that was swapped out costs a tick milliseconds, unless memory is locked."""
    name, text = "swap", host.read("/proc/swaps")
    if text is None:
        return Check(name, "unknown", "/proc/swaps cannot be read")
    areas = [line.split()[0] for line in text.splitlines()[1:]]
    if not areas:
        return Check(name, "ok", "none")
    if locked:
        return Check(name, "ok", f"{', '.join(areas)}; memory is locked")
    return Check(
        name, "warn", f"{', '.join(areas)}, and memory is not locked", "let memory be locked, or sudo swapoff -a"
    )


def serial_cycle(found: exchange.Exchange | str) -> Check:
    """Whether setpoints go out without the interpreter's lock, for which any other thread may make them wait."""
    if isinstance(found, str):
        why, _, remedy = found.partition(": ")
        return Check("serial cycle", "warn", why, remedy)
    return Check("serial cycle", "ok", "in C, without the interpreter's lock")


def _kernel_config(host: Host) -> str:
    """The kernel's build configuration; "" where it does not show it."""
    version = "".join((host.read("/proc/version") or "").split()[2:3])
    plain = host.read(f"/boot/config-{version}")
    if plain is not None:
        return plain
    try:
        return gzip.decompress(host.path("/proc/config.gz").read_bytes()).decode(errors="replace")
    except (OSError, EOFError):
        return ""
