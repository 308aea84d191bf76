"""An emulated 64-bit ARM computer with a robot's devices, each behind the kernel's own driver for it.

Two cameras (`vivid`, V4L2), the simulated servos at the far end of a USB serial cable (`dummy_hcd` and `g_serial`: the
runtime's end is /dev/ttyACM0, theirs /dev/ttyGS0) and a hardware watchdog (`i6300esb`). Debian's kernel runs Debian's
system, into which dpkg has put the package; nothing of the runtime has run before the board is switched on.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from benchmarks.boot import deb, image
from benchmarks.boot.disk import ext4
from benchmarks.boot.machine import Machine
from edge_runtime.deploy import places
from edge_runtime.deploy.systems import SYSTEMS
from edge_runtime.errors import EdgeError, one_line

SYSTEM = "debian12-arm64"
TOOLS = {
    "qemu-system-aarch64": "qemu-system-arm",
    "qemu-aarch64-static": "qemu-user-static",
    "arch-test": "arch-test",
    "mmdebstrap": "mmdebstrap",
    "mkfs.ext4": "e2fsprogs",
}
BINFMT = (
    "mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc; "
    "/usr/lib/systemd/systemd-binfmt /usr/lib/binfmt.d/qemu-aarch64.conf"
)
"""What a Debian with systemd does by itself: the kernel then starts foreign programs by qemu's user emulation."""
PACKAGES = ("libstdc++6", "linux-image-arm64", "qemu-guest-agent")
DISK_MIB = 4096
COMMAND_S = 600.0

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
CAMERAS = {
    "base": "/dev/v4l/by-id/usb-vivid-000-video-index0",
    "wrist": "/dev/v4l/by-id/usb-vivid-001-video-index0",
}
SERVO_PORT = "/dev/serial/by-id/usb-Edge_Servos_0001-if00"
EDITS = {
    **{
        f'kind = "sim"\ndevice = "/dev/camera-{name}.sock"': f'kind = "opencv"\ndevice = "{path}"\nfps = 1'
        for name, path in CAMERAS.items()
    },
    'port = "/dev/arm"': f'port = "{SERVO_PORT}"',
    **{f'name = "{joint}"': f'name = "{joint}"\nsafe = "release"' for joint in JOINTS},
    # Servos alone begin in the middle of their turn, whatever arm they will be in.
    "position = [0.3, 2.7]": "position = [-0.1, 2.7]",
    "position = [0.5, 1.1]": "position = [-0.1, 1.1]",
    # An emulated processor, on a machine that others use as well.
    "rate_hz = 100": "rate_hz = 5",
    "serial_ms = 8.0": "serial_ms = 160.0\ntick_ms = 180.0\nframe_age_ms = 5000.0\n"
    "inference_ms = 10000.0\nhung_ms = 60000.0\nstall_ms = 5000.0",
    "stuck_ms = 1500.0": "stuck_ms = 5000.0",
    "timeout_s = 15.0": "timeout_s = 15.0\n\n[black_box]\nframes_hz = 0",
}
"""Lines of the simulated robot's robot.toml, and what they are on this board."""

_SERVOS = f"""\
[Unit]
Description=Simulated servos at the far end of the USB cable
Requires=dev-ttyGS0.device
After=dev-ttyGS0.device

[Service]
ExecStart={places.PYTHON} -I -m drivers.sim --dir /run --protocol feetech --servos {len(JOINTS)} --port /dev/ttyGS0
# Real servos need no turn on this processor to answer; the control thread goes first.
CPUSchedulingPolicy=fifo
CPUSchedulingPriority=1

[Install]
WantedBy=multi-user.target
"""
_FILES = {
    "etc/systemd/system/simulated-servos.service": _SERVOS,
    "etc/modules-load.d/board.conf": "vivid\ndummy_hcd\ng_serial\n",
    # One input each, a webcam, and no other node; USB cameras and adapters have a serial number, and so has this one.
    "etc/modprobe.d/board.conf": (
        "options vivid n_devs=2 node_types=1,1 num_inputs=1,1 input_types=0,0\n"
        "options g_serial iManufacturer=Edge iProduct=Servos iSerialNumber=0001\n"
    ),
    "etc/udev/rules.d/60-board.rules": (
        'SUBSYSTEM=="video4linux", ATTR{name}=="vivid-00[01]-vid-cap", '
        'PROGRAM="/bin/sh -c \'cut -c 7-9 $sys$devpath/name\'", SYMLINK+="v4l/by-id/usb-vivid-%c-video-index0"\n'
        'SUBSYSTEM=="tty", KERNEL=="ttyGS0", TAG+="systemd"\n'
    ),
    "etc/hostname": "robot\n",
    "etc/fstab": "/dev/vda / ext4 errors=remount-ro 0 1\n",
    "etc/initramfs-tools/conf.d/board": "MODULES=list\n",
    "etc/initramfs-tools/modules": "virtio_pci\nvirtio_blk\next4\n",
}


