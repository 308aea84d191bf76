"""When a black box is written and when not, with the process that writes it."""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from edge_runtime.black_box import read
from edge_runtime.black_box.box import BlackBox, header
from edge_runtime.black_box.frames import FrameKeeper
from edge_runtime.black_box.incident import Incident
from edge_runtime.black_box.journal import Journal, records
from edge_runtime.black_box.memory import memory_bytes, words
from edge_runtime.chunk import Chunk
from edge_runtime.clock import FakeClock
from edge_runtime.devices import bus_settings, camera_settings
from edge_runtime.observation import CameraThread
from edge_runtime.record import Event
from edge_runtime.recorder import Inferences, Ticks
from edge_runtime.states import State
from tests.edge_runtime.black_box.test_journal import Arrays
from tests.edge_runtime.fakes import FakeBus, FakeCamera, robot

START_NS = 100_000_000_000


class Rig:
    """A black box, a clock that a test moves, and what was reported."""

    def __init__(self, beside: Path, **box: object) -> None:
        self.clock = FakeClock(START_NS)
        self.said: list[tuple[str, str]] = []
        self.closing = ""
        self.robot = robot(beside, black_box={"frames_mb": 1.0, "seconds": 5.0, "frames_hz": 0.0, **box})
        self.box = BlackBox(self.robot, 4, clock=self.clock, report=self.report, closing=lambda: self.closing)
        self.ticks = Ticks(1000, 6, self.box.arena.array)
        self.inferences = Inferences(100, self.box.arena.array)
        self.box.start([FakeBus(bus_settings(self.robot.buses[0]), self.clock)], [])

    def report(self, name: str, cause: str) -> None:
        self.said.append((name, cause))

    def tick(self, count: int = 1, state: State = State.RUN) -> None:
        for _ in range(count):
            self.clock.advance(10_000_000)
            self.ticks.add(
                t_ns=self.clock.now_ns(),
                lateness_ns=50_000,
                tick_ns=900_000,
                serial_ns=2_000_000,
                sensor_age_ns=-1,
                state=state,
                setpoint_rad=np.full(6, 0.5),
                measured_rad=np.full(6, 0.25),
            )

    def see(self, name: str, cause: str = "a reason") -> None:
        self.box.see(Event(self.clock.now_ns(), name, cause))

    def turn(self, seconds: float = 10.0, until: int = 1) -> None:
        """Go round until so much was reported."""
        end = time.monotonic() + seconds
        while len(self.said) < until and time.monotonic() < end:
            self.box.turn()
            time.sleep(0.01)

    def pid(self) -> int:
        """Of the process that writes."""
        assert self.box._writer is not None
        return self.box._writer.pid

    def files(self) -> list[Incident]:
        paths = sorted(Path(self.robot.black_box.folder).iterdir())
        return [read.read(path) for path in paths]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.box.stop()


def test_a_hold_is_written_a_second_later_with_what_followed(rig: Rig) -> None:
    rig.tick(100)
    rig.see("COAST (task)", "late")
    rig.see("HOLD", "nothing left to coast on")
    at_ns = rig.clock.now_ns()
    rig.tick(99, State.HOLD)
    rig.turn(seconds=0.2)
    assert rig.said == []
    rig.tick(2, State.HOLD)
    chunk = Chunk(4, 6, 50_000_000)
    chunk.sequence, chunk.request, chunk.ready_ns = 7, 2, rig.clock.now_ns()
    chunk.actions[:] = 0.125
    rig.box.rings.chunks.add(chunk)
    rig.turn()
    (name, path) = rig.said[0]
    (one,) = rig.files()
    assert (name, one.trigger.state, one.trigger.cause) == ("black box", "HOLD", "nothing left to coast on")
    assert Path(path).parent == Path(rig.robot.black_box.folder)
    assert one.trigger.t_ns == at_ns
    assert len(one.t_ns) == 200, "the newest tick may be half written"
    assert [event.name for event in one.events] == ["COAST (task)", "HOLD"]
    assert (one.chunks[0].sequence, one.chunks[0].actions.tolist()) == (7, [[0.125] * 6] * 4)
    assert one.header.config["name"] == "bench arm"
    assert abs(one.header.wall_ns + START_NS - time.time_ns()) < 60e9
    assert rig.box.counts() == {"black boxes written": 1, "black boxes failed": 0}


def test_only_the_last_seconds(rig: Rig) -> None:
    rig.tick(800)
    rig.see("SAFE")
    rig.tick(101, State.SAFE)
    rig.turn()
    (one,) = rig.files()
    assert rig.clock.now_ns() - int(one.t_ns[0]) == 6_010_000_000


