"""A gamepad: deflections become velocities, and what does not rest in its middle is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from drivers.errors import Disconnected, DriverError
from drivers.hands import gamepad as module
from drivers.hands.gamepad import AxisSettings, Device
from tests.drivers.fake_input import FakeInput
from tests.drivers.fake_time import FakeTime

MS = 1_000_000


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeInput:
    monkeypatch.setattr(module, "time", FakeTime)
    made = FakeInput(tmp_path, monkeypatch)
    made.axes = {0: [128, 0, 255, 15], 16: [0, -1, 1, 0], 2: [0, 0, 255, 0]}
    return made


def pad(fake: FakeInput, *axes: AxisSettings) -> Device:
    made = Device(str(fake.path), axes or (AxisSettings("ABS_X", 2, 0.8), AxisSettings("ABS_HAT0X", 0, -0.5)), 4)
    made.open()
    return made


def after(device: Device, seconds: float) -> np.ndarray:
    """The reading after so long, read every 10 ms."""
    out = np.zeros(4)
    for _ in range(round(seconds * 100)):
        FakeTime.now_ns += 10 * MS
        device.read_into(out, FakeTime.now_ns + MS)
    return out


def test_a_stick_at_rest_moves_nothing(fake: FakeInput) -> None:
    device = pad(fake)
    fake.axis(0, 120)  # it never rests quite in the middle
    assert (after(device, 1.0) == 0.0).all()


def test_full_deflection_is_the_joints_speed_and_the_sign_its_direction(fake: FakeInput) -> None:
    device = pad(fake)
    fake.axis(0, 255)
    fake.axis(16, 1)
    after(device, 0.01)
    before = after(device, 0.01)
    assert after(device, 0.5) - before == pytest.approx([-0.25, 0.0, 0.4, 0.0])
    fake.axis(0, 0)
    after(device, 0.01)
    before = after(device, 0.01)
    assert (after(device, 0.5) - before)[2] == pytest.approx(-0.4)


def test_speed_grows_evenly_from_the_end_of_the_dead_zone(fake: FakeInput) -> None:
    device = pad(fake)
    speeds = []
    for value in (142, 143, 192, 255):  # dead up to 15 of 127.5, as the kernel says
        fake.axis(0, value)
        after(device, 0.01)
        before = after(device, 0.01)
        speeds.append((after(device, 0.1) - before)[2] / 0.1)
    assert speeds[0] == 0.0
    assert 0 < speeds[1] < 0.02
    assert speeds[2] == pytest.approx(0.8 * (64.5 - 15) / (127.5 - 15))
    assert speeds[3] == pytest.approx(0.8)


def test_a_reading_that_comes_late_is_no_leap(fake: FakeInput) -> None:
    device = pad(fake)
    fake.axis(0, 255)
    after(device, 0.01)
    before = after(device, 0.01)
    FakeTime.now_ns += 5_000 * MS
    assert (after(device, 0.01) - before)[2] <= 0.8 * 0.1 + 1e-9


def test_after_lost_events_the_axes_are_asked_anew(fake: FakeInput) -> None:
    device = pad(fake)
    fake.axes[0][0] = 255
    fake.dropped()
    after(device, 0.01)
    before = after(device, 0.01)
    assert (after(device, 0.1) - before)[2] == pytest.approx(0.08)


@pytest.mark.parametrize(
    ("axis", "why"),
    [("2", "axis 2 is not at its middle: let go of it; a trigger"), ("ABS_RY", "the pad has no axis ABS_RY")],
)
def test_what_does_not_rest_in_its_middle_or_is_not_there_is_refused(fake: FakeInput, axis: str, why: str) -> None:
    with pytest.raises(Disconnected, match=why):
        pad(fake, AxisSettings(axis, 0, 1.0))


def test_a_device_without_axes_is_refused(fake: FakeInput) -> None:
    fake.axes = {}
    with pytest.raises(Disconnected, match="the pad has no axis ABS_X"):
        pad(fake)


def test_an_axis_that_does_not_exist_is_refused(fake: FakeInput) -> None:
    with pytest.raises(DriverError, match='there is no axis "ABS_Q"'):
        pad(fake, AxisSettings("ABS_Q", 0, 1.0))


@pytest.mark.parametrize(("axis", "number"), [("ABS_Z", 2), ("ABS_RZ", 5)])
def test_a_trigger_by_name_is_refused_before_the_pad_is_there(fake: FakeInput, axis: str, number: int) -> None:
    fake.path.unlink(missing_ok=True)
    with pytest.raises(DriverError, match=f'{axis} is a trigger on most pads.*its number, "{number}"'):
        Device(str(fake.path), [AxisSettings(axis, 0, 1.0)], 4)


def test_one_axis_by_name_and_by_number_is_refused(fake: FakeInput) -> None:
    with pytest.raises(DriverError, match="two of its axes are one"):
        Device(str(fake.path), [AxisSettings("ABS_X", 0, 1.0), AxisSettings("0", 1, 1.0)], 4)


def test_a_pad_that_is_pulled_raises(fake: FakeInput) -> None:
    device = pad(fake)
    fake.unplug()
    with pytest.raises(Disconnected, match="gone away"):
        after(device, 0.01)
    device.close()
    device.close()
    with pytest.raises(Disconnected, match="no such device"):
        device.open()
