"""One robot from its configuration to its record: everything is put together, checked, run, and taken apart again."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from drivers.cameras.base import Camera
from drivers.errors import DriverError
from drivers.estops.base import Estop
from drivers.hands.base import Hand
from drivers.motors.base import MotorBus
from edge_runtime import calibrated, exchange, machine, realtime, signals
from edge_runtime.action_space import action_space
from edge_runtime.ahead import Running
from edge_runtime.apart import apart
from edge_runtime.arena import private
from edge_runtime.black_box.box import BlackBox
from edge_runtime.clock import MonotonicClock
from edge_runtime.config import Robot
from edge_runtime.control_socket import ControlSocket
from edge_runtime.devices import make_bus, make_camera, make_estop, make_hand
from edge_runtime.ensemble import Ensemble
from edge_runtime.errors import DeviceLost, InferenceHung, fatal
from edge_runtime.estop import EstopThread
from edge_runtime.events import EventQueue
from edge_runtime.fit import check_fit
from edge_runtime.hand import HandThread
from edge_runtime.housekeeping import Housekeeping
from edge_runtime.inference import Inference
from edge_runtime.link import Link, Order
from edge_runtime.loop import Alive, ControlLoop
from edge_runtime.observation import CameraThread, Observer
from edge_runtime.policies.base import Policy
from edge_runtime.policy import robot_policy
from edge_runtime.record import RunRecord
from edge_runtime.recorder import Inferences, Ticks
from edge_runtime.recording import Recording
from edge_runtime.session import Session
from edge_runtime.states import Command

FIRST_FRAME_S = 5.0
"""How long a camera may take to its first frame."""
KEPT_S = 600.0
"""How much of a run of unknown length the record holds."""
LONGEST_KEPT_S = 3600.0

_log = logging.getLogger("edge_runtime")

Companion = Callable[[Session, threading.Event], None]
"""Something that goes on beside the loop, on a thread of its own; the event is set when the loop has ended."""


def run_robot(
    robot: Robot,
    *,
    seconds: float | None = None,
    policy: Policy | None = None,
    cameras: Sequence[Camera] | None = None,
    buses: Sequence[MotorBus] | None = None,
    estops: Sequence[Estop] | None = None,
    hand: Hand | None = None,
    beside: Companion | None = None,
    rescue: Callable[[RunRecord], None] | None = None,
    record_to: Path | None = None,
    alive: Alive | None = None,
) -> RunRecord:
    """Run `robot` until SIGINT, SIGTERM, SIGHUP or `seconds`, on the main thread.

    It starts DISARMED without `autostart`. Devices and policy are those that `robot` names, unless they are given. With
    `beside` the run also ends when that returns, and what it raises is raised here. Raises `EdgeError` and
    `DriverError`, one line each and before anything moves, for whatever does not fit or does not answer. Where the loop
    has run and something fails, in it or as everything is taken apart, `rescue` is given the record before that is
    raised; an inference that never ends (`InferenceHung`) and a device that is lost (`DeviceLost`) come before all
    else. What the policy sees and answers goes to the folder `record_to` where one is given. `alive` is the control
    thread's (`ControlLoop`).
    """
    session: Session | None = None
    failure: BaseException | None = None
    try:
        with ExitStack() as parts:
            control = ControlSocket(Path(robot.control.socket), int(robot.control.socket_mode, 8))
            parts.callback(control.close)
            session, stuck = _assemble(
                robot,
                policy or apart(lambda: robot_policy(robot)),
                [make_camera(c) for c in robot.cameras] if cameras is None else cameras,
                [make_bus(b) for b in robot.buses] if buses is None else buses,
                [make_estop(e) for e in robot.estops] if estops is None else estops,
                make_hand(robot) if hand is None else hand,
                seconds,
                record_to,
                alive,
            )
            _run(session, parts, stuck, control, seconds, beside)
    except BaseException as error:
        if session is None:
            raise
        failure = error
    assert session is not None
    failure = _worst(session, failure)
    if failure is None:
        return session.record(session.ended_ns)
    try:
        if rescue is not None and session.ended_ns:
            rescue(session.record(session.ended_ns))
    finally:  # a report that cannot be written must not hide why the run failed
        raise failure


def _run(
    session: Session,
    parts: ExitStack,
    stuck: realtime.StuckTimer,
    control: ControlSocket,
    seconds: float | None,
    beside: Companion | None,
) -> None:
    """Connect and start everything, and run the loop. What is to be taken apart afterwards is left in `parts`."""
    robot, loop = session.robot, session.loop
    parts.callback(loop.buses.disconnect)
    if session.black_box is not None:
        parts.callback(session.black_box.stop)
        session.black_box.start([line.bus for line in loop.buses.lines], session.cameras)
    loop.buses.connect()
    for line in loop.buses.lines:
        for note in line.bus.notes:
            _log.info("%s", note)
    for part in (*session.cameras, *session.estops, *((session.hand,) if session.hand else ())):
        parts.callback(part.stop)
        part.start()
    calibrated.check_cameras(robot)
    parts.callback(session.inference.stop)
    prompt = session.policy.prompt(robot.policy.instruction or robot.name)
    session.inference.start(prompt, robot.deadlines.hung_ms / 1e3)
    _wait_for_frames(session.cameras)
    housekeeping = Housekeeping(control, session.handle, session.events, session.kept, session.black_box)
    parts.callback(housekeeping.stop)
    housekeeping.start()
    if session.recording is not None:
        parts.callback(session.recording.stop)
        session.recording.start()
    session.started_ns = session.clock.now_ns()
    parts.enter_context(_companion(beside, session))
    with signals.told(loop.close), realtime.obtain(robot.control.priority, robot.control.cpu) as settings, stuck:
        _log.info("%s", settings)
        session.machine.update(machine.describe(settings))
        try:
            loop.run(seconds)
        finally:
            session.ended_ns = session.clock.now_ns()


def _worst(session: Session, failure: BaseException | None) -> BaseException | None:
    """Why the run failed, None where it did not: first of all what the process cannot go on after."""
    if (found := fatal(failure)) is not None:
        return found
    also = f"{failure}; " if str(failure or "") else ""
    if lost := session.link.lost:
        return DeviceLost(f"{also}{lost}")
    if hung := session.loop.hung or session.inference.hung:
        return InferenceHung(f"{also}{hung}")
    return failure


def _assemble(
    robot: Robot,
    policy: Policy,
    cameras: Sequence[Camera],
    buses: Sequence[MotorBus],
    estops: Sequence[Estop],
    hand: Hand | None,
    seconds: float | None,
    record_to: Path | None,
    alive: Alive | None,
) -> tuple[Session, realtime.StuckTimer]:
    """Put everything together; no device is touched. Raises `EdgeError` where policy and robot do not fit."""
    spec = policy.spec
    check_fit(robot, spec)
    space = action_space(robot, spec)
    kept_s = KEPT_S if seconds is None else min(seconds, LONGEST_KEPT_S) + 5.0
    kept = int(kept_s * robot.control.rate_hz)
    clock, arrived, stuck = MonotonicClock(), threading.Event(), realtime.StuckTimer()
    events = EventQueue(clock)
    dt_ns = round(spec.dt_s * 1e9)
    link = Link(space.rows, len(robot.joints), dt_ns)
    black_box = None
    if robot.black_box.folder:
        black_box = BlackBox(robot, space.rows, clock=clock, report=events.report, closing=lambda: loop.closing)
    allocate = private if black_box is None else black_box.arena.array
    ticks, inferences = Ticks(kept, len(robot.joints), allocate), Inferences(kept, allocate)
    threads = [
        CameraThread(camera, arrived=arrived, report=events.report, delay_ns=_delay_ns(robot, camera.settings.name))
        for camera in cameras
    ]
    inputs = [EstopThread(estop, events.report) for estop in estops]
    hand_thread = HandThread(hand, len(robot.joints), events.report) if hand is not None else None
    loop = ControlLoop(
        robot,
        buses=buses,
        cameras=threads,
        link=link,
        events=events,
        clock=clock,
        ticks=ticks,
        pet=stuck.pet,
        estops=inputs,
        hand=hand_thread,
        exchange=_exchange(),
        alive=alive,
    )
    director, recording = loop.director, None
    if record_to is not None:
        recording = Recording(record_to, robot, spec, episode=lambda: director.episodes, report=events.report)
    inference = Inference(
        policy,
        observer=Observer(threads, policy.frames, link),
        link=link,
        clock=clock,
        inferences=inferences,
        arrived=arrived,
        report=events.report,
        space=space,
        recording=recording,
        chunks=None if black_box is None else black_box.rings.chunks,
        running=Running.of(robot, spec) if robot.motion.seam in ("committed", "guided") else None,
        ensemble=Ensemble.of(robot, space.rows, dt_ns) if robot.motion.seam == "ensemble" else None,
    )
    if robot.policy.instruction:
        director.prompt = policy.prompt(robot.policy.instruction)
    if robot.policy.autostart:
        loop.orders.append(Order(Command.ARM))
    session = Session(
        robot=robot,
        policy=policy,
        clock=clock,
        events=events,
        link=link,
        ticks=ticks,
        inferences=inferences,
        cameras=threads,
        inference=inference,
        loop=loop,
        recording=recording,
        black_box=black_box,
        estops=inputs,
        hand=hand_thread,
    )
    return session, stuck


def _exchange() -> exchange.Exchange | None:
    found = exchange.load()
    if isinstance(found, str):
        _log.info("serial cycle: %s", found)
        return None
    return found


def _delay_ns(robot: Robot, camera: str) -> int:
    """What to take off a camera's stamps; nothing where that was not measured."""
    found = calibrated.latency(robot, camera)
    return found.camera_delay_ns if found is not None else 0


def _wait_for_frames(cameras: Sequence[CameraThread]) -> None:
    end_s = time.monotonic() + FIRST_FRAME_S
    for camera in cameras:
        while not camera.capture_ns:
            if time.monotonic() > end_s:
                raise DriverError(f"camera {camera.name}: no frame within {FIRST_FRAME_S:g} s: is it in use elsewhere?")
            time.sleep(0.01)


@contextmanager
def _companion(work: Companion | None, session: Session) -> Iterator[None]:
    """Run `work` on a thread of its own from now until it returns or the loop has ended, whichever is first."""
    if work is None:
        yield
        return
    over, failures = threading.Event(), list[Exception]()

    def run() -> None:
        try:
            work(session, over)
        except Exception as error:  # noqa: BLE001  raised again in the thread that waits for it
            failures.append(error)
        finally:
            session.loop.close("nothing left to do")

    thread = realtime.helper(run, "companion")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if failures:
        raise failures[0]
