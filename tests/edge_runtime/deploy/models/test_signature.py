"""Whose signature a robot takes, by the openssl that is here."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from edge_runtime.deploy.models.signature import MOST_BYTES, refuse_unsigned, sign
from edge_runtime.deploy.update.keygen import keygen
from edge_runtime.errors import BundleError

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl: apt-get install openssl")
MANIFEST = b'{"seal": "0"}\r\nand a \x1a byte or two\n'


def openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


def certified(folder: Path, *words: str, by: Path | None = None, key: tuple[str, ...] = ()) -> tuple[Path, Path]:
    """A key and its certificate, self-signed or made by the authority in the folder `by`."""
    folder.mkdir()
    made = key or ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")
    issuer = ("-CA", by / "cert.pem", "-CAkey", by / "key.pem") if by else ()
    files = ("-keyout", folder / "key.pem", "-out", folder / "cert.pem")
    openssl("req", "-x509", "-newkey", *made, "-nodes", "-subj", f"/CN={folder.name}", *issuer, *words, *files)
    return folder / "key.pem", folder / "cert.pem"


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "manifest.json"
    path.write_bytes(MANIFEST)
    return path


def test_what_keygen_made_signs_and_is_trusted(manifest: Path, tmp_path: Path) -> None:
    key, certificate = keygen(tmp_path / "keys")
    signed = sign(manifest, key, certificate)
    refuse_unsigned(MANIFEST, signed, certificate)
    assert MANIFEST not in signed, "detached: beside the manifest, not around it"


def test_every_byte_of_the_manifest_counts(manifest: Path, tmp_path: Path) -> None:
    key, certificate = keygen(tmp_path / "keys")
    signed = sign(manifest, key, certificate)
    for changed in (MANIFEST.replace(b"\r\n", b"\n"), MANIFEST + b"\n", MANIFEST[:-1], b""):
        with pytest.raises(BundleError, match="signature is not one of this manifest"):
            refuse_unsigned(changed, signed, certificate)


@pytest.mark.parametrize("change", ["cut", "flipped", "long", "none", "text"])
def test_what_is_no_signature_is_refused_in_one_line(manifest: Path, tmp_path: Path, change: str) -> None:
    key, certificate = keygen(tmp_path / "keys")
    signed = sign(manifest, key, certificate)
    spoilt = {
        "cut": signed[: len(signed) // 2],
        "flipped": signed[:-1] + bytes([signed[-1] ^ 1]),
        "long": bytes(MOST_BYTES + 1),
        "none": b"",
        "text": b"-----BEGIN CMS-----\n",
    }[change]
    with pytest.raises(BundleError) as caught:
        refuse_unsigned(MANIFEST, spoilt, certificate)
    assert "\n" not in str(caught.value)


def test_a_certificate_without_a_signature_is_none(manifest: Path, tmp_path: Path) -> None:
    """PKCS #7 that only carries the trusted certificate: everybody has that."""
    _, certificate = keygen(tmp_path / "keys")
    openssl("crl2pkcs7", "-nocrl", "-certfile", certificate, "-outform", "DER", "-out", tmp_path / "empty")
    with pytest.raises(BundleError):
        refuse_unsigned(MANIFEST, (tmp_path / "empty").read_bytes(), certificate)


def test_a_signature_of_something_else_that_brings_it_along_is_refused(manifest: Path, tmp_path: Path) -> None:
    key, certificate = keygen(tmp_path / "keys")
    (tmp_path / "other").write_bytes(b"something that was signed once")
    who = ("-signer", certificate, "-inkey", key)
    opaque = ("-nodetach", "-binary", "-outform", "DER", "-out", tmp_path / "opaque")
    openssl("cms", "-sign", "-in", tmp_path / "other", *who, *opaque)
    with pytest.raises(BundleError, match="signature is not one of this manifest"):
        refuse_unsigned(MANIFEST, (tmp_path / "opaque").read_bytes(), certificate)


def test_a_key_of_the_same_name_is_another_key(manifest: Path, tmp_path: Path) -> None:
    _, trusted = keygen(tmp_path / "ours")
    foreign = keygen(tmp_path / "theirs")
    with pytest.raises(BundleError, match=r"cert.pem does not vouch for"):
        refuse_unsigned(MANIFEST, sign(manifest, *foreign), trusted)


