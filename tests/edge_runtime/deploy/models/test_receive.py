"""The robot's end of `edge deploy`, with a sender that is right, or is not: what comes to run, and what is refused."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from edge_runtime.bundle import MANIFEST, open_bundle, seal
from edge_runtime.deploy.models import receive, shelf, signature
from edge_runtime.deploy.models.messages import Copied, M, Message, Offer, Outcome, Step, Switched, Wanted
from edge_runtime.deploy.models.store import Store
from edge_runtime.deploy.update.keygen import keygen
from edge_runtime.engines import compile
from edge_runtime.errors import BackendError, BundleError, ConfigError, EdgeError
from tests.edge_runtime.deploy.service.test_service import another, robot_toml
from tests.edge_runtime.engines import onnx_bundle

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl: apt-get install openssl")
Sent = Callable[[Path], None]


class Sender:
    """Offers a bundle and copies what is asked for; `spoil` is called with the folder that it was copied into."""

    def __init__(self, bundle: Path, signed: bytes, spoil: Sent | None = None) -> None:
        self.bundle = bundle
        self.offer = Offer((bundle / MANIFEST).read_bytes(), signed)
        self.spoil = spoil
        self.heard: list[Message] = []

    def get(self, *kinds: type[M]) -> M:
        if kinds == (Offer,):
            return self.offer  # type: ignore[return-value]
        wanted = self.asked
        for name in wanted.files:
            (Path(wanted.folder) / name).parent.mkdir(exist_ok=True)
            shutil.copy(self.bundle / name, Path(wanted.folder) / name)
        if self.spoil is not None:
            self.spoil(Path(wanted.folder))
        return Copied()  # type: ignore[return-value]

    def put(self, message: Message) -> None:
        self.heard.append(message)

    def step(self, what: str, part: float) -> None:
        self.put(Step(what, part))

    @property
    def asked(self) -> Wanted:
        (wanted,) = (message for message in self.heard if isinstance(message, Wanted))
        return wanted


class Host:
    """A robot whose first bundle came in its package, with the key that it trusts."""

    def __init__(self, folder: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        robot_toml(folder)
        self.key, self.trust = keygen(folder / "keys")
        self.store = Store(folder / "bundles")
        self.store.adopt(bundle)
        self.first = self.store.current_name
        self.modest: list[int] = []
        monkeypatch.setattr(receive, "be_modest", self.modest.append)
        monkeypatch.setattr(os, "umask", lambda mask: mask)

    def sender(self, bundle: Path, spoil: Sent | None = None) -> Sender:
        return Sender(bundle, signature.sign(bundle / MANIFEST, self.key, self.trust), spoil)

    def take(self, sender: Sender) -> None:
        """Take what is offered, and wait for nothing."""
        receive.receive(self.folder / "robot.toml", self.trust, sender, wait_s=0.0)  # type: ignore[arg-type]

    def refuses(self, sender: Sender, why: str, error: type[EdgeError] = BundleError) -> None:
        """It does, with that reason, and runs what it ran."""
        with pytest.raises(error, match=why):
            self.take(sender)
        assert self.store.current_name == self.first
        assert self.store.record.trial is None
        assert not any(isinstance(message, Switched) for message in sender.heard)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return onnx_bundle.bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def host(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, bundle, monkeypatch)


@pytest.fixture
def new(bundle: Path, tmp_path: Path) -> Path:
    return another(bundle, tmp_path / "new")


def name_of(bundle: Path) -> str:
    return open_bundle(bundle).manifest.seal[:12]


def test_a_good_bundle_is_on_trial_and_its_signature_is_beside_it(host: Host, new: Path) -> None:
    sender = host.sender(new)
    host.take(sender)
    name = name_of(new)
    assert host.store.current_name == name
    assert host.store.record.trial is not None
    assert host.store.record.previous == host.first
    assert (host.store.folder / f"{name}.p7s").read_bytes() == sender.offer.signature
    *_, switched, outcome = sender.heard
    assert switched == Switched()
    assert isinstance(outcome, Outcome)
    assert outcome.state == "open"
    assert "not changed over" in outcome.why
    assert host.modest == [-1], "beside a robot that runs, from the first byte on"


def test_what_another_bundle_has_is_not_asked_for(host: Host, new: Path) -> None:
    sender = host.sender(new)
    host.take(sender)
    assert sender.asked.files == (), "only the manifest is another one"
    assert all(file.stat().st_nlink == 2 for file in (host.store.folder / name_of(new)).glob("*.onnx"))


def test_a_file_that_was_damaged_on_the_robots_disk_is_copied_and_does_not_spread(host: Host, new: Path) -> None:
    (host.store.folder / host.first / "image.onnx").write_bytes(b"rot")
    sender = host.sender(new)
    host.take(sender)
    assert sender.asked.files == ("image.onnx",)
    assert sender.asked.size == (new / "image.onnx").stat().st_size
    open_bundle(host.store.folder / name_of(new))


def test_unsigned_and_foreign_signed_bundles_are_refused_before_anything_is_copied(host: Host, new: Path) -> None:
    key, certificate = keygen(host.folder / "foreign")
    foreign = signature.sign(new / MANIFEST, key, certificate)
    for signed, why in ((b"", "not signed"), (foreign, "a key that .*cert.pem does not vouch for")):
        sender = Sender(new, signed)
        host.refuses(sender, why)
        assert sender.heard == []
    assert [p.name for p in host.store.folder.iterdir() if p.name.startswith(".incoming")] == []


def test_a_manifest_that_is_not_the_signed_one_is_refused(host: Host, bundle: Path, new: Path) -> None:
    sender = Sender(new, signature.sign(bundle / MANIFEST, host.key, host.trust))
    host.refuses(sender, "signature is not one of this manifest")


@pytest.mark.parametrize("change", ["changed", "missing", "more", "link"])
def test_files_that_are_not_what_was_signed_are_refused_and_go(host: Host, new: Path, change: str) -> None:
    def spoil(folder: Path) -> None:
        file = folder / "step.onnx"
        content = file.read_bytes()
        file.unlink()
        if change == "changed":
            file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        elif change == "more":
            file.write_bytes(content)
            (folder / "more").touch()
        elif change == "link":
            file.symlink_to("/etc/passwd")

    host.refuses(host.sender(new, spoil), "sha256 is not|not there as a plain file|not in the manifest")
    assert not host.store.incoming(name_of(new)).exists()


def test_a_bundle_that_computes_something_else_here_is_refused_and_remembered(
    host: Host, bundle: Path, tmp_path: Path
) -> None:
    spoilt = another(bundle, tmp_path / "spoilt", spoilt=True)
    host.refuses(host.sender(spoilt), "gate")
    assert "gate" in host.store.record.failed[name_of(spoilt)]
    assert f"failed: {name_of(spoilt)}: " in shelf.text(shelf.facts(host.store), "robot")


def test_a_bundle_for_another_robot_is_refused_before_it_is_copied(host: Host, bundle: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(bundle, tmp_path / "other"))
    manifest = open_bundle(other).manifest
    cameras = (msgspec.structs.replace(manifest.spec.cameras[0], height=8), *manifest.spec.cameras[1:])
    spec = msgspec.structs.replace(manifest.spec, cameras=cameras)
    seal(other, msgspec.structs.replace(manifest, spec=spec))
    sender = host.sender(other)
    host.refuses(sender, r"cameras\[0\]", ConfigError)
    assert sender.heard == []


def test_engines_are_built_before_the_gate_where_the_robot_runs_engines(
    host: Host, new: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(path: Path, backend: str, progress: Callable[[str, float], None]) -> None:
        progress("step", 0.5)
        raise BackendError(f"{path.name}: no {backend} engine comes of it")

    monkeypatch.setattr(compile, "compile_bundle", build)
    robot_toml(host.folder, backend='"trt"')
    sender = host.sender(new)
    host.refuses(sender, f"{name_of(new)}: no trt engine comes of it", BackendError)
    assert Step("engine step", 0.5) in sender.heard
    assert not any(isinstance(message, Step) and message.what == "gate" for message in sender.heard)


def test_a_full_disk_is_said_before_anything_is_copied(host: Host, new: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=5 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    sender = host.sender(new)
    host.refuses(sender, "5 MiB of its disk are free")
    assert sender.heard == []


def test_what_runs_is_not_put_on_trial_again(host: Host, bundle: Path) -> None:
    sender = host.sender(bundle)
    host.take(sender)
    assert host.store.record.trial is None
    assert sender.asked.files == ()


def test_a_bundle_that_was_damaged_on_the_robots_disk_is_copied_anew_unless_it_runs(
    host: Host, bundle: Path, new: Path
) -> None:
    host.take(host.sender(new))
    host.store.back()
    step = host.store.folder / name_of(new) / "step.onnx"
    step.unlink()
    step.write_bytes(b"rot")
    host.take(host.sender(new))
    open_bundle(host.store.folder / name_of(new))
    host.store.back()
    (host.store.folder / host.first / "probes.safetensors").write_bytes(b"rot")
    host.refuses(host.sender(bundle), "it runs, so first: edge deploy --back")


def test_one_deployment_at_a_time(host: Host, new: Path) -> None:
    with host.store.receiving():
        host.refuses(host.sender(new), "another edge deploy is at work on this robot")
    host.take(host.sender(new))


def test_what_a_killed_deployment_left_is_resumed_and_anothers_goes(host: Host, new: Path) -> None:
    (host.store.folder / host.first / "image.onnx").write_bytes(b"rot")  # so that something must be copied
    incoming = host.store.incoming(name_of(new))
    (incoming / ".partial").mkdir(parents=True)
    (incoming / ".partial" / "image.onnx").write_bytes(b"half of")
    host.store.incoming("0123456789ab").mkdir()
    host.take(host.sender(new))
    assert host.store.current_name == name_of(new)
    assert not list(host.store.folder.glob(".incoming*"))


def test_what_the_service_makes_of_a_trial_is_the_outcome(host: Host, new: Path) -> None:
    name = name_of(new)
    host.take(host.sender(new))
    service = Store(host.store.folder)
    service.begin()
    assert receive._outcome(host.store, name) is None
    service.blame("never 1000 ticks in a row")
    Store(host.store.folder).begin()
    assert receive._outcome(host.store, name) == Outcome(name, "failed", "never 1000 ticks in a row")
    host.store.switch(name)
    service.begin()
    service.confirm()
    assert receive._outcome(host.store, name) == Outcome(name, "kept")
