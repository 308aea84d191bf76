"""`edge serve` as systemd and a person see it: datagrams, exit codes, files, what the bus was told."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge_runtime.bundle import open_bundle, seal
from edge_runtime.deploy.models.signature import sign
from edge_runtime.deploy.models.store import Store
from edge_runtime.deploy.update.keygen import keygen
from edge_runtime.errors import CommandError
from tests.edge_runtime import tiny_bundle
from tests.edge_runtime.deploy.service.serve_fake import HANG, TICKS
from tests.edge_runtime.engines import onnx_bundle
from tests.edge_runtime.process import Process
from tests.edge_runtime.run_fake import ABSENT
from tests.robot_toml import HEAD, JOINT

PATIENT = """
[black_box]
folder = ""

[deadlines]
frame_age_ms = 5000
inference_ms = {inference_ms}
chunk_age_ms = 5000
coast_ms = 20000
hung_ms = 60000
tick_ms = 5000
stuck_ms = 30000

"""
WATCHDOG_S = 0.4


def robot_toml(
    folder: Path, bundle: str = "bundles/current", inference_ms: float = 5000, rate_hz: int = 50, **policy: str
) -> None:
    """For the policy of `onnx_bundle`, with deadlines that a busy machine keeps."""
    head, _, buses = HEAD.partition("[deadlines]\nframe_age_ms = 200.0\n")
    chosen = "".join(f"{key} = {value}\n" for key, value in {"bundle": f'"{bundle}"', **policy}.items())
    changes = {
        'bundle = "bundle"\ninstruction = "pick up the red cup"\n': chosen,
        "bench arm": "arm",  # it must be an instruction of a few letters
        "rate_hz = 100": f"rate_hz = {rate_hz}",
    }
    for camera in tiny_bundle.SPEC.cameras:
        name = f'name = "{camera.name}"\n'
        changes[name] = f"{name}width = {camera.width}\nheight = {camera.height}\n"
    for old, new in changes.items():
        head = head.replace(old, new)
    joints = "".join(JOINT.format(name=name, id=i + 1) for i, name in enumerate("ab"))
    (folder / "robot.toml").write_text(head + PATIENT.format(inference_ms=inference_ms) + buses + joints)


def another(bundle: Path, folder: Path, spoilt: bool = False) -> Path:
    """The same policy under another seal; `spoilt`: it computes something else than its probes say."""
    made, manifest = Path(shutil.copytree(bundle, folder)), open_bundle(bundle).manifest
    if spoilt:
        (made / "step.onnx").write_bytes(onnx_bundle.step(times=2))
    source = msgspec.structs.replace(manifest.source, checkpoint_sha256="d" * 64)
    seal(made, msgspec.structs.replace(manifest, source=source))
    return made


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With chunks that last for seconds, so that a busy machine runs out of none."""
    spec = msgspec.structs.replace(tiny_bundle.SPEC, dt_s=2.0)
    return onnx_bundle.bundle(tmp_path_factory.mktemp("bundle"), spec=spec)


class Host:
    """A robot with a store, and systemd's end of the notify socket."""

    def __init__(self, folder: Path, bundle: Path) -> None:
        self.folder = folder
        self.store = Store(folder / "bundles")
        self.store.folder.mkdir()
        self.store.adopt(bundle)
        self.first = self.store.current_name
        self.processes: list[Process] = []
        self.told: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / "notify"))
        self._socket.settimeout(0.05)

    def start(self, fault: str = "") -> Process:
        environment = {
            "NOTIFY_SOCKET": str(self.folder / "notify"),
            "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6)),
            "STATE_DIRECTORY": str(self.folder / "state"),
            "RUNTIME_DIRECTORY": str(self.folder / "run"),
        }
        self.told = []
        program = "tests.edge_runtime.deploy.service.serve_fake"
        self.processes.append(Process(self.folder, fault, program=program, environment=environment))
        return self.processes[-1]

    def deploy(self, bundle: Path) -> str:
        """Put it on trial; its name."""
        incoming = self.store.folder / ".incoming-x"
        shutil.copytree(bundle, incoming)
        name = self.store.place(incoming)
        self.store.switch(name)
        return name

    def hear(self) -> bool:
        """Take what has been told; whether that was anything."""
        try:
            self.told.append(self._socket.recv(4096).decode())
        except TimeoutError:
            return False
        return True

    def until(self, word: str, seconds: float = 30.0) -> None:
        """Hear until `word` is said."""
        end = time.monotonic() + seconds
        while not any(said.startswith(word) for said in self.told):
            self._go_on(end)

    def wait(self) -> int:
        """Exit code of the last process; everything that it told is heard."""
        end = time.monotonic() + 60.0
        while self.hear() or self.processes[-1].process.poll() is None:
            assert time.monotonic() < end, self.told
        return self.processes[-1].wait()

    @property
    def mark(self) -> Path:
        return self.folder / "state" / "last-run"

    @property
    def healthy(self) -> Path:
        return self.folder / "run" / "healthy.json"

    def until_healthy(self, seconds: float = 30.0) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while not self.healthy.exists():
            self._go_on(end)
        found: dict[str, Any] = json.loads(self.healthy.read_text())
        return found

    def _go_on(self, end_s: float) -> None:
        process = self.processes[-1].process
        assert self.hear() or process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < end_s, self.told

    def close(self) -> None:
        for process in self.processes:
            process.kill()
        self._socket.close()


