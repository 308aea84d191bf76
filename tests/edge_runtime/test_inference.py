"""The inference thread: what it asks the policy, what it publishes, and what it does when the policy fails."""

from __future__ import annotations

import math
import threading

import msgspec
import numpy as np
import pytest

from drivers.cameras.base import CameraSettings
from edge_runtime import inference as module
from edge_runtime.action_space import JointSpace
from edge_runtime.ahead import Running
from edge_runtime.bundle_spec import PolicySpec, VectorSpec
from edge_runtime.clock import FakeClock
from edge_runtime.delay import COLD
from edge_runtime.ensemble import Ensemble
from edge_runtime.errors import DeviceLost, InferenceHung, MalformedTokens
from edge_runtime.inference import WARM_UPS, Inference
from edge_runtime.link import IDLE, Link, Request
from edge_runtime.observation import CameraThread, Observer
from edge_runtime.policies.base import Observation
from edge_runtime.recorder import Inferences
from tests.edge_runtime.fakes import DT_NS, HORIZON, FakeCamera, FakePolicy, prompt, spec

MS = 1_000_000
JOINTS = ("a", "b", "c")
HUNG_S = 10.0


class Bench:
    """An inference without its thread, on a fake clock, with one camera that a test steps."""

    def __init__(
        self,
        state_rad: float = 1.0,
        action_rad: float = 1.0,
        policy: PolicySpec | None = None,
        *,
        running: bool = False,
        ensemble: bool = False,
    ) -> None:
        self.events: list[tuple[str, str]] = []
        self.clock = FakeClock(1_000 * MS)
        self.link = Link(HORIZON, 3, DT_NS)
        self.policy = FakePolicy(policy or spec(JOINTS, ("base",)))
        report = lambda name, cause: self.events.append((name, cause))  # noqa: E731
        stamp = (lambda n: self.clock.now_ns() // MS) if running or ensemble else (lambda n: n)
        camera = FakeCamera(CameraSettings("base", "/dev/none", 640, 480, 30.0), stamp)
        self.arrived = threading.Event()
        self.camera = CameraThread(camera, arrived=self.arrived, report=report)
        self.inferences = Inferences(100)
        self.inference = Inference(
            self.policy,
            observer=Observer([self.camera], self.policy.frames, self.link),
            link=self.link,
            clock=self.clock,
            inferences=self.inferences,
            arrived=self.arrived,
            report=report,
            space=JointSpace(HORIZON, np.full(self.policy.spec.state.dims, state_rad), np.full(3, action_rad)),
            running=Running(self.policy.spec, np.full(3, -1e3), np.full(3, 1e3)) if running else None,
            ensemble=Ensemble(HORIZON, 3, DT_NS) if ensemble else None,
        )
        self.request = Request(7, prompt("fetch"))
        self.joints(0.5)

    def joints(self, value: float) -> None:
        self.link.joints.back[:] = value
        self.link.joints.publish()

    def infer(self) -> bool:
        self.camera.read()
        return self.inference.infer(self.request)


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_S", 0.0)


def test_a_chunk_carries_its_actions_and_the_time_of_its_frame() -> None:
    bench = Bench()
    bench.policy.act = lambda o, out: (bench.clock.advance(60 * MS), out.__setitem__(slice(None), 0.25))
    assert bench.infer()
    chunk = bench.link.chunks.take()
    assert chunk is not None
    assert (chunk.actions == 0.25).all()
    assert (chunk.capture_ns, chunk.ready_ns) == (1 * MS, 1_060 * MS)
    assert (chunk.sequence, chunk.request, chunk.dt_ns) == (1, 7, DT_NS)
    assert bench.inferences.duration_ns[0] == 60 * MS
    seen = bench.policy.seen[0]
    assert seen.prompt.instruction == "fetch"
    assert seen.state.tolist() == [0.5] * 3
    assert seen.frames["base"] is bench.policy.frames["base"]  # no copy between buffer and policy
    assert (seen.frames["base"] == 1).all()


def test_units_of_state_and_action_are_converted() -> None:
    bench = Bench(state_rad=math.pi / 180, action_rad=math.pi / 180)
    bench.joints(math.pi / 2)
    bench.policy.act = lambda o, out: out.__setitem__(slice(None), 180.0)
    bench.infer()
    assert bench.policy.seen[0].state == pytest.approx([90.0] * 3)
    chunk = bench.link.chunks.take()
    assert chunk is not None
    assert chunk.actions == pytest.approx(np.full((HORIZON, 3), math.pi))


def test_a_policy_that_goes_on_is_told_of_the_running_chunk_and_of_what_will_be_gone() -> None:
    """Rows every 50 ms, inferences of 60 ms, motors that act 20 ms late: two rows are gone when the chunk is there."""
    bench, ages = Bench(running=True), []
    bench.link.lead_ns = 20 * MS

    def act(observation: Observation, out: np.ndarray) -> None:
        ages.append(None if observation.ahead is None else (observation.ahead.committed, observation.ahead.known))
        bench.clock.advance(60 * MS)
        out[:] = np.arange(HORIZON)[:, None]

    bench.policy.act = act
    for _ in range(COLD + 2):
        assert bench.infer()
    assert ages[0] is None  # of a new request nothing is running
    assert ages[-1] == (3, HORIZON - 2)  # and the one behind them, which shapes the curve
    bench.request = Request(8, prompt("fetch"))
    bench.infer()
    assert ages[-1] is None


def test_a_chunk_of_a_prefix_that_is_used_again_is_as_old_as_the_frames_behind_it() -> None:
    """It is followed from its own observation on, and a new request has the policy look anew."""
    bench, renewed = Bench(running=True), []
    bench.policy.renew = lambda: renewed.append(bench.clock.now_ns())
    seen = []
    for fresh in (True, False, False, True):
        bench.clock.advance(DT_NS)
        bench.policy.frames_fresh = fresh
        bench.infer()
        chunk = bench.link.chunks.take()
        assert chunk is not None
        seen.append((chunk.capture_ns // MS, chunk.observed_ns // MS, chunk.start_ns // MS))
    assert seen == [(1050, 1050, 1050), (1050, 1100, 1100), (1050, 1150, 1150), (1200, 1200, 1200)]
    assert renewed == [1050 * MS]
    bench.request = Request(8, prompt("fetch"))
    bench.clock.advance(DT_NS)
    bench.infer()
    assert len(renewed) == 2


def test_an_inference_that_failed_is_followed_by_new_pictures() -> None:
    bench, renewed = Bench(running=True), []
    bench.infer()
    bench.policy.renew = lambda: renewed.append(True)
    for bad in (lambda o, out: 1 / 0, lambda o, out: out.fill(np.nan)):
        bench.clock.advance(DT_NS)
        bench.policy.act = bad
        bench.infer()
    assert len(renewed) == 2


def test_more_committed_actions_than_the_policy_was_trained_with_are_said_once() -> None:
    bench = Bench(running=True)
    for beyond in (0, 0, 1, 2):
        bench.clock.advance(DT_NS)
        bench.policy.beyond = beyond
        bench.infer()
    assert [name for name, _ in bench.events] == ["committed beyond training"]


def test_an_ensemble_publishes_the_mean_of_what_chunks_say() -> None:
    bench = Bench(ensemble=True)
    for value in (0.0, 1.0):
        bench.clock.advance(MS)
        bench.policy.act = lambda o, out, value=value: out.__setitem__(slice(None), value)
        bench.infer()
    chunk = bench.link.chunks.take()
    assert chunk is not None
    assert chunk.actions[:-1] == pytest.approx(np.full((HORIZON - 1, 3), 0.5), abs=0.01)
    assert (chunk.actions[-1] == 1.0).all()  # of that moment the first one said nothing


def test_a_camera_that_the_robot_has_not_is_no_part_of_what_the_policy_sees() -> None:
    """Its buffer is the policy's to mask or to blacken; passed on as a frame it would count as one."""
    bench = Bench(policy=spec(JOINTS, ("base", "wrist")))
    bench.inference.start(prompt("warm"), HUNG_S)
    bench.inference.stop()
    assert bench.infer()
    assert len(bench.policy.seen) == WARM_UPS + 1
    for seen in bench.policy.seen:
        assert list(seen.frames) == ["base"]


def test_a_policy_that_reads_no_state_is_given_none() -> None:
    bench = Bench(policy=msgspec.structs.replace(spec(JOINTS, ("base",)), state=VectorSpec((), (), 0)))
    bench.policy.act = lambda o, out: out.__setitem__(slice(None), 0.25)
    assert bench.infer()
    assert bench.policy.seen[0].state.shape == (0,)
    chunk = bench.link.chunks.take()
    assert chunk is not None
    assert (chunk.actions == 0.25).all()


class Kept:
    """A recording that keeps what it was offered."""

    def __init__(self) -> None:
        self.offers: list[dict[str, object]] = []

    def offer(self, instruction, capture_ns, t_ns, frames, state, actions, person=False) -> None:  # type: ignore[no-untyped-def]
        self.offers.append({"t_ns": t_ns, "state": state.copy(), "actions": actions.copy(), "person": person})


def test_while_a_person_drives_the_policy_is_idle_and_the_recording_is_told_at_its_rate() -> None:
    bench = Bench(state_rad=math.pi / 180, action_rad=math.pi / 180)
    bench.inference._recording = kept = Kept()  # type: ignore[assignment]
    bench.request = Request(7, prompt("fetch"), person=True)
    bench.joints(math.pi / 2)
    assert not bench.infer(), "nothing was commanded yet"
    bench.link.setpoints.back[:] = math.pi / 4
    bench.link.setpoints.publish()
    for _ in range(20):
        bench.infer()
        bench.clock.advance(DT_NS // 4)
    assert len(kept.offers) == 5
    assert [b["t_ns"] - a["t_ns"] for a, b in zip(kept.offers, kept.offers[1:], strict=False)] == [DT_NS] * 4
    for offer in kept.offers:
        assert offer["person"] is True
        assert offer["state"] == pytest.approx([90.0] * 3)
        assert offer["actions"] == pytest.approx(np.full((HORIZON, 3), 45.0))
    assert bench.policy.seen == []
    assert bench.link.chunks.take() is None


def test_without_a_recording_a_person_is_not_watched() -> None:
    bench = Bench()
    bench.request = Request(7, prompt("fetch"), person=True)
    bench.link.setpoints.publish()
    assert not bench.infer()


def test_the_heartbeat_shows_the_inference_in_flight() -> None:
    bench = Bench()
    beats = []
    bench.policy.act = lambda o, out: beats.append(bench.link.inference_started_ns)
    bench.infer()
    assert beats == [1_000 * MS]
    assert bench.link.inference_started_ns == 0


def test_nothing_is_inferred_without_a_request_or_a_new_frame() -> None:
    bench = Bench()
    bench.camera.read()
    assert not bench.inference.infer(IDLE)
    assert bench.inference.infer(bench.request)
    assert not bench.inference.infer(bench.request)
    assert len(bench.policy.seen) == 1


def test_a_new_instruction_counts_from_the_next_inference() -> None:
    bench = Bench()
    bench.infer()
    bench.request = Request(7, prompt("another"))
    bench.infer()
    assert [o.prompt.instruction for o in bench.policy.seen] == ["fetch", "another"]


def boom(observation: object, out: object) -> None:
    raise ValueError("out of memory")


def test_a_policy_that_raises_is_an_event_and_the_next_inference_goes_on() -> None:
    bench = Bench()
    bench.policy.act = boom
    for _ in range(3):
        assert bench.infer()
    assert bench.events == [("inference failed", "ValueError: out of memory")]
    assert bench.link.failure == (7, "ValueError: out of memory")
    assert bench.link.inference_started_ns == 0
    assert bench.inference.failed == 3
    assert bench.link.chunks.take() is None
    bench.policy.act = None
    bench.infer()
    assert bench.link.failure == (7, "")
    assert bench.link.chunks.take() is not None


def test_a_policy_that_asks_for_the_end_of_the_program_ends_no_thread() -> None:
    def leave(observation: object, out: object) -> None:
        raise SystemExit(3)

    bench = Bench()
    bench.policy.act = leave
    assert bench.infer()
    assert bench.events == [("inference failed", "SystemExit: 3")]
    assert bench.link.failure == (7, "SystemExit: 3")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_actions_that_are_not_finite_are_never_published(bad: float) -> None:
    bench = Bench()
    bench.policy.act = lambda o, out: out.__setitem__((3, 1), bad)
    bench.infer()
    assert bench.link.chunks.take() is None
    assert bench.events == [("inference failed", "the policy's actions are not finite")]


def malformed(observation: object, out: object) -> None:
    raise MalformedTokens("61 FAST coefficients, expected 8 × 4 = 32")


def test_malformed_action_tokens_are_an_event_of_their_own_and_fail_like_any_other() -> None:
    bench = Bench()
    bench.policy.act = malformed
    for _ in range(3):
        assert bench.infer()
    assert bench.events == [("malformed action tokens", "61 FAST coefficients, expected 8 × 4 = 32")]
    assert bench.link.failure == (7, "61 FAST coefficients, expected 8 × 4 = 32")
    assert bench.link.inference_started_ns == 0
    assert (bench.inference.malformed, bench.inference.failed) == (3, 3)
    assert bench.link.chunks.take() is None
    bench.policy.act = boom
    bench.infer()
    assert (bench.inference.malformed, bench.inference.failed) == (3, 4)
    bench.policy.act = None
    bench.infer()
    assert bench.link.failure == (7, "")
    assert bench.link.chunks.take() is not None


def test_a_policy_that_says_the_task_is_done_publishes_no_chunk_and_is_not_asked_again() -> None:
    bench = Bench()
    bench.policy.act = malformed
    bench.infer()
    bench.policy.act = None
    bench.policy.terminated = True
    assert bench.infer()
    assert bench.link.terminated is bench.request
    assert bench.link.failure == (7, "")
    assert bench.link.chunks.take() is None
    assert not bench.infer()
    bench.policy.terminated = False
    bench.request = Request(7, prompt("another"))
    assert bench.infer()
    assert bench.link.terminated is not bench.request
    assert bench.link.chunks.take() is not None


# ── with its thread ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_thread_warms_up_uncounted_then_waits_for_a_request() -> None:
    bench = Bench()
    bench.inference.start(prompt("warm"), HUNG_S)
    assert len(bench.policy.seen) == WARM_UPS
    assert bench.inferences.total == 0
    assert bench.link.chunks.take() is None
    got = threading.Event()
    bench.policy.act = lambda o, out: got.set()
    bench.link.request = bench.request
    bench.camera.read()
    assert got.wait(5.0)
    bench.inference.stop()
    assert bench.inferences.total == 1


def test_a_policy_that_cannot_infer_at_all_says_so_at_the_start() -> None:
    bench = Bench()
    bench.policy.act = boom
    with pytest.raises(ValueError, match="out of memory"):
        bench.inference.start(prompt("warm"), HUNG_S)
    bench.inference.stop()


def test_malformed_tokens_of_the_warm_up_are_no_reason_not_to_start() -> None:
    bench = Bench()
    bench.policy.act = malformed
    bench.inference.start(prompt("warm"), HUNG_S)
    bench.inference.stop()
    assert len(bench.policy.seen) == WARM_UPS
    assert bench.inference.malformed == 0


def test_a_broken_observation_is_a_failed_inference_not_a_dead_thread() -> None:
    bench = Bench()
    bench.policy.frames["base"].setflags(write=False)
    assert bench.infer()
    assert bench.inference.failed == 1
    assert "read-only" in bench.events[0][1]


@pytest.mark.parametrize("where", ["plan", "told"])
def test_what_fails_beside_the_policy_is_a_failure_too_and_the_thread_goes_on(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def singular(*_: object) -> None:
        raise np.linalg.LinAlgError("Singular matrix")

    bench = Bench()
    bench.inference._recording = Kept()  # type: ignore[assignment]
    bench.request = Request(7, prompt("fetch"), person=where == "told")
    bench.link.setpoints.publish()
    monkeypatch.setattr(bench.inference.space, where, singular)
    assert bench.infer()
    assert bench.events == [("inference failed", "LinAlgError: Singular matrix")]
    assert bench.link.failure == (7, "LinAlgError: Singular matrix")
    assert bench.link.inference_started_ns == 0
    monkeypatch.undo()
    assert bench.infer()


def lost(observation: object, out: object) -> None:
    raise DeviceLost("illegal address")


def test_a_device_that_is_lost_is_told_to_control_and_not_asked_again() -> None:
    bench = Bench()
    bench.policy.act = lost
    assert bench.infer()
    assert bench.link.lost == "illegal address"
    assert bench.link.inference_started_ns == 0
    bench.request = Request(8, prompt("another"))
    assert not bench.infer()
    assert (len(bench.policy.seen), bench.inference.failed, bench.events) == (1, 1, [])


def test_a_device_that_is_lost_in_the_warm_up_is_said_at_the_start() -> None:
    bench = Bench()
    bench.policy.act = lost
    with pytest.raises(DeviceLost, match="illegal address"):
        bench.inference.start(prompt("warm"), HUNG_S)
    bench.inference.stop()


def test_a_warm_up_that_never_ends_says_so_and_is_not_waited_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WARM_S", 0.01)
    bench, back = Bench(), threading.Event()
    bench.policy.act = lambda o, out: back.wait()
    with pytest.raises(InferenceHung, match=r"^no answer to the inferences of the warm-up within 0.21 s: it hangs, "):
        bench.inference.start(prompt("warm"), 0.1)
    bench.inference.stop()
    assert bench.inference.hung
    back.set()


def test_a_slow_warm_up_that_is_interrupted_is_no_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first inference of a big model takes a minute: whoever ends it there is not kept waiting, nor told of one."""
    bench, began, back = Bench(), threading.Event(), threading.Event()

    def act(_observation: Observation, _out: np.ndarray) -> None:
        began.set()
        back.wait()

    def interrupted(_timeout: float | None = None) -> bool:
        assert began.wait(5.0)
        raise KeyboardInterrupt

    bench.policy.act = act
    monkeypatch.setattr(bench.inference._warm, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bench.inference.start(prompt("warm"), HUNG_S)
    bench.inference.stop()  # returns although the inference is in flight
    assert bench.inference._thread.is_alive()
    assert not bench.inference.hung
    back.set()
    bench.inference._thread.join(5.0)
    assert len(bench.policy.seen) == 1, "the second inference of the warm-up is not begun"


@pytest.mark.parametrize(("hung_s", "hung"), [(9.9, True), (99.0, False)])
def test_the_end_waits_for_the_inference_in_flight_until_it_never_ends(
    monkeypatch: pytest.MonkeyPatch, hung_s: float, hung: bool
) -> None:
    monkeypatch.setattr(module, "JOIN_S", 0.0)
    bench, began, back = Bench(), threading.Event(), threading.Event()
    bench.inference.start(prompt("warm"), hung_s)

    def act(_observation: Observation, _out: np.ndarray) -> None:
        bench.clock.advance(10_000 * MS)
        began.set()
        back.wait()

    bench.policy.act = act
    bench.link.request = bench.request
    bench.camera.read()
    assert began.wait(5.0)
    if not hung:
        threading.Timer(0.05, back.set).start()
    bench.inference.stop()
    assert bool(bench.inference.hung) is hung
    back.set()
