"""What can go wrong between this process and a device: one small family of errors.

Every driver call raises these and nothing else. Messages are one line: which device, what happened, what to do.
docs/motors.md says for each what it means on a motor bus and what to do.
"""


class DriverError(Exception):
    """Base of every error that a driver raises; by itself: settings that no such device can have."""


class Timeout(DriverError):
    """The device did not answer before the call's deadline: it is off, or cut off, and what it hangs on is there."""


class Corrupt(DriverError):
    """Bytes arrived whose checksum is wrong."""


class ProtocolError(DriverError):
    """Bytes arrived, intact, that do not answer the question that was asked, or say that the device is not as asked."""


class Disconnected(DriverError):
    """What the device hangs on (port, file, socket) is absent, busy, or has gone away."""


class Overload(DriverError):
    """The device answered and reports a fault of its own: overload, overheating, over- or undervoltage, silence."""
