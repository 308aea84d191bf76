"""The service's deadline reports: a folder each, numbered, and the last few of them kept."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from edge_runtime import report_files
from edge_runtime.record import RunRecord

KEPT = 20
_OURS = re.compile(r"(\d{6})-[a-z]+")
"""By number: a robot without a clock of its own may have any date when it starts."""


class Reports:
    """Folders of other names are left alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, record: RunRecord, kind: str) -> Path:
        """Write report.json and report.html into a folder `<number>-<kind>`, which is returned. Raises `OSError`."""
        there = self._there()
        number = int(there[-1].name[:6]) + 1 if there else 1
        folder = self._folder / f"{number:06d}-{kind}"
        report_files.write(record, folder)
        for old in self._there()[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
        return folder

    def _there(self) -> list[Path]:
        return sorted(path for path in self._folder.glob("*") if _OURS.fullmatch(path.name))
