"""A program for `test_service.py`: `edge serve` of the robot.toml in a folder, around fake motors and cameras.

`package` in the folder is the bundle that came in the package, `trust.pem` the certificate that the robot trusts.

`python -m tests.edge_runtime.deploy.service.serve_fake FOLDER [FAULT]`; `bus.log` is as in `run_fake`. With the fault
`HANG` an inference never ends once there is a file `hang`.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from edge_runtime import app, cli
from edge_runtime.deploy.service import proof
from edge_runtime.deploy.service.service import Service
from edge_runtime.devices import bus_settings, camera_settings
from edge_runtime.policies.base import Floats, Observation
from edge_runtime.policies.graph_policy import GraphPolicy
from tests.edge_runtime.run_fake import LoggedBus, PacedCamera
from tests.edge_runtime.run_hung import wait_for_ever

TICKS = 40
"""In a row, instead of 1000."""
PATIENCE = 3
HANG = "hang"


def hang(folder: Path) -> None:
    """Inferences that never end once there is a file `hang` in `folder`."""
    well = GraphPolicy.infer

    def infer(policy: GraphPolicy, observation: Observation, chunk_out: Floats) -> None:
        if (folder / HANG).exists():
            (folder / "hanging").touch()
            wait_for_ever()
        well(policy, observation, chunk_out)

    type.__setattr__(GraphPolicy, "infer", infer)


def main(folder: Path, fault: str) -> int:
    """Exit code of the command."""
    proof.HEALTHY_TICKS, proof.PATIENCE = TICKS, PATIENCE
    vars(app)["make_bus"] = lambda bus: LoggedBus(bus_settings(bus), folder, fault)
    vars(app)["make_camera"] = lambda camera: PacedCamera(camera_settings(camera), lambda number: number)
    if fault == HANG:
        hang(folder)
    of = Service.of
    here = {"factory": folder / "package", "trust": folder / "trust.pem"}
    type.__setattr__(Service, "of", lambda file: replace(of(file), **here))
    return cli.main(["serve", str(folder / "robot.toml")])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), "".join(sys.argv[2:])))
