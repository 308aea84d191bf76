"""From a bundle's kind of head to the policy that runs it."""

from __future__ import annotations

from typing import Literal

from edge_runtime.backends.base import Backend
from edge_runtime.bundle import Bundle
from edge_runtime.bundle_spec import FlowSpec, TokenSpec
from edge_runtime.policies import flow, regression, tokens
from edge_runtime.policies.base import Seam
from edge_runtime.policies.graph_policy import GraphPolicy
from edge_runtime.policies.seams import refuse


def runner(
    bundle: Bundle,
    backend: Backend,
    *,
    flow_steps: int = 0,
    seed: int = 0,
    on_malformed: Literal["", "fault", "pad"] = "",
    seam: Seam = "none",
    prefix_every: int = 1,
) -> GraphPolicy:
    """Load the bundle's graphs with `backend` and return its policy. Raises `BundleError` where it cannot do that.

    `flow_steps`, `seed` and `prefix_every` are for flow heads, and so are the seams `committed` and `guided`;
    `on_malformed` is for token heads ("": what the bundle says).
    """
    head = bundle.spec.head
    if isinstance(head, FlowSpec):
        return flow.Runner(bundle, backend, flow_steps, seed, seam, prefix_every)
    refuse(bundle.path, bundle.manifest, seam, prefix_every)
    if isinstance(head, TokenSpec):
        return tokens.Runner(bundle, backend, on_malformed or head.on_malformed)
    return regression.Runner(bundle, backend)