def test_what_follows_within_a_second_is_the_same_incident(rig: Rig) -> None:
    rig.tick(10)
    rig.see("HOLD", "serial misses")
    rig.tick(30)
    rig.see("SAFE", "the bus stays silent")
    rig.tick(101)
    rig.turn()
    (one,) = rig.files()
    assert (one.trigger.state, one.trigger.cause) == ("SAFE", "serial misses")


def test_what_follows_later_is_another(rig: Rig) -> None:
    rig.tick(10)
    for until, state in ((1, "HOLD (task)"), (2, "SAFE")):
        rig.see(state)
        rig.tick(101)
        rig.turn(until=until)
    assert [one.trigger.state for one in rig.files()] == ["HOLD", "SAFE"]


def test_the_end_of_a_run_is_no_incident_and_other_states_are_none(rig: Rig) -> None:
    rig.tick(10)
    rig.closing = "SIGTERM"
    for name in ("HOLD (task)", "SAFE"):
        rig.see(name, "SIGTERM")
    for name in ("RUN (task)", "COAST (task)", "READY", "DISARMED", "TAKEOVER", "frame late", "HOLDING"):
        rig.see(name)
    rig.tick(200)
    rig.box.turn()
    rig.box.stop()
    assert rig.said == []
    assert rig.files() == []


@pytest.mark.parametrize("name", ["control failed", "inference hung", "device lost"])
def test_what_ends_the_run_by_itself_is_one(rig: Rig, name: str) -> None:
    rig.tick(10)
    rig.closing = f"{name}: for a reason"
    rig.see(name, rig.closing)
    rig.see("SAFE", rig.closing)
    rig.box.stop()
    (one,) = rig.files()
    assert (one.trigger.state, one.trigger.cause) == ("SAFE", rig.closing)
    assert [name for name, _ in rig.said] == ["black box"]


def test_the_end_of_a_run_writes_what_waits(rig: Rig) -> None:
    rig.tick(10)
    rig.see("HOLD")
    rig.box.stop()
    rig.box.stop()
    assert [one.trigger.state for one in rig.files()] == ["HOLD"]
    assert [name for name, _ in rig.said] == ["black box"]


