"""Following the chunks that a policy makes, one after another, from the action that is due now."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_runtime.blend import Blend
from edge_runtime.chunk import Chunk
from edge_runtime.curve import Curve
from edge_runtime.limits import Floats, Limits
from edge_runtime.reference import Reference
from edge_runtime.safety import Limiter
from edge_runtime.trajectory import Stop


class Follow:
    """The motion of a task. Without a chunk, and behind a chunk's last action, the arm comes to rest."""

    def __init__(
        self,
        limits: Limits,
        limiter: Limiter,
        period_ns: int,
        *,
        blend: bool = True,
        stepwise: NDArray[np.bool_] | None = None,
    ) -> None:
        """Sampled every `period_ns`. Without `blend` a new chunk is followed as it is, and safety copes with the jump.

        `stepwise` [n]: the joints that go from action to action in steps.
        """
        n = len(limits.names)
        self.chunk: Chunk | None = None
        self.over = False
        """The last action was due."""
        self.lead_ns = 0
        """How long a setpoint takes until the motor acts on it: so much later is the action that is due now."""
        self._limiter = limiter
        self._stop = Stop(limiter)
        self._curve = Curve(n)
        self._blend = Blend(n) if blend else None
        self._stepwise = stepwise
        self._period_ns = period_ns
        self._then = Reference(n)
        self._offset: Floats = np.zeros((3, n))

    def forget(self) -> None:
        """Come to rest until a chunk comes."""
        self._take(None)
        if self._blend is not None:
            self._blend.forget()

    def begin(self, chunk: Chunk, t_ns: int, lead_ns: int) -> None:
        """Follow `chunk` from the setpoint due at `t_ns` on, which takes `lead_ns` to its motor."""
        self.lead_ns = lead_ns
        self._take(chunk)
        if self._blend is not None:
            self._join(chunk, t_ns + lead_ns - self._period_ns, self._blend)

    def sample(self, t_ns: int, out: Reference) -> bool:
        """Exact at the actions once the seam is behind; a stepwise joint goes to the action that was due last."""
        chunk = self.chunk
        if chunk is None:
            return self._stop.sample(t_ns, out)
        t_ns += self.lead_ns
        if not self._curve.sample(chunk, t_ns, out):
            self.over = True
            return self._stop.sample(t_ns, out)
        if self._blend is not None:
            self._blend.add(t_ns, out)
        if self._stepwise is not None:
            self._step(chunk, t_ns, out, self._stepwise)
        return chunk.rests and chunk.due(t_ns) == len(chunk.rows) - 1

    def postpone(self, duration_ns: int) -> None:
        """A chunk's actions are due when they are due."""

    def _take(self, chunk: Chunk | None) -> None:
        self.chunk = chunk
        self.over = False
        self._curve.forget()

    def _join(self, chunk: Chunk, t_ns: int, blend: Blend) -> None:
        """Begin the seam at the last setpoint, emitted for `t_ns`. Before its start a chunk has gone on evenly."""
        then, offset = self._then, self._offset
        blend.forget()
        if self._curve.sample(chunk, max(t_ns, chunk.start_ns), then):
            self._limiter.emitted(offset)
            offset[0] += then.velocity_rad_s * (max(chunk.start_ns - t_ns, 0) / 1e9)
            with np.errstate(over="ignore", invalid="ignore"):  # what is no number in it safety refuses
                offset[0] -= then.position_rad
                offset[1] -= then.velocity_rad_s
                offset[2] -= then.acceleration_rad_s2
                blend.begin(offset, t_ns)

    def _step(self, chunk: Chunk, t_ns: int, out: Reference, stepwise: NDArray[np.bool_]) -> None:
        np.copyto(out.position_rad, chunk.rows[chunk.due(t_ns)], where=stepwise)
        np.copyto(out.velocity_rad_s, 0.0, where=stepwise)
        np.copyto(out.acceleration_rad_s2, 0.0, where=stepwise)
