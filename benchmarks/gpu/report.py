"""The result file: written after every part, so that what was measured stays when the rest is killed.

What an earlier check found on the same GPU, with the same driver, libraries and power mode, stays where this one does
not do it again: a long check can be done in several short ones. Another machine's file is kept under another name.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.gpu.goals import goals
from benchmarks.gpu.models import MODELS
from edge_runtime.files import write_whole

FOLDER = Path(__file__).resolve().parents[1] / "results"


class Report:
    """`result`: all sections; `put` and `row` add to it and write the file."""

    def __init__(self, path: Path, machine: Mapping[str, Any], say: Callable[[str], None]) -> None:
        self.path = path
        before = _before(path)
        if path.exists() and not _same(before.get("machine", {}), machine):
            say(f"{path}: not of this GPU, driver, libraries and power mode: kept as {_put_aside(path)}")
            before = {}
        self.result: dict[str, Any] = before | {"machine": dict(machine)}
        self._done("machine", True)

    def left_out(self, section: str, why: str) -> None:
        """Nothing is known of a section, unless an earlier check did it."""
        if section not in self.result:
            self._done(section, False, why)
            self.write()

    def put(self, section: str, found: Any) -> None:
        self.result[section] = found
        self._done(section, _ran(found), "nothing in it could be run")
        self.write()

    def row(self, row: Mapping[str, Any]) -> None:
        """Add a row of speed, or put it in the place of the one of its model and cameras."""
        rows = [old for old in self.result.get("speed", []) if _key(old) != _key(row)]
        order = [(model.name, cameras) for model in MODELS.values() for cameras in model.cameras]
        self.result["speed"] = sorted([*rows, {**row, "at": _now()}], key=lambda one: order.index(_key(one)))
        self._done("speed", _ran(self.result["speed"]), "nothing in it could be run")
        self.write()

    def _done(self, section: str, ran: bool, why: str = "") -> None:
        """Say of a section whether anything in it ran; each part of it says so of itself."""
        told = {"ran": ran, "why": "" if ran else why, "at": _now()}
        self.result.setdefault("sections", {})[section] = told

    def write(self) -> None:
        self.result["goals"] = goals(self.result.get("speed", []))
        write_whole(self.path, json.dumps(self.result, indent=1, ensure_ascii=False) + "\n")


def default_path(machine: Mapping[str, Any]) -> Path:
    """gpu_sm90_nvidia-h200.json among the results."""
    gpu = machine["gpu"]
    slug = re.sub(r"[^a-z0-9]+", "-", gpu["name"].lower()).strip("-")
    return FOLDER / f"gpu_{gpu['arch']}_{slug}.json"


def failed(result: Mapping[str, Any]) -> bool:
    """Whether something that ran did not hold: a contract, an answer, or an agreement with PyTorch."""
    contract = any(one.get("failed") for one in result.get("contract", {}).values())
    outputs = [one for policy in result.get("outputs", {}).values() for one in policy.values()]
    agreed = [part.get("agreement", {}) for row in result.get("speed", []) for part in row.get("ours", {}).values()]
    return contract or any(one.get("verdict") == "fail" for one in (*outputs, *agreed))


def _ran(found: Any) -> bool:
    """Whether a part of `found` says that it ran."""
    if isinstance(found, Mapping):
        return found.get("ran") is True or any(map(_ran, found.values()))
    return isinstance(found, list) and any(map(_ran, found))


def _before(path: Path) -> dict[str, Any]:
    """What stands in the file; nothing where it is none of ours."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("machine"), dict) else {}


def _put_aside(path: Path) -> str:
    """Rename the file by when it was written; its new name, which was nobody's."""
    written = time.strftime("%Y-%m-%dT%H-%M-%SZ", time.gmtime(path.stat().st_mtime))
    names = (path.with_stem(f"{path.stem}_{written}{more}") for more in ("", *(f"-{i}" for i in range(2, 100))))
    aside = next(name for name in names if not name.exists())
    return path.rename(aside).name


def _same(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """The same GPU, driver, libraries and power mode: their figures may stand in one file."""
    told = ("gpu", "versions", "power mode")
    driver = [machine.get("nvidia_smi", {}).get("driver_version") for machine in (a, b)]
    return driver[0] == driver[1] and all(a.get(name) == b.get(name) for name in told)


def _key(row: Mapping[str, Any]) -> tuple[str, int]:
    return row["model"], row["cameras"]


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
