"""Another machine for the doctor: files as a kernel would have them, and programs with what they would print."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edge_runtime.doctor.host import Host


class Machine(Host):
    """Files by their absolute path, written below `root`; programs by name."""

    def __init__(self, root: Path, files: Mapping[str, str], programs: Mapping[str, str] | None = None) -> None:
        super().__init__(root)
        object.__setattr__(self, "programs", programs or {})
        for path, text in files.items():
            file = self.path(path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)

    def run(self, *command: str) -> str | None:
        found: str | None = self.programs.get(command[0])  # type: ignore[attr-defined]
        return found
