"""`edge package` makes one .deb, the same bytes for the same files; what cannot be a robot is refused before that."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from edge_runtime import cli, config_check
from edge_runtime.deploy import places
from edge_runtime.deploy.package import package, tree
from edge_runtime.deploy.systems import SYSTEMS, System
from tests.edge_runtime import calibrations, tiny_bundle
from tests.edge_runtime.deploy.package.wheelhouse import TINY, lock, write
from tests.edge_runtime.fakes import spec
from tests.robot_toml import NAMES, ROBOT

pytest.importorskip("tomlkit", reason="tomlkit is not installed: pip install '.[package]' in the checkout")
needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not here: this is no Debian")
PLACED = ROBOT.replace('= "./', '= "/run/sim/').replace("[control]", "[control] # kept")
FITS = msgspec.structs.replace(tiny_bundle.MANIFEST, spec=spec(NAMES))
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture(autouse=True)
def _house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lock(tmp_path / "locks", monkeypatch, write(tmp_path / "wheels"))


def robot(folder: Path, *changes: tuple[str, str], text: str = PLACED) -> Path:
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    folder.mkdir(exist_ok=True)
    (folder / "robot.toml").write_text(text)
    return folder / "robot.toml"


def edge_package(*arguments: str | Path, target: str = "debian12-amd64") -> int:
    return cli.main(["package", "--target", target, "--wheels", "wheels", *map(str, arguments)])


def unpacked(deb: Path, to: Path) -> Path:
    subprocess.run(["dpkg-deb", "--raw-extract", str(deb), str(to)], check=True)
    return to


@needs_dpkg
def test_the_package_holds_runtime_robot_and_bundle(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    calibrations.keep(tmp_path / "robot", calibrations.BUS)
    (tmp_path / "robot/arm.urdf").write_text('<robot name="a"><link name="base"/></robot>')
    file = robot(tmp_path / "robot", ("[policy]", 'calibration = "calibration"\n\n[policy]'))
    bundle = tiny_bundle.write(tmp_path / "bundle", FITS)
    (bundle / "engines").mkdir()
    (bundle / "engines/made-here").touch()
    assert edge_package(file, bundle, "-o", "new/x.deb") == 0
    said = capfd.readouterr()
    assert said.out.startswith("new/x.deb: Debian 12 on x86-64, ")
    assert "without --trust" in said.err
    root = unpacked(tmp_path / "new/x.deb", tmp_path / "root")
    opt = root / "opt/edge-runtime"
    site = opt / "lib/python3.11/site-packages"
    assert (site / "tiny/__init__.py").read_bytes() == TINY["tiny/__init__.py"]
    assert {p.name for p in site.iterdir()} == {
        "tiny",
        "tiny-1.0.dist-info",
        *tree.OURS,
        "edge_runtime-0.1.0.dist-info",
    }
    assert sorted(p.name for p in (opt / "bundle").iterdir()) == sorted(p.name for p in bundle.iterdir() if p.is_file())
    assert [p.name for p in (opt / "calibration").iterdir()] == ["bus-arm.json"]
    assert not [*opt.rglob("__pycache__"), *opt.rglob("*.pyc")]
    assert (root / "usr/bin/edge").readlink() == places.EDGE
    assert (root / "usr/lib/systemd/system/edge-runtime.service").exists()
    conffiles = (root / "DEBIAN/conffiles").read_text().splitlines()
    assert conffiles == [f"/{p.relative_to(root)}" for p in sorted((root / "etc").rglob("*")) if p.is_file()]
    assert str(places.ROBOT) in conffiles
    subprocess.run(["md5sum", "--check", "--quiet", "DEBIAN/md5sums"], cwd=root, check=True)


@needs_dpkg
def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    for name, mask in (("one", 0o022), ("two", 0o077)):
        before = os.umask(mask)
        try:
            bundle = tiny_bundle.write(tmp_path / name / "bundle", FITS)
            file = robot(tmp_path / name / "robot")
            os.utime(file, (time.time(), 1e9 if name == "one" else 2e9))
            assert edge_package(file, bundle, "-o", f"{name}.deb") == 0
        finally:
            os.umask(before)
    assert Path("one.deb").read_bytes() == Path("two.deb").read_bytes()
    listing = subprocess.run(["dpkg-deb", "-c", "two.deb"], capture_output=True, text=True, check=True).stdout
    assert {line.split()[0] for line in listing.splitlines()} <= {
        "drwxr-xr-x",
        "-rw-r--r--",
        "-rwxr-xr-x",
        "lrwxrwxrwx",
    }
    assert {tuple(line.split()[1:5:2]) for line in listing.splitlines()} == {("root/root", "2020-01-01")}
    robot(tmp_path / "two/robot", ("timeout_s = 12.5", "timeout_s = 12.6"))
    assert edge_package(tmp_path / "two/robot/robot.toml", tmp_path / "two/bundle", "-o", "three.deb") == 0
    versions = [_field(Path(f"{name}.deb"), "Version") for name in ("one", "three")]
    assert versions[0] != versions[1]
    assert all(re.fullmatch(r"0\.1\.0\+[0-9a-f]{8}", version) for version in versions)


def _field(deb: Path, name: str) -> str:
    return subprocess.run(["dpkg-deb", "-f", str(deb), name], capture_output=True, text=True, check=True).stdout.strip()


@needs_dpkg
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not here, which makes the certificate")
def test_what_the_package_asks_for(tmp_path: Path) -> None:
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ed25519",
            "-nodes",
            "-keyout",
            "k.pem",
            "-out",
            "c.pem",
            "-subj",
            "/CN=x",
        ],
        check=True,
        capture_output=True,
    )
    file = robot(tmp_path / "robot")
    assert edge_package(file, "--trust", "c.pem", "--updates", "--kinematics", "-o", "x.deb") == 0
    depends = _field(Path("x.deb"), "Depends").split(", ")
    assert {"python3.11", "libc6 (>= 2.36)", "openssl", "rsync", "rauc", "libgomp1", "libquadmath0"} <= set(depends)
    root = unpacked(Path("x.deb"), tmp_path / "root")
    assert (root / "etc/edge-runtime/trust.pem").read_text() == Path("c.pem").read_text()
    assert (root / "etc/rauc/system.conf").exists()
    assert edge_package(file, "--trust", "k.pem", "-o", "y.deb") == 2
    assert edge_package(file, "--updates", "-o", "y.deb") == 2
    assert not Path("y.deb").exists()


@needs_dpkg
def test_the_scripts_are_for_a_posix_shell_and_have_no_gaps(tmp_path: Path) -> None:
    from edge_runtime.deploy.package import control

    texts = control.scripts(SYSTEMS["debian12-arm64"])
    assert set(texts) == {"postinst", "prerm", "postrm"}
    for name, text in texts.items():
        assert text.startswith("#!/bin/sh\n")
        assert not re.search(r"@[A-Z]+@", text)
        (tmp_path / name).write_text(text)
        subprocess.run(["sh", "-n", name], check=True)
    assert "systemctl --no-block restart edge-runtime.service" in texts["postinst"]


@pytest.mark.parametrize("why", ["configure", "abort-upgrade", "abort-remove"])
def test_after_an_upgrade_that_was_given_up_the_service_runs_again(tmp_path: Path, why: str) -> None:
    from edge_runtime.deploy.package import control

    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("systemd-sysusers", "systemd-tmpfiles", "chgrp", "deb-systemd-helper", "udevadm", "systemctl"):
        (programs / name).write_text(f'#!/bin/sh\necho {name} "$@" >>"{tmp_path}/said"\n')
        (programs / name).chmod(0o755)
    (tmp_path / "etc").mkdir(mode=0o755)
    (tmp_path / "etc/robot.toml").touch(0o644)
    text = control.scripts(SYSTEMS["debian12-amd64"])["postinst"]
    for there, here in (("/run/systemd/system", tmp_path), (places.CONFIG, tmp_path / "etc"), (places.PREFIX, "/none")):
        text = text.replace(str(there), str(here))
    words = ["sh", "-c", text, "postinst", why, "1.0"]
    subprocess.run(words, check=True, env={"PATH": f"{programs}:/usr/bin:/bin"}, capture_output=True)
    said = (tmp_path / "said").read_text().splitlines()
    assert said[-1] == "systemctl --no-block restart edge-runtime.service"
    assert f"chgrp edge {tmp_path}/etc {tmp_path}/etc/robot.toml" in said
    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("etc", "etc/robot.toml")]
    assert modes == [0o750, 0o640]


def test_what_only_lies_in_the_checkout_is_not_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def packed() -> set[str]:
        root = Path(tempfile.mkdtemp(dir=tmp_path))
        tree.build(root, SYSTEMS["debian12-amd64"], [])
        return {str(path.relative_to(root)) for path in root.rglob("*")}

    for name in tree.OURS:
        shutil.copytree(Path(importlib.import_module(name).__path__[0]), tmp_path / "checkout" / name)
    monkeypatch.setattr(tree, "importlib", SimpleNamespace(import_module=_module_of(tmp_path / "checkout")))
    before = packed()
    scratch = tmp_path / "checkout/edge_runtime"
    for place in ("notes.txt", "backends/model.onnx", "deploy/debian/x", "try/out.py", ".x.py", "_exchange.abi3.so"):
        (scratch / place).parent.mkdir(exist_ok=True)
        (scratch / place).write_text("x")
    assert packed() == before
    assert any(name.endswith("edge_runtime/deploy/package/debian/postinst") for name in before)
    for name in ("report.css", "backends/cuda/kernels.ptx"):
        assert any(path.endswith(f"edge_runtime/{name}") for path in before)


def _module_of(checkout: Path) -> Callable[[str], SimpleNamespace]:
    return lambda name: SimpleNamespace(__path__=[str(checkout / name)])


def test_what_is_packed_is_what_a_wheel_has() -> None:
    toml = pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    found = toml.loads((Path(__file__).parents[4] / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert {"*": ["*.py", *found.pop("*")], **found} == {
        "*": list(tree.FILES),
        **{package: list(patterns) for package, patterns in tree.MORE_FILES.items()},
    }


def test_robot_toml_keeps_its_words_and_gets_a_robots_paths(tmp_path: Path) -> None:
    from edge_runtime.deploy.package import robot_file

    text = PLACED.replace("[policy]", "# mine\n[policy]")
    found = robot_file.read(robot(tmp_path / "robot", text=text), None)
    removed = set(text.splitlines()) - set(found.text.splitlines())
    assert removed == {'bundle = "bundle"'}
    assert found.robot == config_check.parse(found.text.encode(), Path("/elsewhere"))
    assert found.robot.policy.bundle == str(places.CURRENT)
    assert (found.robot.control.socket, found.robot.control.socket_mode) == (str(places.SOCKET), "0660")
    assert found.robot.black_box.folder == str(places.BLACK_BOX)
    assert (found.robot.calibration, found.robot.kinematics.urdf) == ("", "")


@pytest.mark.parametrize(
    ("change", "key", "value"),
    [
        (("rate_hz = 100", 'rate_hz = 100\nsocket_mode = "0600"'), "control.socket_mode", "0600"),
        (("[episode]", '[black_box]\nfolder = ""\n\n[episode]'), "black_box.folder", ""),
        (("[control] # kept\nrate_hz = 100", "[control]"), "control.socket", str(places.SOCKET)),
        (("[control] # kept\nrate_hz = 100\n", ""), "control.socket", str(places.SOCKET)),
        (('[policy]\nbundle = "bundle"', "[policy]\n\"bundle\" = 'b'"), "policy.bundle", str(places.CURRENT)),
        (("[control] # kept\nrate_hz = 100", '[control]\n"rate_hz" = 1_00 # \u00b5'), "control.rate_hz", 100.0),
    ],
)
def test_paths_however_they_are_written(tmp_path: Path, change: tuple[str, str], key: str, value: object) -> None:
    from edge_runtime.deploy.package import robot_file

    found = robot_file.read(robot(tmp_path / "robot", change), None).robot
    table, _, field = key.partition(".")
    assert getattr(getattr(found, table), field) == value


@pytest.mark.parametrize(
    ("changes", "target", "words"),
    [
        ([('"/run/sim/arm"', '"./arm"')], "debian12-amd64", r"robot\.toml: buses\[0\]\.port: \./arm is beside"),
        ([("/run/sim/camera-base", "../base")], "debian12-amd64", r"cameras\[0\]\.device: \.\./base\.sock is beside"),
        ([("[policy]", '[policy]\nbackend = "trt"')], "debian12-amd64", r"policy\.backend: Debian 12 on x86-64 brings"),
        ([("[policy]", '[policy]\nbackend = "trt-rtx"')], "jetpack6-orin", r'carries TensorRT-RTX: set it to "trt"\n'),
        ([("[policy]", '[policy]\nbackend = "ort-cuda"')], "jetpack7-orin", r'onnxruntime-gpu: set it to "trt"\n'),
        ([("[policy]", '[policy]\nbackend = "ort_cuda"')], "debian12-amd64", r'onnxruntime-gpu: set it to "ort"\n'),
        ([], "jetpack9-orin", r'target "jetpack9-orin": there is none, did you mean "jetpack'),
        ([('name = "gripper"', 'name = "hand"')], "debian12-amd64", r"joint 5 of the robot is hand"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_robot_is_one_line(
    tmp_path: Path, changes: list[tuple[str, str]], target: str, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    bundle = tiny_bundle.write(tmp_path / "bundle", FITS)
    assert edge_package(robot(tmp_path / "robot", *changes), bundle, target=target) == 2
    said = capfd.readouterr()
    assert re.search(words, said.err)
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert not list(tmp_path.glob("*.deb"))


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("bundle", "robot/robot.toml"), "bundle: is a folder: the robot.toml comes first, then the bundle"),
        (("robot/robot.toml", "robot/robot.toml"), "robot/robot.toml: is a file, and a bundle is a folder"),
        (("robot/robot.toml", "-o", "new/x"), "-o new/x: the name of a Debian package ends in .deb"),
    ],
)
def test_a_name_that_is_another_things_is_one_line(
    words: tuple[str, ...], why: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    robot(tmp_path / "robot")
    tiny_bundle.write(tmp_path / "bundle", FITS)
    assert edge_package(*words) == 2
    assert capfd.readouterr().err == f"edge: {why}\n"
    assert not Path("new").exists()


def test_without_tomlkit_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("edge_runtime.deploy.package.package", "edge_runtime.deploy.package.robot_file"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.delattr("edge_runtime.deploy.package.robot_file", raising=False)
    monkeypatch.setattr(sys, "meta_path", [_Without("tomlkit"), *sys.meta_path])
    for name in [name for name in sys.modules if name.partition(".")[0] == "tomlkit"]:
        monkeypatch.delitem(sys.modules, name)
    assert edge_package(robot(tmp_path / "robot")) == 2
    said = capfd.readouterr().err
    assert said.endswith("needs \"tomlkit\", which is not installed: pip install '.[package]' in the checkout\n")


class _Without:
    """Finds no module of this name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def find_spec(self, name: str, *_: object) -> None:
        if name.partition(".")[0] == self._name:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_a_bundle_is_checked_and_one_that_is_too_large_is_for_edge_deploy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    file, bundle = robot(tmp_path / "robot"), tiny_bundle.write(tmp_path / "bundle", FITS)
    monkeypatch.setattr(package, "BUNDLE_BYTES", 100)
    assert edge_package(file, bundle) == 2
    assert "more than a Debian package can hold: leave it out, and send it with edge deploy" in capfd.readouterr().err
    monkeypatch.undo()
    (bundle / "step.onnx").write_bytes(b"another")
    assert cli.main(["package", "--target", "debian12-amd64", str(file), str(bundle)]) == 2
    assert "step.onnx: has 7 bytes" in capfd.readouterr().err


