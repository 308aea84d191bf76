"""The key: made once, kept to its owner, and taken by both programs that check signatures on a robot."""

from __future__ import annotations

import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from edge_runtime.deploy.update import keygen
from edge_runtime.errors import EdgeError, UpdateError

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl on this machine: apt install openssl")


def openssl(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True, check=False)


def test_only_its_owner_reads_the_key(tmp_path: Path) -> None:
    key, certificate = keygen.keygen(tmp_path / "keys")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert "PRIVATE KEY" in key.read_text()
    assert "PRIVATE KEY" not in certificate.read_text()
    assert sorted(path.name for path in key.parent.iterdir()) == ["cert.pem", "key.pem"]


@pytest.mark.parametrize("name", ["key.pem", "cert.pem"])
def test_nothing_is_overwritten(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(UpdateError, match=r"is there already.*never overwritten"):
        keygen.keygen(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {name: "mine"}


def test_a_file_is_no_folder_for_keys(tmp_path: Path) -> None:
    (tmp_path / "robot.toml").write_text("mine")
    with pytest.raises(UpdateError, match=r"robot\.toml: is a file: name a folder, for key\.pem and cert\.pem"):
        keygen.keygen(tmp_path / "robot.toml")


def test_a_link_that_leads_nowhere_is_something_too(tmp_path: Path) -> None:
    (tmp_path / "key.pem").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UpdateError, match="is there already"):
        keygen.keygen(tmp_path)


def test_the_fingerprint_is_the_one_that_openssl_prints(tmp_path: Path) -> None:
    _, certificate = keygen.keygen(tmp_path)
    said = openssl("x509", "-in", certificate, "-noout", "-fingerprint", "-sha256").stdout
    assert said.strip().partition("=")[2] == keygen.fingerprint(certificate)


def test_what_is_no_certificate_has_no_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("none")
    with pytest.raises(UpdateError, match="is no certificate"):
        keygen.fingerprint(tmp_path / "cert.pem")


def test_openssl_cms_takes_what_it_signs_and_nothing_else(tmp_path: Path) -> None:
    key, certificate = keygen.keygen(tmp_path / "mine")
    _, foreign = keygen.keygen(tmp_path / "foreign")
    said, signature = tmp_path / "manifest.json", tmp_path / "manifest.p7s"
    said.write_text("{}")
    sign = ("cms", "-sign", "-binary", "-outform", "DER", "-signer", certificate, "-inkey", key)
    assert openssl(*sign, "-in", said, "-out", signature).returncode == 0
    verify = ("cms", "-verify", "-binary", "-inform", "DER", "-in", signature, "-content", said)
    assert openssl(*verify, "-CAfile", certificate).returncode == 0
    assert openssl(*verify, "-CAfile", foreign).returncode != 0
    said.write_text("[]")
    assert openssl(*verify, "-CAfile", certificate).returncode != 0


def test_it_outlives_the_robot_and_makes_no_other_certificates(tmp_path: Path) -> None:
    _, certificate = keygen.keygen(tmp_path)
    fifty_years_s = 50 * 365 * 86400
    assert openssl("x509", "-in", certificate, "-noout", "-checkend", fifty_years_s).returncode == 0
    assert "CA:FALSE" in openssl("x509", "-in", certificate, "-noout", "-text").stdout


def test_without_openssl_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_runtime.deploy.tools.found", lambda _program: None)
    with pytest.raises(EdgeError, match="openssl: not installed here: apt-get install openssl"):
        keygen.keygen(tmp_path)
