"""The two files that a run leaves: report.json for programs, report.html for people."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_runtime import report, report_html
from edge_runtime.files import write_whole
from edge_runtime.floor import Floor
from edge_runtime.record import RunRecord


@dataclass(frozen=True)
class Written:
    """A report and where it is."""

    report: dict[str, Any]
    json_file: Path
    html_file: Path


def write(
    record: RunRecord, folder: Path, floor: Floor | None = None, more: dict[str, Any] | None = None, front: str = ""
) -> Written:
    """Write both files into `folder`. `more` adds keys of the caller's own to the report, `front` begins the page."""
    found = {**report.summary(record, floor), **(more or {})}
    written = Written(found, folder / "report.json", folder / "report.html")
    write_whole(written.json_file, json.dumps(found, indent=2, ensure_ascii=False, default=str) + "\n")
    write_whole(written.html_file, report_html.page(record, found, floor, front))
    return written
