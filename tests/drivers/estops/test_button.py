"""A key as an e-stop: its level, presses too short to see, and everything that is not a key."""

from __future__ import annotations

from pathlib import Path

import pytest

from drivers.errors import Disconnected, DriverError
from drivers.estops.base import EstopSettings
from drivers.estops.button import Device
from drivers.linux_input import EVENT
from tests.drivers.fake_input import FakeInput


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeInput:
    made = FakeInput(tmp_path, monkeypatch)
    made.keys = {304, 305}
    return made


def button(fake: FakeInput, key: str = "BTN_SOUTH") -> Device:
    return Device(EstopSettings("left", str(fake.path), key))


def test_pressed_while_it_is_down(fake: FakeInput) -> None:
    estop = button(fake)
    estop.open()
    assert not estop.read(0.0)
    fake.key(304, True)
    assert estop.read(0.1)
    assert estop.read(0.0)  # no new event, and still down
    fake.key(304, False)
    assert not estop.read(0.1)
    estop.close()
    estop.close()


def test_a_press_that_is_over_already_counts_and_another_key_does_not(fake: FakeInput) -> None:
    estop = button(fake)
    estop.open()
    fake.key(305, True)
    assert not estop.read(0.1)
    fake.key(304, True)
    fake.key(304, False)
    assert estop.read(0.1)
    assert not estop.read(0.0)


def test_down_before_it_was_opened_is_pressed(fake: FakeInput) -> None:
    fake.down = {304}
    estop = button(fake)
    estop.open()
    assert estop.read(0.0)


def test_events_that_were_lost_may_have_been_a_press(fake: FakeInput) -> None:
    estop = button(fake)
    estop.open()
    fake.dropped()
    assert estop.read(0.1), "pressed and released meanwhile, or not: it cannot be known"
    assert not estop.read(0.0)
    fake.dropped()
    fake.down = {304}
    assert estop.read(0.1)
    assert estop.read(0.0)


def test_half_an_event_waits_for_the_other_half(fake: FakeInput) -> None:
    import os

    estop = button(fake)
    estop.open()
    raw = EVENT.pack(1, 2, 1, 304, 1)
    os.write(fake._pipe, raw[:10])
    assert not estop.read(0.1)
    os.write(fake._pipe, raw[10:])
    assert estop.read(0.1)


def test_a_cable_that_is_pulled_raises(fake: FakeInput) -> None:
    estop = button(fake)
    estop.open()
    fake.unplug()
    with pytest.raises(Disconnected, match=r"e-stop left on .*: the device has gone away"):
        estop.read(0.1)
    estop.close()
    with pytest.raises(Disconnected, match="no such device"):
        estop.open()


def test_a_device_without_that_key_is_refused(fake: FakeInput) -> None:
    with pytest.raises(Disconnected, match="the device has no key BTN_START"):
        button(fake, "BTN_START").open()


def test_a_name_that_no_key_has_is_refused_before_anything_is_opened(fake: FakeInput) -> None:
    with pytest.raises(DriverError, match='e-stop left: there is no key "BTN_SUOTH"'):
        button(fake, "BTN_SUOTH")
