"""robot.toml: everything about one robot that the runtime must be told, typed and checked where it enters.

A joint's figures are in its own `units`; the properties with `_rad` in their names are what the control path uses.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class Joint(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One joint and the motor that moves it."""

    name: str
    id: int
    model: str = "sts3215"
    group: str = ""
    """Joint group ("left", "right", …); the bus's name where empty."""
    units: Literal["rad", "deg"] = "rad"
    zero_step: int = 2048
    direction: Literal[1, -1] = 1
    position: tuple[float, float]
    """Lowest and highest position."""
    velocity: float
    acceleration: float
    jerk: float
    start: float
    """Position from which an episode begins."""
    park: float
    """Position in which an episode ends."""
    safe: Literal["hold", "release"] = "hold"
    """What this motor does in SAFE: keep torque where it is, or let go."""


class Bus(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One line of motors. Joint order here is the order of the policy's state and action."""

    name: str
    kind: str
    port: str
    baud: int = 1_000_000
    joints: tuple[Joint, ...]


class Camera(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One camera; its name is the name the policy knows it by."""

    name: str
    kind: str
    device: str
    width: int = 640
    height: int = 480
    fps: float = 30.0


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which bundle runs, and how."""

    bundle: str
    """Path of the bundle, relative to robot.toml."""
    backend: str = "ort"
    threads: int = 1
    flow_steps: int = 0
    """Flow steps an inference; 0 means what the bundle was verified with."""
    seed: int = 0
    instruction: str = ""
    """First instruction, given as soon as the robot is READY; none where empty."""
    autostart: bool = False
    """Arm at power-on without a person. Off unless the owner asks for it."""


class Control(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The control thread."""

    rate_hz: float = 100.0
    priority: int = 50
    """SCHED_FIFO priority."""
    cpu: int = -1
    """Core to pin the control thread to; -1 leaves it to the kernel."""
    socket: str = "control.sock"
    """Control socket, relative to robot.toml. Whoever may write to it may command the robot."""
    socket_mode: str = "0600"


class Deadlines(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When each arrow of the frame's way is late."""

    frame_age_ms: float = 200.0
    inference_ms: float = 250.0
    chunk_age_ms: float = 600.0
    """Age of the frame behind the running chunk at which RUN becomes COAST."""
    tick_ms: float = 5.0
    """Lateness of a control tick that counts as an event; a whole period late is a skipped slot."""
    serial_ms: float = 5.0
    serial_misses: int = 10
    """Serial cycles in a row that may fail before HOLD."""
    coast_ms: float = 1000.0
    """Longest COAST before HOLD."""
    stuck_ms: float = 500.0
    """The kernel ends a process whose control thread has not ticked for this long."""


class Episode(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The life of one task."""

    timeout_s: float = 20.0


class Robot(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One robot: the whole of robot.toml."""

    name: str
    policy: Policy
    cameras: tuple[Camera, ...]
    buses: tuple[Bus, ...]
    control: Control = Control()
    deadlines: Deadlines = Deadlines()
    episode: Episode = Episode()
