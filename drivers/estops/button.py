"""A key as an e-stop: of a USB button, a keyboard or a gamepad.

`device` is its path in /dev/input/by-id, `input` the key's name or number: "BTN_SOUTH", "KEY_SPACE", "304". A cable
that is pulled stops the robot, a wire that breaks inside the button does not, and a wireless one that is out of reach
may say nothing at all.
"""

from __future__ import annotations

from drivers.errors import Disconnected
from drivers.estops.base import Estop, EstopSettings
from drivers.linux_input import EV_KEY, EV_SYN, SYN_DROPPED, Event, InputDevice, key_code


class Device(Estop):
    """Pressed while the key is down."""

    def __init__(self, settings: EstopSettings) -> None:
        super().__init__(settings)
        self._label = f"e-stop {settings.name}"
        self._key = key_code(self._label, settings.input)
        self._input = InputDevice(self._label, settings.device)

    def open(self) -> None:
        self._input.open()
        if not self._input.has_key(self._key):
            self._input.close()
            raise Disconnected(f"{self._label} on {self.settings.device}: the device has no key {self.settings.input}")

    def read(self, timeout_s: float) -> bool:
        """The events tell of a press that is over already; where some were lost, one may have been among them."""
        pressed = any(self._means_press(event) for event in self._input.events(timeout_s))
        return self._input.key_down(self._key) or pressed

    def close(self) -> None:
        self._input.close()

    def _means_press(self, event: Event) -> bool:
        if event.type == EV_SYN:
            return event.code == SYN_DROPPED
        return event.type == EV_KEY and event.code == self._key and event.value != 0
