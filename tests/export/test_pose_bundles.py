"""From a checkpoint in end-effector space to joint positions: its bundle on the simulated arm, as in `edge run`."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge_runtime.action_space import action_space
from edge_runtime.chunk import Chunk
from edge_runtime.fit import check_fit
from edge_runtime.policies.base import Observation
from edge_runtime.policy import open_policy
from export.layouts.options import Options
from export.pipeline import export_checkpoint
from tests.edge_runtime.sim_arm import robot
from tests.export import tiny_prismatic, tiny_rt2
from tests.export.edits import edit_json

pytest.importorskip("pinocchio", reason="kinematics needs pin: pip install '.[kinematics]'")

MOST = [0.01, 0.01, 0.01, 0.02, 0.02, 0.02, 1.0]


def openvla(folder: Path) -> Path:
    """One of BridgeData, with deltas of at most a centimetre."""
    made = tiny_prismatic.saved(folder, tiny_prismatic.openvla())
    limits = {"q01": [*(-most for most in MOST[:6]), 0.0], "q99": MOST, "mask": [True] * 6 + [False]}
    edit_json(made / "dataset_statistics.json", lambda told: (told.clear(), told.update(bridge={"action": limits})))
    return made


def rt2(folder: Path) -> Path:
    pose = {"frame": "base", "action": {"rotation": "euler_xyz", "closed": [0.0], "open": [1.0]}}
    numbers = {"low": [*(-most for most in MOST[:6]), 0.0], "high": MOST, "names": None}
    return tiny_rt2.write(folder, **numbers, pose=pose, cameras={"image": [480, 640]})


@pytest.mark.parametrize("make", [openvla, rt2])
def test_a_bundle_in_end_effector_space_moves_the_simulated_arm(tmp_path: Path, make: object) -> None:
    checkpoint = make(tmp_path / "checkpoint")  # type: ignore[operator]
    export_checkpoint(checkpoint, tmp_path / "bundle", Options(cameras={"image": (480, 640)}))
    policy = open_policy(tmp_path / "bundle")
    arm = robot(tmp_path)
    eye = msgspec.structs.replace(arm.cameras[0], name="image")
    arm = msgspec.structs.replace(arm, cameras=(eye,))
    check_fit(arm, policy.spec)
    space = action_space(arm, policy.spec)
    at = np.array([joint.start_rad for joint in arm.joints])
    state = np.zeros(policy.spec.state.dims, np.float32)
    space.observe(at, state)
    actions = np.zeros((policy.spec.horizon, policy.spec.action.dims), np.float32)
    frame = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    policy.infer(Observation({"image": frame}, state, policy.prompt("pick up the cup")), actions)
    chunk = Chunk(space.rows, len(at), round(policy.spec.dt_s * 1e9))
    chunk.ready_ns = chunk.dt_ns
    space.plan(actions, at, chunk)
    assert chunk.rests
    assert chunk.start_ns == chunk.ready_ns
    assert chunk.rows[0].tolist() == at.tolist()
    assert 1e-4 < np.abs(chunk.rows[-1] - at)[:5].max() < 0.3
    assert space.counts() == {"poses not reached": 0}