def test_a_package_for_jetpack_sees_tensorrt_and_nothing_else_of_the_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = System("here", "This machine", "amd64", PYTHON, "2.35", jetpack=True)
    tree.build(tmp_path / "root", here, [write(tmp_path / "more")])
    prefix = tmp_path / "root/opt/edge-runtime"
    site = prefix / f"lib/python{PYTHON}/site-packages"
    assert (prefix / "bin/python").readlink() == Path(f"/usr/bin/python{PYTHON}")
    assert (site / "tensorrt").readlink() == Path(f"/usr/lib/python{PYTHON}/dist-packages/tensorrt")
    system = tmp_path / "dist-packages"
    for name in ("tensorrt", "foreign"):
        (system / name).mkdir(parents=True)
        (system / name / "__init__.py").write_text("SAYS = 'the system'\n")
    _relink(site / "tensorrt", system / "tensorrt")
    interpreter = Path(os.path.realpath(sys.executable))
    _relink(prefix / "bin/python", interpreter)
    settings = (prefix / "pyvenv.cfg").read_text().replace("/usr/bin", str(interpreter.parent))
    (prefix / "pyvenv.cfg").write_text(settings)
    asked = (
        "import importlib.util as u, sys, tensorrt, tiny\n"
        "print(tensorrt.SAYS, tiny.SAYS, u.find_spec('foreign'), u.find_spec('pytest'), u.find_spec('export'))\n"
        "print(sys.prefix, [p for p in sys.path if '-packages' in p])\n"
        "from importlib.metadata import version; print(version('edge-runtime'))\n"
    )
    python = [str(prefix / "bin/python"), "-I", "-B"]
    said = subprocess.run([*python, "-c", asked], capture_output=True, text=True, check=True).stdout.splitlines()
    assert said == ["the system tiny None None None", f"{prefix} ['{site}']", "0.1.0"]


