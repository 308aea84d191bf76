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
    "can": "'.[can]' in the checkout",
    **dict.fromkeys(("torch", "onnx", "onnx_ir", "onnxscript", "ml_dtypes"), "'.[export]' in the checkout"),
    "gpiod": "'.[gpio]' in the checkout",
    "pinocchio": "'.[kinematics]' in the checkout",
    "tomlkit": "'.[package]' in the checkout",
    "tensorrt_rtx_bindings": "'.[rtx]' in the checkout",
    **dict.fromkeys(("pyarrow", "av"), "'.[datasets]' in the checkout"),
    "cuda": "'.[cuda]' in the checkout",
    "tensorrt": "'.[tensorrt]' in the checkout",
}
"""What to install for an import name that is not the name of its distribution."""
BACKENDS, TORCH = "edge_runtime.backends", "torch"
"""Where backends are, and one that is no plug-in: PyTorch on the CPU (`export.torch_graph`), which rounds half
precision as a GPU does."""


def names(package: str) -> tuple[str, ...]:
    """Names of the plug-ins in `package` ("drivers.cameras"), sorted."""
    path = importlib.import_module(package).__path__
    found = (m.name for m in pkgutil.iter_modules(path) if not m.ispkg)
    return tuple(sorted(n for n in found if n != "base" and not n.startswith("_")))


def file_name(name: str) -> str:
    """The file that is meant by `name`: "trt-rtx" is trt_rtx."""
    return name.replace("-", "_")


def spelt(name: str) -> str:
    """`name` as people read it everywhere: trt_rtx is "trt-rtx"."""
    return name.replace("_", "-")


def unknown(package: str, name: str, *more: str) -> str:
    """That `package` has no plug-in `name`, and which is meant; "" where it has, or it is one of `more`."""
    known = (*map(spelt, names(package)), *more)
    if spelt(name) in known:
        return ""
    if package == BACKENDS and name == TORCH:
        return f'"{TORCH}" is no robot\'s backend, only edge verify takes it; there are {", ".join(known)}'
    return f'there is no "{name}"{did_you_mean(spelt(name), known)}'


def load(package: str, name: str) -> ModuleType:
    """Import the plug-in `name` of `package`.

    Raises `EdgeError` for a name that is not there (with the nearest that is) and for a missing library.
    """
    if fault := unknown(package, name):
        raise EdgeError(f"{package}: {fault}")
    return require(f"{package}.{file_name(name)}")


def require(module: str) -> ModuleType:
    """Import one of our own modules; `EdgeError` where a library it needs is missing (what to install) or broken."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        own = module.partition(".")[0]
        if error.name == own:
            raise EdgeError(f"{own} is not on this robot: run this on the computer that exports") from error
        if missing == own:
            raise
        install = _INSTALL.get(missing, missing)
        raise EdgeError(f'{module} needs "{missing}", which is not installed: pip install {install}') from error
    except ImportError as error:
        culprit = (error.name or "").partition(".")[0]
        if culprit == module.partition(".")[0]:
            raise
        raise EdgeError(f"{module} cannot be imported: {' '.join(str(error).split())}") from error
