"""The key that signs what a robot takes: bundles of models (by `openssl cms`) and of the system (by RAUC)."""

from __future__ import annotations

import hashlib
import os
import ssl
import tempfile
from pathlib import Path

from edge_runtime.deploy import tools
from edge_runtime.errors import UpdateError

KEY = "key.pem"
CERTIFICATE = "cert.pem"
DAYS = 36500
"""A robot may outlive every plan, and its clock may be wrong: the certificate does not end within a lifetime."""
_EXTENSIONS = ("basicConstraints=critical,CA:FALSE", "keyUsage=critical,digitalSignature", "subjectKeyIdentifier=hash")
"""It signs, and makes no other certificates. No extended usage: RAUC and openssl cms both ask for the purpose
smimesign, which a certificate without extended usage serves (RAUC: "Key Usage"; openssl-verification-options(1))."""


def keygen(folder: Path) -> tuple[Path, Path]:
    """Make `folder`/key.pem (P-256, only for its owner) and cert.pem, self-signed. Raises `EdgeError`.

    Neither is ever overwritten: with the key's loss, robots that trust it take no update any more.
    """
    tools.need("openssl")
    key, certificate = folder / KEY, folder / CERTIFICATE
    if folder.exists() and not folder.is_dir():
        raise UpdateError(f"{folder}: is a file: name a folder, for {KEY} and {CERTIFICATE}")
    for path in (key, certificate):
        if os.path.lexists(path):
            raise UpdateError(f"{path}: is there already, and a key is never overwritten: name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".keygen-") as beside:
        made_key, made = Path(beside, KEY), Path(beside, CERTIFICATE)
        _make(made_key, made)
        made_key.chmod(0o600)
        os.link(made_key, key)  # fails where a file has come to be in the meantime
        os.link(made, certificate)
    return key, certificate


def _make(key: Path, certificate: Path) -> None:
    """One call of openssl: the folder is its owner's alone while it writes."""
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    extensions = [word for extension in _EXTENSIONS for word in ("-addext", extension)]
    command = ["openssl", "req", "-x509", *curve, "-sha256", "-days", str(DAYS), "-subj", "/CN=edge-runtime"]
    command += ["-config", os.devnull, *extensions, "-keyout", str(key), "-out", str(certificate)]
    tools.run(command, timeout_s=60, what="keygen")


def fingerprint(certificate: Path) -> str:
    """SHA-256 of the certificate, as `openssl x509 -fingerprint -sha256` prints it. Raises `UpdateError`."""
    try:
        der = ssl.PEM_cert_to_DER_cert(certificate.read_text(encoding="ascii"))
    except (ValueError, UnicodeDecodeError) as error:
        raise UpdateError(f"{certificate}: is no certificate in PEM form") from error
    digest = hashlib.sha256(der).hexdigest().upper()
    return ":".join(digest[i : i + 2] for i in range(0, len(digest), 2))
