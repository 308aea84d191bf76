"""Plug-ins are files: a driver, a backend or a policy is found by its file name and imported on use.

Contracts (`base.py`), private files (`_x.py`) and sub-packages (data, helpers) are no plug-ins.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from edge_runtime.errors import EdgeError
from edge_runtime.suggest import did_you_mean

_INSTALL = {
    "cv2": "opencv-python-headless",
    "serial": "pyserial",
    "can": "'edge-runtime[can]'",
    **dict.fromkeys(("torch", "onnx", "onnx_ir", "onnxscript", "ml_dtypes"), "'edge-runtime[export]'"),
    "gpiod": "'edge-runtime[gpio]'",
    "pinocchio": "'edge-runtime[kinematics]'",
    "tensorrt_rtx_bindings": "'edge-runtime[rtx]'",
    **dict.fromkeys(("pyarrow", "av"), "'edge-runtime[datasets]'"),
    **dict.fromkeys(("tensorrt", "pycuda", "cuda"), "'edge-runtime[tensorrt]'"),
}
"""What to install for an import name that is not the name of its distribution."""


def names(package: str) -> tuple[str, ...]:
    """Names of the plug-ins in `package` ("drivers.cameras"), sorted."""
    path = importlib.import_module(package).__path__
    found = (m.name for m in pkgutil.iter_modules(path) if not m.ispkg)
    return tuple(sorted(n for n in found if n != "base" and not n.startswith("_")))


def file_name(name: str) -> str:
    """The file that is meant by `name`: "trt-rtx" is trt_rtx."""
    return name.replace("-", "_")


def load(package: str, name: str) -> ModuleType:
    """Import the plug-in `name` of `package`.

    Raises `EdgeError` for a name that is not there (with the nearest that is) and for a missing library.
    """
    known = names(package)
    if file_name(name) not in known:
        raise EdgeError(f'{package}: there is no "{name}"{did_you_mean(name, known)}')
    return require(f"{package}.{file_name(name)}")


def require(module: str) -> ModuleType:
    """Import one of our own modules; `EdgeError` that says what to install where a library it needs is missing."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing == module.partition(".")[0]:
            raise
        install = _INSTALL.get(missing, missing)
        raise EdgeError(f'{module} needs "{missing}", which is not installed: pip install {install}') from error
