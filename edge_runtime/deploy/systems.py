"""The systems that a package can be made for: one row each, with what they bring along themselves.

Sources: NVIDIA's JetPack release notes (JetPack 6: Ubuntu 22.04, Python 3.10; JetPack 7: Ubuntu 24.04, Python 3.12) and
Debian 12 (Python 3.11).
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_runtime.errors import EdgeError
from edge_runtime.suggest import did_you_mean


@dataclass(frozen=True)
class System:
    """`arch` as dpkg names it; `python`: version of the system's own; `jetpack`: it brings TensorRT and CUDA."""

    name: str
    title: str
    arch: str
    python: str
    jetpack: bool = False

    @property
    def machine(self) -> str:
        """The architecture as the kernel and wheels name it."""
        return {"arm64": "aarch64", "amd64": "x86_64"}[self.arch]


SYSTEMS = {
    row.name: row
    for row in (
        System("jetpack6-orin", "Jetson Orin, JetPack 6", "arm64", "3.10", jetpack=True),
        System("jetpack7-orin", "Jetson Orin, JetPack 7", "arm64", "3.12", jetpack=True),
        System("jetpack7-thor", "Jetson Thor, JetPack 7", "arm64", "3.12", jetpack=True),
        System("debian12-arm64", "Debian 12 on 64-bit ARM", "arm64", "3.11"),
        System("debian12-amd64", "Debian 12 on x86-64", "amd64", "3.11"),
    )
}


def system(name: str) -> System:
    """The row of that name; `EdgeError` with the nearest where there is none."""
    if name not in SYSTEMS:
        raise EdgeError(f'target "{name}": there is none{did_you_mean(name, SYSTEMS)}; known are {", ".join(SYSTEMS)}')
    return SYSTEMS[name]
