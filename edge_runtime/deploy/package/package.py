"""One Debian package that makes a robot of a computer: runtime, robot.toml, system files and, if it likes, a bundle.

Made offline and without running anything of the robot's: wheels are unpacked here. What is checked is checked before
anything is written.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from edge_runtime.bundle import Bundle, copy_files, open_bundle
from edge_runtime.deploy import places
from edge_runtime.deploy.host import system_files
from edge_runtime.deploy.package import control, deb, exchange_library, robot_file, tree, wheels
from edge_runtime.deploy.package.robot_file import RobotFile
from edge_runtime.deploy.systems import System
from edge_runtime.deploy.update import system_files as update_files
from edge_runtime.errors import BundleError, ConfigError, EdgeError
from edge_runtime.plugins import file_name

BUNDLE_BYTES = deb.MEMBER_BYTES * 9 // 10
"""Largest bundle that is carried: compression hardly shrinks weights, and the runtime is in the same member."""
_NOT_CARRIED = {"trt_rtx": "TensorRT-RTX", "ort_cuda": "onnxruntime-gpu"}
"""Backend → the library that it needs and that is neither in a wheelhouse nor JetPack's."""


@dataclass(frozen=True)
class Order:
    """What a package is made of. `kinematics`: with the libraries for end-effector policies, whatever the bundle is."""

    system: System
    robot: Path
    bundle: Path | None
    wheels: Path
    trust: Path | None = None
    updates: bool = False
    kinematics: bool = False


@dataclass(frozen=True)
class Package:
    """The package that was made. `notes`: what a person should know, one line each."""

    file: Path
    version: str
    installed_bytes: int
    notes: tuple[str, ...]


def make(order: Order, to: Path | None = None) -> Package:
    """Make the package, as `to` or under its usual name in the present folder.

    Raises `EdgeError`, one line, for whatever does not fit together; nothing is written then.
    """
    _refuse_names(order, to)
    bundle = None if order.bundle is None else open_bundle(order.bundle)
    if bundle is not None:
        _refuse_too_large(bundle)
    robot = robot_file.read(order.robot, order.bundle)
    _refuse_backend(order, robot)
    kinematics = order.kinematics or (bundle is not None and bundle.spec.pose is not None)
    locked = wheels.wheelhouse(order.system, order.wheels, kinematics=kinematics)
    texts = _texts(order, robot)
    with TemporaryDirectory(prefix="edge-package-") as folder:
        root = Path(folder)
        tree.build(root, order.system, locked)
        library = _compile(root, order.system)
        _write(root, texts)
        _link(root, Path("/usr/bin") / places.EDGE.name, places.EDGE)
        _copy(root, places.PACKAGED_CALIBRATION, robot.calibration)
        _copy(root, places.CONFIG, (robot.urdf,) if robot.urdf else ())
        if bundle is not None:
            copy_files(bundle.manifest, bundle.path, places.under(root, places.FACTORY))
        made = _pack(root, order, robot, to, kinematics=kinematics)
    return replace(made, notes=(*robot.notes, *_notes(order, library)))


def _refuse_names(order: Order, to: Path | None) -> None:
    """Raises `EdgeError` where a name is not that of what it should be."""
    if order.robot.is_dir():
        raise EdgeError(f"{order.robot}: is a folder: the robot.toml comes first, then the bundle")
    if to is not None and to.suffix != ".deb":
        raise EdgeError(f"-o {to}: the name of a Debian package ends in .deb")


def _pack(root: Path, order: Order, robot: RobotFile, to: Path | None, *, kinematics: bool) -> Package:
    """The package of the files below `root`. Its version says what is in it."""
    digest, sums = deb.digests(root)
    version, size = f"{tree.version()}+{digest[:8]}", deb.size_bytes(root)
    file = to or Path(f"{control.NAME}_{version}_{order.system.arch}.deb")
    trusting, updates = order.trust is not None, order.updates
    needs = control.depends(order.system, robot.robot, kinematics=kinematics, trust=trusting, updates=updates)
    archive = {
        "control": control.control(order.system, robot.robot, version, size, needs),
        "conffiles": deb.conffiles(root),
        "md5sums": sums,
        **control.scripts(order.system),
    }
    deb.build(root, archive, file)
    return Package(file, version, size, ())


def _compile(root: Path, system: System) -> str:
    """The serial cycle in C, or why it is not there."""
    return exchange_library.compile_for(system, places.under(root, tree.site_packages(system)) / "edge_runtime")


def _refuse_backend(order: Order, robot: RobotFile) -> None:
    """Raises `ConfigError` where the robot's backend cannot be had on the target."""
    system, backend = order.system, file_name(robot.robot.policy.backend)
    where, instead = f"{order.robot}: policy.backend", f'set it to "{"trt" if system.jetpack else "ort"}"'
    if backend in _NOT_CARRIED:
        raise ConfigError(f"{where}: no package carries {_NOT_CARRIED[backend]}: {instead}")
    if backend == "trt" and not system.jetpack:
        raise ConfigError(f"{where}: {system.title} brings no TensorRT: {instead}")


def _texts(order: Order, robot: RobotFile) -> dict[str, str]:
    """Every file of text outside of /opt, by its path on the robot."""
    texts = dict(system_files.files(robot.robot, order.system, updates=order.updates))
    texts |= update_files.files(order.system) if order.updates else {}
    texts[str(places.ROBOT)] = robot.text
    if order.trust is not None:
        texts[str(places.TRUST)] = _certificate(order.trust)
    elif order.updates:
        raise EdgeError("--updates: needs --trust CERT.pem, the certificate that its system updates are signed with")
    return texts


def _certificate(path: Path) -> str:
    text = path.read_text(encoding="utf-8", errors="replace")
    if "BEGIN CERTIFICATE" not in text or "PRIVATE KEY" in text:
        raise EdgeError(f"{path}: is not a certificate in PEM; edge update keygen makes one, cert.pem")
    return text


def _refuse_too_large(bundle: Bundle) -> None:
    total = sum(entry.size for entry in bundle.manifest.files.values())
    if total > BUNDLE_BYTES:
        raise BundleError(
            f"{bundle.path}: {total / 1e9:.1f} GB are more than a Debian package can hold: leave it out, and send it "
            "with edge deploy"
        )


def _notes(order: Order, library: str) -> Iterable[str]:
    if library:
        yield library
    if order.bundle is None:
        yield "without a bundle: the robot waits for edge deploy"
    if order.trust is None:
        yield "without --trust: the robot takes no bundle from edge deploy and no system update"


def _write(root: Path, texts: Mapping[str, str]) -> None:
    for place, text in texts.items():
        path = places.under(root, Path(place))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755 if text.startswith("#!") else 0o644)


def _copy(root: Path, folder: Path, files: Iterable[Path]) -> None:
    for file in files:
        target = places.under(root, folder) / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)


def _link(root: Path, place: Path, to: Path) -> None:
    path = places.under(root, place)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(to)
