"""Who vouches for the bundle that is to run, asked at each start: more than `edge deploy` can write to the store."""

from __future__ import annotations

from pathlib import Path

from edge_runtime.bundle import MANIFEST, read_manifest
from edge_runtime.deploy.models.signature import refuse_unsigned
from edge_runtime.deploy.models.store import Store
from edge_runtime.errors import BundleError


def refusal(store: Store, bundle: Path, factory: Path, trust: Path) -> str:
    """Why `bundle` of `store` is not to run, "" where it may: signed by the key of `trust`, or the package's own."""
    try:
        refuse_unsigned((bundle / MANIFEST).read_bytes(), store.signature(bundle.name), trust)
    except BundleError as error:
        return "" if factory.is_dir() and _seal(factory) == _seal(bundle) else str(error)
    return ""


def _seal(bundle: Path) -> str:
    return read_manifest(bundle / MANIFEST).seal