@pytest.fixture
def host(tmp_path: Path, bundle: Path) -> Iterator[Host]:
    robot_toml(tmp_path)
    made = Host(tmp_path, bundle)
    yield made
    made.close()


def test_a_service_from_start_to_stop(host: Host) -> None:
    (host.folder / "run").mkdir()
    host.healthy.write_text("of the run before")
    robot = host.start()
    host.until("READY=1")
    status = robot.say("status")
    assert (status["state"], status["torque"]) == ("DISARMED", "not taken by this run")
    ready = host.told.index("READY=1")
    assert f"STATUS=bundle {host.first}: self-test" in host.told[:ready]
    assert host.told[ready - 1].startswith(("STATUS=DISARMED", "EXTEND_TIMEOUT_USEC="))
    assert "WATCHDOG=1" not in host.told[:ready]
    found = host.until_healthy()
    assert found["healthy"] is True
    assert found["bundle"] == host.first
    assert found["ticks"] >= TICKS
    assert found["self_test"]["verdict"] == "pass"
    assert found["lateness_us"].keys() == {"p50", "p99", "max"}
    assert 0 < found["inference_ms"] == found["self_test"]["inference_ms"]
    host.until("WATCHDOG=1")
    robot.process.send_signal(signal.SIGTERM)
    assert host.wait() == 0, robot.errors
    assert host.told.index("STOPPING=1") > ready
    assert robot.calls == ["connect"]
    reports = host.folder / "state" / "reports"
    assert sorted(path.name for path in reports.iterdir()) == ["000001-healthy", "000002-run"]
    first, last = (json.loads((path / "report.json").read_text()) for path in sorted(reports.iterdir()))
    assert TICKS <= first["control"]["ticks"] < last["control"]["ticks"]
    assert first["machine"]["realtime"] == last["machine"]["realtime"]
    assert (reports / "000001-healthy" / "report.html").is_file()
    assert "self-test: pass: actions of 2 observations" in robot.errors


def test_with_autostart_it_begins_without_a_person(host: Host) -> None:
    robot_toml(host.folder, autostart="true", instruction='"go"')
    robot = host.start()
    robot.until("RUN", "task")
    assert "enable_torque" in robot.calls
    robot.process.send_signal(signal.SIGTERM)
    assert host.wait() == 0, robot.errors
    assert robot.calls[-1] == "safe_action"


def test_what_ended_badly_waits_for_a_person_in_spite_of_autostart(host: Host) -> None:
    robot_toml(host.folder, autostart="true", instruction='"go"')
    robot = host.start("raise")
    assert host.wait() not in (0, 2)
    assert robot.calls[-1] == "safe_action"
    shutil.rmtree(host.folder / "run", ignore_errors=True)  # as a reboot does
    robot = host.start()
    host.until("READY=1")
    host.until("WATCHDOG=1")
    assert robot.say("status")["state"] == "DISARMED"
    assert robot.calls == ["connect"]
    assert host.mark.read_text() == "crashed\n"
    robot.say("arm")
    robot.until("RUN", "task")
    robot.process.send_signal(signal.SIGTERM)
    assert host.wait() == 0, robot.errors
    assert "autostart: not after a run that ended badly" in robot.errors
    assert not host.mark.exists()
    host.start().until("RUN", "task")
    assert host.mark.read_text().startswith("runs ")


def test_after_an_inference_that_never_ends_the_next_start_waits_for_a_person(host: Host) -> None:
    robot_toml(host.folder, inference_ms=300, autostart="true", instruction='"go"')
    file = host.folder / "robot.toml"
    file.write_text(file.read_text().replace("coast_ms = 20000\nhung_ms = 60000", "coast_ms = 200\nhung_ms = 2000"))
    robot = host.start(HANG)
    host.until("READY=1")
    robot.until("RUN", "task")
    (host.folder / HANG).touch()
    assert host.wait() == 2
    assert robot.calls[-1] == "safe_action"
    assert "limit 2000 ms: it hangs, so the process ends" in robot.errors.splitlines()[-1]
    assert len(list((host.folder / "state" / "reports").glob("*/report.json"))) >= 1
    robot = host.start()
    assert robot.until("DISARMED")["torque"] == "not taken by this run"
    assert host.mark.read_text() == "crashed\n"


