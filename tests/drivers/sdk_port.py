"""A port for the vendors' SDKs, ROBOTIS' and Feetech's, which want the same of one."""

from __future__ import annotations


class Recorder:
    """Keeps what the SDK writes and answers nothing."""

    is_using = False

    def __init__(self) -> None:
        self._sent = b""

    def take(self) -> bytes:
        """What was written since the last call; the SDK may write again."""
        sent, self._sent, self.is_using = self._sent, b"", False
        return sent

    def clearPort(self) -> None:
        pass

    def getBaudRate(self) -> int:
        return 1_000_000

    def writePort(self, packet: list[int]) -> int:
        self._sent += bytes(packet)
        return len(packet)

    def readPort(self, size: int) -> bytes:
        return b""

    def setPacketTimeout(self, size: int) -> None:
        pass

    def setPacketTimeoutMillis(self, milliseconds: float) -> None:
        pass

    def isPacketTimeout(self) -> bool:
        return True
