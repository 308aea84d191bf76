"""Recording: what is in the files, what damage costs, and that nothing of it holds the robot up."""

from __future__ import annotations

import resource
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edge_runtime import app, inference, recording
from edge_runtime.action_space import JointSpace
from edge_runtime.bundle_spec import CameraSpec
from edge_runtime.clock import FakeClock, MonotonicClock
from edge_runtime.devices import bus_settings, camera_settings
from edge_runtime.link import IDLE, Link, Request
from edge_runtime.recorder import Inferences
from edge_runtime.recording import Recording
from edge_runtime.recording_spec import (
    DESCRIPTION,
    Camera,
    Description,
    RecordingError,
    Step,
    Vector,
    encode,
    episode_path,
    read_description,
    read_step,
    read_steps,
)
from edge_runtime.session import Session
from tests.edge_runtime.fakes import HORIZON, FakeBus, FakePolicy, prompt, spec
from tests.edge_runtime.recordings import Recorder, actions, frame, record, robot, state
from tests.edge_runtime.run_fake import PacedCamera, configured

# ── the format ──────────────────────────────────────────────────────────────────────────────────────────────────────

TINY = Description(
    robot="tiny",
    cameras=(Camera("eye", 8, 8),),
    state=Vector(("a", "b"), ("rad", "")),
    action=Vector(("a",), ("rad",)),
    horizon=3,
    dt_s=0.1,
)


def step(number: int = 0, **changes: object) -> Step:
    floats = np.arange(5, dtype="<f4") + number
    made = Step(number, number, "seal", "fetch", floats[:2].tobytes(), floats[2:].tobytes(), {"eye": b"\xff\xd8" * 9})
    return msgspec.structs.replace(made, **changes)


RECORDS = [encode(step(n)) for n in range(4)]
WHOLE = b"".join(RECORDS)


def read(path: Path) -> tuple[list[Step], str]:
    """The steps before the first damage, and what is said of it."""
    steps: list[Step] = []
    said = ""
    try:
        steps.extend(placed.step for placed in read_steps(path, TINY))
    except RecordingError as error:
        said = str(error)
    assert "\n" not in said
    return steps, said.removeprefix(f"{path}, ")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "episode-000000.rec"
    path.write_bytes(WHOLE)
    return path


def test_what_was_written_is_read_from_the_start_and_from_any_record(file: Path) -> None:
    assert read(file) == ([step(n) for n in range(4)], "")
    for index, placed in enumerate(read_steps(file, TINY)):
        assert placed.offset == index * len(RECORDS[0])
        assert read_step(file, index, placed.offset, TINY) == step(index)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    keep=st.integers(0, len(WHOLE)),
    flips=st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(1, 255)), max_size=3),
)
@example(keep=len(WHOLE), flips=[])
def test_every_record_before_the_damage_is_read(file: Path, keep: int, flips: list[tuple[int, int]]) -> None:
    damaged = bytearray(WHOLE)
    for at, bits in flips:
        damaged[at] ^= bits
    damaged = damaged[:keep]
    file.write_bytes(damaged)
    at = next((n for n, (a, b) in enumerate(zip(damaged, WHOLE, strict=False)) if a != b), keep)
    size = len(RECORDS[0])
    steps, said = read(file)
    assert steps == [step(n) for n in range(at // size)]
    assert said.startswith(f"record {at // size} at byte {at // size * size}: ") or at == keep == at // size * size


def test_damage_is_named_with_its_place(file: Path) -> None:
    size = len(RECORDS[0])
    file.write_bytes(WHOLE[:-1])
    assert (
        read(file)[1]
        == f"record 3 at byte {3 * size}: the file ends inside the record ({size - 8} bytes, {size - 1} left)"
    )
    file.write_bytes(WHOLE[: 3 * size + 5])
    assert read(file)[1] == f"record 3 at byte {3 * size}: the file ends inside the record's header"
    file.write_bytes(WHOLE[:-1] + b"\x00")
    assert read(file)[1] == f"record 3 at byte {3 * size}: wrong checksum"
    file.write_bytes(WHOLE + bytes(100))  # a disk without power leaves zeros, and nothing has the checksum of nothing
    assert read(file)[1] == f"record 4 at byte {4 * size}: a record of no length"
    file.unlink()
    assert read(file)[1].endswith("cannot be read: No such file or directory")


WRONG: dict[str, tuple[dict[str, object], str]] = {
    "short state": ({"state": b"\0" * 4}, "state of 4 bytes, 2 float32 were promised"),
    "long actions": ({"actions": b"\0" * 16}, "actions of 16 bytes, 3 float32 were promised"),
    "not finite": ({"state": np.array([0, np.nan], "<f4").tobytes()}, "state not finite"),
    "no camera": ({"frames": {}}, "frames of no camera, 'eye' were promised"),
    "another camera": ({"frames": {"eye": b"", "nose": b""}}, "frames of 'eye', 'nose', 'eye' were promised"),
    "no time": ({"t_ns": -1}, "Expected `int` >= 0"),
    "no text": ({"instruction": b"\xff"}, "Expected `str`, got `bytes`"),
}


@pytest.mark.parametrize(("changes", "says"), WRONG.values(), ids=WRONG)
def test_a_whole_record_of_another_form_is_damage_too(file: Path, changes: dict[str, object], says: str) -> None:
    file.write_bytes(RECORDS[0] + encode(step(1, **changes)))
    steps, said = read(file)
    assert steps == [step()]
    assert said.startswith(f"record 1 at byte {len(RECORDS[0])}: {says}")


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(payload=st.binary(min_size=1, max_size=60))
@example(payload=b"\x81\xa1\xff\x01")
@example(payload=msgspec.msgpack.encode({"t_ns\n": 1}))
def test_a_payload_of_anything_is_damage(file: Path, payload: bytes) -> None:
    file.write_bytes(struct.pack("<II", len(payload), zlib.crc32(payload)) + payload)
    assert read(file)[1].startswith("record 0 at byte 0: ")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("{", "truncated"),
        ("[]", "Expected `object`"),
        ({"format": 3, "news": 1}, "format is 3, this version reads 1, 2"),
        ({"horizon": 0}, "Expected `int` >= 1"),
        ({"news": 1}, "unknown field `news`"),
        ({"cameras": [{"name": "eye", "height": 1 << 20, "width": 8}]}, "Expected `int` <= 16384"),
        ({"cameras": [{"name": "eye", "height": 8, "width": 8}] * 2}, "cameras: a name is used twice"),
        ({"state": {"names": ["a"], "units": []}}, "state: 0 units for 1 names"),
        ({"action": {"names": [], "units": []}}, "action: has no dimensions"),
    ],
)
def test_a_description_that_is_wrong(tmp_path: Path, change: str | dict[str, object], says: str) -> None:
    text = change if isinstance(change, str) else msgspec.json.encode({**msgspec.to_builtins(TINY), **change}).decode()
    (tmp_path / DESCRIPTION).write_text(text)
    with pytest.raises(RecordingError, match=says) as caught:
        read_description(tmp_path)
    assert str(tmp_path / DESCRIPTION) in str(caught.value)


