"""The bundle as it was sealed, whether it fits, and engines for this machine and no other."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from edge_runtime.bundle import MANIFEST, open_bundle
from edge_runtime.config import Robot
from edge_runtime.doctor import policy
from edge_runtime.engines.key import BuildOptions, EngineKey, Place
from edge_runtime.engines.store import Store
from edge_runtime.errors import BackendError
from tests.edge_runtime import tiny_bundle
from tests.edge_runtime.fakes import robot

HERE = Place("trt", "10.3.0", "sm87", "Orin", "36.4.3")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return tiny_bundle.write(tmp_path / "bundle")


def with_bundle(bundle: Path, **changes: object) -> Robot:
    return msgspec.structs.replace(
        robot(), policy=msgspec.structs.replace(robot().policy, bundle=str(bundle), **changes)
    )


def test_a_bundle_that_is_none(tmp_path: Path) -> None:
    (only,) = policy.check(with_bundle(tmp_path))
    assert (only.name, only.level) == ("bundle", "bad")


def test_a_changed_bundle(bundle: Path) -> None:
    (bundle / MANIFEST).write_bytes((bundle / MANIFEST).read_bytes().replace(b"pass", b"fail"))
    (only,) = policy.check(with_bundle(bundle))
    assert only.level == "bad"
    assert "seal does not match" in only.found


def test_a_bundle_for_another_robot_is_said_to_be_whole_and_not_to_fit(bundle: Path) -> None:
    whole, fit, engines = policy.check(with_bundle(bundle))
    assert (whole.level, fit.level) == ("ok", "bad")
    assert (engines.level, engines.found) == ("ok", "backend ort needs none")


def test_engines_are_those_of_this_machine(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "load_api", lambda backend: None)
    monkeypatch.setattr(policy, "place_here", lambda api: HERE)
    opened = open_bundle(bundle)
    missing = policy.engines(opened, "trt")
    assert (missing.level, missing.remedy) == ("bad", f"edge compile {bundle} --backend trt")
    store = Store(bundle)

    def build(place: Place, held: bool) -> None:
        with store.building():
            for graph in opened.manifest.graphs:
                key = EngineKey(place, opened.manifest.seal, graph, BuildOptions())
                store.keep(store.stage(key, b"engine", seconds=1.0), held=held)

    build(msgspec.structs.replace(HERE, l4t="36.3.0"), held=True)
    other = policy.engines(opened, "trt")
    assert other.level == "bad"
    assert "l4t is 36.3.0, not 36.4.3" in other.found
    build(HERE, held=False)
    assert policy.engines(opened, "trt").level == "warn"
    build(HERE, held=True)
    assert policy.engines(opened, "trt").level == "ok"


def test_no_tensorrt_here(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(backend: str) -> None:
        raise BackendError("backend trt: no module: pip install tensorrt")

    monkeypatch.setattr(policy, "load_api", absent)
    found = policy.engines(open_bundle(bundle), "trt")
    assert (found.level, found.found) == ("bad", "backend trt: no module: pip install tensorrt")
