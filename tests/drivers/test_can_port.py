"""The CAN port over a stand-in for python-can's SocketCAN bus, with the errors that the kernel gives it."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterator

import pytest

can = pytest.importorskip("can", reason="python-can is not installed: pip install '.[can]'")

from drivers.can_port import CanPort  # noqa: E402
from drivers.errors import Disconnected, DriverError, Timeout  # noqa: E402
from tests.drivers.kept_bytes import KeptBytes  # noqa: E402
from tests.drivers.motors.contract import SLACK_S, soon  # noqa: E402

FRAME = can.Message(arbitration_id=0x11, data=b"\1\2", is_extended_id=False)


class Kernel:
    """An interface with a file descriptor: `deliver` makes it readable, `refuse` is what the next call meets."""

    def __init__(self) -> None:
        self.here, self.there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sent: list[tuple[object, float]] = []
        self.refuse: Exception | None = None

    def fileno(self) -> int:
        return self.here.fileno()

    def deliver(self) -> None:
        self.there.send(b"x")

    def send(self, message: object, timeout: float) -> None:
        if self.refuse is not None:
            raise self.refuse
        self.sent.append((message, timeout))

    def recv(self, timeout: float) -> object:
        assert timeout == 0.0, "python-can would wait on the wall clock"
        if self.refuse is not None:
            raise self.refuse
        self.here.recv(1)
        return FRAME

    def shutdown(self) -> None:
        self.here.close()
        self.there.close()


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    kernel = Kernel()
    monkeypatch.setattr(can, "Bus", lambda channel, interface, ignore_config: kernel)
    yield kernel
    kernel.shutdown()


@pytest.fixture
def port(kernel: Kernel) -> CanPort:
    port = CanPort("bus arm", "can0", 500_000)
    port.open()
    return port


def test_frames_come_as_they_arrive(port: CanPort, kernel: Kernel) -> None:
    kernel.deliver()
    assert port.receive(soon()) is FRAME
    start = time.monotonic()
    assert port.receive(soon(10)) is None
    assert 0.009 < time.monotonic() - start < 0.01 + SLACK_S
    for _ in range(3):
        kernel.deliver()
    port.discard_input(soon())
    assert port.receive(0) is None


def test_frames_leave_with_the_time_that_is_left(port: CanPort, kernel: Kernel) -> None:
    port.send(FRAME, soon(500))
    ((message, left_s),) = kernel.sent
    assert message is FRAME
    assert 0.3 < left_s <= 0.5


@pytest.mark.parametrize("number", [errno.ENOBUFS, None])
def test_a_full_queue_is_a_timeout_and_passes(port: CanPort, kernel: Kernel, number: int | None) -> None:
    kernel.refuse = can.CanOperationError("no room", number)
    with pytest.raises(Timeout, match=r"bus arm on can0: .*takes no more frames: is the motors' supply on"):
        port.send(FRAME, soon())
    kernel.refuse = None
    port.send(FRAME, soon())


@pytest.mark.parametrize("number", [errno.ENETDOWN, errno.ENODEV, errno.ENXIO])
@pytest.mark.parametrize("receiving", [False, True])
def test_an_interface_that_goes_stays_gone_until_it_is_opened_again(
    port: CanPort, kernel: Kernel, number: int, receiving: bool
) -> None:
    kernel.refuse = can.CanOperationError("Network is down", number)
    kernel.deliver()
    with pytest.raises(
        Disconnected, match=r"can0: .*Network is down.*sudo ip link set can0 up type can bitrate 500000"
    ):
        port.receive(soon()) if receiving else port.send(FRAME, soon())
    kernel.refuse = None
    with pytest.raises(Disconnected, match="Network is down"):
        port.send(FRAME, soon())
    port.close()
    with pytest.raises(Disconnected, match="call connect first"):
        port.receive(soon())
    port.open()
    port.send(FRAME, soon())


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.ENODEV, "No such device"), r"there is no such interface: .*`sudo ip link set can0 up"),
        (OSError(errno.EAFNOSUPPORT, "Address family"), "this kernel has no CAN"),
        (OSError(errno.EPERM, "Operation not permitted"), "cannot open it: .*Operation not permitted"),
        (can.CanInitializationError("odd"), "cannot open it: odd"),
    ],
)
def test_an_interface_that_does_not_open(monkeypatch: pytest.MonkeyPatch, error: Exception, says: str) -> None:
    def refuse(*rest: object, **named: object) -> None:
        raise error

    monkeypatch.setattr(can, "Bus", refuse)
    port = CanPort("bus arm", "can0", 1_000_000)
    with pytest.raises(DriverError, match=says) as caught:
        port.open()
    assert "\n" not in str(caught.value)
    assert not port.is_open


def test_a_tap_is_shown_id_and_data_of_each_frame(port: CanPort, kernel: Kernel) -> None:
    port.tap = tap = KeptBytes()
    port.send(FRAME, soon())
    port.send(can.Message(arbitration_id=0x1234567, data=bytes(range(8)), is_extended_id=True), soon())
    kernel.deliver()
    port.receive(soon())
    assert tap.seen == [
        (">", bytes.fromhex("11000000 0102")),
        (">", bytes.fromhex("67452381 0001020304050607")),
        ("<", bytes.fromhex("11000000 0102")),
    ]


def test_a_tap_is_not_shown_what_the_interface_refused(port: CanPort, kernel: Kernel) -> None:
    port.tap = tap = KeptBytes()
    kernel.refuse = can.CanOperationError("down", errno.ENETDOWN)
    with pytest.raises(Disconnected):
        port.send(FRAME, soon())
    assert tap.seen == []