def test_a_folder_that_cannot_be_is_said_at_once_and_again(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    rig = Rig(tmp_path, folder=str(tmp_path / "file"))
    rig.turn()
    assert rig.said == [("black box failed", f"{tmp_path / 'file'}: File exists")]
    rig.see("HOLD")
    rig.tick(101)
    rig.turn(until=2)
    assert [name for name, _ in rig.said] == ["black box failed"] * 2
    assert rig.box.counts() == {"black boxes written": 0, "black boxes failed": 2}
    rig.box.stop()


ENDED = ("black box failed", "its process has ended with exit code -9; another one writes the next")


def test_a_process_that_was_killed_is_said_and_another_one_writes(rig: Rig) -> None:
    killed = rig.pid()
    os.kill(killed, signal.SIGKILL)
    rig.turn()
    assert rig.said == [ENDED]
    assert rig.pid() == killed, "none is started before there is something to write"
    rig.tick(100)
    rig.see("HOLD")
    rig.tick(101)
    rig.turn(until=2)
    rig.box.stop()
    (one,) = rig.files()
    assert (one.trigger.state, len(one.t_ns), rig.said[1][0]) == ("HOLD", 200, "black box")


def test_what_a_process_dies_of_is_tried_once_more_and_no_oftener(rig: Rig) -> None:
    rig.tick(100)
    rig.see("HOLD")
    rig.tick(101)
    os.kill(rig.pid(), signal.SIGSTOP)
    rig.box.turn()
    os.kill(rig.pid(), signal.SIGKILL)
    rig.turn(until=1)
    os.kill(rig.pid(), signal.SIGKILL)  # the other one, which has not begun to run Python
    rig.turn(until=2)
    rig.turn(seconds=0.2, until=3)
    assert rig.said == [ENDED] * 2
    rig.see("SAFE")
    rig.tick(101)
    rig.turn(until=3)
    assert [one.trigger.state for one in rig.files()] == ["SAFE"]


def test_a_black_box_in_the_midst_of_which_the_process_dies_is_written_by_another(rig: Rig) -> None:
    rig.tick(100)
    rig.see("HOLD", "a reason")
    rig.tick(101)
    os.kill(rig.pid(), signal.SIGSTOP)
    rig.box.turn()
    os.kill(rig.pid(), signal.SIGKILL)
    rig.turn(until=2)
    (one,) = rig.files()
    assert (one.trigger.state, one.trigger.cause, rig.said[0]) == ("HOLD", "a reason", ENDED)
    assert rig.box.counts() == {"black boxes written": 1, "black boxes failed": 1}


def test_a_disk_that_takes_no_more_leaves_nothing_and_the_next_is_written(rig: Rig) -> None:
    """The kernel itself refuses: the process may write no file of more than 4 KiB."""
    rig.tick(200)
    limits = resource.prlimit(rig.pid(), resource.RLIMIT_FSIZE)
    resource.prlimit(rig.pid(), resource.RLIMIT_FSIZE, (4096, limits[1]))
    rig.see("HOLD")
    rig.tick(101)
    rig.turn()
    ((name, why),) = rig.said
    assert (name, why.rpartition(": ")[2]) == ("black box failed", "File too large")
    assert list(Path(rig.robot.black_box.folder).iterdir()) == []
    resource.prlimit(rig.pid(), resource.RLIMIT_FSIZE, limits)
    rig.see("SAFE")
    rig.tick(101)
    rig.turn(until=2)
    assert [one.trigger.state for one in rig.files()] == ["SAFE"]


def test_passwords_stay_in_the_machine(tmp_path: Path) -> None:
    made = robot(tmp_path)
    device = "rtsp://admin:hunter2@10.0.0.7/live"
    camera = msgspec.structs.replace(made.cameras[0], kind="gstreamer", device=device)
    told = header(msgspec.structs.replace(made, cameras=(camera, *made.cameras[1:])), 0)
    assert b"hunter2" not in msgspec.json.encode(told)
    assert [one["device"] for one in told.config["cameras"]] == [
        "rtsp://admin:***@10.0.0.7/live",
        *(one.device for one in made.cameras[1:]),
    ]


def test_signals_that_end_the_run_do_not_end_the_process(rig: Rig) -> None:
    rig.tick(10)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(rig.pid(), number)
    rig.see("HOLD")
    rig.box.stop()
    assert [name for name, _ in rig.said] == ["black box"]


def test_a_bus_shows_its_bytes(rig: Rig) -> None:
    rig.tick(3)
    tap = rig.box.rings.taps[0]
    tap.sent(b"\xff\xff\x01")
    tap.received(b"")
    tap.received(memoryview(b"\xff\xff\x02\x00"))
    at_ns = time.monotonic_ns()
    rig.clock = FakeClock(at_ns)
    rig.see("HOLD")
    rig.box.stop()
    (one,) = rig.files()
    assert [(piece.received, piece.data) for piece in one.bytes["arm"]] == [
        (False, b"\xff\xff\x01"),
        (True, b"\xff\xff\x02\x00"),
    ]
    assert all(0 <= at_ns - piece.t_ns < 10**9 for piece in one.bytes["arm"])


def test_each_picture_is_kept_once_beside_the_observer(tmp_path: Path) -> None:
    arrays = Arrays()
    settings = camera_settings(robot(tmp_path).cameras[0])
    camera = CameraThread(FakeCamera(settings, lambda n: 50 * n), arrived=threading.Event(), report=lambda *_: None)
    journal = Journal(arrays, "base", 10, 1_000_000)
    keeper = FrameKeeper([camera], [journal], frames_hz=10.0, clock=FakeClock(), report=lambda *_: None)
    keeper.keep()
    for _ in range(3):
        camera.read()
        assert camera.pictures.take() is not None
        keeper.keep()
        keeper.keep()
    kept = records(arrays, "base", settle_s=0)
    assert [one.t_ns for one in kept] == [50_000_000, 100_000_000, 150_000_000]
    shown = [cv2.imdecode(np.frombuffer(one.data, np.uint8), cv2.IMREAD_COLOR) for one in kept]
    assert [picture.shape for picture in shown] == [(480, 640, 3)] * 3
    assert [int(picture.mean().round()) for picture in shown] == [50, 100, 150]


def test_memory_is_known_before(tmp_path: Path) -> None:
    made = robot(tmp_path, black_box={"frames_mb": 1.0, "seconds": 5.0})
    box = BlackBox(made, 50, clock=FakeClock(), report=lambda name, cause: None, closing=lambda: "")
    told = memory_bytes(made)
    assert told <= box.arena.size <= told + 4096 * len(box.arena.layout)
    box.stop()
    assert words(made).startswith(f"black box: 5 s in {told / 1e6:.0f} MB of memory; the last 20 files in {tmp_path}")
    assert words(robot(tmp_path, black_box={"folder": ""})) == "black box: none"


def test_a_process_that_dies_as_it_is_told_is_found_out(rig: Rig) -> None:
    """Between a turn's look at it and its word to it, and with another incident still to be answered."""
    rig.tick(100)
    rig.see("HOLD")
    rig.tick(101)
    os.kill(rig.pid(), signal.SIGSTOP)
    rig.box.turn()
    rig.see("SAFE")
    os.kill(rig.pid(), signal.SIGKILL)
    os.waitid(os.P_PID, rig.pid(), os.WEXITED | os.WNOWAIT)
    rig.box._write_pending()
    rig.turn(until=3)
    assert [one.trigger.state for one in rig.files()] == ["HOLD", "SAFE"]
    assert [name for name, _ in rig.said] == ["black box failed", "black box", "black box"]
