"""What a robot with two system slots gets in the test: its first system, an update that is good, and ones that are bad.

They are made of one tree, each by spoiling the one before a little more, and signed by `edge update build`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.boot import deb, disk, image
from benchmarks.boot.container import in_tree
from benchmarks.boot.robot import SIM
from edge_runtime.deploy import places
from edge_runtime.deploy.systems import SYSTEMS
from tests.edge_runtime.engines import onnx_bundle
from tests.edge_runtime.tiny_bundle import SPEC

SYSTEM = "debian12-amd64"
PACKAGES = (
    *("linux-image-cloud-amd64", "initramfs-tools", "zstd", "qemu-guest-agent", "libstdc++6"),
    *("rauc", "rauc-service", "e2fsprogs", "dosfstools", "grub-common", "openssl", "rsync", "util-linux"),
)
"""A kernel with what RAUC needs (dm-verity, loop devices, squashfs), the way in, and what the package depends on."""
KEYGEN_S, BUILD_S = 60.0, 900.0
STICK = "/media"
"""Where the robot sees the disk with the bundles."""
_PICTURES = Path("/usr/share/simulated-cameras")
_CAMERA = """\
[[cameras]]
name = "{spec.name}"
kind = "images"
device = "{folder}/{spec.name}.npy?loop"
width = {spec.width}
height = {spec.height}
fps = 5
"""
_JOINT = """\
[[buses.joints]]
name = "{name}"
id = {id}
position = [-1.5, 1.5]
velocity = 2.5
acceleration = 15.0
jerk = 1500.0
start = 0.0
park = 0.0
"""
_ROBOT = """\
name = "ab"

[policy]
bundle = "bundle"

[control]
rate_hz = 10 # the processor is emulated

[deadlines]
serial_ms = 80.0
tick_ms = 90.0
frame_age_ms = 10000.0
inference_ms = 10000.0
hung_ms = 60000.0
stuck_ms = 20000.0

[[buses]]
name = "arm"
kind = "feetech"
port = "{port}"
"""
_SIM_UNIT = f"""\
[Unit]
Description=Simulated servos
Before={places.SERVICE}

[Service]
Type=exec
User={places.USER}
RuntimeDirectory={SIM.name}
RuntimeDirectoryMode=0755
# Real servos need no turn on the robot's processor to answer.
CPUSchedulingPolicy=fifo
CPUSchedulingPriority=1
ExecStart={places.PYTHON} -I -m drivers.sim --protocol feetech --servos {len(SPEC.action.names)} --dir {SIM}
ExecStartPost=sh -c 'until test -L {SIM}/feetech; do sleep 0.1; done'
TimeoutStartSec=60

