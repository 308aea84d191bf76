"""The e-stop contract: what a thread of its own asks of one input that a person presses to stop the robot.

A driver file `drivers/estops/<kind>.py` defines one subclass of `Estop` named `Device`, whose constructor refuses an
`input` that it does not understand and touches no device. Calls raise only `drivers.errors.DriverError` and its
subclasses, and one that raises means pressed: an input that cannot be read stops the robot.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass


@dataclass(frozen=True)
class EstopSettings:
    """One input: a name for messages, the device that it is on, and which of the device's inputs it is."""

    name: str
    device: str
    input: str


class Estop(ABC):
    """Construct, `open`, then `read` over and over; `close` is safe at any time, and twice."""

    def __init__(self, settings: EstopSettings) -> None:
        self.settings = settings

    @abstractmethod
    def open(self) -> None:
        """Open the device; raise `Disconnected` where it is absent, busy or has no such input."""

    @abstractmethod
    def read(self, timeout_s: float) -> bool:
        """Wait up to `timeout_s` for a change: whether it is pressed now, or was since the last call.

        The wait releases the interpreter lock. Raises `Disconnected` where the device has gone.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the device."""
