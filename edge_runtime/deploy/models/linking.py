"""What a new bundle has in common with those that are here is not copied: it gets another name.

Weekly models share their tokenizer, often their vision graph. A file is known by its sha256, which is what manifests
say; nothing in a bundle ever changes, so that two of them may share it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from edge_runtime.bundle import MANIFEST, read_manifest, sha256
from edge_runtime.bundle_spec import Manifest
from edge_runtime.deploy.models.store import Store
from edge_runtime.errors import BundleError


def linked(store: Store, manifest: Manifest, incoming: Path) -> list[str]:
    """Have in `incoming` what another bundle of the store has too. Returns the files of `manifest` that none has."""
    known = dict(_known(store))
    return [file for file, entry in manifest.files.items() if not _links(known, entry.sha256, incoming / file)]


def _known(store: Store) -> Iterator[tuple[str, Path]]:
    """sha256 → the file, of every bundle there, as their manifests say."""
    for name in store.names:
        with suppress(BundleError):
            for file, entry in read_manifest(store.folder / name / MANIFEST).files.items():
                yield entry.sha256, store.folder / name / file


def _links(known: dict[str, Path], digest: str, path: Path) -> bool:
    """Whether `path` is another name of a file of that digest now. One that was damaged on the disk does not spread."""
    if digest not in known:
        return False
    try:
        if sha256(known[digest]) != digest:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.hardlink_to(known[digest])
    except OSError:  # not there, or not ours to write (proc(5), protected_hardlinks): it is copied
        return False
    return True
