"""The systems that a package can be made for: one row each, with what they bring along themselves.

Sources: NVIDIA's JetPack release notes (JetPack 6: Ubuntu 22.04, JetPack 7: Ubuntu 24.04), and the packages python3 and
libc6 of those and of Debian 12.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_runtime.errors import EdgeError
from edge_runtime.suggest import did_you_mean


@dataclass(frozen=True)
class System:
    """`arch` as dpkg names it; `python`, `glibc`: the system's own versions; `jetpack`: it brings TensorRT and CUDA."""

    name: str
    title: str
    arch: str
    python: str
    glibc: str
    jetpack: bool = False

    @property
    def machine(self) -> str:
        """The architecture as the kernel and wheels name it."""
        return {"arm64": "aarch64", "amd64": "x86_64"}[self.arch]


SYSTEMS = {
    row.name: row
    for row in (
        System("jetpack6-orin", "Jetson Orin, JetPack 6", "arm64", "3.10", "2.35", jetpack=True),
        System("jetpack7-orin", "Jetson Orin, JetPack 7", "arm64", "3.12", "2.39", jetpack=True),
        System("jetpack7-thor", "Jetson Thor, JetPack 7", "arm64", "3.12", "2.39", jetpack=True),
        System("debian12-arm64", "Debian 12 on 64-bit ARM", "arm64", "3.11", "2.36"),
        System("debian12-amd64", "Debian 12 on x86-64", "amd64", "3.11", "2.36"),
    )
}


def system(name: str) -> System:
    """The row of that name; `EdgeError` with the nearest where there is none."""
    if name not in SYSTEMS:
        raise EdgeError(f'target "{name}": there is none{did_you_mean(name, SYSTEMS)}')
    return SYSTEMS[name]
