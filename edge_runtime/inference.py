"""The inference thread: newest observation in, chunk of actions out, for as long as control asks for one."""

from __future__ import annotations

import threading
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from edge_runtime.action_space import ActionSpace
from edge_runtime.ahead import Running
from edge_runtime.apart import INFERENCE
from edge_runtime.black_box.rings import Chunks
from edge_runtime.clock import Clock
from edge_runtime.delay import Delay
from edge_runtime.ensemble import Ensemble
from edge_runtime.errors import DeviceLost, InferenceHung, MalformedTokens, UnreachablePose
from edge_runtime.events import Report
from edge_runtime.limits import Floats
from edge_runtime.link import IDLE, Link, Request
from edge_runtime.observation import Observer
from edge_runtime.policies.base import Ahead, Observation, Policy, Prompt
from edge_runtime.realtime import helper
from edge_runtime.recorder import Inferences
from edge_runtime.recording import Recording

DELAY_SHARE = 0.9
"""An inference is expected to take as long as the slowest but a tenth of the last ones: actions that are taken to be
open and are gone by then make a seam, a few more that are taken to be gone only make the answer a little older."""
WARM_UPS = 2
"""Inferences before the first that counts: the first ones allocate, compile or page in."""
IDLE_S = 0.05
"""How long the thread sleeps at most before it looks for a request again."""
WARM_S = 60.0
"""How much longer the warm-up may take than its inferences: the first of a big model reads it from the disk, on a GPU
loads its kernels. Nothing moves meanwhile."""
JOIN_S = 2.0
"""How long the thread may take to end when no inference is in flight any more."""
PAUSE_S = 0.1
"""How long it leaves a policy alone that has just failed."""


