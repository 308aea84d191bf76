"""Where a bundle's engines are kept: `engines/` inside it, an engine beside a sidecar that says what it is.

The sidecar is written last, and only it makes an engine: whenever a build is killed, the engine that was there before
is still the one that is found, or the new one is. What does not match its sidecar is named and never given to TensorRT.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edge_runtime.bundle import ENGINES, sha256
from edge_runtime.engines.key import EngineKey, Place
from edge_runtime.errors import BackendError

FORMAT = 1
_LOCK = ".lock"
Judge = Callable[[Path], None]
"""Runs the engine in a file and raises an `EdgeError` unless it computes what its graph does."""


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


class Store:
    """The engines of the bundle at `bundle`."""

    def __init__(self, bundle: Path) -> None:
        self.folder = bundle / ENGINES

    def path(self, info: EngineInfo) -> Path:
        return self.folder / info.file

    @contextmanager
    def building(self) -> Iterator[None]:
        """Be the only one who builds engines of this bundle; clears what a killed build left half-written.

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
            for left in self.folder.glob(".*.part"):
                left.unlink()
            yield

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

    def commit(
        self,
        key: EngineKey,
        engine: bytes | memoryview,
        *,
        seconds: float,
        warnings: tuple[str, ...] = (),
        layers: Layers | None = None,
        judge: Judge | None = None,
    ) -> EngineInfo:
        """Keep a new engine, and forget the others of its graph, backend and architecture.

        `judge` is given its file before it counts, and can refuse it by raising; nothing has changed then.
        """
        digest = hashlib.sha256(engine).hexdigest()
        stem = key.stem(digest)
        info = EngineInfo(
            key=key,
            file=f"{stem}.engine",
            size=memoryview(engine).nbytes,
            sha256=digest,
            built=time.time(),
            seconds=round(seconds, 3),
            held=judge is not None,
            warnings=warnings,
            layers=layers or Layers(),
        )
        with self._written(self.path(info), engine) as part:
            if judge is not None:
                judge(part)
        with self._written(self.folder / f"{stem}.json", msgspec.json.format(msgspec.json.encode(info), indent=1)):
            pass
        self._forget(key, stem)
        return info

    @contextmanager
    def _written(self, path: Path, content: bytes | memoryview) -> Iterator[Path]:
        """Write `content` to disk beside `path`, yield where, and put it there if the block ends well."""
        part = self.folder / f".{path.name}.{os.getpid()}.part"
        try:
            with part.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            yield part
            part.replace(path)
            self._settle()
        finally:
            part.unlink(missing_ok=True)

    def _settle(self) -> None:
        """What was renamed in the folder is on the disk when this returns."""
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

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
