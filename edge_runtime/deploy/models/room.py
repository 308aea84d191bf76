"""Room on the robot's disk: which bundles go, and what stays free for whatever else the robot must write."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from edge_runtime.errors import BundleError
from edge_runtime.files import settle

if TYPE_CHECKING:
    from edge_runtime.deploy.models.store import Store

FREE_BYTES = 1 << 30
"""So much of the disk stays free."""
_GOING = ".gone-"
"""A bundle loses its name before the first of its files goes."""


def refuse_full(folder: Path, asked: int) -> None:
    """`BundleError` where `asked` bytes more in `folder` would not leave `FREE_BYTES` of its disk."""
    free = shutil.disk_usage(folder).free
    if free < asked + FREE_BYTES:
        raise BundleError(
            f"{folder}: {free >> 20} MiB of its disk are free, {asked + FREE_BYTES >> 20} MiB are needed to leave "
            f"{FREE_BYTES >> 20} MiB: make room there"
        )


def prune(store: Store, keep: Collection[str] = ()) -> None:
    """Remove the bundles that are no longer needed, received or half received: not those of the names `keep`.

    What runs stays, what it goes back to, and what that went back to while a bundle is on trial.
    """
    _sweep(store)
    with store.alone():
        record = store.settled()
        before = record.trial.before if record.trial else ""
        kept = {store.linked, record.previous, before, *keep, *(store.incoming(name).name for name in keep)}
        for path in store.all_files():
            if not kept & {path.name, path.stem}:
                _drop(path)
        settle(store.folder)
    _sweep(store)


def discard(store: Store, name: str) -> None:
    """Remove a bundle that is not current."""
    with store.alone():
        if name != store.linked:
            _drop(store.folder / name)
            settle(store.folder)
    _sweep(store)


def _drop(path: Path) -> None:
    path.replace(path.with_name(f"{_GOING}{path.name}"))


def _sweep(store: Store) -> None:
    """Remove what has no name any more, that of a prune that was cut short too."""
    for path in store.folder.glob(f"{_GOING}*"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
