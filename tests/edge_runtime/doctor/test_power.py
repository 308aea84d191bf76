"""Governors, power modes, clocks and heat. The Jetson's files and texts are those of NVIDIA's manual."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_runtime.doctor import power
from edge_runtime.doctor.check import Check
from tests.edge_runtime.doctor.machine import Machine

JETSON = {
    "/etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081\n",
    "/proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0",
}
SHOWN = """SOC family:tegra234  Machine:NVIDIA Jetson AGX Orin Developer Kit
Online CPUs: 0-11
cpu0:  Online=1 Governor=schedutil MinFreq={low} MaxFreq=2201600 CurrentFreq=1190400 IdleStates: WFI=1 c7=1
cpu1:  Online=1 Governor=schedutil MinFreq={low} MaxFreq=2201600 CurrentFreq=1190400 IdleStates: WFI=1 c7=1
GPU MinFreq={gpu} MaxFreq=1300500000 CurrentFreq=306000000
EMC MinFreq=204000000 MaxFreq=3199000000 CurrentFreq=2133000000 FreqOverride=0
"""


def test_how_fast_the_cores_are(tmp_path: Path) -> None:
    folder = "/sys/devices/system/cpu"
    files = {f"{folder}/cpu{n}/cpufreq/scaling_cur_freq": f"{khz}\n" for n, khz in enumerate((1_190_400, 2_201_600))}
    assert power.frequency(Machine(tmp_path, files)).found == "2 at 1190 to 2201 MHz"
    assert power.frequency(Machine(tmp_path / "virtual", {})).level == "unknown"


@pytest.mark.parametrize(
    ("governors", "level", "says"),
    [
        (["performance"] * 2, "ok", "performance on 2 cores"),
        (["performance", "schedutil"], "warn", "performance on 1, schedutil on 1"),
        ([], "unknown", "virtual machine"),
    ],
)
def test_governor(tmp_path: Path, governors: list[str], level: str, says: str) -> None:
    folder = "/sys/devices/system/cpu"
    files = {f"{folder}/cpu{n}/cpufreq/scaling_governor": f"{one}\n" for n, one in enumerate(governors)}
    found = power.governor(Machine(tmp_path, files))
    assert found.level == level
    assert says in found.found


@pytest.mark.parametrize(
    ("printed", "level", "says"),
    [
        ("NV Power Mode: MAXN\n0\n", "ok", "MAXN, NVIDIA Jetson AGX Orin Developer Kit"),
        ("NV Power Mode: MAXN_SUPER\n2\n", "ok", "MAXN_SUPER"),
        ("NV Power Mode: MODE_30W\n2\n", "warn", "MODE_30W"),
        ("NVPM ERROR: failed\n", "unknown", "does not say"),
        ("", "unknown", "does not say"),
    ],
)
def test_power_mode(tmp_path: Path, printed: str, level: str, says: str) -> None:
    found = power.power_mode(Machine(tmp_path, JETSON, {"nvpmodel": printed}))
    assert found.level == level
    assert says in found.found


def test_clocks_that_are_held_and_that_are_not(tmp_path: Path) -> None:
    def look(printed: str) -> Check:
        return power.clocks(Machine(tmp_path, JETSON, {"jetson_clocks": printed}))

    assert look(SHOWN.format(low=2201600, gpu=1300500000)).level == "ok"
    found = look(SHOWN.format(low=729600, gpu=1300500000))
    assert (found.level, found.found) == ("warn", "cpu0, cpu1 may slow down")
    assert "GPU" in look(SHOWN.format(low=2201600, gpu=306000000)).found
    assert look("Error: Need root permission\n").level == "unknown"


def test_only_a_jetson_is_asked_for_its_power_mode(tmp_path: Path) -> None:
    names = [check.name for check in power.check(Machine(tmp_path / "pc", {}))]
    assert names == ["governor", "temperature"]
    names = [check.name for check in power.check(Machine(tmp_path / "jetson", JETSON))]
    assert names == ["governor", "power mode", "clocks", "temperature"]


def zone(number: int, kind: str, milli: object, **trips: int) -> dict[str, str]:
    folder = f"/sys/class/thermal/thermal_zone{number}"
    files = {f"{folder}/type": f"{kind}\n", f"{folder}/temp": f"{milli}\n"}
    for index, (name, value) in enumerate(trips.items()):
        files |= {f"{folder}/trip_point_{index}_type": name, f"{folder}/trip_point_{index}_temp": str(value)}
    return files


@pytest.mark.parametrize(
    ("zones", "level", "says"),
    [
        ([zone(0, "cpu-thermal", 48000, passive=99000, critical=104500)], "ok", "cpu-thermal 48 °C"),
        ([zone(0, "cpu-thermal", 91000, passive=99000)], "warn", "slows down at 99 °C"),
        ([zone(0, "cpu-thermal", 99500, passive=99000)], "bad", "slows down at 99 °C"),
        ([zone(0, "a", 40000, passive=99000), zone(1, "b", 96000, passive=105000)], "warn", "b 96 °C"),
        ([zone(0, "acpitz", 86000, active=50000)], "warn", "slows down at 95 °C"),
        ([zone(0, "gpu-thermal", -256000, passive=99000)], "unknown", "no thermal zone"),
        ([zone(0, "gpu-thermal", "", passive=99000)], "unknown", "no thermal zone"),
        ([], "unknown", "no thermal zone"),
    ],
)
def test_temperature(tmp_path: Path, zones: list[dict[str, str]], level: str, says: str) -> None:
    found = power.temperature(Machine(tmp_path, {path: text for one in zones for path, text in one.items()}))
    assert found.level == level
    assert says in found.found
