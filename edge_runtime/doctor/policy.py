"""The policy: the bundle as it was sealed, fit for this robot, and with a GPU and engines of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edge_runtime import plugins
from edge_runtime.action_space import action_space
from edge_runtime.backends.cuda.gpu import gpu
from edge_runtime.bundle import Bundle, open_bundle
from edge_runtime.config import Robot
from edge_runtime.doctor import one_node
from edge_runtime.doctor.check import Check
from edge_runtime.engines.api import BACKENDS, load_api, place_here
from edge_runtime.engines.here import found_here
from edge_runtime.errors import EdgeError
from edge_runtime.fit import check_fit
from edge_runtime.plugins import spelt
from edge_runtime.policy import refuse_backend


def check(robot: Robot) -> Iterator[Check]:
    """Every byte of the bundle is read."""
    try:
        bundle = open_bundle(Path(robot.policy.bundle))
    except EdgeError as error:
        yield Check("bundle", "bad", str(error))
        return
    yield sealed(bundle)
    yield fit(robot, bundle)
    backend = plugins.file_name(robot.policy.backend)
    if backend != "ort":
        yield (reached := gpu_here(backend))
        if reached.level == "bad":
            return
    yield engines(bundle, backend) if backend in BACKENDS else onnx_runtime(backend)


def sealed(bundle: Bundle) -> Check:
    """What is in it, and how it did against its checkpoint when it was made."""
    manifest = bundle.manifest
    found = f"{manifest.source.family}, {len(manifest.files)} files as sealed, accuracy: {manifest.verdict}"
    if manifest.verdict == "pass":
        return Check("bundle", "ok", found)
    return Check("bundle", "warn", found, f"edge inspect {bundle.path} says by how much")


def fit(robot: Robot, bundle: Bundle) -> Check:
    """Whether a run could begin with it, by what a run asks."""
    try:
        check_fit(robot, bundle.spec)
        action_space(robot, bundle.spec)
        refuse_backend(bundle, robot.policy.backend)
    except EdgeError as error:
        return Check("fit", "bad", str(error))
    if bundle.spec.pose is not None:
        return Check("fit", "ok", "cameras are the policy's, and the arm's shape serves its poses")
    return Check("fit", "ok", "cameras, joints and units are the policy's")


def gpu_here(backend: str) -> Check:
    """The GPU that every backend but `ort` computes on; TensorRT before it, as what installs that reaches a GPU too."""
    try:
        if backend in BACKENDS:
            load_api(backend)
    except EdgeError as error:
        return Check("gpu", "bad", str(error))
    try:
        here = gpu()
    except EdgeError as error:
        return Check("gpu", "bad", f"backend {spelt(backend)}: {error}")
    return Check("gpu", "ok", f"{here.name}, {here.arch}")


def onnx_runtime(backend: str) -> Check:
    """ONNX Runtime needs no engines, but itself, and libraries of its own."""
    try:
        one_node.load(backend)
    except EdgeError as error:
        return Check("engines", "bad", str(error))
    return Check("engines", "ok", f"backend {spelt(backend)} needs none")


def engines(bundle: Bundle, backend: str) -> Check:
    """Whether each graph has an engine whose key is this machine's."""
    try:
        place = place_here(load_api(backend))
    except EdgeError as error:
        return Check("engines", "bad", str(error))
    how = f"edge compile {bundle.path} --backend {spelt(backend)}"
    for graph, found in found_here(bundle, place):
        if found.info is None:
            return Check("engines", "bad", found.why or f"none of {graph} for {place}", how)
        if not found.info.held:
            return Check("engines", "warn", f"that of {graph} was never held to the bundle's gate", how)
    return Check("engines", "ok", f"{len(bundle.manifest.graphs)} for {place}")
