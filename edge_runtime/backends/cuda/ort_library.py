"""ONNX Runtime: found, and with its CUDA provider: sessions on the GPU's stream, and refusals of one line.

What is said here of ONNX Runtime was seen with onnxruntime-gpu 1.31.1, over a CUDA runtime that records.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import re
from importlib import metadata
from pathlib import Path
from typing import Any

from edge_runtime.backends.cuda.gpu import gpu
from edge_runtime.errors import BackendError, one_line

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
"""Read where the library initializes: since 1.29 it keeps an id of the machine in HOME and tells Microsoft over HTTPS
which models are loaded, unless this is set (its docs/Privacy.md, "Disabling Telemetry")."""

PROVIDER = "CUDAExecutionProvider"
OLDEST = (1, 31)
"""After a capture, older ones use the page-locked memory again from which some kernels have their lists of addresses
copied, while every launch of the captured graph goes on copying from it (microsoft/onnxruntime#32121)."""
_GPU = "onnxruntime-gpu"
_INSTALL = f"pip install '{_GPU}[cuda,cudnn]'"

_ELSEWHERE = "fallback to CPU EP has been explicitly disabled"
_NOWHERE = re.compile(r"Provider type for (\S+) node with name '(.*?)' is not set")
_NO_MEMORY = re.compile(r"Failed to allocate memory for requested buffer of size (\d+)")
_PLACES = re.compile(r"/\S+:\d+ .*?\) (?:const )?(?:\[with .*?\] )?| ; GPU=.*")
"""Where in its sources ONNX Runtime was: file, line and function, before and after what it says."""


def onnxruntime(backend: str) -> Any:
    """`onnxruntime` for the backend "ort" or "ort-cuda"; `BackendError` where it is missing or not whole."""
    wanted = (_GPU,) if backend == "ort-cuda" else (_GPU, "onnxruntime")
    otherwise = _INSTALL if backend == "ort-cuda" else "pip install onnxruntime"
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise BackendError(f"backend {backend}: {one_line(error)}; {_remedy(wanted, otherwise)}") from error
    if getattr(ort, "__file__", None) is None:
        left = f"{next(iter(ort.__path__))} is all that is left of onnxruntime"
        raise BackendError(f"backend {backend}: {left}; {_remedy(wanted, otherwise)}")
    return ort


def _remedy(wanted: tuple[str, ...], otherwise: str) -> str:
    """What brings in the first of `wanted` that pip has a note of, and takes for whole; else what installs it.

    `onnxruntime` and `onnxruntime-gpu` are one folder: whichever is removed takes it along.
    """
    there = [name for name in wanted if any(metadata.distributions(name=name))]
    return f"pip install --force-reinstall --no-deps {there[0]}" if there else otherwise


def onnxruntime_gpu() -> Any:
    """`onnxruntime`; `BackendError` where it is missing, has no CUDA provider, or is too old."""
    ort = onnxruntime("ort-cuda")
    if PROVIDER not in ort.get_available_providers():
        remedy = f"pip uninstall onnxruntime; then {_remedy((_GPU,), _INSTALL)}"
        raise BackendError(f"backend ort-cuda: onnxruntime here has no CUDA provider: {remedy}")
    if tuple(int(n) for n in ort.__version__.split(".")[:2]) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise BackendError(f"backend ort-cuda: onnxruntime-gpu {ort.__version__} is older than {oldest}; {_INSTALL} -U")
    _prepare(ort)
    return ort


@functools.cache
def _prepare(ort: Any) -> None:
    """Bring in CUDA's libraries where pip put them; the provider itself looks only where the system does."""
    ort.set_default_logger_severity(4)  # what goes wrong is raised, and said once
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        ort.preload_dlls()


def session(ort: Any, path: Path, *, whole: bool = True) -> Any:
    """The graph in a file, ready to run on the GPU's stream. `whole`: refuse one of which a part would be on the CPU.

    Its own CUDA graphs stay off: one of ours holds several sessions and what stands between them. float32 is computed
    in float32, not in TF32.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    entry = "session.disable_cpu_ep_fallback" if whole else "session.record_ep_graph_assignment_info"
    options.add_session_config_entry(entry, "1")
    provider = {
        "user_compute_stream": str(gpu().stream),
        "use_tf32": "0",
        "arena_extend_strategy": "kSameAsRequested",
        "cudnn_conv_algo_search": "HEURISTIC",  # what is chosen by the clock differs from one start to the next
    }
    return ort.InferenceSession(str(path), options, providers=[(PROVIDER, provider)], enable_fallback=0)


def run_options(name: str, value: str) -> Any:
    """Options of a run: one entry."""
    import onnxruntime as ort

    options = ort.RunOptions()
    options.log_severity_level = 4
    options.add_run_config_entry(name, value)
    return options


def refusal(ort: Any, path: Path, error: Exception) -> BackendError:
    """Why there is no `session` of a file."""
    if _ELSEWHERE in str(error):
        return BackendError(_on_the_cpu(ort, path))
    if nowhere := _NOWHERE.search(str(error)):
        return BackendError(f"{path}: {_named(ort)} has no kernel for the type of {nowhere[1]} ({nowhere[2]})")
    return told(error, f"{path}: weights", f"{path}: {_named(ort)} refuses it")


def told(error: Exception, what: str, otherwise: str) -> BackendError:
    """That `what` lacked memory, or what else went wrong."""
    if lacking := _NO_MEMORY.search(str(error)):
        return BackendError(gpu().lacking(what, int(lacking[1])))
    return BackendError(f"{otherwise}: {one_line(_PLACES.sub('', one_line(error, 5000)))}")


def _on_the_cpu(ort: Any, path: Path) -> str:
    """Why ONNX Runtime would run a graph, or a part of it, on the CPU: of the former it tells only its log."""
    if why := _unloadable(ort):
        return f"backend ort-cuda: onnxruntime-gpu {ort.__version__} cannot load its CUDA provider: {why}; {_INSTALL}"
    parts = session(ort, path, whole=False).get_provider_graph_assignment_info()
    nodes = [f"{n.op_type} ({n.name})" for part in parts if part.ep_name != PROVIDER for n in part.get_nodes()]
    return f"{path}: {_named(ort)} has no CUDA kernel for {one_line(', '.join(nodes))}"


def _unloadable(ort: Any) -> str:
    """Why the provider cannot be loaded, once ONNX Runtime has tried: loaded by us first, it would lack its host."""
    try:
        ctypes.CDLL(str(Path(ort.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"))
    except OSError as error:
        return one_line(error)
    return ""


def _named(ort: Any) -> str:
    return f"ONNX Runtime {ort.__version__}"
