"""The bundle as it was sealed, whether it fits, and engines for this machine and no other."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from edge_runtime.bundle import MANIFEST, Bundle, open_bundle
from edge_runtime.bundle_spec import PoseSpec, PoseVector, VectorSpec
from edge_runtime.config import Robot
from edge_runtime.doctor import one_node, policy
from edge_runtime.doctor.check import Check
from edge_runtime.engines.key import BuildOptions, EngineKey, Place
from edge_runtime.engines.store import Store
from edge_runtime.errors import BackendError
from tests.edge_runtime import fakes, sim_arm, tiny_bundle
from tests.edge_runtime.backends import fake_ort_cuda
from tests.edge_runtime.backends.fake_ort_cuda import Library
from tests.edge_runtime.fakes import robot

library = fake_ort_cuda.library

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


POSED = msgspec.structs.replace(
    fakes.spec(("x", "y", "z", "roll", "pitch", "yaw", "gripper"), ("base",), units=""),
    state=VectorSpec((), (), 0),
    control_mode="delta",
    pose=PoseSpec("base", PoseVector("euler_xyz", (0.0,), (1.0,))),
)


def posed(bundle: Path, arm: Robot, **shape: str) -> Check:
    """What is said of a policy in end-effector space, of `arm` with another `shape`."""
    kinematics = msgspec.structs.replace(arm.kinematics, **shape)
    manifest = msgspec.structs.replace(open_bundle(bundle).manifest, spec=POSED)
    one = msgspec.structs.replace(arm, cameras=arm.cameras[:1], kinematics=kinematics)
    return policy.fit(one, Bundle(bundle, manifest))


def test_the_arms_shape_must_serve_a_policys_poses(bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("pinocchio", reason="kinematics needs pin: pip install '.[kinematics]'")
    arm = sim_arm.robot(tmp_path)
    (tmp_path / "broken.urdf").write_text("<robot")
    assert posed(bundle, arm) == Check("fit", "ok", "cameras are the policy's, and the arm's shape serves its poses")
    (bus,) = arm.buses
    far = msgspec.structs.replace(bus.joints[1], position=(-3.1, 3.1))
    wide = msgspec.structs.replace(bus, joints=(bus.joints[0], far, *bus.joints[2:]))
    for found, says in (
        (posed(bundle, arm, urdf=str(tmp_path / "none.urdf")), "none.urdf"),
        (posed(bundle, arm, urdf=str(tmp_path / "broken.urdf")), "broken.urdf"),
        (posed(bundle, arm, tip="elbow"), "elbow"),
        (posed(bundle, arm, gripper="shoulder_pan"), "no gripper"),
        (posed(bundle, msgspec.structs.replace(arm, buses=(wide,))), "narrow it"),
    ):
        assert (found.name, found.level) == ("fit", "bad")
        assert says in found.found


def test_without_the_library_for_poses(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pinocchio", None)
    for name in ("edge_runtime.pose_space", "edge_runtime.kinematics"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    found = posed(bundle, sim_arm.robot(tmp_path))
    assert found.level == "bad"
    assert "pip install '.[kinematics]'" in found.found


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


@pytest.mark.parametrize("backend", ["trt", "trt-rtx", "ort-cuda"])
def test_without_a_gpu_one_line_says_so_and_no_engine_is_asked_for(
    backend: str, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent() -> None:
        raise BackendError("no GPU can be reached from here: no driver")

    monkeypatch.setattr(policy, "gpu", absent)
    monkeypatch.setattr(policy, "load_api", lambda backend: None)
    *_, last = found = list(policy.check(with_bundle(bundle, backend=backend)))
    assert [check.name for check in found] == ["bundle", "fit", "gpu"]
    assert last == Check("gpu", "bad", f"backend {backend}: no GPU can be reached from here: no driver")


def test_the_gpu_is_named(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "gpu", lambda: SimpleNamespace(name="Orin", arch="sm87"))
    monkeypatch.setattr(one_node, "load", lambda backend: None)
    monkeypatch.setattr(policy, "load_api", lambda backend: None)
    monkeypatch.setattr(policy, "place_here", lambda api: HERE)
    for backend, engines in (("ort-cuda", "ok"), ("trt", "bad")):
        *_, here, last = policy.check(with_bundle(bundle, backend=backend))
        assert (here, last.level) == (Check("gpu", "ok", "Orin, sm87"), engines)


def test_no_tensorrt_here(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(backend: str) -> None:
        raise BackendError("backend trt: no module: pip install tensorrt")

    monkeypatch.setattr(policy, "load_api", absent)
    *_, only = found = list(policy.check(with_bundle(bundle, backend="trt")))
    assert [check.name for check in found] == ["bundle", "fit", "gpu"]
    assert only == Check("gpu", "bad", "backend trt: no module: pip install tensorrt")


def test_onnx_runtime_runs_a_graph_of_one_node() -> None:
    assert policy.onnx_runtime("ort") == Check("engines", "ok", "backend ort needs none")


def test_onnx_runtime_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    found = policy.onnx_runtime("ort")
    assert (found.level, found.found.partition(": ")[0]) == ("bad", "backend ort")


def test_a_cuda_provider(library: Library) -> None:
    assert policy.onnx_runtime("ort_cuda") == Check("engines", "ok", "backend ort-cuda needs none")
    (session,) = library.sessions
    assert not session.on_the_cpu


def test_a_cuda_provider_that_cannot_be_loaded_is_found_out(library: Library) -> None:
    """That it is among the providers of which ONNX Runtime says that they are available means nothing."""
    library.provider.unlink()
    library.provider.write_text("no library")
    found = policy.onnx_runtime("ort_cuda")
    assert found.level == "bad"
    assert found.found.startswith("backend ort-cuda: onnxruntime-gpu 1.31.1 cannot load its CUDA provider: ")


def test_what_a_session_is_refused_for_is_not_said_of_a_file_that_is_gone(library: Library) -> None:
    library.refusal = RuntimeError("CUDA failure 35: CUDA driver version is insufficient")
    found = policy.onnx_runtime("ort_cuda")
    assert found.found.startswith("a graph of one node: ONNX Runtime 1.31.1 refuses it: CUDA failure 35")


def test_onnx_runtime_without_cuda_is_no_use(library: Library) -> None:
    library.module.get_available_providers = lambda: ["CPUExecutionProvider"]
    found = policy.onnx_runtime("ort_cuda")
    assert found.level == "bad"
    assert "has no CUDA provider: pip uninstall onnxruntime" in found.found
