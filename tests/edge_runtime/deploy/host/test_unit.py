"""The service's unit: what systemd itself says of it, and what it is for each kind of robot."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from edge_runtime.deploy import systems
from edge_runtime.deploy.host import system_files, unit, waits
from edge_runtime.deploy.places import EDGE, PYTHON, SERVICE
from edge_runtime.realtime import NICE
from tests.edge_runtime.deploy.host.robots import ARM, CHANGES, FTDI, changed, robot

EXPOSURE = 30
"""Tenths: what `systemd-analyze security` may find at most."""
DEBIAN, JETSON = systems.SYSTEMS["debian12-amd64"], systems.SYSTEMS["jetpack6-orin"]
FIRST_OFFLINE = 250


def _analyzer() -> str:
    """systemd-analyze, where it can judge a unit that is not installed."""
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("no systemd-analyze on this machine: apt install systemd")
    words = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout.split()
    if int(words[1].partition(".")[0]) < FIRST_OFFLINE:
        pytest.skip(f"systemd-analyze {words[1]} cannot judge a file: that came with {FIRST_OFFLINE}")
    return found


def _units(name: str, folder: Path, system: systems.System = DEBIAN, updates: bool = True) -> list[Path]:
    """The units of that robot as files, with programs in them that this machine has."""
    made = system_files.files(robot(name, folder), system, updates=updates)
    paths = []
    for place, text in made.items():
        if Path(place).parent == Path(system_files.UNITS):
            paths.append(folder / Path(place).name)
            paths[-1].write_text(text.replace(str(EDGE), "/bin/true").replace(str(PYTHON), "/bin/true"))
    return paths


def _settings(name: str, folder: Path, system: systems.System = DEBIAN, updates: bool = False) -> list[str]:
    return unit.service(robot(name, folder), system, updates=updates).splitlines()


@pytest.mark.parametrize("name", CHANGES)
def test_systemd_finds_nothing_to_say(name: str, tmp_path: Path) -> None:
    units = _units(name, tmp_path, JETSON if name in ("csi", "trt") else DEBIAN)
    done = subprocess.run([_analyzer(), "verify", *map(str, units)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", CHANGES)
def test_the_service_is_shut_in(name: str, tmp_path: Path) -> None:
    _units(name, tmp_path, JETSON if name in ("csi", "trt") else DEBIAN)
    words = ["security", "--offline=yes", f"--threshold={EXPOSURE}", "--no-pager", str(tmp_path / SERVICE)]
    done = subprocess.run([_analyzer(), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout.splitlines()[-1]


def test_a_robot_on_a_serial_port_has_that_and_no_network(tmp_path: Path) -> None:
    lines = _settings("serial", tmp_path)
    assert [line for line in lines if line.startswith("DeviceAllow")] == ["DeviceAllow=char-ttyACM rw"]
    assert {"SupplementaryGroups=dialout", "DevicePolicy=closed", "PrivateNetwork=yes"} <= set(lines)
    assert {"RestrictAddressFamilies=AF_UNIX", "IPAddressDeny=any", "MemoryDenyWriteExecute=yes"} <= set(lines)


def test_a_simulated_robot_has_no_device_and_no_group(tmp_path: Path) -> None:
    text = "\n".join(_settings("sim", tmp_path))
    assert "DeviceAllow" not in text
    assert "SupplementaryGroups" not in text


@pytest.mark.parametrize(
    ("port", "allowed"),
    [
        (FTDI, ["char-ttyUSB"]),
        ("/dev/ttyUSB0", ["char-ttyUSB"]),
        ("/dev/ttyACM3", ["char-ttyACM"]),
        ("/dev/ttyTHS1", ["/dev/ttyTHS1"]),
        ("/dev/serial/by-path/platform-3610000.usb-usb-0:2.2:1.0", ["char-ttyACM"]),
        ("/dev/serial/by-path/platform-3100000.serial", ["/dev/serial/by-path/platform-3100000.serial"]),
        ("/dev/my-arm", ["char-ttyACM", "char-ttyUSB"]),
        ("/dev/pts/7", []),
    ],
)
def test_what_can_be_plugged_in_again_is_allowed_as_a_class(port: str, allowed: list[str], tmp_path: Path) -> None:
    made = changed((('port = "./arm"', f'port = "{port}"'),), tmp_path)
    lines = unit.service(made, DEBIAN, updates=False).splitlines()
    assert [line for line in lines if line.startswith("DeviceAllow")] == [f"DeviceAllow={one} rw" for one in allowed]


def test_a_can_bus_needs_the_hosts_network_and_gets_of_it_only_can(tmp_path: Path) -> None:
    lines = set(_settings("can", tmp_path))
    assert {"RestrictAddressFamilies=AF_UNIX AF_CAN", "IPAddressDeny=any", "PrivateNetwork=no"} <= lines


def test_a_network_camera_opens_the_network_and_is_waited_for(tmp_path: Path) -> None:
    lines = set(_settings("rtsp", tmp_path))
    assert {"RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6", "PrivateNetwork=no"} <= lines
    assert {"After=network-online.target", "MemoryDenyWriteExecute=no"} <= lines
    assert "IPAddressDeny=any" not in lines
    assert "secret" not in "".join(lines)


@pytest.mark.parametrize(
    ("pipeline", "devices", "network"),
    [
        ("v4l2src ! jpegdec", ["char-video4linux"], "yes"),
        ("v4l2src device=/dev/video2 ! jpegdec", ["char-video4linux"], "yes"),
        ("aravissrc serial=/dev/acme0", ["/dev/acme0"], "yes"),
        ("udpsrc port=5000 ! rtpjpegdepay", [], "no"),
        ("uridecodebin uri=http://10.0.0.5/x", [], "no"),
    ],
)
def test_a_pipeline_of_ones_own_has_what_it_names(
    pipeline: str, devices: list[str], network: str, tmp_path: Path
) -> None:
    camera = f'kind = "gstreamer"\ndevice = "pipeline: {pipeline}"'
    made = changed((('kind = "sim"\ndevice = "./camera-base.sock"', camera),), tmp_path)
    lines = unit.service(made, DEBIAN, updates=False).splitlines()
    assert [line for line in lines if line.startswith("DeviceAllow")] == [f"DeviceAllow={one} rw" for one in devices]
    assert f"PrivateNetwork={network}" in lines


def test_a_jetson_camera_is_reached_through_the_daemons_socket(tmp_path: Path) -> None:
    lines = set(_settings("csi", tmp_path, JETSON))
    assert {"PrivateTmp=no", "DeviceAllow=/dev/nvhost-vic rw", "SupplementaryGroups=dialout video render"} <= lines


def test_stop_inputs_are_allowed(tmp_path: Path) -> None:
    lines = set(_settings("estop", tmp_path))
    assert {"DeviceAllow=/dev/gpiochip0 rw", "DeviceAllow=char-input rw"} <= lines
    assert "SupplementaryGroups=dialout gpio input" in lines


def test_tensorrt_gets_the_gpu_and_may_compile(tmp_path: Path) -> None:
    lines = set(_settings("trt", tmp_path, JETSON))
    assert {"DeviceAllow=/dev/nvmap rw", "DeviceAllow=/dev/nvgpu/igpu0/channel rw"} <= lines
    assert {"MemoryDenyWriteExecute=no", "PrivateNetwork=yes"} <= lines


def test_the_control_thread_may_raise_itself_and_nothing_is_raised_for_it(tmp_path: Path) -> None:
    lines = _settings("core", tmp_path)
    assert {"LimitRTPRIO=50", f"LimitNICE={NICE}", "LimitMEMLOCK=infinity", "RestrictRealtime=no"} <= set(lines)
    assert "CPUAffinity=0-2 4-1023" in lines
    assert not any(line.startswith("CPUScheduling") for line in lines)


def test_the_watchdog_outlasts_the_longest_call_and_the_tick_after_it(tmp_path: Path) -> None:
    one = robot("serial", tmp_path)
    # 1 s + 5 calls of 1 s, and 0.5 s of stuck_ms, since the last of 4 signs of life in that time: torque.py, notify.py
    assert waits.watchdog_s(one) == 9
    assert "WatchdogSec=9" in _settings("serial", tmp_path)


def test_two_buses_get_more_time_than_one(tmp_path: Path) -> None:
    null = '[[buses]]\nname = "second"\nkind = "null"\nport = "none"\njoints = [{ name = "j", id = 1, '
    joint = "position = [-1, 1], velocity = 1, acceleration = 1, jerk = 1, start = 0, park = 0 }]\n"
    one = robot("serial", tmp_path)
    two = changed(((f'port = "{"./arm"}"', f'port = "{ARM}"'), ("[[buses]]", f"{null}{joint}[[buses]]")), tmp_path)
    assert waits.watchdog_s(two) == 16  # (1 + 10 + 0.5) / (3/4)
    assert waits.stop_s(two) > waits.stop_s(one)


def test_the_end_waits_for_an_inference_until_it_never_ends(tmp_path: Path) -> None:
    one = robot("serial", tmp_path)
    slow = msgspec.structs.replace(one, deadlines=msgspec.structs.replace(one.deadlines, hung_ms=30_000.0))
    assert waits.stop_s(slow) == waits.stop_s(one) + 20


def test_the_safe_action_fits_into_its_time_and_slow_failures_are_counted_too(tmp_path: Path) -> None:
    assert waits.stop_s(robot("serial", tmp_path)) > 5 * 1.2  # five attempts of 1.2 s: safe_stop.py
    assert {"StartLimitBurst=5", "StartLimitIntervalSec=21600"} <= set(_settings("serial", tmp_path))


def test_the_safe_action_comes_first_whatever_else_still_runs(tmp_path: Path) -> None:
    lines = _settings("serial", tmp_path)
    after = [line for line in lines if line.startswith("ExecStopPost=")]
    # an arm without power does not confirm it, and a clean stop is one all the same: "-"
    assert after[0] == f"ExecStopPost=-{PYTHON} -I -m edge_runtime.safe_stop /etc/edge-runtime/robot.toml"
    assert {"KillMode=process", "Restart=always", "NotifyAccess=main", "Type=notify"} <= set(lines)


def test_only_with_updates_does_a_start_limit_lead_back(tmp_path: Path) -> None:
    assert "OnFailure=edge-runtime-failed.service" in _settings("serial", tmp_path, updates=True)
    assert not any("OnFailure" in line for line in _settings("serial", tmp_path))


def test_only_a_port_of_the_boards_own_is_waited_for_by_systemd(tmp_path: Path) -> None:
    assert not any(".device" in line for line in _settings("ftdi", tmp_path))
    own = unit.service(changed((('port = "./arm"', 'port = "/dev/ttyTHS1"'),), tmp_path), DEBIAN, updates=False)
    assert "After=dev-ttyTHS1.device\n" in own


@pytest.mark.parametrize("path", [ARM, FTDI, "/dev/ttyTHS1", "/dev/serial/by-path/pci-0000:00:14.0-usb-0:2:1.0"])
def test_a_device_is_waited_for_under_systemds_name(path: str, tmp_path: Path) -> None:
    escape = shutil.which("systemd-escape")
    if escape is None:
        pytest.skip("no systemd-escape on this machine: apt install systemd")
    words = [escape, "--path", "--suffix=device", path]
    assert unit.device_unit(path) == subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