def test_a_recording_of_format_1_is_the_policys_alone(tmp_path: Path) -> None:
    (tmp_path / DESCRIPTION).write_bytes(msgspec.json.encode(msgspec.structs.replace(TINY, format=1)))
    fields = {name: getattr(step(), name) for name in Step.__struct_fields__ if name != "person"}
    payload = msgspec.msgpack.encode(fields)
    path = episode_path(tmp_path, 0)
    path.write_bytes(struct.pack("<II", len(payload), zlib.crc32(payload)) + payload)
    assert [placed.step for placed in read_steps(path, read_description(tmp_path))] == [step()]


# ── writing it ──────────────────────────────────────────────────────────────────────────────────────────────────────


def steps_of(folder: Path, number: int) -> list[Step]:
    return [placed.step for placed in read_steps(episode_path(folder, number), read_description(folder))]


def test_a_file_a_task_and_in_it_what_the_policy_saw_and_answered(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "recording"
    record(folder, [["fetch", "fetch", "bring"], ["put"]])
    assert sorted(path.name for path in folder.iterdir()) == ["episode-000000.rec", "episode-000001.rec", DESCRIPTION]
    first, second = steps_of(folder, 0), steps_of(folder, 1)
    assert [s.instruction for s in (*first, *second)] == ["fetch", "fetch", "bring", "put"]
    for number, each in enumerate((*first, *second)):
        assert (each.capture_ns, each.t_ns) == (
            1_000_000_000 + number * 50_000_000,
            1_000_000_001 + number * 50_000_000,
        )
        np.testing.assert_array_equal(np.frombuffer(each.state, "<f4"), state(number))
        np.testing.assert_array_equal(np.frombuffer(each.actions, "<f4").reshape(HORIZON, -1), actions(number))
        for name, data in each.frames.items():
            seen = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
            assert np.abs(seen.astype(int) - frame(number, name)).max() < 12


def test_what_a_person_drove_is_said_in_its_step(tmp_path: Path) -> None:
    record(tmp_path, [["fetch"] * 3], by_hand={1})
    assert [s.person for s in steps_of(tmp_path, 0)] == [False, True, False]


def test_the_seal_of_the_bundle_stands_in_every_step(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"seal": "5ea1"}')
    settings_, _ = robot()
    policy = msgspec.structs.replace(settings_.policy, bundle=str(tmp_path))
    record(tmp_path / "r", [["fetch"]], policy=policy)
    record(tmp_path / "r", [["fetch"]])  # another policy with the same joints and cameras may go on there
    assert [steps_of(tmp_path / "r", number)[0].policy for number in (0, 1)] == ["5ea1", ""]


def test_a_recording_goes_on_behind_the_last_episode(tmp_path: Path) -> None:
    record(tmp_path, [["fetch"]])
    episode_path(tmp_path, 41).write_bytes(b"torn")
    record(tmp_path, [["bring"]])
    assert [s.instruction for s in steps_of(tmp_path, 42)] == ["bring"]


def test_a_slow_disk_costs_steps_and_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written, go_on = threading.Event(), threading.Event()

    class Slow(recording.EpisodeFile):
        def append(self, record: bytes) -> None:
            written.set()
            assert go_on.wait(20)
            super().append(record)

    monkeypatch.setattr(recording, "EpisodeFile", Slow)
    recorder = Recorder(tmp_path)
    recorder.offer(0)
    assert written.wait(20)
    for number in range(1, 10):
        recorder.offer(number)
    go_on.set()
    recorder.recording.stop()
    assert [s.state for s in steps_of(tmp_path, 0)] == [state(0).tobytes(), state(9).tobytes()]
    assert recorder.recording.counts() == {"recorded steps": 2, "dropped steps": 8}
    assert recorder.events == []


@pytest.fixture
def _small_files() -> Iterator[None]:
    """A disk that takes 20 kB of a file and no more: the write that goes beyond is cut short, the next one fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("_small_files")
def test_a_full_disk_ends_the_recording_with_one_event_and_whole_records(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    for number in range(100):
        recorder.offer(number)
        recorder.settled(lambda counts, n=number: sum(counts.values()) > n)
    recorder.recording.stop()
    ((name, cause),) = recorder.events
    assert name == "recording ended"
    assert cause.startswith(f"{tmp_path}: ")
    assert "File too large" in cause
    recorded = len(steps_of(tmp_path, 0))  # raises where the last one is torn
    assert recorded > 1
    assert recorder.recording.counts() == {"recorded steps": recorded, "dropped steps": 100 - recorded}
    assert list(tmp_path.glob("*.rec")) == [episode_path(tmp_path, 0)]


def test_a_folder_that_disappears_ends_the_recording(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    recorder = Recorder(folder)
    (folder / DESCRIPTION).unlink()
    folder.rmdir()
    recorder.offer(0)
    recorder.settled(lambda counts: counts["dropped steps"] == 1)
    recorder.recording.stop()
    assert [name for name, _ in recorder.events] == ["recording ended"]


def refused(folder: Path, **changes: object) -> str:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(RecordingError) as caught:
        Recording(folder, *robot(**changes), episode=lambda: 0, report=lambda name, cause: None)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_of_something_else_is_refused_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear robot")
    assert refused(tmp_path) == f"{tmp_path}: holds something else than a recording: name a new folder"
    assert refused(tmp_path / "letter.txt") == f"{tmp_path / 'letter.txt'}: is no folder"
    assert "cannot record there: Not a directory" in refused(tmp_path / "letter.txt" / "r")


def test_another_robots_recording_is_refused(tmp_path: Path) -> None:
    record(tmp_path, [["fetch"]])
    says = refused(tmp_path, name="left arm")
    assert says == f'{tmp_path / DESCRIPTION}: robot is "bench arm", of this robot "left arm": name a new folder'
    (base, _) = robot()[0].cameras
    assert "cameras is [" in refused(tmp_path, cameras=(base,))


# ── what is offered ─────────────────────────────────────────────────────────────────────────────────────────────────


class Offers:
    """A recording that keeps what it is offered."""

    def __init__(self) -> None:
        self.kept: list[tuple[object, ...]] = []

    def offer(self, *step_: object) -> None:
        self.kept.append(step_)


class Looking:
    """An observer with something new to see each time."""

    def __init__(self, policy: FakePolicy) -> None:
        self.frames = policy.frames
        self.times = iter(range(1, 100))

    def observe(self, state_rad: np.ndarray) -> int:
        state_rad[:] = np.pi / 2
        return next(self.times)


def test_what_the_policy_answers_is_offered_unless_its_request_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "PAUSE_S", 0.0)
    policy, clock, offers = FakePolicy(spec(("a", "b"), ("base",), units="deg")), FakeClock(1_000), Offers()
    link = Link(HORIZON, 2, 1)
    asking = inference.Inference(
        policy,
        observer=Looking(policy),  # type: ignore[arg-type]
        link=link,
        clock=clock,
        inferences=Inferences(10),
        arrived=threading.Event(),
        report=lambda name, cause: None,
        space=JointSpace(HORIZON, np.full(2, np.pi / 180), np.full(2, np.pi / 180)),
        recording=offers,  # type: ignore[arg-type]
    )
    request = link.request = Request(1, prompt("fetch"))
    policy.act = lambda o, out: out.__setitem__(slice(None), 45.0)
    asking.infer(request)
    ((instruction, capture_ns, t_ns, frames, seen, answered),) = offers.kept
    assert (instruction, capture_ns, t_ns, frames) == ("fetch", 1, 1_000, policy.frames)
    assert seen == pytest.approx([90.0, 90.0])  # in the policy's units, not in radians
    assert answered == pytest.approx(np.full((HORIZON, 2), 45.0))
    policy.act = lambda o, out: out.__setitem__(slice(None), np.nan)
    asking.infer(request)
    policy.act, policy.terminated = None, True
    asking.infer(request)
    link.terminated, policy.terminated = None, False
    policy.act = lambda o, out: setattr(link, "request", IDLE)  # stopped while it thinks
    asking.infer(request)
    assert len(offers.kept) == 1
    policy.act = lambda o, out: setattr(link, "request", Request(1, prompt("bring")))  # told something else
    asking.infer(request)
    assert [kept[0] for kept in offers.kept] == ["fetch", "fetch"]  # what it was asked, not what it is to be asked


# ── a robot that records ────────────────────────────────────────────────────────────────────────────────────────────


HANGS_S = 300.0
"""No machine is so slow: what has not happened by then never will."""


class Evening:
    """A person beside the robot: two tasks, the first with a stop in it and another instruction."""

    def __init__(self) -> None:
        self.session: Session | None = None

    def say(self, cmd: str, **more: str) -> None:
        assert self.session is not None
        answer = self.session.handle({"cmd": cmd, **more})
        self.until(lambda: answer() is not None)
        assert (answer() or {})["ok"], answer()

    def until(self, so: object) -> None:
        end = time.monotonic() + HANGS_S
        while not so():  # type: ignore[operator]
            assert time.monotonic() < end, f"hangs: {self.session and self.session.status()}"
            time.sleep(0.005)

    def in_state(self, state_: str, phase: str = "") -> None:
        assert self.session is not None
        director = self.session.loop.director
        self.until(lambda: (director.mode.state.name, director.mode.phase.value) == (state_, phase))

    def inferred(self) -> None:
        """Until the policy has answered three more times."""
        assert self.session is not None
        inference = self.session.inference
        already = inference.chunks
        self.until(lambda: inference.chunks > already + 3)

    def __call__(self, session: Session, over: threading.Event) -> None:
        self.session = session
        self.say("arm")
        self.in_state("READY")
        self.say("task", instruction="fetch")
        self.in_state("RUN", "task")
        self.inferred()
        self.say("stop")
        self.until(lambda: session.loop.director.still)
        self.say("resume")
        self.inferred()
        self.say("task", instruction="bring")
        self.inferred()
        self.say("done")
        self.in_state("READY")
        self.say("task", instruction="put")
        self.in_state("RUN", "task")
        self.inferred()


@pytest.mark.parametrize("recorded", [True, False])
def test_a_run(tmp_path: Path, recorded: bool) -> None:
    settings_ = configured(tmp_path)
    cameras = tuple(msgspec.structs.replace(c, height=48, width=64) for c in settings_.cameras)
    settings_ = msgspec.structs.replace(settings_, cameras=cameras)
    policy = msgspec.structs.replace(
        spec(settings_.joint_names), cameras=tuple(CameraSpec(c.name, 48, 64) for c in cameras)
    )
    folder = tmp_path / "r"
    left = app.run_robot(
        settings_,
        policy=FakePolicy(policy),
        cameras=[PacedCamera(camera_settings(c), lambda n: n) for c in cameras],
        buses=[FakeBus(bus_settings(settings_.buses[0]), MonotonicClock())],
        beside=Evening(),
        record_to=folder if recorded else None,
    )
    assert left.episodes == 2
    if not recorded:
        assert not folder.exists()
        assert "recorded steps" not in left.counters
        return
    first, second = steps_of(folder, 0), steps_of(folder, 1)
    assert not episode_path(folder, 2).exists()
    told = [s.instruction for s in first]
    assert told == sorted(told, key=("fetch", "bring").index)
    assert {*told} == {"fetch", "bring"}
    assert {s.instruction for s in second} == {"put"}
    assert left.counters["recorded steps"] == len(first) + len(second)
    assert left.counters["recorded steps"] + left.counters["dropped steps"] <= left.chunks
    for each in (*first, *second):
        rows = np.frombuffer(each.actions, "<f4").reshape(HORIZON, -1)
        np.testing.assert_array_equal(rows[0], np.frombuffer(each.state, "<f4"))  # what FakePolicy answers
        assert each.t_ns >= each.capture_ns
        assert each.frames.keys() == {"base", "wrist"}
