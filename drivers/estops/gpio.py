"""A line of a GPIO chip as an e-stop, through libgpiod 2.

`device` is the chip ("/dev/gpiochip0"), `input` the line's offset or its name in the device tree ("17", "GPIO17"). The
contact is a normally closed one between the line and ground, with the chip's own pull-up: high is pressed, and so is a
cable that is cut or a plug that is out. "17:low" is for a contact that closes when it is pressed: there a cut cable is
never noticed.
"""

from __future__ import annotations

import contextlib
from datetime import timedelta

import gpiod
from gpiod.line import Bias, Direction, Edge, Value

from drivers.errors import Disconnected, DriverError
from drivers.estops.base import Estop, EstopSettings

DEBOUNCE = timedelta(milliseconds=2)
"""A level shorter than this is a disturbance on the cable; by so much a press is seen later."""


class Device(Estop):
    """Pressed while the line is at the level that `input` says, high if it says none."""

    def __init__(self, settings: EstopSettings) -> None:
        super().__init__(settings)
        self._label = f"e-stop {settings.name} on {settings.device}"
        line, _, level = settings.input.partition(":")
        if not line or level not in ("", "low"):
            raise DriverError(f'{self._label}: input "{settings.input}" is no line such as "17" or "17:low"')
        self._line: int | str = int(line) if line.isdecimal() else line
        self._active_low = level == "low"
        self._request: gpiod.LineRequest | None = None

    def open(self) -> None:
        line = gpiod.LineSettings(
            direction=Direction.INPUT,
            bias=Bias.PULL_UP,
            edge_detection=Edge.BOTH,
            active_low=self._active_low,
            debounce_period=DEBOUNCE,
        )
        try:
            self._request = gpiod.request_lines(
                self.settings.device, consumer=f"edge e-stop {self.settings.name}"[:31], config={self._line: line}
            )
        except (OSError, ValueError) as error:
            raise Disconnected(f"{self._label}: cannot use line {self._line}: {_words(error)}") from None

    def read(self, timeout_s: float) -> bool:
        """A rising edge tells of a press that is over already. With `active_low` the kernel turns edges round too."""
        request = self._request
        if request is None:
            raise Disconnected(f"{self._label}: not open")
        try:
            events = request.read_edge_events() if request.wait_edge_events(timeout_s) else []
            pressed = any(event.event_type is event.Type.RISING_EDGE for event in events)
            return request.get_value(self._line) is Value.ACTIVE or pressed
        except (OSError, ValueError, gpiod.RequestReleasedError) as error:
            raise Disconnected(f"{self._label}: the chip has gone away ({_words(error)})") from None

    def close(self) -> None:
        request, self._request = self._request, None
        if request is not None:
            with contextlib.suppress(OSError, gpiod.RequestReleasedError):
                request.release()


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or " ".join(str(error).split())
