"""Open the policy of a bundle with the backend of that name: the one way from a path to something with `infer`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from edge_runtime import plugins
from edge_runtime.backends.base import Backend
from edge_runtime.backends.cuda.gpu import gpu
from edge_runtime.backends.cuda.ort_library import onnxruntime, onnxruntime_gpu
from edge_runtime.bundle import Bundle, open_bundle
from edge_runtime.config import Robot
from edge_runtime.engines.api import BACKENDS, load_api, place_here
from edge_runtime.errors import BackendError, BundleError
from edge_runtime.policies.base import Seam
from edge_runtime.policies.graph_policy import GraphPolicy
from edge_runtime.policies.runners import runner


def open_policy(
    bundle: Path,
    backend: str = "ort",
    threads: int = 1,
    flow_steps: int = 0,
    seed: int = 0,
    on_malformed: Literal["", "fault", "pad"] = "",
    seam: Seam = "none",
    prefix_every: int = 1,
) -> GraphPolicy:
    """Check the bundle, load its graphs and return its policy; raises `EdgeError` subclasses, one line each.

    All but the first three as in `runner`.
    """
    checked = open_bundle(bundle)
    return runner(
        checked,
        open_backend(checked, backend, threads),
        flow_steps=flow_steps,
        seed=seed,
        on_malformed=on_malformed,
        seam=seam,
        prefix_every=prefix_every,
    )


def robot_policy(robot: Robot) -> GraphPolicy:
    """`open_policy` with everything that `robot` says about it."""
    bundle = open_bundle(Path(robot.policy.bundle))
    return policy_on(robot_backend(robot, bundle), bundle, robot)


def robot_backend(robot: Robot, bundle: Bundle) -> Backend:
    """The backend that `robot` names. A `BackendError` that another one would mend says where that is written."""
    name = plugins.file_name(robot.policy.backend)
    backend = open_backend(bundle, name, robot.policy.threads)
    try:
        if name in BACKENDS:
            place_here(load_api(name))
        elif name == "ort_cuda":
            gpu()
            onnxruntime_gpu()
        elif name == "ort":
            onnxruntime(name)
    except BackendError as error:
        raise BackendError(f"robot.toml: policy.backend: {error}") from error
    return backend


def policy_on(backend: Backend, bundle: Bundle, robot: Robot) -> GraphPolicy:
    """The policy of a bundle as `robot` wants it, on a backend that is there already."""
    policy = robot.policy
    return runner(
        bundle,
        backend,
        flow_steps=policy.flow_steps,
        seed=policy.seed,
        on_malformed=policy.on_malformed,
        seam=robot.motion.seam,
        prefix_every=policy.prefix_every,
    )


def open_backend(bundle: Bundle, name: str, threads: int) -> Backend:
    """The backend of that name, which can compute what is in the bundle."""
    refuse_backend(bundle, name)
    backend: Backend = plugins.load(plugins.BACKENDS, name).Engine(threads)
    return backend


def refuse_backend(bundle: Bundle, backend: str) -> None:
    """Raise `BundleError` where `backend` has no arithmetic for what is in the bundle."""
    quantization = bundle.manifest.quantization
    if quantization is None:
        return
    for part, floats in quantization.floats.items():
        if floats == "bf16" and (
            lacking := _lacking_bfloat16(plugins.file_name(backend), part, quantization.parts.get(part, floats))
        ):
            raise BundleError(f"{bundle.path}: made for {quantization.target}: its {part} {lacking}")


def _lacking_bfloat16(backend: str, part: str, precision: str) -> str:
    """Why `backend` cannot compute `part`, whose floats are bfloat16, and what to do; "" where it can.

    ONNX Runtime has no product in bfloat16 on a CPU. On a GPU it has, but makes no integers of bfloat16 and no bfloat16
    of integers (1.31's docs/OperatorKernels.md: QuantizeLinear and DequantizeLinear of CUDAExecutionProvider).
    """
    if backend == "ort":
        return (
            "computes in bf16, which ONNX Runtime has not on a CPU; compile it there (edge compile) or quantize the "
            "original with --target cpu"
        )
    if backend == "ort_cuda" and precision != "bf16":
        return (
            f"is in {precision} with bf16 between, which ONNX Runtime has not on a GPU; compile it there "
            f"(edge compile) or quantize the original with --precision {part}=bf16"
        )
    return ""
