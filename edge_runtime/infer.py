"""`edge infer BUNDLE`: the policy once, outside the loop, on an observation from a file.

An observation is a safetensors file: `image.<camera>` uint8 [height, width, 3] (one that is left out is a missing
camera), `state` (raw, [dims]), and either an instruction or `tokens` with `token_mask` ([n] or [1, n]); `noise`
[horizon, padded] or [1, horizon, padded] is optional.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from edge_runtime.bundle_spec import PolicySpec
from edge_runtime.errors import BundleError, ObservationError
from edge_runtime.files import write_whole
from edge_runtime.policies import flow, tokens
from edge_runtime.policies.base import Observation, Prompt
from edge_runtime.policies.graph_policy import GraphPolicy, recorded
from edge_runtime.policy import open_policy
from edge_runtime.pose_text import convention
from edge_runtime.suggest import did_you_mean

Tensors = dict[str, NDArray[Any]]
Outputs = dict[str, list[NDArray[Any]]]
IMAGE = "image."
_SHOWN = 8
"""Actions that a person sees."""


@dataclass(frozen=True)
class Asked:
    """What `edge infer` was told beside bundle and observation."""

    instruction: str | None = None
    noise: Path | None = None
    seed: int = 0
    flow_steps: int = 0
    on_malformed: Literal["", "fault", "pad"] = ""
    backend: str = "ort"
    threads: int = 1
    intermediates: bool = False


@dataclass
class Inferred:
    """`tensors` is what the file holds: `actions` [horizon, dims] in the robot's units, `actions_normalized`, more."""

    spec: PolicySpec
    prompt: Prompt
    tensors: Tensors
    milliseconds: float


def infer(bundle: Path, observation: Path, asked: Asked) -> Inferred:
    """Run the policy once. Raises `EdgeError`s, one line each, for whatever does not fit."""
    given = _read(observation)
    if asked.noise is not None:
        given = {**given, "noise": _noise(asked.noise)}
    policy = open_policy(
        bundle, asked.backend, asked.threads, asked.flow_steps, asked.seed, on_malformed=asked.on_malformed
    )
    if not isinstance(policy, flow.Runner) and (asked.noise is not None or asked.flow_steps):
        raise ObservationError(f"{bundle}: its head takes no flow steps; leave --noise and --steps out")
    seen = _observation(observation, policy, given, asked.instruction)
    actions = np.empty((policy.spec.horizon, policy.spec.action.dims), np.float32)
    recording: AbstractContextManager[Outputs] = recorded(policy) if asked.intermediates else nullcontext({})
    with recording as outputs:
        began = time.perf_counter()
        if isinstance(policy, flow.Runner):
            policy.infer(seen, actions, _shaped(observation, policy.spec, given.get("noise")))
        else:
            policy.infer(seen, actions)
        took = (time.perf_counter() - began) * 1e3
    if not np.isfinite(actions).all():
        raise BundleError(f"{bundle}: made actions that are not finite of {observation}; no robot would take them")
    tensors = intermediates(policy, outputs) if asked.intermediates else {}
    tensors |= {"actions": actions, "actions_normalized": policy.normalised.copy()}
    return Inferred(policy.spec, seen.prompt, tensors, took)


def intermediates(policy: GraphPolicy, outputs: Mapping[str, list[NDArray[Any]]]) -> Tensors:
    """What the model computed on the way, by the names of the graphs' outputs.

    `pixels`; `keys`, `values` [depth, 1, K, L, D] and `prefix_mask` of the prefix; `velocity` of the first step and
    `velocities` of all; `logits` of the action tokens and `token_ids`, zeros behind the last; the prompt as it was
    read, `tokens` and `token_mask`.
    """
    first = policy.first
    found = {key.partition(".")[2]: runs for key, runs in outputs.items() if key.startswith((f"{first}.", "image."))}
    tensors: Tensors = {name: runs[0] for name, runs in found.items()}
    if "step.velocity" in outputs:
        tensors["velocity"] = outputs["step.velocity"][0]
        tensors["velocities"] = np.stack(outputs["step.velocity"])
    if isinstance(policy, tokens.Runner):
        tensors["logits"] = np.concatenate([*outputs[f"{first}.logits"], *outputs.get("decode.logits", [])])
        tensors["token_ids"] = policy.tokens.copy()
    inputs = policy.graphs[first].inputs
    return tensors | {name: inputs[name].copy() for name in ("tokens", "token_mask")}


def save_whole(path: Path, tensors: Tensors) -> None:
    """Write a safetensors file that is whole or not there."""
    write_whole(path, save({name: np.ascontiguousarray(t) for name, t in tensors.items()}))


def _read(path: Path) -> Tensors:
    if not path.is_file():
        raise ObservationError(f"{path}: no such file; an observation is a safetensors file")
    try:
        found: Tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ObservationError(f"{path}: not a safetensors file ({error})") from error
    except (TypeError, AttributeError) as error:  # what safetensors raises for a type that numpy lacks
        raise ObservationError(f"{path}: has a tensor of a type that numpy lacks ({error}): use float32") from error
    return found


def _noise(path: Path) -> NDArray[Any]:
    found = _read(path)
    if "noise" not in found and len(found) != 1:
        raise ObservationError(f"{path}: has {', '.join(found)}; expected one tensor, or one named noise")
    return found.get("noise", next(iter(found.values())))


