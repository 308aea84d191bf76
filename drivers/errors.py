"""What can go wrong between this process and a device: one small family of errors.

Every driver call raises these and nothing else. Messages are one line: which device, what happened, what to do.
"""


class DriverError(Exception):
    """Base of every error that a driver raises."""


class Timeout(DriverError):
    """The device did not answer before the call's deadline."""


class Corrupt(DriverError):
    """Bytes arrived whose checksum is wrong."""


class ProtocolError(DriverError):
    """Bytes arrived, intact, that do not answer the question that was asked."""


class Disconnected(DriverError):
    """The device is absent, busy, or has gone away."""


class Overload(DriverError):
    """The device answered and reports a fault of its own: overload, overheating, over- or undervoltage."""
