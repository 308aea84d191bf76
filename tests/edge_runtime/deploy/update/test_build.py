"""Bundles: what goes in, who takes them, and what is refused. RAUC itself judges."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from edge_runtime.deploy.update import build, keygen
from edge_runtime.deploy.update.rootfs import Rootfs
from edge_runtime.errors import EdgeError, UpdateError
from tests.edge_runtime.deploy.update import real_rauc
from tests.edge_runtime.deploy.update.systems_made import DEBIAN, JETSON, archive, bundle, rootfs

HEADER_BYTES = 8


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    real_rauc.need()
    if shutil.which("mksquashfs") is None:
        pytest.skip("no mksquashfs on this machine: apt install squashfs-tools")
    keygen.keygen(folder := tmp_path_factory.mktemp("keys"))
    return folder


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    keygen.keygen(folder := tmp_path_factory.mktemp("foreign"))
    return folder


@pytest.fixture
def made(keys: Path, tmp_path: Path) -> Path:
    return bundle(tmp_path / "system.raucb", "1.2.3", keys, rootfs(tmp_path / "rootfs"))


def rauc(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["rauc", *map(str, words)], capture_output=True, text=True, check=False)


def payload(bundle: Path, keys: Path, folder: Path) -> Path:
    done = rauc(f"--keyring={keys / 'cert.pem'}", "extract", bundle, folder)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("rootfs.*"))


def test_rauc_takes_it(made: Path, keys: Path) -> None:
    done = rauc(f"--keyring={keys / 'cert.pem'}", "info", "--output-format=json", made)
    said = json.loads(done.stdout)
    assert (said["compatible"], said["version"]) == ("edge-runtime debian12-amd64", "1.2.3")
    assert said["images"][0]["rootfs"]["hooks"] == ["post-install"]
    assert "Format: \tverity" in rauc(f"--keyring={keys / 'cert.pem'}", "info", made).stdout


def test_another_key_is_not_taken(made: Path, foreign: Path) -> None:
    done = rauc(f"--keyring={foreign / 'cert.pem'}", "info", made)
    assert done.returncode != 0
    assert "signature verification failed" in done.stderr


def test_a_bundle_without_a_signature_is_not_taken(made: Path, keys: Path) -> None:
    """Its last eight bytes say how long the signature is, which stands before them (RAUC, "Bundle Formats")."""
    content = made.read_bytes()
    length = int.from_bytes(content[-HEADER_BYTES:], "big")
    made.write_bytes(content[: -HEADER_BYTES - length])
    assert rauc(f"--keyring={keys / 'cert.pem'}", "info", made).returncode != 0
    made.write_bytes(content[: -HEADER_BYTES - length] + bytes(HEADER_BYTES))
    assert rauc(f"--keyring={keys / 'cert.pem'}", "info", made).returncode != 0


def test_a_changed_signature_is_not_taken(made: Path, keys: Path) -> None:
    content = bytearray(made.read_bytes())
    content[-HEADER_BYTES - 20] ^= 1
    made.write_bytes(content)
    assert rauc(f"--keyring={keys / 'cert.pem'}", "info", made).returncode != 0


def test_a_changed_payload_is_not_taken(made: Path, keys: Path, tmp_path: Path) -> None:
    """`rauc info` does not look at the payload: it is the hash tree's, read block by block when it is installed."""
    content = bytearray(made.read_bytes())
    content[200] ^= 1
    made.write_bytes(content)
    done = rauc(f"--keyring={keys / 'cert.pem'}", "extract", made, tmp_path / "out")
    assert done.returncode != 0
    assert not (tmp_path / "out/rootfs.tar").exists()


def test_the_same_system_is_the_same_payload(made: Path, keys: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(tmp_path / "rootfs", again, symlinks=True)
    other = bundle(tmp_path / "other.raucb", "1.2.3", keys, again)
    first, second = payload(made, keys, tmp_path / "1"), payload(other, keys, tmp_path / "2")
    assert hashlib.sha256(first.read_bytes()).digest() == hashlib.sha256(second.read_bytes()).digest()


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.xz"])
def test_an_archive_goes_in_as_it_is(suffix: str, keys: Path, tmp_path: Path) -> None:
    packed = archive(rootfs(tmp_path / "rootfs"), tmp_path / f"system{suffix}")
    made = bundle(tmp_path / "system.raucb", "7", keys, packed)
    found = payload(made, keys, tmp_path / "out")
    assert found.name == f"rootfs{suffix}"
    assert found.read_bytes() == packed.read_bytes()


def test_an_image_goes_in_as_it_is(keys: Path, tmp_path: Path) -> None:
    mkfs = shutil.which("mkfs.ext4", path="/usr/sbin:/sbin:/usr/bin")
    if mkfs is None:
        pytest.skip("no mkfs.ext4 on this machine: apt install e2fsprogs")
    image = tmp_path / "system.img"
    subprocess.run([mkfs, "-q", "-d", rootfs(tmp_path / "rootfs"), image, "8M"], check=True)
    made = bundle(tmp_path / "system.raucb", "7", keys, image)
    assert payload(made, keys, tmp_path / "out").read_bytes() == image.read_bytes()


def refused(message: str, out: Path, source: Path, keys: Path, version: str = "1.0") -> None:
    out.write_text("as it was")
    before = sorted(out.parent.iterdir())
    with pytest.raises(EdgeError, match=message):
        bundle(out, version, keys, source)
    assert out.read_text() == "as it was"
    assert sorted(out.parent.iterdir()) == before


def test_what_is_wrong_is_said_before_anything_is_written(
    keys: Path, foreign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, good = tmp_path / "system.raucb", rootfs(tmp_path / "rootfs")
    refused("one to four numbers", out, good, keys, "1.0-rc1")
    refused("nothing: is not there", out, tmp_path / "nothing", keys)
    (tmp_path / "text.img").write_text("none")
    refused("no image of an ext4 file system", out, tmp_path / "text.img", keys)
    for name in ("a.tar", "a.tar.gz", "a.tar.zst"):
        (tmp_path / name).write_text("none")
        refused(f"{name}: is not a tar archive", out, tmp_path / name, keys)
    refused("make both with edge update keygen", out, good, tmp_path)
    (tmp_path / "bare").mkdir()
    refused("has no /etc/rauc/system.conf: install a package", out, tmp_path / "bare", keys)
    bare = archive(tmp_path / "bare", tmp_path / "bare.tar")
    refused("has no /etc/rauc/system.conf: install a package", out, bare, keys)
    unbootable = rootfs(tmp_path / "unbootable")
    for name in ("vmlinuz", "sbin/init"):
        (unbootable / name).unlink()
    refused("could start from it: has no /vmlinuz and no /sbin/init", out, unbootable, keys)
    with pytest.raises(UpdateError, match="is not for jetpack6-orin"):
        build.build(JETSON, good, "1.0", keys / "key.pem", keys / "cert.pem", out)
    monkeypatch.setattr(Rootfs, "lay", None)  # it would be compressed
    with pytest.raises(EdgeError, match=r"key\.pem: openssl does not sign with it and \S+cert\.pem: .*match"):
        build.build(DEBIAN, good, "1.0", keys / "key.pem", foreign / "cert.pem", out)
    assert out.read_text() == "as it was"


def test_without_rauc_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_runtime.deploy.tools.found", lambda _program: None)
    with pytest.raises(EdgeError, match=r"rauc and mksquashfs and tar: .*apt-get install rauc squashfs-tools tar"):
        build.build(DEBIAN, tmp_path, "1.0", tmp_path, tmp_path, tmp_path / "out")
