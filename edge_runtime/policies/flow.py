"""Flow matching policies (pi0, pi0.5, SmolVLA): image → prefix → N Euler steps → actions, over graphs bound to buffers.

The step graph reads the prefix graph's keys and values where they were written. An inference is one program, on a GPU
one launch; nothing is allocated by it.
"""

from __future__ import annotations

import numpy as np

from edge_runtime.backends.base import Backend, Graph
from edge_runtime.backends.program.program import Program
from edge_runtime.bundle import Bundle
from edge_runtime.bundle_spec import GUIDE, FlowSpec
from edge_runtime.errors import BundleError
from edge_runtime.policies import committed, euler, guidance
from edge_runtime.policies.base import Ahead, Floats, Observation, Prompt, Seam
from edge_runtime.policies.committed import Committed
from edge_runtime.policies.euler import Euler
from edge_runtime.policies.graph_policy import GraphPolicy, constants
from edge_runtime.policies.guidance import Guided
from edge_runtime.policies.seams import refuse, refuse_sharing


class Runner(GraphPolicy):
    """One flow policy. `steps` Euler steps an inference, 0 for as many as the bundle was exported with.

    Noise is drawn from a generator seeded with `seed`, or given to `infer`. The integration is in float32.
    `seam`: what is made of `Observation.ahead`, nothing but for `committed` and `guided` (docs/rtc.md).
    `prefix_every`: a prefix serves so many inferences; all but its first are of its frames and of a new state.
    Raises `BundleError` for what the bundle cannot do.
    """

    first = "prefix"

    def __init__(
        self,
        bundle: Bundle,
        backend: Backend,
        steps: int = 0,
        seed: int = 0,
        seam: Seam = "none",
        prefix_every: int = 1,
    ) -> None:
        refuse(bundle.path, bundle.manifest, seam, prefix_every)
        super().__init__(bundle, backend)
        assert isinstance(bundle.spec.head, FlowSpec)
        self._head = bundle.spec.head
        feeds = {name: (self.graphs["prefix"], name) for name in self._head.cache}
        self._load("step", feeds, (*euler.INNER, *committed.INNER))
        if seam == "guided":
            self._load(GUIDE, feeds, guidance.INNER)
        table = _cond(bundle, steps or self._head.steps, self._head.steps)
        self._check_flow(table.shape[1])
        refuse_sharing(bundle.path, prefix_every, self.graphs["step"].inputs)
        if self._head.committed:
            np.copyto(self.graphs["step"].inputs["clean"], _clean(bundle, table.shape[1]))
        self._alone = Euler(*self._of("step", table))
        self._going_on = self._seam(seam, table)
        self._programs = self._made(prefix_every > 1)
        self._generator = np.random.default_rng(seed)
        self._given: Floats | None = None
        self._ahead: Ahead | None = None
        self._prompt: Prompt | None = None
        self._prefix_every = self._served = prefix_every
        self.frames_fresh = True
        """The last chunk was made of the frames that came with it, not of those of the prefix that it shares."""

    @property
    def beyond(self) -> int:
        """How often more rows were committed than the checkpoint was trained with (`Committed.beyond`)."""
        return self._going_on.beyond if isinstance(self._going_on, Committed) else 0

    def infer(self, observation: Observation, chunk_out: Floats, noise: Floats | None = None) -> None:
        """As `Policy.infer`; `noise` [horizon, action.padded] replaces the generator's."""
        self._given, self._ahead = noise, observation.ahead
        super().infer(observation, chunk_out)
        if isinstance(self._going_on, Committed) and self._ahead is not None:
            rows = self._going_on.rows
            np.copyto(chunk_out[:rows], self._ahead.actions[:rows])  # as they came, to the last bit

    def renew(self) -> None:
        """Let the next inference make a prefix, whatever the last one has served."""
        self._served = self._prefix_every

    def _think(self, observation: Observation) -> None:
        self.frames_fresh = self._served >= self._prefix_every or observation.prompt is not self._prompt
        if self.frames_fresh:
            self.renew()  # should this one fail, the next makes a prefix too
            self._see(observation)
        flow: Euler = self._alone
        if self._going_on is not None and self._ahead is not None:
            flow = self._going_on
            self._as_model(self._ahead.actions, self._going_on.target)
            self._going_on.aim(self._ahead)
        if self._given is None:
            self._generator.standard_normal(dtype=np.float32, out=flow.x)
        else:
            np.copyto(flow.x[0], self._given)
        flow.begin()
        self._run(self._programs[self.frames_fresh, flow is self._alone])
        if self.frames_fresh:
            self._prompt, self._served = observation.prompt, 0
        self._served += 1
        np.copyto(self.normalised, flow.x[0, :, : self._spec.action.dims])

    def _made(self, sharing: bool) -> dict[tuple[bool, bool], Program]:
        """The whole inference as a program, by whether it makes a prefix and whether the chunk begins afresh.

        What is never asked for is not made; `sharing`: chunks share prefixes.
        """
        step = self.graphs["step"]
        alone = (committed.nothing(step, self._backend),) if self._head.committed else ()
        flows = {True: (*alone, *self._alone.steps())}
        if self._going_on is not None:
            flows[False] = tuple(self._going_on.steps())
        prefixes = {True: tuple(self._seen())} | ({False: ()} if sharing else {})
        return {
            (a, b): self._backend.program(prefix + flow) for a, prefix in prefixes.items() for b, flow in flows.items()
        }

    def _seam(self, seam: Seam, table: Floats) -> Committed | Guided | None:
        """What makes a chunk go on from the running one."""
        dims = self._spec.action.dims
        if seam == "guided":
            return Guided(*self._of(GUIDE, table), dims)
        return Committed(*self._of("step", table), dims, self._head.committed) if seam == "committed" else None

    def _of(self, name: str, table: Floats) -> tuple[str, Graph, Backend, Floats, float]:
        """What Euler's method needs on graph `name`."""
        return name, self.graphs[name], self._backend, table, self._head.t_end - self._head.t_start

    def _check_flow(self, width: int) -> None:
        """Refuse graphs that are not what the manifest says."""
        chunk = (1, self._spec.horizon, self._spec.action.padded)
        more = committed.inputs(chunk, width) if self._head.committed else {}
        own = {"step": more, GUIDE: guidance.inputs(chunk)}
        self._check({name: euler.inputs(chunk, width) | own[name] for name in own if name in self.graphs})
        self.output("step", "velocity", np.float32, chunk)
        for output in ("velocity", "correction") if GUIDE in self.graphs else ():
            self.output(GUIDE, output, np.float32, chunk)


def _cond(bundle: Bundle, steps: int, most: int) -> Floats:
    """What the step graph must know of time at each of `steps` steps, float32 [steps, W]."""
    path = bundle.path / bundle.manifest.constants
    table = constants(bundle).get(f"cond.{steps}")
    if table is None:
        raise BundleError(f"{path}: has nothing for {steps} flow steps; this bundle takes 1 to {most}")
    if table.dtype != np.float32 or table.ndim != 2 or len(table) != steps:
        raise BundleError(
            f"{path}: cond.{steps} is {table.dtype} {list(table.shape)}, expected float32 [{steps}, width]"
        )
    return np.asarray(table, np.float32)


def _clean(bundle: Bundle, width: int) -> Floats:
    """What it must know of the time of rows that are given, float32 [1, W]."""
    found = constants(bundle).get("cond.clean")
    if found is None or found.dtype != np.float32 or found.shape != (1, width):
        path = bundle.path / bundle.manifest.constants
        raise BundleError(f"{path}: cond.clean is missing or no float32 [1, {width}]; export the bundle again")
    return np.asarray(found, np.float32)