class Inference:
    """Runs a policy on a thread of its own. Only `link` and `inferences` are shared; nothing here waits for control."""

    def __init__(
        self,
        policy: Policy,
        *,
        observer: Observer,
        link: Link,
        clock: Clock,
        inferences: Inferences,
        arrived: threading.Event,
        report: Report,
        space: ActionSpace,
        recording: Recording | None = None,
        chunks: Chunks | None = None,
        running: Running | None = None,
        ensemble: Ensemble | None = None,
    ) -> None:
        """`running`: the policy goes on from the running chunk; `ensemble`: its chunks are averaged."""
        spec = policy.spec
        self.chunks = 0
        """Chunks published in all."""
        self.failed = 0
        """Inferences that failed in all."""
        self.malformed = 0
        """Those among them whose action tokens meant no action."""
        self._policy = policy
        self._observer = observer
        self._link = link
        self._clock = clock
        self._inferences = inferences
        self._arrived = arrived
        self._report = report
        self._recording = recording
        self._chunks = chunks
        self._running = running
        self._ensemble = ensemble
        self._delay = Delay(DELAY_SHARE)
        self.space = space
        self._measured_rad: Floats = np.zeros(len(link.joints.back))
        self._state: NDArray[np.float32] = np.zeros(spec.state.dims, dtype=np.float32)
        self._actions: NDArray[np.float32] = np.zeros((spec.horizon, spec.action.dims), dtype=np.float32)
        self._seen_ns = 0
        """Capture time of the oldest frame that the last chunk was computed from."""
        self._number = IDLE.number
        """Of the request that was inferred for last."""
        self._beyond = 0
        """Chunks that the policy could not wholly go on from, so far."""
        self._watched_ns = 0
        """When a person's driving was last offered to the recording."""
        self._stop = threading.Event()
        self._thread = helper(self._run, INFERENCE)
        self._warm = threading.Event()
        self._broken: Exception | None = None
        self._hung_s = 0.0
        self.hung = ""
        """Why the thread was not waited for any longer, empty where it was not left behind in an inference."""

    def start(self, prompt: Prompt, hung_s: float) -> None:
        """Start the thread and wait until the policy is warm; raises what the policy raised where it cannot infer.

        An inference in flight for longer than `hung_s` never ends. Raises `InferenceHung` for one of the warm-up.
        """
        self._warm_prompt, self._hung_s = prompt, hung_s
        self._thread.start()
        warm_s = WARM_S + WARM_UPS * hung_s
        if not self._warm.wait(warm_s):
            self.hung = f"no answer to the inferences of the warm-up within {warm_s:g} s"
            raise InferenceHung(self.hung)
        if self._broken is not None:
            raise self._broken

    def stop(self) -> None:
        """End the thread, after the inference in flight: `hung` where that never ends. One that warms up is left."""
        self._stop.set()
        if self._thread.is_alive() and self._warm.is_set() and not self.hung:
            began_ns = self._link.inference_started_ns
            flight_s = (self._clock.now_ns() - began_ns) / 1e9 if began_ns else 0.0
            self._thread.join(JOIN_S + max(0.0, self._hung_s - flight_s))
            if self._thread.is_alive():
                self.hung = f"inference still in flight at the end of the run, limit {1e3 * self._hung_s:g} ms"

    def infer(self, request: Request) -> bool:
        """One inference for `request`, if there is something new to see. A failure is an event, never raised.

        A request whose task the policy has ended is not asked again, and a device that is lost not at all.
        """
        if request.prompt is None or request is self._link.terminated:
            return False
        try:
            if request.person:
                return self._watch(request.prompt.instruction)
            return not self._link.lost and self._infer(request, request.prompt)
        except DeviceLost as error:  # control's to tell
            self.failed += 1
            self._link.lost = str(error)
        except MalformedTokens as error:
            self.malformed += 1
            self._fail(request, str(error), "malformed action tokens")
        except UnreachablePose as error:
            self._fail(request, str(error), "unreachable pose")
        except BaseException as error:  # noqa: BLE001  even SystemExit: the arm must be told and this thread go on
            self._fail(request, f"{type(error).__name__}: {error}")
        return True

    def _infer(self, request: Request, prompt: Prompt) -> bool:
        capture_ns = self._observer.observe(self._measured_rad)
        if not capture_ns:
            return False
        self._link.inference_started_ns = began_ns = self._clock.now_ns()
        try:
            self._renew(request)
            self._call(prompt, self._ahead(request, capture_ns, began_ns))
        finally:
            self._link.inference_started_ns = 0
        ended_ns = self._clock.now_ns()
        if getattr(self._policy, "frames_fresh", True):
            self._seen_ns = capture_ns
        self._delay.add(ended_ns - began_ns)
        self._inferences.add(ended_ns, ended_ns - began_ns)
        if getattr(self._policy, "terminated", False):
            self._link.failure = (request.number, "")
            self._link.terminated = request
        elif np.isfinite(self._actions).all():
            self._publish(request, capture_ns, ended_ns)
            self._offer(request, prompt.instruction, capture_ns, ended_ns)
        else:
            self._fail(request, "the policy's actions are not finite")
        return True

    def _watch(self, instruction: str) -> bool:
        """While a person drives: what is seen goes to the recording, the setpoint as action, at the policy's rate."""
        now_ns, setpoint = self._clock.now_ns(), self._link.setpoints.take()
        if self._recording is None or setpoint is None or now_ns - self._watched_ns < self._link.chunks.back.dt_ns:
            return False
        capture_ns = self._observer.observe(self._measured_rad)
        if not capture_ns or not self.space.told(setpoint, self._actions):
            return False
        self._watched_ns = now_ns
        self.space.observe(self._measured_rad, self._state)
        self._recording.offer(
            instruction, capture_ns, now_ns, self._observer.frames, self._state, self._actions, person=True
        )
        return True

    def _publish(self, request: Request, capture_ns: int, ended_ns: int) -> None:
        chunk = self._link.chunks.back
        chunk.request = request.number
        chunk.capture_ns, chunk.observed_ns, chunk.ready_ns = self._seen_ns, capture_ns, ended_ns
        joints = self._link.joints.take()
        self.space.plan(self._actions, self._measured_rad if joints is None else joints, chunk)
        if self._ensemble is not None:
            self._ensemble.add(chunk)
        if self._running is not None:
            self._running.keep(self._actions, chunk)
        self.chunks += 1
        chunk.sequence = self.chunks
        self._link.chunks.publish()
        if self._chunks is not None:
            self._chunks.add(chunk)
        self._link.failure = (request.number, "")

    def _offer(self, request: Request, instruction: str, capture_ns: int, ended_ns: int) -> None:
        """To the recording, where there is one: a chunk that control takes, none of a request that is over."""
        if self._recording is not None and request.number == self._link.request.number:
            self._recording.offer(instruction, capture_ns, ended_ns, self._observer.frames, self._state, self._actions)

    def _renew(self, request: Request) -> None:
        """A new request begins with new pictures, whatever the policy keeps of the ones before."""
        if request.number != self._number:
            self._number = request.number
            self._renew_prefix()

    def _renew_prefix(self) -> None:
        """The next chunk is made from new pictures."""
        getattr(self._policy, "renew", lambda: None)()

    def _ahead(self, request: Request, observed_ns: int, began_ns: int) -> Ahead | None:
        """What control will have sent of the running chunk when it follows the one that is inferred now."""
        if self._running is None:
            return None
        taken_ns = began_ns + self._delay.estimate_ns + self._link.wait_ns + self._link.lead_ns
        return self._running.ahead(request.number, observed_ns, taken_ns)

    def _call(self, prompt: Prompt, ahead: Ahead | None) -> None:
        self.space.observe(self._measured_rad, self._state)
        self._policy.infer(Observation(self._observer.frames, self._state, prompt, ahead), self._actions)
        self._count_beyond(ahead)

    def _count_beyond(self, ahead: Ahead | None) -> None:
        """Inference takes longer than the policy was trained for: said once, and counted."""
        beyond = getattr(self._policy, "beyond", 0)
        if beyond and not self._beyond and ahead is not None:
            self._report("committed beyond training", f"{ahead.committed} actions are sent while the policy thinks")
        self._beyond = beyond

    def _fail(self, request: Request, cause: str, event: str = "inference failed") -> None:
        self.failed += 1
        self._renew_prefix()
        if self._link.failure != (request.number, cause):
            self._report(event, cause)
        self._link.failure = (request.number, cause)
        self._stop.wait(PAUSE_S)

    def _run(self) -> None:
        try:
            for _ in range(WARM_UPS):
                if self._stop.is_set():
                    return
                began_ns = self._clock.now_ns()
                with suppress(MalformedTokens):  # of a picture of nothing: it has inferred all the same
                    self._call(self._warm_prompt, None if self._running is None else self._running.example())
                self._delay.add(self._clock.now_ns() - began_ns)
        except Exception as error:  # noqa: BLE001  raised again by `start`, in the thread that waits for it
            self._broken = error
            return
        finally:
            self._warm.set()
        while not self._stop.is_set():
            self._arrived.clear()
            if not self.infer(self._link.request):
                self._arrived.wait(IDLE_S)