def _relink(link: Path, to: Path) -> None:
    link.unlink()
    link.symlink_to(to)


def test_the_serial_cycle_is_compiled_for_the_target_the_same_each_time(tmp_path: Path) -> None:
    from edge_runtime import exchange
    from edge_runtime.deploy.package.exchange_library import LIBRARY, compile_for

    machine = {"x86_64": "debian12-amd64", "aarch64": "debian12-arm64"}[os.uname().machine]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        if said := compile_for(SYSTEMS[machine], tmp_path / name):
            pytest.skip(said)
    assert (tmp_path / "one" / LIBRARY).read_bytes() == (tmp_path / "two" / LIBRARY).read_bytes()
    assert isinstance(exchange.load(tmp_path / "one"), exchange.Exchange)


def test_without_a_compiler_the_package_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edge_runtime.deploy.package.exchange_library import compile_for

    monkeypatch.setenv("PATH", str(tmp_path))
    assert "sudo apt-get install gcc" in compile_for(SYSTEMS["debian12-arm64"], tmp_path)
    assert "sudo apt-get install gcc" in compile_for(SYSTEMS["debian12-amd64"], tmp_path)
    assert not list(tmp_path.glob("*.so"))


def test_the_help_names_both_commands(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["package", "--help"]) == 0
    said = capfd.readouterr().out
    assert said.startswith("Usage: edge package [OPTIONS] ROBOT.TOML [BUNDLE]\n")
    assert "edge package wheels" in said
    assert cli.main(["package", "wheels", "--target", "nowhere"]) == 2
    assert 'target "nowhere"' in capfd.readouterr().err
    assert cli.main(["package", "--targt", "x"]) == 2
    assert capfd.readouterr().err.startswith('edge: package: there is no option "--targt", did you mean "--target"?')
