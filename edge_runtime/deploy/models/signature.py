"""Who handed a bundle over: a detached CMS signature (RFC 5652) of its manifest, made and checked by openssl.

The manifest names every file of the bundle with its sha256, so one signature of it covers all of them. What is checked
is whether the key of the robot's trust.pem, or one that it vouches for, made it; not what the certificate says of time:
a robot without a clock battery starts in 1970, and no bundle may stop being good because years went by.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from edge_runtime.deploy import tools
from edge_runtime.errors import BundleError, one_line

MOST_BYTES = 1 << 16
"""No signature is longer; one by a P-256 key with its certificate has under 1 KiB."""
_TIMEOUT_S = 60.0
_ALONE = ("-no-CApath", "-no-CAstore")
"""Without these openssl also trusts every certificate authority of the system (openssl-verification-options(1))."""


def sign(manifest: Path, key: Path, certificate: Path) -> bytes:
    """The signature of the file `manifest` by `key`, whose certificate goes with it (both PEM), as DER.

    Raises `BundleError` where the key cannot be used, or is another certificate's.
    """
    for path, what in ((key, "key"), (certificate, "certificate")):
        if not path.is_file():
            raise BundleError(f"{path}: no such {what}: make both with edge update keygen")
    who = ("-signer", str(certificate), "-inkey", str(key), "-md", "sha256")
    done = _openssl("-sign", "-binary", "-in", str(manifest), *who, "-outform", "DER")
    if done.returncode != 0:
        raise BundleError(f"{key}: openssl does not sign with it and {certificate}: {_said(done.stderr)}")
    return done.stdout


def refuse_other_key(key: Path, certificate: Path) -> None:
    """Raise `BundleError`, as `sign` does, unless `key` is the certificate's and can be used."""
    sign(Path(os.devnull), key, certificate)


def refuse_unsigned(manifest: bytes, signature: bytes, trust: Path) -> None:
    """Raise `BundleError` unless `signature` is one of `manifest` by the key of the certificate in the file `trust`."""
    if not trust.is_file():
        raise BundleError(f"{trust}: is not there, so no bundle is trusted: make a package with --trust CERT.pem")
    if not signature:
        raise BundleError("the bundle is not signed: edge deploy signs it with --key KEY.pem")
    if len(signature) > MOST_BYTES:
        raise BundleError(f"the signature has {len(signature)} bytes, which none has")
    with tempfile.TemporaryDirectory(prefix="edge-signature-") as folder:
        content, signed = Path(folder, "manifest.json"), Path(folder, "manifest.p7s")
        content.write_bytes(manifest)
        signed.write_bytes(signature)
        inputs = ("-inform", "DER", "-in", str(signed), "-content", str(content), "-out", os.devnull)
        whom = ("-CAfile", str(trust), *_ALONE, "-purpose", "any", "-no_check_time")
        done = _openssl("-verify", "-binary", *inputs, *whom)
    if done.returncode != 0:
        raise BundleError(_refusal(done.stderr, trust))


def _openssl(*words: str) -> subprocess.CompletedProcess[bytes]:
    """`openssl cms` with these words, and nothing of this machine's own settings."""
    tools.need("openssl")
    clean = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "OPENSSL_CONF": os.devnull}
    try:
        return subprocess.run(
            ["openssl", "cms", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            env=clean,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BundleError(f"openssl was not done with the signature after {_TIMEOUT_S:.0f} s") from error


def _refusal(said: bytes, trust: Path) -> str:
    if b"certificate verify error" in said:
        return f"the bundle is signed by a key that {trust} does not vouch for: sign it with that one's (--key)"
    return f"the signature is not one of this manifest, so one of them was changed: deploy it again ({_said(said)})"


def _said(said: bytes) -> str:
    """The reason in openssl's last error line: `…:error:number:library:function:reason:file:line:data`."""
    lines = [line for line in said.decode(errors="replace").splitlines() if line.strip()]
    fields = lines[-1].split(":") if lines else [""]
    return one_line(fields[5] if len(fields) > 6 else fields[-1])