def _observation(path: Path, policy: GraphPolicy, given: Tensors, instruction: str | None) -> Observation:
    known = {f"{IMAGE}{camera.name}" for camera in policy.spec.cameras} | {"state", "tokens", "token_mask", "noise"}
    for name in given:
        if name not in known:
            raise ObservationError(f"{path}: {name}: the policy takes no such tensor{did_you_mean(name, known)}")
    frames, state = _frames(path, policy.spec, given), _state(path, policy.spec, given)
    return Observation(frames, state, _prompt(path, policy, given, instruction))


def _frames(path: Path, spec: PolicySpec, given: Tensors) -> dict[str, NDArray[np.uint8]]:
    frames = {}
    for camera in spec.cameras:
        frame = given.get(IMAGE + camera.name)
        if frame is None:
            continue
        wanted = (camera.height, camera.width, 3)
        if frame.dtype != np.uint8 or frame.shape != wanted:
            raise ObservationError(
                f"{path}: {IMAGE}{camera.name} is {frame.dtype} {list(frame.shape)}, the bundle takes uint8 "
                f"{list(wanted)}; send frames of that size, or export with --camera {camera.name}=HEIGHTxWIDTH"
            )
        frames[camera.name] = frame
    if not frames:
        raise ObservationError(f"{path}: has no frame; expected {', '.join(IMAGE + c.name for c in spec.cameras)}")
    return frames


def _state(path: Path, spec: PolicySpec, given: Tensors) -> NDArray[np.float32]:
    if not spec.state.dims:
        return np.zeros(0, np.float32)
    if "state" not in given:
        names = ", ".join(spec.state.names)
        raise ObservationError(f"{path}: has no state; expected {spec.state.dims} numbers: {names}")
    state = _row(path, "state", given)
    if state.dtype.kind not in "fiu":
        raise ObservationError(f"{path}: state is {state.dtype}, expected numbers")
    if state.shape != (spec.state.dims,) or not np.isfinite(state).all():
        raise ObservationError(f"{path}: state has {len(state)} numbers, expected {spec.state.dims} finite ones")
    return state.astype(np.float32)


def _prompt(path: Path, policy: GraphPolicy, given: Tensors, instruction: str | None) -> Prompt:
    if instruction is not None:
        return policy.prompt(instruction)
    if "tokens" not in given:
        raise ObservationError(f"{path}: has no tokens; add tokens and token_mask, or say --instruction TEXT")
    ids = _row(path, "tokens", given)
    if not np.issubdtype(ids.dtype, np.integer):
        raise ObservationError(f"{path}: tokens are {ids.dtype}, expected integers")
    mask = _row(path, "token_mask", given) if "token_mask" in given else np.ones(len(ids), np.bool_)
    if mask.dtype.kind not in "biu":
        raise ObservationError(f"{path}: token_mask is {mask.dtype}, expected bool")
    return policy.prompt_from_tokens(ids, mask.astype(np.bool_))


def _row(path: Path, name: str, given: Tensors) -> NDArray[Any]:
    """[n] of a tensor [n] or [1, n]."""
    tensor = given[name]
    if tensor.shape[:-1] not in ((), (1,)):
        raise ObservationError(f"{path}: {name} has shape {list(tensor.shape)}, expected [n]")
    return tensor.reshape(-1)


def _shaped(path: Path, spec: PolicySpec, noise: NDArray[Any] | None) -> NDArray[np.float32] | None:
    if noise is None:
        return None
    wanted = (spec.horizon, spec.action.padded)
    if noise.dtype.kind not in "fiu":
        raise ObservationError(f"{path}: noise is {noise.dtype}, expected numbers")
    if noise.shape not in (wanted, (1, *wanted)) or not np.isfinite(noise).all():
        raise ObservationError(f"{path}: noise has shape {list(noise.shape)}, expected {list(wanted)} finite numbers")
    return noise.reshape(wanted).astype(np.float32)


def facts(found: Inferred, out: Path) -> dict[str, Any]:
    """The result for a program."""
    spec = found.spec
    return {
        "file": str(out),
        "names": list(spec.action.names),
        "units": list(spec.action.units),
        "control_mode": spec.control_mode,
        "pose": msgspec.to_builtins(spec.pose),
        "dt_s": spec.dt_s,
        "actions": found.tensors["actions"].tolist(),
        "inference_ms": found.milliseconds,
        "tensors": {name: list(tensor.shape) for name, tensor in found.tensors.items()},
    }


def text(found: Inferred, out: Path) -> str:
    """The result for a person: a row for each action, the first ones of many."""
    spec, actions = found.spec, found.tensors["actions"]
    rows = ["  ".join(f"{value:>9.4f}" for value in row) for row in actions[:_SHOWN]]
    more = [f"  … {len(actions) - _SHOWN} more"] if len(actions) > _SHOWN else []
    units = sorted({unit for unit in spec.action.units if unit})
    return "\n".join(
        [
            f"{len(actions)} actions at {1.0 / spec.dt_s:g} Hz, {', '.join((spec.control_mode, *units))}",
            *([f"  {convention(spec)}"] if spec.pose else []),
            "  " + "  ".join(f"{name[-9:]:>9}" for name in spec.action.names),
            *("  " + row for row in rows),
            *more,
            f"{out}: {', '.join(found.tensors)}; one inference took {found.milliseconds:.1f} ms, the first and cold",
        ]
    )
