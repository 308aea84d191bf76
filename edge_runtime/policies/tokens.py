"""Policies that write action tokens (OpenVLA, pi0-FAST, RT-2): image → prefill → decode, token by token → actions.

Keys and values live where the prefill graph put them: the decode graph reads them there, answers with one token's, and
those are written into their place. Nothing is allocated by an inference, but for what its text takes to read.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_runtime.backends.base import Backend
from edge_runtime.bundle import Bundle
from edge_runtime.bundle_spec import TokenSpec
from edge_runtime.detokenise import Ids, detokeniser, token_ids
from edge_runtime.errors import BundleError, MalformedTokens
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
        prefill = self.graphs["prefill"]
        decode = self._load("decode", {name: (prefill, name) for name in ("keys", "values")})
        self._ids: list[int] = token_ids(bundle).tolist()
        self._detokeniser = detokeniser(bundle)
        self._fault = on_malformed == "fault"
        self._prefix = self.output("prefill", "prefix_mask", np.bool_, (1, None)).shape[1]
        length = self._prefix + head.max_new
        self._check({"decode": {"token": ((1, 1), np.int64), "cache_mask": ((1, length), np.bool_)}})
        self._token, self._cache_mask = decode.inputs["token"], decode.inputs["cache_mask"]
        self._logits = {
            name: self.output(name, "logits", np.float32, (1, len(self._ids))) for name in ("prefill", "decode")
        }
        self._finite = np.zeros((1, len(self._ids)), np.bool_)
        self._cache = tuple(self._slots(*pair, length) for pair in (("keys", "new_keys"), ("values", "new_values")))
        self.tokens: Ids = np.zeros(head.max_new, np.int64)
        """What the last inference wrote, `count` tokens with the stop among them, then zeros."""
        self.count = 0
        self.malformed = 0
        """Sequences in all that meant no action."""

    @property
    def terminated(self) -> bool:
        """The last sequence said that the task is done."""
        return self._detokeniser.terminated

    def _decide(self) -> None:
        self._detokeniser.terminated = False
        self._generate()
        ids = self.tokens[: self.count]
        try:
            self._detokeniser.decode(ids, self.normalised)
        except MalformedTokens:
            self.malformed += 1
            if self._fault:
                raise
            self._detokeniser.pad(ids, self.normalised)

    def _generate(self) -> None:
        """Fill `tokens` up to the stop, or to its end. A token is fed to the decode graph for the sake of the next."""
        self.count = 0
        self.tokens.fill(0)
        np.copyto(self._cache_mask[:, : self._prefix], self.graphs["prefill"].outputs["prefix_mask"])
        self._cache_mask[:, self._prefix :] = False
        token = self._choose("prefill")
        while self.count < len(self.tokens) and token != self._detokeniser.stop:
            self._token[0, 0] = token
            self._run("decode")
            self._remember(self.count - 1)
            token = self._choose("decode")

    def _choose(self, name: str) -> int:
        """The next token, by the logits that graph `name` left."""
        logits = self._logits[name]
        np.isfinite(logits, out=self._finite)
        if not self._finite.all():
            self.malformed += 1
            raise MalformedTokens("the logits are not finite")
        token = self._ids[int(logits.argmax())]
        self.tokens[self.count] = token
        self.count += 1
        return token

    def _remember(self, generated: int) -> None:
        """Keep the keys and values of the token that was fed, the `generated`th, where later ones attend to them."""
        for slots, new in self._cache:
            np.copyto(slots[generated], new)
        self._cache_mask[0, self._prefix + generated] = True

    def _slots(self, cache: str, new: str, length: int) -> tuple[tuple[NDArray[Any], ...], NDArray[Any]]:
        """A view [depth, 1, K, 1, D] of each slot behind the prefix, and the output that is copied there."""
        old = self.graphs["prefill"].outputs[cache]
        shape = (*old.shape[:3], 1, *old.shape[4:])
        source = self.output("decode", new, old.dtype.type, shape)
        if old.ndim != 5 or old.shape[3] != length:
            raise BundleError(
                f"{self._bundle.graph('prefill')}: output {cache} is {list(old.shape)}, expected {length} slots: "
                f"{self._prefix} and max_new; export the bundle again"
            )
        return tuple(old[:, :, :, i : i + 1] for i in range(self._prefix, length)), source
