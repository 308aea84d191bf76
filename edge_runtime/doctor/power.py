"""Power and heat: a figure measured in another power mode, or on a hot board, is another figure.

The parts about Jetson boards were held to files and texts as they stand in NVIDIA's manual ("Jetson Developer Guide",
Platform Power and Performance), and not run on hardware.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from edge_runtime.doctor.check import Check
from edge_runtime.doctor.host import Host, read, shown

_MARGIN_C = 10.0
_NO_TRIPS_C = (85.0, 95.0)
"""Where a zone names no temperature of its own at which it slows down: when to look at it, and when it is too hot."""
_SLOWING = ("passive", "hot", "critical")
_POSSIBLE_C = (-40.0, 150.0)


def check(host: Host) -> Iterator[Check]:
    yield governor(host)
    if host.jetson:
        yield power_mode(host)
        yield clocks(host)
    yield temperature(host)


def governor(host: Host) -> Check:
    """cpufreq's scaling_governor of every core."""
    name = "governor"
    found = [read(path) or "" for path in host.glob("/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor")]
    if not found:
        return Check(name, "unknown", "the kernel does not set the cores' frequency (a virtual machine?)")
    if set(found) == {"performance"}:
        return Check(name, "ok", f"performance on {len(found)} cores")
    words = ", ".join(f"{one or 'unreadable'} on {n}" for one, n in sorted(Counter(found).items()))
    remedy = "sudo jetson_clocks" if host.jetson else "sudo cpupower frequency-set -g performance"
    return Check(name, "warn", f"{words} cores: the first work after a rest is slow", remedy)


def power_mode(host: Host) -> Check:
    """`nvpmodel -q` prints "NV Power Mode: MAXN" and its number."""
    name, board = "power mode", host.read("/proc/device-tree/model") or "Jetson"
    found = re.search(r"NV Power Mode:\s*(\S+)", host.run("nvpmodel", "-q") or "")
    if found is None:
        return Check(name, "unknown", f"{board}: nvpmodel does not say", "run as root, or sudo nvpmodel -q")
    if found[1].startswith("MAXN"):
        return Check(name, "ok", f"{found[1]}, {board}")
    return Check(name, "warn", f"{found[1]}, {board}", "sudo nvpmodel -m 0, where supply and cooling allow it")


def clocks(host: Host) -> Check:
    """`jetson_clocks --show` prints MinFreq and MaxFreq of each core and the GPU; equal where they are held."""
    name, text = "clocks", host.run("jetson_clocks", "--show") or ""
    ranges = re.findall(r"^(cpu\d+|GPU)\b.*?MinFreq=(\d+) MaxFreq=(\d+)", text, re.MULTILINE)
    if not ranges:
        return Check(name, "unknown", "jetson_clocks does not say", "run as root, or sudo jetson_clocks --show")
    free = [unit for unit, low, high in ranges if low != high]
    if not free:
        return Check(name, "ok", f"held at their highest: {shown([unit for unit, _, _ in ranges])}")
    return Check(name, "warn", f"{shown(free)} may slow down", "sudo jetson_clocks, after nvpmodel")


def frequency(host: Host) -> Check:
    """cpufreq's scaling_cur_freq, kHz: how fast the cores are just now."""
    name = "cores"
    found = [read(path) or "" for path in host.glob("/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq")]
    mhz = [int(khz) // 1000 for khz in found if khz.isdecimal()]
    if not mhz:
        return Check(name, "unknown", "the kernel does not say how fast they are (a virtual machine?)")
    return Check(name, "ok", f"{len(mhz)} at {min(mhz)} to {max(mhz)} MHz")


def temperature(host: Host) -> Check:
    """Zones of /sys/class/thermal, m°C, beside the lowest trip point at which each slows down (sysfs-api.rst)."""
    name = "temperature"
    zones = [zone for path in host.glob("/sys/class/thermal/thermal_zone[0-9]*") if (zone := _zone(path))]
    if not zones:
        return Check(name, "unknown", "the kernel shows no thermal zone (a virtual machine?)")
    kind, now_c, look_c, hot_c = min(zones, key=lambda zone: zone[3] - zone[1])
    found = f"{kind} {now_c:.0f} °C, slows down at {hot_c:.0f} °C"
    if now_c >= hot_c:
        return Check(name, "bad", found, "let it cool down: clean or add a fan, or ask for a lower power mode")
    if now_c >= look_c:
        return Check(name, "warn", found, "see to its cooling before a long run")
    return Check(name, "ok", f"{found}, the nearest of {len(zones)} zones")


def _zone(folder: Path) -> tuple[str, float, float, float] | None:
    """Its type, its temperature, and where to look at it and where it is too hot, °C; None where it does not say."""
    now_c = _celsius(folder / "temp")
    if now_c is None:
        return None
    trips = [c for p in sorted(folder.glob("trip_point_*_type")) if read(p) in _SLOWING and (c := _celsius(_limit(p)))]
    look_c, hot_c = (min(trips) - _MARGIN_C, min(trips)) if trips else _NO_TRIPS_C
    return read(folder / "type") or folder.name, now_c, look_c, hot_c


def _limit(kind: Path) -> Path:
    return kind.with_name(kind.name.replace("_type", "_temp"))


def _celsius(path: Path) -> float | None:
    """A temperature that can be one: a zone that is switched off gives an error, or a value far below zero."""
    try:
        value = int(read(path) or "") / 1000.0
    except ValueError:
        return None
    return value if _POSSIBLE_C[0] < value < _POSSIBLE_C[1] else None
