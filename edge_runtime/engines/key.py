"""What an engine is bound to: it is used where every part of its key is the same, and nowhere else."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import msgspec

from edge_runtime.plugins import spelt

TEGRA = Path("/etc/nv_tegra_release")


class BuildOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the builder is told. Limits in MiB, 0 for TensorRT's own; `optimisation_level` 0 to 5."""

    workspace_mib: int = 0
    memory_limit_mib: int = 0
    optimisation_level: int = 3


class Place(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where an engine runs: backend and its version, GPU architecture ("sm87"), GPU name, and the release of L4T.

    The last two are "" where an engine is built ahead of time, for any GPU of its architecture.
    """

    backend: str
    version: str
    arch: str
    device: str = ""
    l4t: str = ""

    def __str__(self) -> str:
        return ", ".join(filter(None, (f"{spelt(self.backend)} {self.version} on {self.arch}", self.device, self.l4t)))


class EngineKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`bundle` is the seal of the manifest, so that an engine of another bundle is another engine."""

    place: Place
    bundle: str
    graph: str
    options: BuildOptions

    def stem(self, digest: str) -> str:
        """Name of the files of an engine of this key whose sha256 is `digest`, without their suffix.

        Both are in its hash: a rebuilt engine stands beside the one before until its sidecar says that it is whole.
        """
        text = msgspec.json.encode((self, digest))
        place = self.place
        return f"{self.graph}-{place.backend}-{place.version}-{place.arch}-{hashlib.sha256(text).hexdigest()[:16]}"

    def differs(self, other: EngineKey, options: bool = True) -> str:
        """The first part in which `other`, an engine that was found, is not this one; "" where there is none."""
        parts = (
            ("graph", other.graph, self.graph),
            ("bundle", other.bundle[:16], self.bundle[:16]),
            *((name, getattr(other.place, name), getattr(self.place, name)) for name in Place.__struct_fields__),
            *((name, getattr(other.options, name), getattr(self.options, name)) for name in _OPTIONS if options),
        )
        lines = (f"its {name} is {_said(found)}, not {_said(this)}" for name, found, this in parts if found != this)
        return next(lines, "")


_OPTIONS = BuildOptions.__struct_fields__


def _said(value: object) -> str:
    return str(value) if value != "" else "unknown"


def l4t_release(path: Path = TEGRA) -> str:
    """The release of Jetson Linux, such as "36.4.3"; "" on another computer.

    NVIDIA's file begins "# R36 (release), REVISION: 4.3, GCID: ...".
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", text)
    return ".".join(found.groups()) if found else " ".join(text.split())[:64]
