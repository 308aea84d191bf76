"""The wheelhouse is what the locks say, to the byte; the locks hold what a robot's plug-ins import."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

import pytest

from edge_runtime.deploy.package import wheels
from edge_runtime.deploy.systems import SYSTEMS, system
from edge_runtime.errors import EdgeError
from tests.edge_runtime.deploy.package.wheelhouse import TINY, lock, write
from tests.imports import imports, modules

AMD64 = SYSTEMS["debian12-amd64"]
DISTRIBUTIONS = {
    "cv2": "opencv-python-headless",
    "serial": "pyserial",
    "can": "python-can",
    "pinocchio": "pin",
    "cuda": "cuda-bindings",
}
"""Import names that are not their distribution's."""
ELSEWHERE = {"tensorrt", "tensorrt_rtx_bindings", "tomlkit"}
"""JetPack's own, refused in robot.toml (test_package), and for making packages."""


@functools.cache
def imported() -> set[str]:
    """Distributions of everything foreign that drivers and runtime import, inside functions too."""
    ours = {module for package in ("drivers", "edge_runtime", "calibration") for module, _ in modules(package)}
    found = {
        name.partition(".")[0]
        for package in ("drivers", "edge_runtime")
        for _, path in modules(package)
        for _, name in imports(path, ours)
    }
    python = {*sys.stdlib_module_names, "tomllib"}
    own = {"drivers", "edge_runtime", "calibration", "export", "benchmarks"}
    return {DISTRIBUTIONS.get(name, name) for name in found - python - own - ELSEWHERE}


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_lock_holds_all_that_a_robot_imports(name: str) -> None:
    locked = {pin.name for pin in wheels.pins(SYSTEMS[name], kinematics=True)}
    newer = {"tomli"} if SYSTEMS[name].python != "3.10" else set()
    no_gpu = set() if SYSTEMS[name].jetpack else {"cuda-bindings"}
    assert imported() - newer - no_gpu - locked == set()
    assert "pin" not in {pin.name for pin in wheels.pins(SYSTEMS[name], kinematics=False)}


@pytest.mark.parametrize("kinematics", [False, True])
@pytest.mark.parametrize("name", SYSTEMS)
def test_a_lock_names_each_wheel_once(name: str, kinematics: bool) -> None:
    found = wheels.pins(SYSTEMS[name], kinematics=kinematics)
    assert len({pin.name for pin in found}) == len(found) == len({pin.sha256 for pin in found}) > 20


def test_platform_tags_end_at_the_glibc_of_the_system() -> None:
    tags = wheels.platforms(system("jetpack6-orin"))
    assert tags[0] == "manylinux_2_35_aarch64"
    assert tags[-2:] == ("manylinux_2_17_aarch64", "manylinux2014_aarch64")


def test_pip_fetches_what_is_locked_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = write(tmp_path / "index")
    lock(tmp_path / "locks", monkeypatch, wheel)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    house = tmp_path / "house"
    wheels.fetch(AMD64, house, kinematics=False)
    assert [w.read_bytes() for w in wheels.wheelhouse(AMD64, house, kinematics=False)] == [wheel.read_bytes()]
    write(tmp_path / "index", {**TINY, "tiny/worse.py": b""})
    with pytest.raises(EdgeError, match=r"^pip download: ERROR: ") as caught:
        wheels.fetch(AMD64, tmp_path / "other", kinematics=False)
    assert "\n" not in str(caught.value)
    assert "reachable" not in str(caught.value)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    with pytest.raises(EdgeError, match=r"No matching distribution found .*: the package index may not be reachable"):
        wheels.fetch(AMD64, tmp_path / "other", kinematics=False)
    assert not list((tmp_path / "other").glob("*.whl"))


def test_a_wheel_that_is_missing_or_another_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = write(tmp_path / "house")
    lock(tmp_path / "locks", monkeypatch, wheel)
    again = r"edge package wheels --target debian12-amd64 -o \S+house$"
    write(tmp_path / "house", {"tiny.py": b"another"})
    with pytest.raises(EdgeError, match=rf"tiny 1\.0 is damaged: fetch it again: {again}"):
        wheels.wheelhouse(AMD64, tmp_path / "house", kinematics=False)
    wheel.unlink()
    with pytest.raises(EdgeError, match=rf"tiny 1\.0 is not there: {again}"):
        wheels.wheelhouse(AMD64, tmp_path / "house", kinematics=False)


@pytest.mark.parametrize("tags", ["cp311-cp311-manylinux_2_17_aarch64", "cp310-cp310-manylinux_2_17_x86_64"])
def test_the_wheels_of_another_target_are_told_from_damaged_ones(
    tags: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock(
        tmp_path / "locks", monkeypatch, write(tmp_path / "right", name="tiny-1.0-cp311-abi3-manylinux2014_x86_64.whl")
    )
    write(tmp_path / "house", {"tiny.py": b"another"}, name=f"tiny-1.0-{tags}.whl")
    with pytest.raises(EdgeError, match=r"another target's .*: edge package wheels --target debian12-amd64 -o \S+$"):
        wheels.wheelhouse(AMD64, tmp_path / "house", kinematics=False)
    write(tmp_path / "house", {"tiny.py": b"another"}, name="tiny-1.0-cp39-abi3-manylinux2014_x86_64.whl")
    with pytest.raises(EdgeError, match="is damaged"):
        wheels.wheelhouse(AMD64, tmp_path / "house", kinematics=False)


def test_wheels_do_not_go_into_a_file(tmp_path: Path) -> None:
    (tmp_path / "house").write_text("mine")
    with pytest.raises(EdgeError, match=r"house: is a file, and wheels go into a folder"):
        wheels.fetch(AMD64, tmp_path / "house", kinematics=False)


def test_jetpack_6_is_given_what_its_driver_can_do() -> None:
    """A driver for CUDA 12 has not all that cuda-bindings 13 calls; before 12.9.1 calls held the interpreter lock."""
    (locked,) = (pin for pin in wheels.pins(system("jetpack6-orin"), kinematics=False) if pin.name == "cuda-bindings")
    assert (12, 9, 1) <= tuple(int(part) for part in locked.version.split(".")) < (13,)


def test_the_script_that_writes_the_locks_is_python() -> None:
    script = Path(__file__).parents[4] / ".ci/lock-wheels"
    subprocess.run([sys.executable, "-c", f"compile(open({str(script)!r}).read(), 'x', 'exec')"], check=True)
