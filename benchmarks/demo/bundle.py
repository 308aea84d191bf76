"""The demo policy's bundle: exported from the committed checkpoint, and again whenever that changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edge_runtime.bundle import open_bundle, sha256
from edge_runtime.errors import BundleError
from export.pipeline import export_checkpoint

CHECKPOINT = Path(__file__).with_name("checkpoint")


def demo_bundle(out: Path, progress: Callable[[str, float], None] | None = None) -> Path:
    """The bundle at `out`, every byte checked; exported first where it is not there or is of another checkpoint."""
    try:
        if open_bundle(out).manifest.source.checkpoint_sha256 == sha256(CHECKPOINT / "model.safetensors"):
            return out
    except BundleError:
        pass
    return export_checkpoint(CHECKPOINT, out, progress=progress)
