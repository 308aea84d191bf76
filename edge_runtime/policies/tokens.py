"""Policies that write action tokens (OpenVLA, pi0-FAST, RT-2): image → prefill → decode, token by token → actions.

Keys and values live where the prefill graph put them: the decode graph reads them there, answers with one token's, and
those are written into their place. A token is one program, on a GPU one launch, and place and token stay there. Nothing
is allocated by an inference, but for what its text takes to read.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from edge_runtime.backends.base import Backend
from edge_runtime.backends.program.program import Program
from edge_runtime.backends.program.steps import NONE, Choose, Copy, Remember, Run, Step
from edge_runtime.bundle import Bundle
from edge_runtime.bundle_spec import TokenSpec
from edge_runtime.detokenise import Ids, detokeniser, token_ids
from edge_runtime.errors import BundleError, MalformedTokens
from edge_runtime.policies.base import Observation
from edge_runtime.policies.graph_policy import GraphPolicy


class Runner(GraphPolicy):
    """One token policy, greedy: the token of the highest logit, of equal ones the first.

    `on_malformed`: a sequence that means no action is a `fault` (`MalformedTokens`), or what the reference makes of it.
    """

    first = "prefill"

    def __init__(self, bundle: Bundle, backend: Backend, on_malformed: Literal["fault", "pad"] = "fault") -> None:
        super().__init__(bundle, backend)
        head = bundle.spec.head
        assert isinstance(head, TokenSpec)
        self._load("decode", {name: (self.graphs["prefill"], name) for name in ("keys", "values")}, INNER)
        self._detokeniser = detokeniser(bundle)
        self._fault = on_malformed == "fault"
        prefix = self.output("prefill", "prefix_mask", np.bool_, (1, None)).shape[1]
        length = prefix + head.max_new
        self._check({"decode": {"token": ((1, 1), np.int64), "cache_mask": ((1, length), np.bool_)}})
        self._written = backend.shared((head.max_new,), np.int64)
        self._count = backend.private((1,), np.int64)
        self._ids = backend.constant(np.asarray(token_ids(bundle), np.int64))
        self._prefill = backend.program([*self._seen(), *self._forget(prefix), self._choose("prefill")])
        self._decode = backend.program(
            [
                Run("decode", self.graphs["decode"]),
                *(self._remember(*pair, prefix, length) for pair in (("keys", "new_keys"), ("values", "new_values"))),
                self._choose("decode"),
            ]
        )
        self.tokens: Ids = self._written.host
        """What the last inference wrote, `count` tokens with the stop among them, then zeros."""
        self.count = 0
        self.malformed = 0
        """Sequences in all that meant no action."""

    @property
    def terminated(self) -> bool:
        """The last sequence said that the task is done."""
        return self._detokeniser.terminated

    def _think(self, observation: Observation) -> None:
        self._see(observation)
        self._detokeniser.terminated = False
        self.count = 0
        self._write(self._prefill)
        self._decide()

    def _decide(self) -> None:
        """Write the tokens behind the first, and fill `normalised` with what they mean."""
        most, stop = len(self.tokens), self._detokeniser.stop
        if stop is None:
            self._write(self._decode, most - 1)
        while self.count < most and self.tokens[self.count - 1] != stop:
            self._write(self._decode)
        ids = self.tokens[: self.count]
        try:
            self._detokeniser.decode(ids, self.normalised)
        except MalformedTokens:
            self.malformed += 1
            if self._fault:
                raise
            self._detokeniser.pad(ids, self.normalised)

    def _write(self, program: Program, tokens: int = 1) -> None:
        """Let `program` write so many more tokens."""
        if not tokens:
            return
        self._run(program, tokens)
        new = self.tokens[self.count : self.count + tokens].tolist()
        self.count += new.index(NONE) if NONE in new else tokens
        if NONE in new:
            self.malformed += 1
            raise MalformedTokens("the logits are not finite")

    def _forget(self, prefix: int) -> tuple[Step, ...]:
        """Begin anew: nothing is written, and what stands in the cache is the prefix."""
        mask, backend = self.graphs["decode"].tensor("cache_mask"), self._backend
        none = backend.constant(np.zeros(mask.shape, np.bool_))
        return (
            Copy(backend.constant(np.zeros(self._written.shape, np.int64)), self._written),
            Copy(backend.constant(np.zeros(1, np.int64)), self._count),
            Copy(self.graphs["prefill"].tensor("prefix_mask")[0], mask[0][:prefix]),
            Copy(none[0][prefix:], mask[0][prefix:]),
        )

    def _choose(self, name: str) -> Step:
        """The next token, by the logits that graph `name` left."""
        logits = self.output(name, "logits", np.float32, (1, self._ids.size))
        return Choose(logits, self._ids, self.graphs["decode"].tensor("token"), self._written, self._count)

    def _remember(self, cache: str, new: str, prefix: int, length: int) -> Step:
        """Keep keys or values of the token that was fed, the last of `count`, where later ones attend to them."""
        old = self.graphs["prefill"].tensor(cache)
        if len(old.shape) != 5 or old.shape[3] != length:
            raise BundleError(
                f"{self._bundle.graph('prefill')}: output {cache} is {list(old.shape)}, expected {length} slots: "
                f"{prefix} and max_new; export the bundle again"
            )
        made = self.output("decode", new, old.dtype.type, (*old.shape[:3], 1, *old.shape[4:]))
        return Remember(made, old, self.graphs["decode"].tensor("cache_mask"), self._count, prefix - 1)


INNER = ("token", "cache_mask")
"""Inputs of the decode graph that only steps write."""
