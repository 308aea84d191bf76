"""Probes: observations in a bundle with the answers that its reference gave, so that any machine can check its own.

A safetensors file. Of probe i, counted from 0: `i.image.<camera>` uint8 [height, width, 3] (one that is left out was
missing), `i.state` float32 [dims], `i.instruction` (UTF-8 bytes), `i.tokens` int64 and `i.token_mask` bool
[max_tokens], `i.noise` float32 [horizon, padded], and the reference's `i.actions` float32 [horizon, dims] and
`i.written` int64 [n] tokens. Where the chunk goes on from a running one, `i.ahead` float32 [horizon, dims] and
`i.rows` int64 [2], how many of its rows are committed and how many known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from edge_runtime.bundle import Bundle
from edge_runtime.bundle_spec import PolicySpec
from edge_runtime.errors import BundleError
from edge_runtime.files import write_whole
from edge_runtime.policies.base import Ahead, Floats, Observation, Prompt

FILE = "probes.safetensors"
_IMAGE = "image."
_AGAIN = "make the bundle again"


@dataclass(frozen=True)
class Probe:
    """One observation with its noise [horizon, padded], and what the reference made of it."""

    observation: Observation
    noise: Floats
    actions: Floats
    written: tuple[int, ...] = ()


def write_probes(path: Path, probes: Sequence[Probe]) -> None:
    """Write `probes` to the file `path`."""
    write_whole(path, save({f"{i}.{name}": t for i, probe in enumerate(probes) for name, t in _tensors(probe)}))


def _tensors(probe: Probe) -> list[tuple[str, NDArray[Any]]]:
    seen = probe.observation
    words = np.frombuffer(seen.prompt.instruction.encode(), np.uint8)
    found: list[tuple[str, NDArray[Any]]] = [(_IMAGE + name, frame) for name, frame in seen.frames.items()]
    found += [("state", seen.state), ("instruction", words), ("tokens", seen.prompt.tokens)]
    found += [("token_mask", seen.prompt.mask), ("noise", probe.noise), ("actions", probe.actions)]
    found += [("written", np.asarray(probe.written, np.int64))]
    if seen.ahead is not None:
        found += [("ahead", seen.ahead.actions), ("rows", np.array([seen.ahead.committed, seen.ahead.known]))]
    return [(name, np.ascontiguousarray(tensor)) for name, tensor in found]


def read_probes(bundle: Bundle) -> list[Probe]:
    """The probes of a bundle, one at least; `BundleError` where they are not what its spec says."""
    path = bundle.path / bundle.manifest.probes
    try:
        found: dict[str, NDArray[Any]] = load_file(path)
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:  # the last two: an odd type
        raise BundleError(f"{path}: cannot be read ({' '.join(str(error).split())}); {_AGAIN}") from error
    count = len({name.partition(".")[0] for name in found})
    probes = [_probe(path, bundle.spec, f"{i}.", found) for i in range(count)]
    if not probes:
        raise BundleError(f"{path}: holds no probe; {_AGAIN}")
    if found:
        raise BundleError(f"{path}: {min(found)!r} belongs to no probe of this policy; {_AGAIN}")
    return probes


def _probe(path: Path, spec: PolicySpec, prefix: str, found: dict[str, NDArray[Any]]) -> Probe:
    """Take the tensors of one probe out of `found`."""
    text, vocab = spec.prompt.max_tokens, spec.prompt.vocab

    def take(name: str, dtype: type[np.generic], *shape: int | None) -> NDArray[Any]:
        tensor = found.pop(prefix + name, None)
        if tensor is None or tensor.dtype != dtype or len(tensor.shape) != len(shape):
            raise BundleError(f"{path}: {prefix}{name} is missing or of another form; {_AGAIN}")
        if any(n not in (None, m) for n, m in zip(shape, tensor.shape, strict=True)):
            raise BundleError(f"{path}: {prefix}{name} has shape {list(tensor.shape)}, not the policy's; {_AGAIN}")
        return tensor

    frames = {
        c.name: take(_IMAGE + c.name, np.uint8, c.height, c.width, 3)
        for c in spec.cameras
        if c.missing == "refuse" or f"{prefix}{_IMAGE}{c.name}" in found
    }
    try:
        words = take("instruction", np.uint8, None).tobytes().decode()
    except UnicodeDecodeError as error:
        raise BundleError(f"{path}: {prefix}instruction is no text; {_AGAIN}") from error
    tokens = take("tokens", np.int64, text)
    if tokens.min() < 0 or 0 < vocab <= tokens.max():
        raise BundleError(f"{path}: {prefix}tokens are not in the model's table; {_AGAIN}")
    ahead = None
    if f"{prefix}ahead" in found:
        committed, known = take("rows", np.int64, 2).tolist()
        if not 0 <= committed <= known <= spec.horizon:
            raise BundleError(f"{path}: {prefix}rows are {committed} of {known} of {spec.horizon}; {_AGAIN}")
        ahead = Ahead(take("ahead", np.float32, spec.horizon, spec.action.dims), committed, known)
    return Probe(
        Observation(
            frames,
            take("state", np.float32, spec.state.dims),
            Prompt(words, tokens, take("token_mask", np.bool_, text)),
            ahead,
        ),
        take("noise", np.float32, spec.horizon, spec.action.padded),
        take("actions", np.float32, spec.horizon, spec.action.dims),
        tuple(take("written", np.int64, None).tolist()),
    )
