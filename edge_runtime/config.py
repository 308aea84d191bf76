"""robot.toml: everything about one robot that the runtime must be told, typed and checked where it enters.

A joint's figures are in its own `units`; the properties with `_rad` in their names are what the control path uses.
`load` is the way in. The text under a field is also its description in the JSON schema (`edge config --schema`).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]+$(?!\n)", extra={"say": 'letters, digits, "_", "." and "-"'})]
Mode = Annotated[str, Meta(pattern=r"^0?[0-7]{3}$(?!\n)", extra={"say": 'an octal file mode such as "0600"'})]
Text = Annotated[str, Meta(min_length=1)]
Limit = Annotated[float, Meta(ge=1e-3)]
Milliseconds = Annotated[float, Meta(gt=0, le=60_000)]
FOLLOWING_RAD = 0.25
"""Largest following error where `following` says none, 14°: a servo with proportional control alone that hangs farther
behind than this gives nearly all the torque it has."""


class Joint(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One joint and the motor that moves it."""

    name: Name
    """Its name in reports and messages, unique in its group."""
    id: Annotated[int, Meta(ge=0, le=253)]
    """Address on the bus."""
    model: Text = "sts3215"
    """Motor model, checked against what the motor itself answers."""
    group: str = ""
    """Joint group ("left", "right", …); the bus's name where empty."""
    units: Literal["rad", "deg"] = "rad"
    """Unit of every figure of this joint."""
    zero_step: Annotated[int, Meta(ge=-1_048_576, le=1_048_575)] = 2048
    """Encoder count at joint angle zero."""
    direction: Literal[1, -1] = 1
    """Sign of the joint angle for growing encoder counts."""
    position: tuple[float, float]
    """Lowest and highest position."""
    velocity: Limit
    """Highest velocity, units a second."""
    acceleration: Limit
    """Highest acceleration, units a second squared."""
    jerk: Limit
    """Highest jerk, units a second cubed."""
    start: float
    """Position from which an episode begins."""
    park: float
    """Position in which an episode ends."""
    safe: Literal["hold", "release"] = "hold"
    """What this motor does in SAFE: keep torque where it is, or let go."""
    stiffness: Annotated[float, Meta(ge=0, le=500)] = 0.0
    """Torque per position error, N·m a radian whatever `units` says; only for buses that carry it (damiao)."""
    damping: Annotated[float, Meta(ge=0, le=5)] = 0.0
    """Torque per velocity error, N·m·s a radian whatever `units` says; only for buses that carry it (damiao)."""
    following: Annotated[float, Meta(ge=0)] = 0.0
    """Largest following error: farther behind its setpoint for `stall_ms`, the joint has stalled. 0 means 0.25 rad."""
    current_a: Annotated[float, Meta(ge=0, le=1000)] = 0.0
    """Largest motor current, A: above it for `overload_ms`, the joint is overloaded. 0 leaves that to the motor."""
    torque_limit: Annotated[float, Meta(ge=0.01, le=1)] = 1.0
    """Most torque, as a share of what the motor itself is set to; only for buses that keep it (feetech, dynamixel)."""
    grip: bool = False
    """It closes on things: being held back by one is no stall. Its torque must be limited."""
    urdf: str = ""
    """Name of the joint in the URDF of `kinematics`; its own name where empty."""
    stepwise: bool = False
    """Go from action to action in steps, for a gripper that was taught to be open or closed and nothing between."""

    @property
    def scale_rad(self) -> float:
        """Radians in one of this joint's units."""
        return 1.0 if self.units == "rad" else math.pi / 180.0

    @property
    def position_rad(self) -> tuple[float, float]:
        """Lowest and highest position, rad."""
        return self.position[0] * self.scale_rad, self.position[1] * self.scale_rad

    @property
    def following_rad(self) -> float:
        """Largest following error, rad."""
        return self.following * self.scale_rad or FOLLOWING_RAD

    @property
    def velocity_rad_s(self) -> float:
        return self.velocity * self.scale_rad

    @property
    def acceleration_rad_s2(self) -> float:
        return self.acceleration * self.scale_rad

    @property
    def jerk_rad_s3(self) -> float:
        return self.jerk * self.scale_rad

    @property
    def start_rad(self) -> float:
        return self.start * self.scale_rad

    @property
    def park_rad(self) -> float:
        return self.park * self.scale_rad


