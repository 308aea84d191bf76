"""Where a bundle's engines are kept: `engines/` inside it, an engine beside a sidecar that says what it is.

New engines are staged, all of a bundle's, before any is kept: what they compute shows only together. The sidecar is
written last, and only it makes an engine: whenever a build is killed, the engine that was there before is still the one
that is found, or the new one is. What does not match its sidecar is named and never given to TensorRT.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edge_runtime.bundle import ENGINES, sha256
from edge_runtime.engines.key import EngineKey, Place
from edge_runtime.errors import BackendError
from edge_runtime.files import naming, settle

FORMAT = 1
_LOCK = ".lock"


class Layers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What TensorRT made of a graph, as its engine inspector tells it; `note` says why there is nothing.

    `unfused`: products that run in floating point although the graph quantizes them, a line each.
    """

    note: str = ""
    unfused: tuple[str, ...] = ()
    layers: tuple[Any, ...] = ()


class EngineInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The sidecar. `built`: seconds since 1970; `seconds` it took; `held`: it was run and held to the bundle's gate."""

    format: int = FORMAT
    key: EngineKey
    file: str
    size: int
    sha256: str
    built: float
    seconds: float
    held: bool
    warnings: tuple[str, ...]
    layers: Layers


@dataclass(frozen=True)
class Found:
    """The engine of a key, or else why there is none: "" where nothing was ever built for it."""

    info: EngineInfo | None
    why: str


@dataclass(frozen=True)
class Staged:
    """An engine that may be kept: what its sidecar says or will say, and the file that it is in until then."""

    info: EngineInfo
    path: Path


class Store:
    """The engines of the bundle at `bundle`."""

    def __init__(self, bundle: Path) -> None:
        self.folder = bundle / ENGINES

    def path(self, info: EngineInfo) -> Path:
        return self.folder / info.file

    @contextmanager
    def building(self) -> Iterator[None]:
        """Be the only one who builds engines of this bundle. What was staged and not kept goes, a killed build's too.

        `BackendError` where somebody else is building.
        """
        self.folder.mkdir(exist_ok=True)
        with (self.folder / _LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise BackendError(
                    f"{self.folder}: another edge compile is building engines of this bundle; wait for it or stop it"
                ) from error
            self._clear()
            try:
                yield
            finally:
                self._clear()

    def find(self, key: EngineKey, *, any_options: bool = False) -> Found:
        """The engine of `key`, with `any_options` whatever it was built with; of several the newest.

        Reads the whole engine: one that was cut short or changed is not found.
        """
        why = ""
        for sidecar in self._sidecars(key.graph, key.place):
            info, flaw = self._judged(sidecar, key, any_options)
            if info is not None:
                return Found(info, "")
            why = why or f"{sidecar.with_suffix('.engine')}: not loaded: {flaw}"
        alone = (e for e in self._files(key.graph, key.place, ".engine") if not e.with_suffix(".json").exists())
        for engine in alone:
            why = why or f"{engine}: not loaded: nothing beside it says what it was built from"
        return Found(None, why)

    def stage(
        self,
        key: EngineKey,
        engine: bytes | memoryview,
        *,
        seconds: float,
        warnings: tuple[str, ...] = (),
        layers: Layers | None = None,
    ) -> Staged:
        """Write a new engine to the disk, where it does not count yet. `building` must be held until it is kept."""
        digest = hashlib.sha256(engine).hexdigest()
        info = EngineInfo(
            key=key,
            file=f"{key.stem(digest)}.engine",
            size=memoryview(engine).nbytes,
            sha256=digest,
            built=time.time(),
            seconds=round(seconds, 3),
            held=False,
            warnings=warnings,
            layers=layers or Layers(),
        )
        return Staged(info, self._written(self.path(info), engine))

    def keep(self, staged: Staged, *, held: bool) -> EngineInfo:
        """Let an engine count, and forget the others of its graph, backend and architecture.

        `held`: it was run and held to the bundle's gate; that is how to say so of one that counts already, too.
        """
        path, info = self.path(staged.info), msgspec.structs.replace(staged.info, held=held)
        if staged.path != path:
            self._replace(staged.path, path)
        sidecar = path.with_suffix(".json")
        self._replace(self._written(sidecar, msgspec.json.format(msgspec.json.encode(info), indent=1)), sidecar)
        self._forget(info.key, path.stem)
        return info

    def _written(self, path: Path, content: bytes | memoryview) -> Path:
        """Write `content` to the disk beside `path`; where."""
        part = self.folder / f".{path.name}.part"
        with naming(path), part.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        return part

    def _replace(self, part: Path, path: Path) -> None:
        part.replace(path)
        settle(self.folder)

    def _clear(self) -> None:
        for pattern in (".*.part", ".timing-*.cache.*"):  # the second: `write_whole`'s
            for left in self.folder.glob(pattern):
                left.unlink()

    def _forget(self, key: EngineKey, keep: str) -> None:
        """Remove every other engine of this graph for this backend and architecture, sidecars first."""
        for suffix in (".json", ".engine"):
            for path in self._files(key.graph, key.place, suffix):
                if path.stem != keep:
                    path.unlink()

    def _files(self, graph: str, place: Place, suffix: str) -> list[Path]:
        """Files of engines of a graph for a backend and architecture, of whatever version."""
        return sorted(self.folder.glob(f"{graph}-{place.backend}-*-{place.arch}-*{suffix}"))

    def _sidecars(self, graph: str, place: Place) -> list[Path]:
        """The newest first."""
        return sorted(self._files(graph, place, ".json"), key=lambda path: path.stat().st_mtime_ns, reverse=True)

    def _judged(self, sidecar: Path, key: EngineKey, any_options: bool) -> tuple[EngineInfo | None, str]:
        """The engine beside a sidecar, or what is wrong with it."""
        try:
            info = msgspec.json.decode(sidecar.read_bytes(), type=EngineInfo)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            return None, f"its sidecar is damaged ({error})"
        engine = self.folder / info.file
        differs = key.differs(info.key, options=not any_options)
        if info.format != FORMAT or info.file != f"{info.key.stem(info.sha256)}.engine" or engine.stem != sidecar.stem:
            return None, "its sidecar is another engine's"
        if differs:
            return None, differs
        if not engine.is_file():
            return None, "it is not there"
        size = engine.stat().st_size
        if size != info.size:
            return None, f"it has {size} bytes, and had {info.size} when it was built"
        if sha256(engine) != info.sha256:
            return None, "its sha256 is not what it was when it was built"
        return info, ""
