"""`edge deploy --list`: which bundles a robot has, which one runs, and what became of those that do not."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec

from edge_runtime.bundle import MANIFEST, read_manifest
from edge_runtime.deploy import tools
from edge_runtime.deploy.models.reach import Reach
from edge_runtime.deploy.models.store import Store
from edge_runtime.errors import BundleError, CommandError, one_line

_ANSWER_S = 60.0


def facts(store: Store) -> dict[str, Any]:
    """For a program; the newest bundle first, and the last failure last."""
    record, current = store.record, store.current_name
    trial = record.trial if record.trial is not None and record.trial.name == current else None
    return {
        "current": current,
        "on_trial": trial is not None,
        "begun": trial is not None and trial.begun,
        "previous": record.previous,
        "bundles": {name: _described(store, name) for name in store.names},
        "failed": record.failed,
    }


def there(reach: Reach, what: str) -> dict[str, Any]:
    """`facts` of a robot that ssh leads to, after `what`: --list or --back. `EdgeError` with its words."""
    answer = tools.run(reach.edge("deploy", what, "--json", "-"), timeout_s=_ANSWER_S, what=reach.host)
    try:
        return msgspec.json.decode(answer, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise CommandError(f"{reach.host}: does not answer as edge deploy does: {one_line(answer)}") from error


def _described(store: Store, name: str) -> dict[str, Any]:
    with suppress(BundleError):
        manifest = read_manifest(store.folder / name / MANIFEST)
        size = sum(entry.size for entry in manifest.files.values())
        made = manifest.quantization
        return {"family": manifest.source.family, "for": made.target if made else "float32", "bytes": size}
    return {"family": "damaged", "for": "", "bytes": 0}


def text(found: dict[str, Any], title: str) -> str:
    """For a person."""
    if not found["bundles"]:
        return f"{title}: no bundle yet"
    lines = [f"{title}:", *(_row(found, name, bundle) for name, bundle in found["bundles"].items())]
    return "\n".join((*lines, *(f"  failed: {name}: {why}" for name, why in found["failed"].items())))


def _row(found: dict[str, Any], name: str, bundle: dict[str, Any]) -> str:
    what = f"{bundle['family']:<12}{bundle['for']:<14}{bundle['bytes']:>15,} bytes"
    return f"  {name}  {what}  {_state(found, name)}".rstrip()


def _state(found: dict[str, Any], name: str) -> str:
    if name == found["current"]:
        on_trial = ", on trial" + (": it runs" if found["begun"] else ": not started yet")
        return f"current{on_trial if found['on_trial'] else ''}"
    if name == found["previous"]:
        return "previous: edge deploy --back"
    return "failed" if name in found["failed"] else ""