class Bus(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One line of motors. Joint order here is the order of the policy's state and action."""

    name: Name
    """Its name in messages."""
    kind: Text
    """Motor protocol: a file name in drivers/motors."""
    port: Text
    """Serial port, or CAN interface ("can0"); relative to robot.toml where it begins with "./" or "../"."""
    baud: int = 1_000_000
    """Line speed, bit/s."""
    joints: Annotated[tuple[Joint, ...], Meta(min_length=1)]
    """The motors on this line."""


class Camera(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One camera; its name is the name the policy knows it by."""

    name: Name
    """Camera slot of the policy that this camera fills."""
    kind: Text
    """Camera driver: a file name in drivers/cameras."""
    device: Text
    """Where it is, as its driver names it; relative to robot.toml where it begins with "./" or "../"."""
    width: Annotated[int, Meta(ge=1, le=8192)] = 640
    """Columns, pixels."""
    height: Annotated[int, Meta(ge=1, le=8192)] = 480
    """Rows, pixels."""
    fps: Annotated[float, Meta(gt=0, le=1000)] = 30.0
    """Frames a second that it must deliver."""
    format: Literal["", "mjpg", "yuyv"] = ""
    """Pixel format on the wire; whichever can do the mode where empty."""
    exposure_ms: Annotated[float, Meta(ge=0, le=10_000)] = 0.0
    """Exposure of every frame; 0 leaves it to the camera."""


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which bundle runs, and how."""

    bundle: Text
    """Path of the bundle, relative to robot.toml."""
    backend: Text = "ort"
    """What computes: ort (the CPU), trt, trt-rtx or ort-cuda (docs/gpu.md)."""
    threads: Annotated[int, Meta(ge=1, le=256)] = 1
    """Threads inside the inference library."""
    flow_steps: Annotated[int, Meta(ge=0, le=1000)] = 0
    """Flow steps an inference; 0 means what the bundle was verified with."""
    prefix_every: Annotated[int, Meta(ge=1, le=1000)] = 1
    """How many inferences one look through the cameras serves; all but the first know a new state alone
    (docs/rtc.md)."""
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    """Seed of the noise that flow matching starts from."""
    actions: Literal["commands", "positions"] = "commands"
    """What was recorded as its actions: commands, which the arm followed some time later, or where the arm was. For
    positions the calibrated delay of the motors is made up for (docs/motion.md)."""
    on_malformed: Literal["", "fault", "pad"] = ""
    """Action tokens that mean no action: a fault, or padded as the reference does; as the bundle says where empty."""
    instruction: str = ""
    """First instruction, given as soon as the robot is READY; none where empty."""
    autostart: bool = False
    """Arm at power-on without a person. Off unless the owner asks for it."""


class Motion(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """From a chunk to setpoints (docs/motion.md)."""

    seam: Literal["blend", "ensemble", "committed", "guided", "none"] = "blend"
    """How a new chunk takes over from the running one."""


class Control(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The control thread."""

    rate_hz: Annotated[float, Meta(ge=1, le=1000)] = 100.0
    """Ticks a second."""
    priority: Annotated[int, Meta(ge=1, le=99)] = 50
    """SCHED_FIFO priority."""
    cpu: Annotated[int, Meta(ge=-1, le=1023)] = -1
    """Core to pin the control thread to; -1 leaves it to the kernel."""
    socket: Text = "control.sock"
    """Control socket, relative to robot.toml. Whoever may write to it may command the robot."""
    socket_mode: Mode = "0600"
    """Permissions of the control socket, octal."""


class Estop(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One input that stops the robot when it is pressed (docs/hand.md)."""

    name: Name
    """Its name in messages."""
    kind: Text
    """Kind of input: a file name in drivers/estops."""
    device: Text
    """Where it is, such as "/dev/gpiochip0"; relative to robot.toml where it begins with "./" or "../"."""
    input: Text
    """Which of the device's inputs, as its driver names it: a line such as "17", a key such as "BTN_SOUTH"."""


class LeaderJoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One joint of the leader arm, in the place of the robot's joint that follows it."""

    id: Annotated[int, Meta(ge=0, le=253)]
    """Address of its motor on the leader's bus."""
    model: Text = "sts3215"
    """Motor model, checked against what the motor itself answers."""
    scale: Annotated[float, Meta(ge=-10, le=10)] = 1.0
    """How far the robot's joint turns where the leader's turns by one; negative turns the direction around."""


class Leader(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A second arm, moved by hand, that the robot's arm follows in a takeover (docs/hand.md)."""

    kind: Text
    """Motor protocol: a file name in drivers/motors."""
    port: Text
    """Serial port; relative to robot.toml where it begins with "./" or "../"."""
    baud: int = 1_000_000
    """Line speed, bit/s."""
    joints: Annotated[tuple[LeaderJoint, ...], Meta(min_length=1)]
    """One for each joint of the robot, in the robot's order."""


class GamepadAxis(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One axis of the gamepad and the joint that it moves."""

    axis: Text
    """Its name or number: ABS_X and ABS_Y, ABS_RX and ABS_RY are the sticks, ABS_HAT0X and ABS_HAT0Y the cross."""
    joint: Text
    """Joint that it moves, as in reports."""
    speed: Annotated[float, Meta(ge=-1000, le=1000)]
    """The joint's units a second at full deflection; negative turns the direction around."""


class Gamepad(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A gamepad that the arm follows in a takeover (docs/hand.md)."""

    device: Text
    """Its path, best in /dev/input/by-id; relative to robot.toml where it begins with "./" or "../"."""
    axes: Annotated[tuple[GamepadAxis, ...], Meta(min_length=1)]
    """Joints without an axis stay where they are."""


class Deadlines(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When each arrow of the frame's way is late."""

    frame_age_ms: Milliseconds = 200.0
    """Age of the newest frame of a camera at which it counts as late."""
    frozen_ms: Annotated[float, Meta(ge=0, le=60_000)] = 500.0
    """How long a camera may show the same picture to the last bit while the arm moves; 0: for ever."""
    inference_ms: Milliseconds = 250.0
    """Longest inference."""
    hung_ms: Annotated[float, Meta(gt=0, le=600_000)] = 10_000.0
    """An inference in flight for longer than this never ends, and the process does; longer than `inference_ms` and
    `coast_ms` together."""
    chunk_age_ms: Milliseconds = 600.0
    """Age of the frame behind the running chunk at which RUN becomes COAST."""
    tick_ms: Milliseconds = 5.0
    """Lateness of a control tick that counts as an event; a whole period late is a skipped slot."""
    serial_ms: Milliseconds = 5.0
    """Longest serial cycle: one write and one read."""
    serial_misses: Annotated[int, Meta(ge=1, le=100_000)] = 10
    """Serial cycles in a row that may fail before HOLD."""
    hand_age_ms: Milliseconds = 200.0
    """Age of the newest reading of leader or gamepad at which a takeover ends in HOLD."""
    coast_ms: Milliseconds = 1000.0
    """Longest COAST before HOLD."""
    stall_ms: Milliseconds = 300.0
    """How long a joint may be farther behind its setpoint than its `following` before HOLD."""
    overload_ms: Milliseconds = 1000.0
    """How long a motor may draw more than its joint's `current_a` before HOLD."""
    stuck_ms: Milliseconds = 500.0
    """The kernel ends a process whose control thread has not ticked for this long."""


class Kinematics(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The arm's shape, for policies that act in end-effector space and for `workspace` (docs/kinematics.md)."""

    urdf: str = ""
    """Path of the robot's URDF, relative to robot.toml; no kinematics where empty."""
    tip: str = ""
    """Link of the URDF that the policy moves: the grip point, with the axes that the policy was taught."""
    gripper: str = ""
    """Name of the joint that opens and closes the gripper."""
    gripper_open: Literal["highest", "lowest"] = "highest"
    """Which end of that joint's position is the open gripper; the other end is the closed one."""
    unreachable_mm: Annotated[float, Meta(gt=0, le=1000)] = 20.0
    """An inference fails where the arm gets no nearer than this to a pose that it asks for."""


class Workspace(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A box that the tip of `kinematics` stays in (docs/safety.md)."""

    low: tuple[float, float, float]
    """Its lowest x, y, z: metres in the frame of the URDF's root."""
    high: tuple[float, float, float]
    """Its highest x, y, z."""


class BlackBox(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The last seconds of a run, written on every HOLD and SAFE (docs/black-box.md)."""

    folder: str = "black-box"
    """Where the files go, relative to robot.toml; no black box where empty."""
    seconds: Annotated[float, Meta(ge=5, le=600)] = 60.0
    """How far back it reaches."""
    files: Annotated[int, Meta(ge=1, le=100_000)] = 20
    """How many files are kept; the oldest go."""
    frames_hz: Annotated[float, Meta(ge=0, le=60)] = 10.0
    """Pictures a second of each camera; none where 0."""
    frames_mb: Annotated[float, Meta(ge=1, le=1000)] = 64.0
    """Memory for the pictures of all cameras, MB; where they are more, they reach less far back."""


class Episode(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The life of one task."""

    timeout_s: Annotated[float, Meta(gt=0, le=86_400)] = 20.0
    """Longest RUN before the arm parks."""


class Robot(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One robot: the whole of robot.toml."""

    name: Text
    """Its name in reports."""
    policy: Policy
    """Which bundle runs, and how."""
    cameras: Annotated[tuple[Camera, ...], Meta(min_length=1)]
    """Every camera the policy looks through."""
    buses: Annotated[tuple[Bus, ...], Meta(min_length=1)]
    """Every line of motors, in the order of the policy's state and action."""
    calibration: str = ""
    """Folder of what `edge calibrate` has measured, relative to robot.toml; only robot.toml's figures where empty."""
    estops: tuple[Estop, ...] = ()
    """Every input that stops the robot."""
    leader: Leader | None = None
    """The arm that a person takes over with."""
    gamepad: Gamepad | None = None
    """The gamepad that a person takes over with, where there is no leader."""
    motion: Motion = Motion()
    """From a chunk to setpoints."""
    control: Control = Control()
    """The control thread."""
    deadlines: Deadlines = Deadlines()
    """When each arrow of the frame's way is late."""
    episode: Episode = Episode()
    """The life of one task."""
    black_box: BlackBox = BlackBox()
    """The last seconds of a run, written on every HOLD and SAFE."""
    kinematics: Kinematics = Kinematics()
    """The arm's shape, for policies that act in end-effector space and for the workspace."""
    workspace: Workspace | None = None
    """A box that the tip stays in."""

    @property
    def joints(self) -> tuple[Joint, ...]:
        """Every joint of every bus, in the order of the policy's state and action."""
        return tuple(joint for bus in self.buses for joint in bus.joints)

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Names in joint order; `group.name` on a robot of several groups, where a name may stand for two."""
        named = [(j.group or bus.name, j.name) for bus in self.buses for j in bus.joints]
        several = len({group for group, _ in named}) > 1
        return tuple(f"{group}.{name}" if several else name for group, name in named)


def load(path: str | Path, *, calibrated: bool = True) -> Robot:
    """Read and check one robot.toml; paths in the answer are absolute, and what was calibrated is as it was measured.

    Without `calibrated` no other file is read. Raises `ConfigError`, one line that names the file and the key, for
    anything that is not a possible robot.
    """
    from edge_runtime import config_check

    return config_check.load(Path(path), calibrated=calibrated)


def schema() -> dict[str, Any]:
    """JSON schema of robot.toml, with a description for each key."""
    from edge_runtime import config_schema

    return config_schema.schema(Robot)