def test_a_policy_that_hangs_at_the_start_hears_that_it_is_to_end(host: Host) -> None:
    (host.folder / HANG).touch()
    robot = host.start(HANG)
    end = time.monotonic() + 30.0
    while not (host.folder / "hanging").exists() and time.monotonic() < end:
        host.hear()
    robot.process.send_signal(signal.SIGTERM)
    assert host.wait() == 0
    assert (host.folder / "hanging").exists()
    assert not (host.folder / "bus.log").exists()


def test_what_a_person_disarmed_no_deployment_arms(
    host: Host, bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    robot_toml(host.folder, autostart="true", instruction='"go"')
    robot = host.start()
    robot.until("RUN", "task")
    robot.say("estop")
    robot.until("HOLD")
    _until_done(robot, "disarm")
    host.deploy(another(bundle, tmp_path_factory.mktemp("other") / "b"))
    time.sleep(1.5)
    assert robot.say("status")["state"] == "DISARMED", "nor does it reset an e-stop"
    robot.say("reset")
    assert host.wait() == 0, robot.errors
    assert "another bundle is to run" in robot.errors
    robot = host.start()
    host.until("READY=1")
    host.until("WATCHDOG=1")
    assert robot.say("status")["state"] == "DISARMED"
    assert robot.calls == ["connect"]


def _until_done(robot: Process, command: str, seconds: float = 10.0) -> None:
    """Say it until the arm has come to rest."""
    end_s = time.monotonic() + seconds
    while True:
        try:
            robot.say(command)
            return
        except CommandError:
            assert time.monotonic() < end_s
            time.sleep(0.05)


def test_an_arm_without_power_is_waited_for(host: Host) -> None:
    robot = host.start(ABSENT)
    host.until("STATUS=waiting: bus arm: nobody answers")
    assert "READY=1" not in host.told
    (host.folder / "power").touch()
    host.until("READY=1")
    robot.process.send_signal(signal.SIGTERM)
    assert host.wait() == 0, robot.errors
    assert robot.errors.count("waiting: ") == 1


def test_asked_to_end_while_it_waits_for_an_arm_it_ends_well(
    host: Host, bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    name = host.deploy(another(bundle, tmp_path_factory.mktemp("other") / "b"))
    robot = host.start(ABSENT)
    host.until("STATUS=waiting")
    assert host.mark.exists()
    robot.process.send_signal(signal.SIGTERM)
    assert host.wait() == 0, robot.errors
    assert not host.mark.exists(), "the arm was not used"
    assert host.store.begin().name == name, "nor has the bundle had its try"


def test_while_it_waits_for_an_arm_it_makes_way_for_another_bundle(
    host: Host, bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    robot = host.start(ABSENT)
    host.until("STATUS=waiting")
    name = host.deploy(another(bundle, tmp_path_factory.mktemp("other") / "b"))
    assert host.wait() == 0, robot.errors
    assert robot.errors.splitlines()[-1].endswith("another bundle is to run")
    assert host.store.begin().name == name


def test_a_bundle_that_is_asked_to_end_before_it_has_proved_itself_has_not_had_its_try(
    host: Host, bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    robot_toml(host.folder, rate_hz=1)
    name = host.deploy(another(bundle, tmp_path_factory.mktemp("other") / "b"))
    robot = host.start()
    host.until("READY=1")
    robot.process.send_signal(signal.SIGTERM)
    assert host.wait() == 0, robot.errors
    assert host.store.begin().name == name
    assert host.store.record.trial is not None


needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl: apt-get install openssl")


@needs_openssl
def test_a_bundle_that_nobody_signed_gives_way_to_the_packages(
    host: Host, bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    key, certificate = keygen(host.folder / "keys")
    shutil.copy(certificate, host.folder / "trust.pem")
    robot = host.start()
    assert host.wait() == 2
    path = host.store.path(host.first)
    assert robot.errors.splitlines()[-1] == (
        f"edge: {path}: the bundle is not signed: edge deploy signs it with --key KEY.pem"
    )
    assert not (host.folder / "bus.log").exists()
    another(bundle, host.folder / "package")
    robot = host.start()
    host.until("READY=1")
    robot.process.send_signal(signal.SIGTERM)
    assert host.wait() == 0, robot.errors
    assert f"{path}: the bundle is not signed: edge deploy signs it with --key KEY.pem: the package's" in robot.errors
    assert host.store.current_name == open_bundle(host.folder / "package").manifest.seal[:12]
    assert host.store.record.trial is None
    host.store.switch(host.first)
    (host.store.folder / f"{host.first}.p7s").write_bytes(sign(path / "manifest.json", key, certificate))
    host.start()
    assert host.until_healthy()["bundle"] == host.first


def test_a_bundle_that_fails_its_self_test_moves_nothing_and_the_one_before_comes_back(
    host: Host, bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    name = host.deploy(another(bundle, tmp_path_factory.mktemp("spoilt") / "b", spoilt=True))
    robot = host.start()
    assert host.wait() == 2
    said = robot.errors.splitlines()[-1]
    assert said.startswith(f"edge: {host.store.path(name)}: self-test failed: on this machine it does not answer")
    assert "READY=1" not in host.told
    assert not (host.folder / "bus.log").exists()
    robot = host.start()
    host.until("READY=1")
    robot.process.send_signal(signal.SIGTERM)
    assert host.wait() == 0
    assert f"back to the previous bundle {host.first}: {name}: " in robot.errors
    assert "self-test failed" in host.store.record.failed[name]


def test_a_hung_control_thread_gives_no_sign_of_life(host: Host) -> None:
    robot = host.start("spin")
    host.until("READY=1")
    robot.say("arm")
    end = time.monotonic() + 20.0
    heard = time.monotonic()
    while time.monotonic() < end and time.monotonic() - heard < 3 * WATCHDOG_S:
        if host.hear() and host.told[-1] == "WATCHDOG=1":
            heard = time.monotonic()
    assert time.monotonic() - heard >= 3 * WATCHDOG_S
    assert "WATCHDOG=1" in host.told
    assert robot.process.poll() is None  # it is systemd that ends it, and then does the safe action


def test_another_bundle_is_run_between_two_episodes(
    host: Host, bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    robot = host.start()
    robot.until("DISARMED")
    robot.say("arm")
    robot.until("READY")
    robot.say("task", instruction="go")
    robot.until("RUN", "task")
    name = host.deploy(another(bundle, tmp_path_factory.mktemp("other") / "b"))
    time.sleep(1.5)
    assert robot.say("status")["state"] in ("RUN", "COAST")
    robot.say("done")
    assert host.wait() == 0, robot.errors
    assert "another bundle is to run" in robot.errors
    assert "STOPPING=1" in host.told
    assert robot.calls == ["connect", "enable_torque", "safe_action"]
    host.healthy.unlink(missing_ok=True)  # as systemd does with the whole folder
    host.start()
    assert host.until_healthy()["bundle"] == name
    assert host.store.record.trial is None
    assert host.store.record.previous == host.first


def test_no_new_bundle_resets_what_waits_for_a_person(
    host: Host, bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    robot = host.start()
    robot.until("DISARMED")
    robot.say("arm")
    robot.until("READY")
    robot.say("estop")
    robot.until("HOLD")
    host.deploy(another(bundle, tmp_path_factory.mktemp("other") / "b"))
    time.sleep(1.5)
    assert robot.say("status")["state"] == "HOLD"
    robot.say("reset")
    assert host.wait() == 0, robot.errors
    assert "another bundle is to run" in robot.errors


def test_a_bundle_on_trial_that_is_too_slow_makes_way(
    host: Host, bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    robot_toml(host.folder, inference_ms=1e-5)
    host.deploy(another(bundle, tmp_path_factory.mktemp("slow") / "b"))
    robot = host.start()
    assert host.wait() == 2
    assert "deadlines.inference_ms is 1e-05: the bundle before it comes back" in robot.errors.splitlines()[-1]
    assert host.store.begin().name == host.first
    assert not host.healthy.exists()


def test_asked_to_end_before_anything_is_connected_it_ends_well(host: Host) -> None:
    robot = host.start()
    host.until("STATUS=bundle")
    robot.process.send_signal(signal.SIGTERM)
    assert host.wait() == 0, robot.errors
    assert host.told[-1] == "STOPPING=1"


def test_no_bundle_and_no_store(host: Host) -> None:
    shutil.rmtree(host.store.folder)
    robot = host.start()
    assert host.wait() == 2
    assert "there is no bundle on this robot yet: edge deploy" in robot.errors
    robot_toml(host.folder, bundle="bundle")
    robot = host.start()
    assert host.wait() == 2
    assert "policy.bundle: is" in robot.errors.splitlines()[-1]
