"""A GPIO line as an e-stop, against a stand-in for libgpiod that answers as its kernel would."""

from __future__ import annotations

from typing import Any

import pytest

gpiod = pytest.importorskip("gpiod", reason="needs gpiod: pip install '.[gpio]'")

from gpiod.line import Bias, Direction, Edge, Value  # noqa: E402

from drivers.errors import Disconnected, DriverError  # noqa: E402
from drivers.estops import gpio  # noqa: E402
from drivers.estops.base import EstopSettings  # noqa: E402


class FakeEvent:
    Type = gpiod.EdgeEvent.Type

    def __init__(self, rising: bool) -> None:
        self.event_type = self.Type.RISING_EDGE if rising else self.Type.FALLING_EDGE


class FakeRequest:
    """A requested line with a pull-up: `contact(True)` joins it to ground."""

    def __init__(self, active_low: bool) -> None:
        self.active_low = active_low
        self.grounded = False
        self.events: list[FakeEvent] = []
        self.error: Exception | None = None
        self.released = 0

    def contact(self, closed: bool) -> None:
        self.grounded = closed
        self.events.append(FakeEvent(self.active))

    @property
    def active(self) -> bool:
        return self.grounded == self.active_low

    def wait_edge_events(self, timeout: float) -> bool:
        if self.error is not None:
            raise self.error
        return bool(self.events)

    def read_edge_events(self) -> list[FakeEvent]:
        found, self.events = self.events, []
        return found

    def get_value(self, line: int | str) -> Value:
        return Value.ACTIVE if self.active else Value.INACTIVE

    def release(self) -> None:
        self.released += 1


class Chip:
    """What `request_lines` was asked, and the request that it gave."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: dict[str, Any] = {}
        self.request: FakeRequest | None = None
        self.error: Exception | None = None
        monkeypatch.setattr(gpio.gpiod, "request_lines", self._request)

    def _request(self, path: str, consumer: str, config: dict[Any, Any]) -> FakeRequest:
        if self.error is not None:
            raise self.error
        ((line, settings),) = config.items()
        self.asked = {"path": path, "consumer": consumer, "line": line, "settings": settings}
        self.request = FakeRequest(settings.active_low)
        return self.request


@pytest.fixture
def chip(monkeypatch: pytest.MonkeyPatch) -> Chip:
    return Chip(monkeypatch)


def estop(input: str = "17") -> gpio.Device:
    return gpio.Device(EstopSettings("left", "/dev/gpiochip0", input))


def opened(chip: Chip, input: str = "17") -> tuple[gpio.Device, FakeRequest]:
    made = estop(input)
    made.open()
    assert chip.request is not None
    return made, chip.request


def test_a_normally_closed_contact_is_pressed_when_it_opens_or_its_cable_is_cut(chip: Chip) -> None:
    device, line = opened(chip)
    assert device.read(0.0), "nothing is joined to the line: a cut cable"
    line.contact(True)
    assert not device.read(0.0)
    line.contact(False)
    assert device.read(0.0)
    settings = chip.asked["settings"]
    assert (chip.asked["path"], chip.asked["line"]) == ("/dev/gpiochip0", 17)
    assert (settings.direction, settings.bias, settings.edge_detection) == (Direction.INPUT, Bias.PULL_UP, Edge.BOTH)


def test_a_normally_open_contact_is_pressed_when_it_closes(chip: Chip) -> None:
    device, line = opened(chip, "17:low")
    assert not device.read(0.0)
    line.contact(True)
    assert device.read(0.0)


@pytest.mark.parametrize("input", ["17", "17:low"])
def test_a_press_that_is_over_already_counts(chip: Chip, input: str) -> None:
    device, line = opened(chip, input)
    line.contact(not line.active_low)
    device.read(0.0)
    line.contact(line.active_low)
    line.contact(not line.active_low)
    assert device.read(0.0)
    assert not device.read(0.0)


def test_a_line_by_its_name(chip: Chip) -> None:
    opened(chip, "GPIO17")
    assert chip.asked["line"] == "GPIO17"


@pytest.mark.parametrize("input", ["", ":low", "17:high", "17:"])
def test_what_is_no_line_is_refused(chip: Chip, input: str) -> None:
    if input == "17:":
        assert estop(input)  # says no level: as "17"
        return
    with pytest.raises(DriverError, match="is no line such as"):
        estop(input)


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), ValueError("no line GPIO99")])
def test_a_line_that_cannot_be_had(chip: Chip, error: Exception) -> None:
    chip.error = error
    with pytest.raises(Disconnected, match=r"e-stop left on /dev/gpiochip0: cannot use line 17: (Permission|no line)"):
        estop().open()


def test_a_chip_that_goes_away_raises_and_can_be_closed(chip: Chip) -> None:
    device, line = opened(chip)
    line.error = OSError(19, "No such device")
    with pytest.raises(Disconnected, match=r"the chip has gone away \(No such device\)"):
        device.read(0.0)
    device.close()
    device.close()
    assert line.released == 1
    with pytest.raises(Disconnected, match="not open"):
        device.read(0.0)


def test_a_chip_that_is_not_there() -> None:
    """The real library, without a chip."""
    device = gpio.Device(EstopSettings("left", "/dev/gpiochip987", "17"))
    with pytest.raises(Disconnected, match="e-stop left on /dev/gpiochip987: cannot use line 17: No such file"):
        device.open()