def test_the_systems_own_authorities_are_not_trusted(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has a certificate for a web page has none for a robot."""
    _, trusted = keygen(tmp_path / "ours")
    system = tmp_path / "system"
    certified(tmp_path / "authority", "-addext", "basicConstraints=critical,CA:TRUE")
    system.mkdir()
    shutil.copy(tmp_path / "authority" / "cert.pem", system)
    openssl("rehash", system)
    page = tmp_path / "page"
    made = certified(page, by=tmp_path / "authority")
    monkeypatch.setenv("SSL_CERT_DIR", str(system))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority" / "cert.pem"))
    with pytest.raises(BundleError, match="does not vouch for"):
        refuse_unsigned(MANIFEST, sign(manifest, *made), trusted)


def test_a_key_that_the_trusted_one_vouches_for_is_trusted(manifest: Path, tmp_path: Path) -> None:
    authority = certified(tmp_path / "authority", "-addext", "basicConstraints=critical,CA:TRUE")
    made = certified(tmp_path / "someone", "-addext", "basicConstraints=CA:FALSE", by=tmp_path / "authority")
    refuse_unsigned(MANIFEST, sign(manifest, *made), authority[1])


@pytest.mark.parametrize(
    "words",
    [
        ("-days", "1", "-not_before", "19700101000000Z", "-not_after", "19710101000000Z"),
        ("-addext", "extendedKeyUsage=codeSigning"),
        ("-addext", "keyUsage=critical,digitalSignature"),
    ],
    ids=["expired", "code signing", "digital signature"],
)
def test_what_a_certificate_says_of_time_and_use_does_not_matter(
    manifest: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """A robot without a clock battery is in 1970; what counts is whose key it is."""
    if words[0] == "-days":
        words = ()
        key, certificate = _expired(tmp_path)
    else:
        key, certificate = certified(tmp_path / "keys", *words)
    refuse_unsigned(MANIFEST, sign(manifest, key, certificate), certificate)


def _expired(folder: Path) -> tuple[Path, Path]:
    """A certificate that ended in 1971, by `openssl ca`: older versions let no other command say so."""
    key, request = folder / "key.pem", folder / "request.pem"
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=old", "-keyout", key, "-out", request)
    (folder / "index").touch()
    (folder / "serial").write_text("01\n")
    (folder / "ca.cnf").write_text(
        f"[ca]\ndefault_ca = a\n[a]\ndatabase = {folder}/index\nserial = {folder}/serial\nnew_certs_dir = {folder}\n"
        "default_md = sha256\npolicy = p\n[p]\ncommonName = supplied\n"
    )
    when = ("-startdate", "700101000000Z", "-enddate", "710101000000Z")
    files = ("-config", folder / "ca.cnf", "-in", request, "-keyfile", key, "-out", folder / "cert.pem")
    openssl("ca", "-batch", "-notext", "-selfsign", *when, *files)
    return key, folder / "cert.pem"


def test_keys_that_cannot_sign_are_said_before_a_robot_is_asked(manifest: Path, tmp_path: Path) -> None:
    key, certificate = keygen(tmp_path / "ours")
    _, another = keygen(tmp_path / "theirs")
    for pair, why in (
        ((tmp_path / "none.pem", certificate), "no such key: make both with edge update keygen"),
        ((key, tmp_path / "none.pem"), "no such certificate"),
        ((key, another), "private key does not match certificate"),
        ((manifest, certificate), "openssl does not sign with it"),
    ):
        with pytest.raises(BundleError, match=why):
            sign(manifest, *pair)


def test_a_robot_without_a_trusted_certificate_takes_nothing(manifest: Path, tmp_path: Path) -> None:
    key, certificate = keygen(tmp_path / "keys")
    with pytest.raises(BundleError, match=r"no bundle is trusted: make a package with --trust CERT.pem"):
        refuse_unsigned(MANIFEST, sign(manifest, key, certificate), tmp_path / "trust.pem")


def test_this_machines_openssl_settings_do_not_count(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "openssl.cnf").write_text("openssl_conf = nonsense\n[nonsense\n")
    key, certificate = keygen(tmp_path / "keys")
    monkeypatch.setenv("OPENSSL_CONF", str(tmp_path / "openssl.cnf"))
    assert os.environ["OPENSSL_CONF"]
    refuse_unsigned(MANIFEST, sign(manifest, key, certificate), certificate)
