"""What the threads share. Every field has one writer, and none needs a lock."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from edge_runtime.chunk import Chunk
from edge_runtime.limits import Floats
from edge_runtime.policies.base import Prompt
from edge_runtime.slot import Slot
from edge_runtime.states import Command


class Request(NamedTuple):
    """What control asks of inference: chunks for a prompt, or nothing. A chunk of an older number is not used.

    While a `person` drives, no chunks are asked for: what the person does is watched, for the recording.
    """

    number: int
    prompt: Prompt | None
    person: bool = False


IDLE = Request(0, None)


class Link:
    """Between the control thread and the inference thread."""

    def __init__(self, horizon: int, n: int, dt_ns: int) -> None:
        self.request = IDLE
        """Written by control."""
        self.joints: Slot[Floats] = Slot(np.zeros(n), np.zeros(n), np.zeros(n))
        """Measured positions [n], rad. Written by control."""
        self.setpoints: Slot[Floats] = Slot(np.zeros(n), np.zeros(n), np.zeros(n))
        """Commanded positions [n], rad. Written by control."""
        self.chunks = Slot(Chunk(horizon, n, dt_ns), Chunk(horizon, n, dt_ns), Chunk(horizon, n, dt_ns))
        """Written by inference."""
        self.lead_ns = 0
        """Written by control: how long a setpoint takes until the motor acts on it."""
        self.wait_ns = 0
        """Written by control before it begins: the longest that a chunk waits for the setpoint that takes it up."""
        self.inference_started_ns = 0
        """Heartbeat, written by inference: when the inference in flight began, 0 between two."""
        self.failure = (0, "")
        """Written by inference: the last request's number and why it failed, empty where it did not."""
        self.lost = ""
        """Written by inference: why its device takes no more work from this process, empty while it does."""
        self.terminated: Request | None = None
        """Written by inference: the last request whose task the policy said was done."""


class Order:
    """A person's command on its way to the control thread, which fills in `answer`: why it was refused, or empty."""

    __slots__ = ("answer", "command", "prompt")

    def __init__(self, command: Command, prompt: Prompt | None = None) -> None:
        self.command = command
        self.prompt = prompt
        """The task's instruction, as the policy reads it."""
        self.answer: str | None = None
