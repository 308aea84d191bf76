"""udev rules: each line is one that udev takes, and says what robot.toml names."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_runtime.deploy.host import udev
from edge_runtime.errors import EdgeError
from tests.edge_runtime.deploy.host.robots import ARM, CAMERA, CHANGES, changed, robot

KEYS = {"ACTION", "SUBSYSTEM", "KERNEL", "SYMLINK", "DRIVER", "GROUP", "MODE", "RUN", "ATTR", "ENV"}
TOKEN = re.compile(r'(?P<key>[A-Z]+)(\{(?P<of>[a-zA-Z_]+)\})?(?P<op>==|!=|\+=|=)"(?P<value>[^"\\]*)"')
"""One token of a rule (udev(7)): a key, perhaps with an attribute, an operator, a value in double quotes."""
SERIAL_ID = st.text(string.ascii_letters + string.digits + "#+-.:=@_", min_size=1, max_size=80)


def parsed(text: str) -> list[list[tuple[str, str, str]]]:
    """Each rule's tokens. Fails for what is neither a rule nor a comment."""
    found = []
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        tokens = [TOKEN.fullmatch(word) for word in line.split(", ")]
        assert all(tokens), line
        found.append([(f"{t['key']}{{{t['of']}}}" if t["of"] else t["key"], t["op"], t["value"]) for t in tokens if t])
        assert {token["key"] for token in tokens if token} <= KEYS
    return found


@pytest.mark.parametrize("name", CHANGES)
def test_every_line_is_a_rule_that_matches_before_it_sets(name: str, tmp_path: Path) -> None:
    for rule in parsed(udev.rules(robot(name, tmp_path))):
        assert rule[0][1] in ("==", "!=")
        assert any(op in ("=", "+=") for _, op, _ in rule)


def test_a_device_gets_its_name_of_robot_toml_its_group_and_peace_from_modem_manager(tmp_path: Path) -> None:
    (rule,) = (r for r in parsed(udev.rules(robot("serial", tmp_path))) if ("SUBSYSTEM", "==", "tty") in r)
    assert ("SYMLINK", "==", ARM.removeprefix("/dev/")) in rule
    assert {("SYMLINK", "+=", "edge/arm"), ("GROUP", "=", "dialout"), ("MODE", "=", "0660")} <= set(rule)
    assert ("ENV{ID_MM_PORT_IGNORE}", "=", "1") in rule


def test_an_ftdi_adapter_answers_at_once(tmp_path: Path) -> None:
    rules = parsed(udev.rules(robot("ftdi", tmp_path)))
    assert any(("DRIVER", "==", "ftdi_sio") in r and ("ATTR{latency_timer}", "=", "1") in r for r in rules)


def test_cameras_and_inputs_are_named_and_chips_only_permitted(tmp_path: Path) -> None:
    camera = parsed(udev.rules(robot("camera", tmp_path)))[-1]
    assert {("SYMLINK", "==", CAMERA.removeprefix("/dev/")), ("SYMLINK", "+=", "edge/base")} <= set(camera)
    chip, button = parsed(udev.rules(robot("estop", tmp_path)))[-2:]
    assert {("SUBSYSTEM", "==", "gpio"), ("KERNEL", "==", "gpiochip0"), ("GROUP", "=", "gpio")} <= set(chip)
    assert {("SUBSYSTEM", "==", "input"), ("SYMLINK", "+=", "edge/button"), ("GROUP", "=", "input")} <= set(button)


def test_a_can_interface_is_brought_up_at_the_buss_speed(tmp_path: Path) -> None:
    (rule,) = parsed(udev.rules(robot("can", tmp_path)))
    assert {("SUBSYSTEM", "==", "net"), ("KERNEL", "==", "can0")} <= set(rule)
    assert rule[-1] == ("RUN", "+=", "/usr/bin/env ip link set can0 up txqueuelen 128 type can bitrate 1000000")


def test_what_is_not_below_dev_has_no_rule(tmp_path: Path) -> None:
    assert parsed(udev.rules(robot("sim", tmp_path))) == []


@given(name=SERIAL_ID)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_udev_calls_an_adapter_its_rule_can_be_read(name: str, tmp_path: Path) -> None:
    rules = parsed(udev.rules(changed((('port = "./arm"', f'port = "/dev/serial/by-id/{name}"'),), tmp_path)))
    assert ("SYMLINK", "==", f"serial/by-id/{name}") in rules[-1]


@pytest.mark.parametrize("name", ["a b", "a*", "a[0-9]", "a'", "%n", "a\\\\x20"])
def test_a_name_that_udev_never_gives_is_refused(name: str, tmp_path: Path) -> None:
    made = changed((('port = "./arm"', f'port = "/dev/serial/by-id/{name}"'),), tmp_path)
    with pytest.raises(EdgeError, match="udev gives no device such a name"):
        udev.rules(made)


def test_two_parts_of_one_name_are_refused(tmp_path: Path) -> None:
    named = (
        'name = "base"\nkind = "sim"\ndevice = "./camera-base.sock"',
        f'name = "arm"\nkind = "opencv"\ndevice = "{CAMERA}"',
    )
    made = changed((('port = "./arm"', f'port = "{ARM}"'), named), tmp_path)
    with pytest.raises(EdgeError, match="both called arm"):
        udev.rules(made)
