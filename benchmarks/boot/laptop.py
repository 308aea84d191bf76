"""The workstation beside the robot: it has the key that the robot trusts, and an account there, and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import msgspec

from benchmarks.boot import deb
from benchmarks.boot.container import Container, Done
from benchmarks.boot.robot import OPERATOR
from edge_runtime.bundle import MANIFEST, open_bundle, seal
from edge_runtime.deploy.models.store import name_of

TOOLS = {"ssh": "openssh-client", "ssh-keygen": "openssh-client", "rsync": "rsync", "openssl": "openssl"}
PACKAGES = ("openssh-server", "openssl", "rsync")
"""What the robot needs to be deployed to."""
KEYGEN_S, DEPLOY_S = 60.0, 120.0
_CONFIG = """\
Host robot
    HostName 127.0.0.1
    User {user}
    IdentityFile {folder}/id
    IdentitiesOnly yes
    UserKnownHostsFile {folder}/known_hosts
    StrictHostKeyChecking accept-new
"""


class Laptop:
    """Keys, ssh and bundles in `folder`, a new one. The bundles are of the policy in the bundle `like`."""

    def __init__(self, folder: Path, like: Path) -> None:
        """Make the keys: one that the robot is to trust, one of somebody else, and one for ssh."""
        self.folder = folder
        self._like = like
        self.trust, self._foreign = folder / "ours" / "cert.pem", folder / "foreign" / "cert.pem"
        for certificate in (self.trust, self._foreign):
            deb.edge("update", "keygen", str(certificate.parent), limit_s=KEYGEN_S)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "id")], check=True)
        (folder / "config").write_text(_CONFIG.format(user=OPERATOR, folder=folder), encoding="utf-8")
        ssh = folder / "bin" / "ssh"  # as if this was in the person's own ~/.ssh/config
        ssh.parent.mkdir()
        ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/config "$@"\n', encoding="utf-8")
        ssh.chmod(0o755)

    @property
    def ssh_key(self) -> str:
        """The public one."""
        return (self.folder / "id.pub").read_text(encoding="utf-8")

    def bundle(self, word: str) -> tuple[Path, str]:
        """The same policy under another seal, as of another checkpoint; and its name on a robot."""
        made = shutil.copytree(self._like, self.folder / word)
        (made / MANIFEST).unlink()
        manifest = open_bundle(self._like).manifest
        source = msgspec.structs.replace(manifest.source, checkpoint_sha256=word.encode().hex().ljust(64, "0"))
        seal(made, msgspec.structs.replace(manifest, source=source))
        return made, name_of(open_bundle(made).manifest.seal)

    def deploy(self, box: Container, bundle: Path, *, foreign: bool = False) -> Deployment:
        """Begin `edge deploy BUNDLE robot`."""
        certificate = self._foreign if foreign else self.trust
        signed = ("--key", str(certificate.with_name("key.pem")), "--cert", str(certificate))
        return Deployment(
            subprocess.Popen(
                box.from_here(*deb.EDGE, "deploy", *signed, str(bundle), "robot"),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env={**os.environ, "PATH": f"{self.folder}/bin:{os.environ['PATH']}"},
            )
        )


class Deployment:
    """`edge deploy` under way. `with` it: it is ended with the block where it has not ended by itself."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __enter__(self) -> Deployment:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()

    @property
    def over(self) -> bool:
        return self._process.poll() is not None

    def done(self) -> Done:
        """Wait for its end: exit code and last line."""
        said = self._process.communicate(timeout=DEPLOY_S)[0].strip().splitlines()
        return Done(self._process.returncode, said[-1] if said else "")
