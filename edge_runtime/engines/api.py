"""TensorRT and TensorRT-RTX: one Python API in two libraries, and what differs between them and their versions."""

from __future__ import annotations

import functools
import importlib
import re
from dataclasses import dataclass
from typing import Any

from edge_runtime import errors
from edge_runtime.engines.key import Place, l4t_release
from edge_runtime.errors import BackendError
from edge_runtime.plugins import spelt

RTX_ARCHS = ("sm75", "sm80", "sm86", "sm89", "sm120", "sm121")
"""What TensorRT-RTX builds for without a GPU (its `ComputeCapability`); neither Orin (sm87) nor Hopper (sm90)."""
_EMPTY = re.compile(r"catchCudaError|CUDA driver version is insufficient|^Invalid Node - ")
"""Lines that say nothing: that there is no GPU, which is no error ahead of time, and a node that is named anyway."""
_WHERE = re.compile(r"\s*\(?\bIn (function )?\w+:?( at)? /\S+:\d+\)?|^ITensor::\w+: |^I\w+::\w+: ")
"""Places in the library's source in a message."""


@dataclass(frozen=True)
class Api:
    """One library. `ahead`: it builds for a GPU that is not there; it keeps no timing cache then."""

    backend: str
    title: str
    trt: Any
    ahead: bool

    @property
    def version(self) -> str:
        return str(self.trt.__version__)

    @property
    def name(self) -> str:
        """Title and version, as a message has it."""
        return f"{self.title} {self.version}"

    @property
    def network_flags(self) -> int:
        """Strongly typed: told to TensorRT 10, a matter of course in 11 and in TensorRT-RTX."""
        flags = self.trt.NetworkDefinitionCreationFlag
        return 1 << int(flags.STRONGLY_TYPED) if not self.ahead and hasattr(flags, "STRONGLY_TYPED") else 0

    def log(self) -> Any:
        """The library's one logger in this process, emptied."""
        log = _logger(self.trt)
        log.errors.clear()
        log.warnings.clear()
        return log

    def no_memory(self, why: str) -> bool:
        """Whether that is what it says."""
        return "OutOfMemory" in why or "out of memory" in why.lower()

    def why(self, log: Any) -> str:
        """The first error that it logged, on one line."""
        said = [message for message in log.errors if not _EMPTY.search(message)] or log.errors
        return one_line(said[0]) if said else "it does not say why"


_LIBRARIES = {
    "trt": (
        "tensorrt",
        "TensorRT",
        "pip install '.[tensorrt]' in the checkout; on a Jetson it comes with JetPack: pip install '.[cuda]' in a venv "
        "that was made with --system-site-packages",
    ),
    "trt_rtx": ("tensorrt_rtx_bindings", "TensorRT-RTX", "pip install '.[cuda,rtx]' in the checkout"),
}
BACKENDS = tuple(_LIBRARIES)


@functools.cache
def load_api(backend: str) -> Api:
    """The library behind a backend of `BACKENDS`; `BackendError` that says what to install where it is not there."""
    module, title, install = _LIBRARIES[backend]
    try:
        return Api(backend, title, importlib.import_module(module), ahead=backend == "trt_rtx")
    except (ImportError, OSError) as error:
        raise BackendError(f"backend {spelt(backend)}: {one_line(str(error))}; {install}") from error


def place_here(api: Api) -> Place:
    """Where engines of this library run on this machine; `BackendError` where there is no GPU, or none for them."""
    from edge_runtime.backends.cuda.gpu import gpu

    here = gpu()
    if api.ahead:
        if here.arch not in RTX_ARCHS:
            this = f"{here.arch}, this GPU ({here.name})"
            raise BackendError(f"backend trt-rtx: {api.title} does not build for {this}; use trt or ort-cuda")
        return Place(api.backend, api.version, here.arch)
    return Place(api.backend, api.version, here.arch, here.name, l4t_release())


def one_line(text: str) -> str:
    """A message of the library without its line breaks and places in its source, at most 300 characters."""
    kept = [_WHERE.sub("", line).strip() for line in text.splitlines() if not _EMPTY.search(line)] or text.splitlines()
    return errors.one_line(" ".join(kept))


@functools.cache
def _logger(trt: Any) -> Any:
    """TensorRT takes the first logger of a process for all that follows."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []
            self.warnings: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message)
            elif severity == trt.ILogger.Severity.WARNING:
                self.warnings.append(message)

    return Log()
