"""`edge deploy BUNDLE ROBOT`, the robot's end: whose it is, whether it fits, what it computes here; then it is current.

All of that happens beside the robot that runs, which does not notice. Nothing is current before the last check has
passed, and whatever ends this process earlier leaves at most a folder that the next deployment resumes or removes.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from edge_runtime import config, plugins
from edge_runtime.bundle import MANIFEST, Bundle, open_bundle, read_manifest
from edge_runtime.bundle_spec import Manifest
from edge_runtime.config import Robot
from edge_runtime.deploy.models.line import Line
from edge_runtime.deploy.models.linking import linked
from edge_runtime.deploy.models.messages import Copied, Offer, Outcome, Switched, Wanted
from edge_runtime.deploy.models.modest import be_modest
from edge_runtime.deploy.models.reach import PARTIAL
from edge_runtime.deploy.models.room import discard, prune, refuse_full
from edge_runtime.deploy.models.signature import refuse_unsigned
from edge_runtime.deploy.models.store import SIGNATURE, UMASK, Store, name_of, running, store_of
from edge_runtime.deploy.service.self_test import proven_policy
from edge_runtime.engines.api import BACKENDS
from edge_runtime.errors import BundleError, EdgeError
from edge_runtime.files import write_whole
from edge_runtime.fit import check_fit

WAIT_S = 600.0
"""So long the robot may take to change over, which it does between two tasks, and to prove itself."""
_LOOK_S = 0.5


def receive(file: Path, trust: Path, line: Line, wait_s: float = WAIT_S) -> None:
    """Take what is offered over `line` as the next bundle of the robot of the file `file`, and say what became of it.

    Raises `BundleError`, `BackendError` or `ConfigError`, one line, for one that is not signed by the key of `trust`,
    does not fit the robot, is not what was signed, or computes something else here than where it was made.
    """
    os.umask(UMASK)
    robot = config.load(file)
    be_modest(robot.control.cpu)
    store = store_of(robot)
    with store.receiving():
        offer = line.get(Offer)
        refuse_unsigned(offer.manifest, offer.signature, trust)
        with _written(offer.manifest) as manifest_file:
            manifest = read_manifest(manifest_file)
        name = name_of(manifest.seal)
        check_fit(running(robot, store.folder / name), manifest.spec)
        with _remembering(store, name):
            _prove(robot, _taken(store, manifest, offer, robot, line), line)
        store.switch(name)
        line.put(Switched())
        outcome = _awaited(store, name, wait_s, line.step)
        prune(store)
        line.put(outcome)


@contextmanager
def _written(manifest: bytes) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="edge-offer-") as folder:
        path = Path(folder, MANIFEST)
        path.write_bytes(manifest)
        yield path


@contextmanager
def _remembering(store: Store, name: str) -> Iterator[None]:
    """What refuses the bundle in the block is kept for `edge deploy --list`."""
    try:
        yield
    except EdgeError as error:
        store.refuse(name, str(error))
        raise


def _taken(store: Store, manifest: Manifest, offer: Offer, robot: Robot, line: Line) -> Bundle:
    """The bundle, once it is in the store, every byte of it as it was sealed."""
    name = name_of(manifest.seal)
    bundle = _whole(store, name)
    if bundle is not None:
        prune(store, keep=(name,))
        line.put(Wanted("", (), 0))
        line.get(Copied)
    else:
        incoming = store.incoming(name)
        _ask(store, manifest, offer, robot, line)
        line.get(Copied)
        line.step("check", 0.0)
        bundle = _unchanged(incoming)
        store.place(incoming)
    write_whole(store.folder / f"{name}{SIGNATURE}", offer.signature, settled=True)
    return replace(bundle, path=store.folder / name)


def _ask(store: Store, manifest: Manifest, offer: Offer, robot: Robot, line: Line) -> None:
    """Ask for what is not here yet, once it is known that there is room for it."""
    name = name_of(manifest.seal)
    incoming = store.incoming(name)
    incoming.mkdir(exist_ok=True)
    write_whole(incoming / MANIFEST, offer.manifest)
    lacking = linked(store, manifest, incoming)
    prune(store, keep=(name,))
    size = sum(manifest.files[file].size for file in lacking)
    there = sum(path.stat().st_size for file in lacking if (path := incoming / file).is_file())
    refuse_full(store.folder, size - there + _engines_size(robot, manifest))
    line.put(Wanted(str(incoming.resolve()), tuple(lacking), size))


def _unchanged(incoming: Path) -> Bundle:
    """What was received. What is not as it was signed goes as a whole: nothing of it is worth resuming."""
    for left in [path for path in incoming.rglob(PARTIAL) if path.is_dir()]:
        shutil.rmtree(left)
    try:
        return open_bundle(incoming)
    except BundleError:
        shutil.rmtree(incoming)
        raise


def _whole(store: Store, name: str) -> Bundle | None:
    """The bundle of that name, where it is there already.

    One that was damaged on this disk makes way for a new copy, unless it runs: that is a `BundleError`.
    """
    if not store.has(name):
        return None
    try:
        return open_bundle(store.folder / name)
    except BundleError as error:
        if name == store.current_name:
            raise BundleError(f"{error}; it runs, so first: edge deploy --back") from error
        discard(store, name)
        return None


def _engines_size(robot: Robot, manifest: Manifest) -> int:
    """What engines will take at most: as much as the graphs and their weights, which is nearly all of a bundle."""
    needs = plugins.file_name(robot.policy.backend) in BACKENDS
    return sum(entry.size for entry in manifest.files.values()) if needs else 0


def _prove(robot: Robot, bundle: Bundle, line: Line) -> None:
    """Build engines where the robot runs engines, and let the bundle answer its probes as it would in the robot."""
    backend = plugins.file_name(robot.policy.backend)
    if backend in BACKENDS:
        from edge_runtime.engines.compile import compile_bundle

        compile_bundle(bundle.path, backend, progress=lambda graph, part: line.step(f"engine {graph}", part))
    proven_policy(running(robot, bundle.path), bundle, lambda part: line.step("gate", part))


def _awaited(store: Store, name: str, wait_s: float, tell: Callable[[str, float], None]) -> Outcome:
    """What the service makes of the bundle's trial, looked at until it is known or `wait_s` are over."""
    start_s = time.monotonic()
    while (waited_s := time.monotonic() - start_s) < wait_s:
        outcome = _outcome(store, name)
        if outcome is not None:
            return outcome
        tell("trial", waited_s / wait_s)
        time.sleep(_LOOK_S)
    begun = store.record.trial is not None and store.record.trial.begun
    why = "it runs, and has not proved itself yet" if begun else "its service has not changed over to it"
    return Outcome(name, "open", f"{why} after {wait_s:.0f} s: it is busy with a task, or was not started")


def _outcome(store: Store, name: str) -> Outcome | None:
    record = store.record
    if record.trial is not None and record.trial.name == name:
        return None
    if store.current_name == name:
        return Outcome(name, "kept")
    return Outcome(name, "failed", record.failed.get(name, "another was deployed in its place"))