def need() -> None:
    """Raises `Skip` where this machine lacks what it takes to make the board."""
    image.need_root()
    image.need(TOOLS)
    if subprocess.run(["arch-test", SYSTEMS[SYSTEM].arch], capture_output=True, check=False).returncode:
        raise image.Skip(f"programs for {SYSTEMS[SYSTEM].arch} do not run here: {BINFMT}")


def debian(folder: Path, tree: Path) -> str:
    """Debian 12 with its kernel as the new folder `tree`."""
    image.unpack(image.root(SYSTEMS[SYSTEM].arch, PACKAGES, folder, initrd=False), tree)
    for place, text in _FILES.items():
        (tree / place).parent.mkdir(parents=True, exist_ok=True)
        (tree / place).write_text(text)
    return f"Debian {(tree / 'etc/debian_version').read_text().strip()}, kernel {_kernel(tree)}"


def package(folder: Path, tree: Path, bundle: Path) -> str:
    """The package in it."""
    robot = deb.robot_toml(folder / "robot", "/dev", EDITS)
    made = deb.make(SYSTEM, robot, bundle, folder)
    shutil.copy(made, tree / "root/edge-runtime.deb")
    _in(tree, "dpkg", "--install", "/root/edge-runtime.deb")
    (tree / "root/edge-runtime.deb").unlink()
    _in(tree, "systemctl", "enable", "simulated-servos.service")
    return f"{made.stat().st_size / 1e6:.0f} MB, installed by dpkg without a network"


def boot_files(folder: Path, tree: Path) -> str:
    """The kernel, an initrd that can reach the disk, and the disk, in `folder`; `tree` may go then."""
    kernel = _kernel(tree)
    _in(tree, "update-initramfs", "-c", "-k", kernel)
    shutil.copy(tree / f"boot/vmlinuz-{kernel}", folder / "vmlinuz")
    shutil.copy(tree / f"boot/initrd.img-{kernel}", folder / "initrd")
    (folder / "disk.img").unlink(missing_ok=True)
    ext4(folder / "disk.img", DISK_MIB, tree)
    return f"initrd {(folder / 'initrd').stat().st_size / 1e6:.0f} MB, disk {DISK_MIB} MiB"


def machine(folder: Path) -> Machine:
    """The board, switched off, with what `boot_files` has left in `folder`."""
    qemu = ("qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a76", "-smp", "2", "-m", "2048", "-nic", "none")
    kernel = ("-kernel", str(folder / "vmlinuz"), "-initrd", str(folder / "initrd"))
    disk = ("-drive", f"if=virtio,format=raw,cache=unsafe,file={folder / 'disk.img'}")
    watchdog = ("-device", "i6300esb", "-action", "watchdog=reset")
    status = "TERM=dumb systemd.status_unit_format=name systemd.mask=serial-getty@ttyAMA0.service"
    words = f"root=/dev/vda rw console=ttyAMA0 {status}"  # the console tells of each unit, by its whole name
    return Machine((*qemu, *kernel, *disk, *watchdog, "-device", "virtio-rng-pci", "-append", words), folder)


def emulator() -> str:
    """Its version, for the record."""
    return subprocess.run(
        ["qemu-system-aarch64", "--version"], capture_output=True, text=True, check=True
    ).stdout.splitlines()[0]


def _kernel(tree: Path) -> str:
    return next((tree / "usr/lib/modules").iterdir()).name


def _in(tree: Path, *command: str) -> None:
    """Run a command of the foreign system, by qemu's user emulation; `EdgeError` where it fails."""
    apart = ("unshare", "--pid", "--fork", f"--mount-proc={tree / 'proc'}", "chroot", str(tree))
    done = subprocess.run([*apart, *command], capture_output=True, text=True, timeout=COMMAND_S, check=False)
    if done.returncode:
        raise EdgeError(f"in the image: {' '.join(command)}: {one_line(done.stderr or done.stdout)}")
