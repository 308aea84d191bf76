"""Open the policy of a bundle with the backend of that name: the one way from a path to something with `infer`."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from edge_runtime import plugins
from edge_runtime.bundle import open_bundle
from edge_runtime.policies.base import Policy


def open_policy(bundle: Path, backend: str = "ort", threads: int = 1, flow_steps: int = 0, seed: int = 0) -> Policy:
    """Check the bundle, load its graphs and return its policy; raises `EdgeError` subclasses, one line each."""
    checked = open_bundle(bundle)
    engine = plugins.load("edge_runtime.backends", backend).Engine(threads)
    runner = plugins.load("edge_runtime.policies", checked.manifest.policy).Runner
    return cast(Policy, runner(checked, engine, steps=flow_steps, seed=seed))
