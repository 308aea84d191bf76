"""The policy bundle: what export hands to the robot, and how the robot checks it before it trusts it.

A directory with `manifest.json`, one ONNX file a graph, `tokenizer.json`, `accuracy.json` and the files they need.
The manifest names every file with its size and sha256, and carries a seal over itself; a bundle with a missing, changed
or unlisted file is refused. `engines/` is made on the robot and is no part of what was handed over.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from edge_runtime.bundle_spec import FastScheme, Manifest, ManifestFile, PolicySpec, TokenSpec, impossible
from edge_runtime.errors import BundleError
from edge_runtime.files import naming

FORMAT = 3
MANIFEST = "manifest.json"
ENGINES = "engines"
_UNSEALED = "0" * 64
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Bundle:
    """A bundle whose every file was found as it was handed over."""

    path: Path
    manifest: Manifest

    @property
    def spec(self) -> PolicySpec:
        return self.manifest.spec

    def graph(self, name: str) -> Path:
        """Path of the graph `name` of `bundle_spec.GRAPHS`; `BundleError` where there is none."""
        if name not in self.manifest.graphs:
            raise BundleError(f"{self.path / MANIFEST}: graphs has no {name}; export the bundle again")
        return self.path / self.manifest.graphs[name]


def seal(directory: Path, manifest: Manifest) -> Path:
    """Write `manifest` into `directory` with size and sha256 of every file there, and its seal. Returns its path."""
    listed = {str(f.relative_to(directory)): f for f in sorted(directory.rglob("*")) if f.is_file()}
    listed.pop(MANIFEST, None)
    files = {name: ManifestFile(size=f.stat().st_size, sha256=sha256(f)) for name, f in listed.items()}
    sealed = msgspec.structs.replace(manifest, format=FORMAT, files=files, seal=_UNSEALED)
    text = msgspec.json.format(msgspec.json.encode(sealed), indent=2) + b"\n"
    digest = hashlib.sha256(text).hexdigest().encode()
    path = directory / MANIFEST
    path.write_bytes(text.replace(_UNSEALED.encode(), digest))
    return path


def open_bundle(path: Path) -> Bundle:
    """Check a bundle and open it. Reads every byte of it once.

    Raise `BundleError`, one line that names the field or the file, for whatever is not as it was sealed.
    """
    if path.is_file():
        raise BundleError(f"{path}: is a file, and a bundle is a folder")
    if not path.is_dir():
        raise BundleError(f"{path}: no such bundle; make one with `edge export CHECKPOINT -o {path}`")
    manifest = read_manifest(path / MANIFEST)
    for name, entry in manifest.files.items():
        _check_file(path, name, entry)
    unlisted = sorted(_present(path) - set(manifest.files))
    if unlisted:
        raise BundleError(
            f"{path / unlisted[0]}: not in the manifest; a bundle holds nothing that was not sealed with it"
        )
    wanted = {f"graphs.{k}": v for k, v in manifest.graphs.items()}
    wanted |= {"constants": manifest.constants, "accuracy": manifest.accuracy, "probes": manifest.probes}
    if manifest.quantization is not None:
        wanted["quantization.table"] = manifest.quantization.table
    if manifest.tokenizer:
        wanted["tokenizer"] = manifest.tokenizer
    head = manifest.spec.head
    if isinstance(head, TokenSpec) and isinstance(head.scheme, FastScheme):
        wanted["spec.head.scheme.tokenizer"] = head.scheme.tokenizer
    for field, name in wanted.items():
        if name not in manifest.files:
            raise BundleError(f"{path / MANIFEST}: {field} names {name!r}, which is not among its files")
    return Bundle(path, manifest)


def read_manifest(path: Path) -> Manifest:
    """What the file manifest.json at `path` says; `BundleError` where it is not as it was sealed, or cannot be."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}); this is no bundle, or not all of one") from error
    try:
        head: Any = msgspec.json.decode(text)
        if isinstance(head, dict) and head.get("format", FORMAT) != FORMAT:
            raise BundleError(f"{path}: format is {head['format']!r}, this runtime reads {FORMAT}; export it again")
        manifest = msgspec.json.decode(text, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"{path}: {error}; copy the bundle again") from error
    unsealed = text.replace(manifest.seal.encode(), _UNSEALED.encode()) if manifest.seal else text
    if hashlib.sha256(unsealed).hexdigest() != manifest.seal:
        raise BundleError(f"{path}: seal does not match, so something in it was changed; copy the bundle again")
    problem = impossible(manifest)
    if problem:
        raise BundleError(f"{path}: {problem}")
    return manifest


def copy_files(manifest: Manifest, source: Path, to: Path) -> None:
    """Copy a bundle of that manifest into the folder `to`, as it was handed over: without its engines."""
    for name in (MANIFEST, *manifest.files):
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        with naming(to / name):
            shutil.copyfile(source / name, to / name)


def _check_file(path: Path, name: str, entry: ManifestFile) -> None:
    parts = PurePosixPath(name)
    if parts.is_absolute() or not parts.name or ".." in parts.parts or str(parts) != name or parts.parts[0] == ENGINES:
        raise BundleError(f"{path / MANIFEST}: files names {name!r}, which is not a file inside the bundle")
    file = path / name
    if any(p.is_symlink() for p in (file, *file.parents) if path in p.parents) or not file.is_file():
        raise BundleError(f"{file}: the manifest names it and it is not there as a plain file; copy the bundle again")
    size = file.stat().st_size
    if size != entry.size:
        raise BundleError(f"{file}: has {size} bytes, the manifest says {entry.size}; copy the bundle again")
    if sha256(file) != entry.sha256:
        raise BundleError(f"{file}: sha256 is not the manifest's, so it was changed; copy the bundle again")


def _present(path: Path) -> set[str]:
    """Everything in the bundle that is no directory, but for the manifest and what the robot made itself."""
    found = (f.relative_to(path) for f in path.rglob("*") if f.is_symlink() or not f.is_dir())
    return {str(f) for f in found if f.parts[0] != ENGINES and str(f) != MANIFEST}


def sha256(file: Path) -> str:
    """Hex digest of a file, read in blocks."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
