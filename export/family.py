"""What the export must know of a family of models. Each file in `export/models` with a `FAMILY` is one."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from export import models
from export.checkpoint import Checkpoint
from export.graphs import ModelGraph
from export.weights import Source


@dataclass(frozen=True)
class Family:
    """One family. `head` says how it makes actions, `needs` what a checkpoint lacks that the person must give.

    `build` makes the module from a checkpoint's `config`, on whatever device is current. `source` says where one of its
    parameters stands, given all stored names (without `Checkpoint.prefix`) and the config; stored names for which
    `unused` is true may be left over. `graphs` are all but the image graph, by component name. `constants` computes
    what the runtime needs beside them, float32 or int64.
    """

    name: str
    head: str
    needs: str
    build: Callable[[Any], nn.Module]
    source: Callable[[str, frozenset[str], Any], Source]
    unused: Callable[[str], bool]
    graphs: Callable[[nn.Module, Checkpoint], dict[str, ModelGraph]]
    constants: Callable[[nn.Module, Checkpoint], dict[str, Tensor]]


def family(name: str) -> Family:
    """The family of `export/models/<name>.py`."""
    found: Family = importlib.import_module(f"export.models.{name}").FAMILY
    return found


def families() -> list[Family]:
    """Every family, by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(models.__path__))
    modules = (importlib.import_module(f"export.models.{name}") for name in names)
    return [module.FAMILY for module in modules if hasattr(module, "FAMILY")]
