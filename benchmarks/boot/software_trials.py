"""What is tried with the robot's software: another bundle, good and bad, the package again, and gone."""

from __future__ import annotations

import time

from benchmarks.boot.installed import PACKAGE
from benchmarks.boot.laptop import DEPLOY_S, Deployment, Laptop
from benchmarks.boot.results import Wrong, until
from benchmarks.boot.robot import Robot
from edge_runtime.deploy import places


def refuses_a_foreign_bundle(robot: Robot, laptop: Laptop) -> str:
    robot.begin_anew()
    with laptop.deploy(robot.box, laptop.bundle("foreign-made")[0], foreign=True) as deployment:
        done = deployment.done()
    if done.code != 2 or len(_bundles(robot)) != 1:
        raise Wrong(f"exit code {done.code}, {_bundles(robot)}: {done.output}")
    return done.output


def switches_between_tasks(robot: Robot, laptop: Laptop) -> str:
    """A bundle that is good, deployed while the arm is at a task."""
    robot.work()
    bundle, name = laptop.bundle("better")
    pid, began_s = robot.service()["MainPID"], time.monotonic()
    with laptop.deploy(robot.box, bundle) as deployment:
        copied_s = _until_current(robot, name, deployment)
        time.sleep(2.0)
        if robot.state() != "RUN (task)" or robot.service()["MainPID"] != pid:
            raise Wrong(f"the task did not go on: {robot.state()}")
        done_ns = time.monotonic_ns()
        robot.say("done")
        ready_s = robot.restarted_s(int(pid), done_ns)
        done = deployment.done()
    seen = f"current after {copied_s:.1f} s, the task went on; READY with it {ready_s:.1f} s after that; edge deploy: "
    seen += f"{done.output} ({time.monotonic() - began_s:.0f} s)"
    if done.code or _current(robot) != name:
        raise Wrong(seen)
    return seen


def goes_back(robot: Robot, laptop: Laptop) -> str:
    """A bundle that passes every check and takes its process down soon after."""
    robot.begin_anew()
    bundle, name = laptop.bundle("worse")
    before, pid = _current(robot), robot.service()["MainPID"]
    with laptop.deploy(robot.box, bundle) as deployment:
        _until_current(robot, name, deployment)
        robot.restarted_s(int(pid), time.monotonic_ns())
        failed, since_ns = robot.kill("SEGV")
        ready_s = robot.restarted_s(failed, since_ns)
        done = deployment.done()
    seen = f"{before} again, READY {ready_s:.1f} s after the failure; edge deploy: exit code {done.code}, {done.output}"
    if done.code != 1 or _current(robot) != before:
        raise Wrong(f"{_current(robot)}: {seen}")
    return seen


def is_upgraded(robot: Robot) -> str:
    """The same package again, while the arm has torque."""
    robot.arm()
    pid, since_ns = int(robot.service()["MainPID"]), time.monotonic_ns()
    bundles = _bundles(robot)
    robot.box.sure("dpkg", "--install", PACKAGE)
    safe_s = robot.safe_after_s(since_ns)
    ready_s = robot.restarted_s(pid, since_ns)
    seen = f"safe after {safe_s:.1f} s, READY after {ready_s:.1f} s, {robot.state()}, bundles {_bundles(robot)}"
    if robot.state() != "DISARMED" or _bundles(robot) != bundles:
        raise Wrong(seen)
    return seen


def is_removed(robot: Robot) -> str:
    robot.arm()
    bundles, since_ns = _bundles(robot), time.monotonic_ns()
    robot.box.sure("apt-get", "remove", "--yes", "edge-runtime")
    safe_s = robot.safe_after_s(since_ns)
    left = robot.box.run("find", str(places.PREFIX), "-type", "f", "-not", "-name", "edge_hold_lock.*").output
    seen = f"safe after {safe_s:.1f} s, bundles {_bundles(robot)}, left in {places.PREFIX}: {left or 'nothing'}"
    if _bundles(robot) != bundles or not bundles or left:
        raise Wrong(seen)
    return seen


def _until_current(robot: Robot, name: str, deployment: Deployment) -> float:
    """Until the bundle of that name is the robot's; how long that took, in seconds."""

    def current() -> bool:
        if deployment.over:
            raise Wrong(f"edge deploy: {deployment.done().output}")
        return _current(robot) == name

    return until(current, DEPLOY_S, lambda: f"{_current(robot)} is current, not {name}")


def _current(robot: Robot) -> str:
    return robot.box.path(places.CURRENT).readlink().name


def _bundles(robot: Robot) -> list[str]:
    folder = robot.box.path(places.BUNDLES)
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
