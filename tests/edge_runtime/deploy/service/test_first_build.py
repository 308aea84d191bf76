"""The engines of a robot that has none, over a fake of TensorRT: what is built, what is told while it is."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edge_runtime.bundle import Bundle, open_bundle
from edge_runtime.deploy.service.first_build import STEP_S, Lines, build_engines
from edge_runtime.deploy.service.notify import Notifier
from edge_runtime.engines.compile import compile_bundle
from edge_runtime.engines.key import BuildOptions
from edge_runtime.errors import BackendError
from tests.edge_runtime.engines import onnx_bundle
from tests.edge_runtime.engines.fakes import Machine, TensorRt
from tests.edge_runtime.fakes import robot


class Heard(Notifier):
    def __init__(self) -> None:
        super().__init__()
        self.told: list[str | float] = []

    def status(self, words: str) -> None:
        self.told.append(words)

    def extend(self, seconds: float) -> None:
        self.told.append(seconds)


@pytest.fixture
def heard() -> Iterator[Heard]:
    with closing(Heard()) as made:
        yield made


@pytest.fixture
def library(machine: Machine) -> TensorRt:
    return machine.install()


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return open_bundle(onnx_bundle.bundle(tmp_path))


ORIN = robot(policy={"backend": "trt"})


def test_engines_are_built_where_there_are_none_and_then_found(
    library: TensorRt, bundle: Bundle, heard: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="edge_runtime")
    build_engines(ORIN, bundle, heard)
    assert len(library.networks) == 3
    assert caplog.messages[0] == "engines are built for trt 10.3.0 on sm87, Orin: there is none of image"
    assert "building engines: image 100%" in caplog.messages
    assert "building engines: gate 100%" in caplog.messages
    assert caplog.messages[-1] == "engines: built, and held to the bundle's gate"
    assert STEP_S in heard.told
    build_engines(ORIN, bundle, heard)
    assert len(library.networks) == 3


def test_engines_that_a_person_built_otherwise_are_kept(library: TensorRt, bundle: Bundle, heard: Heard) -> None:
    compile_bundle(bundle.path, options=BuildOptions(optimisation_level=5))
    build_engines(ORIN, bundle, heard)
    assert len(library.networks) == 3


def test_an_engine_of_another_release_is_replaced_once_the_new_one_has_passed(
    library: TensorRt,
    bundle: Bundle,
    heard: Heard,
    machine: Machine,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="edge_runtime")
    compile_bundle(bundle.path)
    before = sorted(path.name for path in (bundle.path / "engines").glob("*.engine"))
    newer = machine.install("10.4.0")
    newer.wrong = {onnx_bundle.step(): onnx_bundle.step(times=2)}
    with pytest.raises(BackendError, match="its engines do not answer its probes as the gate asks"):
        build_engines(ORIN, bundle, heard)
    assert sorted(path.name for path in (bundle.path / "engines").glob("*.engine")) == before
    assert "its version is 10.3.0, not 10.4.0" in caplog.messages[0]
    newer.wrong = {}
    build_engines(ORIN, bundle, heard)
    assert all("-10.4.0-" in path.name for path in (bundle.path / "engines").glob("*.engine"))


def test_a_backend_without_engines_builds_none(bundle: Bundle, heard: Heard) -> None:
    build_engines(robot(), bundle, heard)
    assert not (bundle.path / "engines").exists()


def test_a_line_for_each_tenth_or_ten_seconds_and_time_for_each_step(heard: Heard) -> None:
    now_s = [0.0]
    lines = Lines(heard, lambda: now_s[0])
    for step in range(101):
        lines("step", step / 100)
        lines("step", step / 100)
        now_s[0] += 0.5
    assert [word for word in heard.told if isinstance(word, str)] == [
        f"building engines: step {tenth}0%".replace(" 00%", " 0%") for tenth in range(11)
    ]
    assert [word for word in heard.told if isinstance(word, float)] == [STEP_S] * 51


def test_a_build_that_gets_no_further_is_given_no_more_time(heard: Heard) -> None:
    now_s = [0.0]
    lines = Lines(heard, lambda: now_s[0])
    lines("step", 0.5)
    heard.told.clear()
    for _ in range(100):
        now_s[0] += 60.0
        lines("step", 0.5)
        lines("step", 0.4)
    assert heard.told == []
