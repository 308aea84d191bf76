"""PyTorch's side of a row, in a process of its own: answers, then times, eager or compiled."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.bundle import ANSWERS
from benchmarks.gpu.models import MODELS, observations
from benchmarks.gpu.pytorch import Inference
from benchmarks.gpu.timing import DIFFERENT, WARM_UP, summary
from edge_runtime.errors import EdgeError

DEVICE = "cuda"
_MODES = {"default": "default", "max-autotune": "max-autotune-no-cudagraphs"}
_FLOAT32 = 1.4
"""Room that a model in float32 takes, of its weights there."""


def eager(name: str, cameras: int, replays: int, answers: str) -> dict[str, Any]:
    """Time PyTorch as it is, in bfloat16. Its answers, and float32's where there is room, go into the file `answers`.

    That file has arrays "actions" or "tokens" and "logits" [n, ...] of `bundle.ANSWERS` observations, and those of
    float32 under "exact_" and the same.
    """
    before, began = _used(), time.monotonic()
    inference = _made(name, cameras)
    loaded = time.monotonic() - began
    found = _answers(inference, name)
    times = timed(inference, inference.run, name, replays)
    told = {"seconds_to_load": round(loaded, 1), "precision": "bf16", **times, **_memory(before)}
    exact = _exact(inference, name)
    np.savez(Path(answers), **found, **exact)
    return told | {"float32_reference": bool(exact)}


def compiled(name: str, cameras: int, replays: int, mode: str) -> dict[str, Any]:
    """Time torch.compile in `mode`, one of `asked.MODES`, captured as one CUDA graph.

    PyTorch's own graphs, which "max-autotune" makes piece by piece, stay off for that.
    """
    before, began = _used(), time.monotonic()

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        return torch.compile(function, mode=_MODES[mode], dynamic=False)

    inference = _made(name, cameras, wrap)
    run = inference.captured() if DEVICE == "cuda" else inference.run
    taken = time.monotonic() - began
    times = timed(inference, run, name, replays)
    how = f"torch.compile(mode={_MODES[mode]!r}) of image+prefix and of the step, the whole inference in one CUDA graph"
    return {"seconds_to_compile": round(taken, 1), "precision": "bf16", "how": how, **times, **_memory(before)}


def timed(inference: Inference, run: Callable[[], None], name: str, replays: int) -> dict[str, dict[str, float]]:
    """Times in ms, by CUDA's events (on a GPU) and by wall clock, of `run` with inputs written anew each time."""
    on_gpu = inference.device.type == "cuda"
    given = list(observations(inference.spec, MODELS[name].config.vocab, DIFFERENT))
    by_events, by_clock = list[float](), list[float]()
    for i in range(WARM_UP + replays):
        one = given[i % DIFFERENT]
        inference.write(one.observation, one.noise)
        began = time.perf_counter_ns()
        if on_gpu:
            by_events.append(_by_events(run))
        else:
            run()
        by_clock.append((time.perf_counter_ns() - began) / 1e6)
    events = {"events_ms": summary(by_events[WARM_UP:])} if on_gpu else {}
    return {**events, "wall_ms": summary(by_clock[WARM_UP:])}


def _by_events(run: Callable[[], None]) -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    run()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end)


def _made(name: str, cameras: int, wrap: Callable[..., Any] = lambda f: f) -> Inference:
    if DEVICE == "cuda" and not torch.cuda.is_available():
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        raise EdgeError(f"PyTorch {torch.__version__} ({built}) reaches no GPU")
    torch.backends.cudnn.allow_tf32 = False  # float32 is a reference here
    return Inference(MODELS[name].checkpoint(cameras), DEVICE, torch.bfloat16, wrap)


def _answers(inference: Inference, name: str) -> dict[str, np.ndarray[Any, Any]]:
    given = observations(inference.spec, MODELS[name].config.vocab, ANSWERS)
    found = [inference.answer(one.observation, one.noise) for one in given]
    return {key: np.stack([answer[key] for answer in found]) for key in found[0]}


def _exact(inference: Inference, name: str) -> dict[str, np.ndarray[Any, Any]]:
    """Answers of the same weights in float32; none where the GPU has no room for them."""
    size = sum(parameter.numel() for parameter in inference.model.parameters())
    if inference.device.type == "cuda":
        torch.cuda.empty_cache()
        if torch.cuda.mem_get_info()[0] < _FLOAT32 * 4 * size:
            return {}
    inference.to(torch.float32)
    found = _answers(inference, name)
    return {f"exact_{key}": rows for key, rows in found.items()}


def _used() -> int:
    """Bytes of the GPU in use, by whoever."""
    if DEVICE != "cuda" or not torch.cuda.is_available():
        return 0
    free, total = torch.cuda.mem_get_info()
    return total - free


def _memory(before: int) -> dict[str, int]:
    if DEVICE != "cuda":
        return {}
    return {"memory_bytes": _used() - before, "allocated_bytes": torch.cuda.max_memory_allocated()}
