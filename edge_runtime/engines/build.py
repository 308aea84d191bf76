"""One graph's ONNX file → a serialized engine, strongly typed: TensorRT takes the types that stand in the file."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_runtime.engines.api import Api, one_line
from edge_runtime.engines.key import BuildOptions
from edge_runtime.engines.progress import Stop, Tell, monitor
from edge_runtime.errors import BackendError
from edge_runtime.files import write_whole
from edge_runtime.onnx_nodes import OnnxGraph

_MIB = 1 << 20


@dataclass(frozen=True)
class Built:
    """A serialized engine in the library's memory, and what building it took and said."""

    engine: memoryview
    seconds: float
    warnings: tuple[str, ...]


def build(
    api: Api, path: Path, graph: OnnxGraph, options: BuildOptions, *, arch: str, timing: Path, tell: Tell
) -> Built:
    """Build the engine of the ONNX file at `path`, whose nodes `graph` are.

    `arch` is what TensorRT-RTX builds for; TensorRT builds for the GPU that is here and keeps its timings in `timing`.
    Raises `BackendError`, one line that names the operator where it is one's fault, and `KeyboardInterrupt` when Ctrl-C
    was pressed meanwhile.
    """
    began, log, stop = time.monotonic(), api.log(), Stop()
    builder = api.trt.Builder(log)
    network = builder.create_network(api.network_flags)
    _parse(api, path, graph, network, log)
    config = builder.create_builder_config()
    _configure(api, config, options, arch)
    cache = None if api.ahead else _timing_cache(config, timing)
    watching = config.progress_monitor = monitor(api.trt, tell, stop)
    with stop.on_interrupt():
        engine = builder.build_serialized_network(network, config)
    del watching  # the library keeps no reference of its own
    if stop.asked:
        raise KeyboardInterrupt
    if engine is None:
        why = api.why(log)
        more = "; give it more with --workspace or --memory-limit" if api.no_memory(why) else ""
        raise BackendError(f"{path}: {api.name} cannot build it: {why}{more}")
    if cache is not None:
        write_whole(timing, bytes(memoryview(cache.serialize())))
    said = tuple(dict.fromkeys(map(one_line, log.warnings)))
    return Built(memoryview(engine), time.monotonic() - began, said)


def _parse(api: Api, path: Path, graph: OnnxGraph, network: Any, log: Any) -> None:
    parser = api.trt.OnnxParser(network, log)
    strange = [str(node) for node in graph.nodes if not parser.supports_operator(node.op)]
    if strange:
        raise BackendError(f"{path}: {api.name} has no operator {strange[0]}; export the bundle again")
    if not parser.parse_from_file(str(path)):
        error = parser.get_error(0) if parser.num_errors else None
        where = f"operator {error.node_operator()} ({error.node_name()})" if error is not None else "it"
        why = one_line(error.desc()) if error is not None else api.why(log)
        raise BackendError(f"{path}: {api.name} refuses {where}: {why}")
    for i in range(network.num_inputs):
        tensor = network.get_input(i)
        if any(n < 0 for n in tensor.shape):
            raise BackendError(f"{path}: {tensor.name} has shape {list(tensor.shape)}; shapes must be static")


def _configure(api: Api, config: Any, options: BuildOptions, arch: str) -> None:
    trt = api.trt
    if api.ahead:
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, arch.upper()), 0)
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)  # it would allocate while a CUDA graph is captured
    config.max_aux_streams = 0  # all of an inference is on one stream
    config.clear_flag(trt.BuilderFlag.TF32)  # float32 is float32, not rounded to 10 bits before it is multiplied
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.builder_optimization_level = options.optimisation_level
    pools = trt.MemoryPoolType
    for pool, mib in ((pools.WORKSPACE, options.workspace_mib), (pools.TACTIC_DRAM, options.memory_limit_mib)):
        if mib:
            config.set_memory_pool_limit(pool, mib * _MIB)


def _timing_cache(config: Any, path: Path) -> Any:
    """What earlier builds on this GPU timed; begun anew where TensorRT does not take the file."""
    stored = path.read_bytes() if path.exists() else b""
    cache = config.create_timing_cache(stored)
    if cache is None or not config.set_timing_cache(cache, False):
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    return cache