[Install]
WantedBy=multi-user.target
"""


def keys(*folders: Path) -> str:
    """A key of its own in each."""
    for folder in folders:
        deb.edge("update", "keygen", str(folder), limit_s=KEYGEN_S)
    return ", ".join(folder.name for folder in folders)


def first(folder: Path, tree: Path, certificate: Path) -> str:
    """The system as the robot is made with it, as the new folder `tree`: Debian, the package, the simulated servos.

    The policy is a few sums and products in ONNX: what is tried here is not the policy, and every start answers its
    probes with it.
    """
    image.unpack(image.root(SYSTEMS[SYSTEM].arch, PACKAGES, folder), tree)
    (tree / "etc/hostname").write_text("edge-robot\n")
    (tree / "etc/fstab").write_text(f"/dev/vdb {STICK} ext4 ro,nofail 0 0\n")
    (tree / "etc/initramfs-tools/conf.d/robot").write_text("MODULES=list\n")
    (tree / "etc/initramfs-tools/modules").write_text("virtio_pci\nvirtio_blk\next4\n")
    in_tree(tree, "update-initramfs", "-u")
    made = deb.make(SYSTEM, _robot(folder), _bundle(folder), folder, "--updates", "--trust", str(certificate))
    shutil.copy(made, tree / "root/edge-runtime.deb")
    in_tree(tree, "dpkg", "--install", "/root/edge-runtime.deb")
    (tree / "root/edge-runtime.deb").unlink()
    _simulated(tree)
    return f"{made.stat().st_size / 1e6:.0f} MB, in {_size_mb(tree)} MB of Debian 12"


def _robot(folder: Path) -> Path:
    """Its robot.toml: as many servos as the policy moves, and cameras that show one stored picture."""
    joints = (_JOINT.format(name=name, id=1 + number) for number, name in enumerate(SPEC.action.names))
    cameras = (_CAMERA.format(spec=spec, folder=_PICTURES) for spec in SPEC.cameras)
    path = folder / "robot.toml"
    path.write_text("\n".join((_ROBOT.format(port=SIM / "feetech"), *joints, *cameras)))
    return path


def _bundle(folder: Path) -> Path:
    bundle = folder / "bundle"
    return bundle if bundle.exists() else onnx_bundle.bundle(bundle)


def _simulated(tree: Path) -> None:
    folder = tree / _PICTURES.relative_to("/")
    folder.mkdir()
    for spec in SPEC.cameras:
        np.save(folder / spec.name, np.full((1, spec.height, spec.width, 3), 128, np.uint8))
    (tree / "etc/systemd/system/edge-sim.service").write_text(_SIM_UNIT)
    in_tree(tree, "systemctl", "enable", "edge-sim.service")


def _size_mb(tree: Path) -> int:
    return round(sum(f.stat().st_size for f in tree.rglob("*") if f.is_file() and not f.is_symlink()) / 1e6)


def good(tree: Path) -> None:
    """Another system that works: told apart by a file."""
    (tree / "etc/edge-release-of-test").write_text("good\n")


def lame(tree: Path) -> None:
    """It boots, and the service fails at every start: libraries are missing."""
    for name in ("onnxruntime", "tokenizers"):
        shutil.rmtree(_site(tree) / name)


def mute(tree: Path) -> None:
    """It boots, and nothing of the runtime starts at all, `edge update` included."""
    shutil.rmtree(_site(tree))


def dead(tree: Path) -> None:
    """A kernel that finds no init. Nothing else is kept, for it to be small."""
    for path in tree.iterdir():
        if path.name not in ("boot", "etc", "initrd.img", "vmlinuz"):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


SPOILED: tuple[tuple[str, str, Callable[[Path], None]], ...] = (
    ("good", "2", good),
    ("lame", "3", lame),
    ("mute", "4", mute),
    ("dead", "5", dead),
)
"""Name, version, and what is done to the tree of the one before."""


def bundles(tree: Path, stick: Path, key: Path, foreign: Path) -> str:
    """Every bundle, in the new folder `stick`; `tree` is used up.

    `key` and `foreign`: folders of `edge update keygen`.
    """
    stick.mkdir()
    for name, version, spoil in SPOILED:
        spoil(tree)
        build(tree, version, key, stick / f"{name}.raucb")
    build(tree, "1", key, stick / "older.raucb")
    build(tree, "9", foreign, stick / "foreign.raucb")
    build(tree, "9", key, stick / "unsigned.raucb")
    shutil.copy(stick / "unsigned.raucb", stick / "tampered.raucb")
    _take_signature(stick / "unsigned.raucb")
    _change_payload(stick / "tampered.raucb")
    return ", ".join(f"{path.name} {path.stat().st_size / 1e6:.0f} MB" for path in sorted(stick.iterdir()))


def build(tree: Path, version: str, key: Path, out: Path) -> None:
    """One bundle of the tree, as an image of a file system."""
    rootfs = out.with_suffix(".ext4")
    disk.ext4(rootfs, round(1.1 * _size_mb(tree)) + 80, tree)  # RAUC lets it grow to the size of its slot
    signed = ("--key", str(key / "key.pem"), "--cert", str(key / "cert.pem"))
    given = ("--target", SYSTEM, "--rootfs", str(rootfs), "--version", version)
    try:
        deb.edge("update", "build", *given, *signed, "-o", str(out), limit_s=BUILD_S)
    finally:
        rootfs.unlink()


def _take_signature(bundle: Path) -> None:
    """A bundle ends with its signature and the length of that, 8 bytes (RAUC, "Bundle Formats")."""
    size = bundle.stat().st_size
    with bundle.open("r+b") as file:
        file.seek(size - 8)
        length = int.from_bytes(file.read(8), "big")
        file.truncate(size - 8 - length)


def _change_payload(bundle: Path) -> None:
    """One bit in the middle, where the root file system is."""
    with bundle.open("r+b") as file:
        file.seek(bundle.stat().st_size // 2)
        (byte,) = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))


def _site(tree: Path) -> Path:
    return next((tree / places.PREFIX.relative_to("/")).glob("lib/python3.*/site-packages"))
