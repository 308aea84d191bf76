"""Questions and answers on a line of Damiao motors: one deadline per question for all motors together.

An answer says neither which frame it answers nor, in a state, how old it is. So what has arrived before a question is
thrown away, and a state is at most as old as the question before, where that one's answer came late.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NoReturn

import can

from drivers.can_port import CanPort
from drivers.damiao import frames
from drivers.damiao.frames import Data, Frame
from drivers.damiao.motors import Register
from drivers.errors import Corrupt, ProtocolError, Timeout
from drivers.silence import Silence
from drivers.tap import Tap

_LINGER_NS = 3_000_000
"""How long a second motor with the same id may take to answer."""
_FINDS = 2
"""A second answer that comes once may be a late one to somebody who has just gone; one that comes again is not."""

Fits = Callable[[int, Data], bool]
"""Whether (motor id, eight bytes) is the answer that is waited for."""


def message(frame: Frame) -> can.Message:
    """A frame as python-can sends it; its data can be changed in place."""
    return can.Message(arbitration_id=frame.id, data=bytearray(frame.data), is_extended_id=False)


class Line:
    """One interface and the motors on it. Calls raise only `DriverError`s, which name the joints that do not answer."""

    def __init__(self, owner: str, path: str, bit_rate: int, names: Mapping[int, str]) -> None:
        self._label = f"{owner} on {path}"
        self._names = names
        self._bit_rate = bit_rate
        self._silence = Silence()
        self._port = CanPort(owner, path, bit_rate)
        self._place = {id: index for index, id in enumerate(names)}
        self.ids = tuple(names)
        self.all = tuple(range(len(names)))
        self._refreshes = [message(frames.refresh(id)) for id in self.ids]
        self.answers: list[Data | None] = [None] * len(names)
        """The last question's answers, in the order of `names`: eight bytes, or None."""
        self.asked = False
        """A question has been sent whose states nobody has waited for."""
        self.sent = 0
        """How many of the last question's frames were handed to the interface."""
        self._twice: list[int] = []
        """Who has given the last question more than one answer."""

    @property
    def is_open(self) -> bool:
        return self._port.is_open

    def show(self, tap: Tap) -> None:
        """Show the tap every frame from now on."""
        self._port.tap = tap

    def open(self) -> None:
        self._port.open()
        self._silence = Silence()

    def close(self) -> None:
        self._port.close()
        self.asked = False

    def send(self, messages: Sequence[can.Message], deadline_ns: int) -> None:
        """Send what states will answer; `states` waits for them."""
        self.asked = False
        self.sent = 0
        self._port.discard_input(deadline_ns)
        for each in messages:
            self._port.send(each, deadline_ns)
            self.sent += 1
        self.asked = True

    def states(self, indices: Sequence[int], deadline_ns: int) -> None:
        """Wait for the states that answer what was sent last."""
        self.asked = False
        self._gather(indices, frames.is_state, deadline_ns)

    def refresh(self, indices: Sequence[int], deadline_ns: int) -> None:
        """Ask these motors for their present states and wait for them."""
        self.send([self._refreshes[index] for index in indices], deadline_ns)
        self.states(indices, deadline_ns)

    def tell(self, code: int, indices: Sequence[int], deadline_ns: int) -> None:
        """Send ENABLE, DISABLE, SET_ZERO or CLEAR_ERROR and wait for the states that answer."""
        self.send([message(frames.special(self.ids[index], code)) for index in indices], deadline_ns)
        self.states(indices, deadline_ns)

    def read(self, register: Register, indices: Sequence[int], deadline_ns: int) -> list[float]:
        """A register of these motors."""
        return self._ask(
            frames.READ, register, [frames.read(self.ids[i], register) for i in indices], indices, deadline_ns
        )

    def write(self, register: Register, value: float, indices: Sequence[int], deadline_ns: int) -> None:
        """Set a register of these motors; `ProtocolError` if one takes another value."""
        asked = [frames.write(self.ids[index], register, value) for index in indices]
        taken = self._ask(frames.WRITE, register, asked, indices, deadline_ns)
        for index, each in zip(indices, taken, strict=True):
            if register.pack(each) != register.pack(value):
                who = self.who([index])
                raise ProtocolError(f"{self._label}: {who} did not take {value:g} into register {register.number}")

    def find(self, deadline_ns: int) -> None:
        """Ask every motor: `Timeout` names all that are missing, `ProtocolError` one that answers twice."""
        for _ in range(_FINDS):
            self.refresh(self.all, deadline_ns)
            self._linger(min(deadline_ns, time.monotonic_ns() + _LINGER_NS))
            if not self._twice:
                return
        raise ProtocolError(
            f"{self._label}: two answers to one question to {self.who(sorted(set(self._twice)))}: "
            f"two motors have this id: give one another id"
        )

    def _linger(self, deadline_ns: int) -> None:
        """Hear what still comes after all have answered."""
        while time.monotonic_ns() < deadline_ns:
            owner = self._owner(self._port.receive(deadline_ns))
            self._twice += [] if owner is None else [owner]

    def who(self, indices: Sequence[int]) -> str:
        return ", ".join(f"joint '{self._names[self.ids[index]]}' (id {self.ids[index]})" for index in indices)

    def _ask(
        self, code: int, register: Register, asked: list[Frame], indices: Sequence[int], deadline_ns: int
    ) -> list[float]:
        self.send([message(frame) for frame in asked], deadline_ns)
        self.asked = False
        self._gather(indices, partial(frames.is_register, code=code, register=register), deadline_ns)
        return [register.unpack(answer[4:]) for index in indices if (answer := self.answers[index]) is not None]

    def _gather(self, indices: Sequence[int], fits: Fits, deadline_ns: int) -> None:
        """Receive until each of these motors has given the answer that is waited for."""
        self._twice.clear()
        for index in indices:
            self.answers[index] = None
        missing, errors, foreign = len(indices), 0, 0
        while missing:
            received = self._port.receive(deadline_ns)
            owner = self._owner(received)
            if received is None or (owner is None and time.monotonic_ns() > deadline_ns):  # a busy line ends no wait
                self._complain([index for index in indices if self.answers[index] is None], errors, foreign)
            elif owner is not None and owner in indices and fits(self.ids[owner], received.data):
                if self.answers[owner] is None:
                    missing -= 1
                else:
                    self._twice.append(owner)
                self.answers[owner] = received.data
                self._silence.end()
            elif received.is_error_frame:
                errors += 1
            else:
                foreign += 1

    def _owner(self, received: can.Message | None) -> int | None:
        """Whose answer a frame is: none, for other frames."""
        if received is None or received.is_error_frame or received.is_extended_id or len(received.data) != frames.SIZE:
            return None
        return self._place.get(received.arbitration_id - frames.ANSWER_OFFSET)

    def _complain(self, missing: list[int], errors: int, foreign: int) -> NoReturn:
        who = self.who(missing)
        if foreign:
            raise ProtocolError(
                f"{self._label}: other answers than the one asked of {who}: "
                f"a motor's MST_ID must be its id + {frames.ANSWER_OFFSET}"
            )
        if len(missing) == len(self.ids) > 1:  # errors, if any, are of frames that nobody is there to acknowledge
            too = f" If it is: is this their line, and {self._bit_rate} its bit rate?"
            raise Timeout(f"{self._label}: {self._silence.words(too)}")
        if errors:
            raise Corrupt(
                f"{self._label}: no answer from {who}, and errors on the line: check supply, termination, an id used "
                f"twice, and the bit rate ({self._bit_rate})"
            )
        raise Timeout(f"{self._label}: no answer from {who}: check its power, cable and id")
