"""Flashing: every command is checked against a tree like NVIDIA's, whose tools write down what they are told."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edge_runtime.commands.flash import flash
from edge_runtime.deploy.flash import deb_file, overlay
from edge_runtime.deploy.flash import flash as flashing
from edge_runtime.deploy.flash.deb_file import Named
from edge_runtime.errors import EdgeError

pytestmark = pytest.mark.skipif(
    shutil.which("dpkg-deb") is None, reason="no dpkg-deb on this machine: apt install dpkg"
)

BOARD = "jetson-orin-nano-devkit"
AB_XML = "tools/kernel_flash/flash_l4t_t234_nvme_rootfs_ab.xml"
RECORDER = '#!/bin/sh\necho "${0#./} ROOTFS_AB=$ROOTFS_AB $*" >>"%s/said"\n'
STATUS = "".join(
    f"Package: {name}\nStatus: install ok installed\nVersion: {version}\nProvides: {provides}\n\n"
    for name, version, provides in (
        ("python3.10", "3.10.12-1~22.04", "x"),
        ("systemd", "249.11-0ubuntu3", "y"),
        ("udev", "249", "z"),
        ("rauc-tools", "1.8", "rauc (= 1.8), updater"),
    )
)


def tree(folder: Path, *, release: int = 36, chip: str = "234", board: str = BOARD, applied: bool = True) -> Path:
    """A Linux_for_Tegra; each of its tools appends a line to `said`."""
    made = folder / "Linux_for_Tegra"
    for name in ("apply_binaries.sh", "tools/l4t_create_default_user.sh", "tools/kernel_flash/l4t_initrd_flash.sh"):
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(RECORDER % made)
        (made / name).chmod(0o755)
    files = {
        "nv_tegra/bsp_version": f"BSP_BRANCH={release}\nBSP_MAJOR=4\n",
        f"{board}.conf": 'source "${LDK_DIR}/p3767.conf.common";\n',
        "p3767.conf.common": f'DTB_FILE="tegra{chip}-p3768-0000-nv.dtb";\n',
        "rootfs/etc/passwd": "root:x:0:0::/root:/bin/sh\n",
        "rootfs/var/lib/dpkg/status": STATUS,
        "bootloader/generic/cfg/flash_t234_qspi.xml": "<partition_layout/>\n",
        "tools/kernel_flash/flash_l4t_external.xml": "<partition_layout/>\n",
        AB_XML: '<partition name="APP"/><partition name="APP_b"/>\n',
        **({"rootfs/etc/nv_tegra_release": f"# R{release} (release), REVISION: 4.3\n"} if applied else {}),
    }
    for name, text in files.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(text)
    return made


def deb(
    folder: Path, *, name: str = "edge-runtime", target: str = "jetpack6-orin", arch: str = "arm64", **fields: str
) -> Path:
    """A package with no file but, with `updates`, RAUC's configuration."""
    root = folder / f"{name}-{target}"
    (root / "DEBIAN").mkdir(parents=True)
    updates = fields.pop("updates", "")
    entries = {"Package": name, "Version": "1", "Architecture": arch, "Maintainer": "me <me@localhost>", **fields}
    entries["Description"] = f"arm, for a system ({target})"
    (root / "DEBIAN/control").write_text("".join(f"{key}: {value}\n" for key, value in entries.items()))
    if updates:
        (root / "etc/rauc").mkdir(parents=True)
        (root / "etc/rauc/system.conf").write_text("[system]\n")
        (root / "DEBIAN/conffiles").write_text("/etc/rauc/system.conf\n")
    file = folder / f"{name}-{target}-{arch}.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", root, file], check=True, capture_output=True)
    return file


def ask(made: Path, *packages: Path, board: str = BOARD, more: tuple[str, ...] = (), typed: str = "") -> Result:
    words = [word for package in packages for word in ("--package", str(package))]
    arguments = ["--l4t", str(made), "--board", board, *words, "--user", "ann", *more]
    return CliRunner().invoke(flash, arguments, input=typed)


def refusal(made: Path, *packages: Path, board: str = BOARD, more: tuple[str, ...] = ()) -> str:
    """What it says where it refuses; nothing was laid and nothing was run."""
    before = sorted(made.rglob("*"))
    done = ask(made, *packages, board=board, more=more)
    assert isinstance(done.exception, EdgeError), done.output
    assert sorted(made.rglob("*")) == before
    assert "\n" not in str(done.exception)
    return str(done.exception)


def test_the_commands_are_nvidias_for_an_orin_with_an_nvme_disk(tmp_path: Path) -> None:
    made = tree(tmp_path, applied=False)
    done = ask(made, deb(tmp_path), more=("--hostname", "arm-1", "--accept-license"))
    assert done.exit_code == 0, done.exception
    assert done.stdout.splitlines() == [
        f"cd {made}",
        'read -rsp "Password: " PASSWORD',
        "sudo ./apply_binaries.sh",
        'sudo ./tools/l4t_create_default_user.sh -u ann -p "$PASSWORD" -n arm-1 --accept-license',
        "sudo ./tools/kernel_flash/l4t_initrd_flash.sh --external-device nvme0n1p1 "
        "-c tools/kernel_flash/flash_l4t_external.xml -p '-c bootloader/generic/cfg/flash_t234_qspi.xml' "
        f"--showlogs --network usb0 {BOARD} internal",
    ]
    assert "nothing is flashed yet" in done.stderr
    assert not (made / "said").exists()


def test_what_is_there_already_is_not_done_again(tmp_path: Path) -> None:
    made = tree(tmp_path)
    (made / "rootfs/etc/passwd").write_text("ann:x:1000:1000::/home/ann:/bin/bash\n")
    lines = ask(made, deb(tmp_path)).stdout.splitlines()
    assert len(lines) == 2
    assert "l4t_initrd_flash.sh" in lines[1]


def test_internal_storage_and_two_slots(tmp_path: Path) -> None:
    made, package = tree(tmp_path), deb(tmp_path)
    internal = ask(made, package, more=("--storage", "internal")).stdout.splitlines()[-1]
    assert internal.endswith(f"l4t_initrd_flash.sh --showlogs --network usb0 {BOARD} internal")
    slots = ask(made, package, more=("--ab",)).stdout.splitlines()[-1]
    assert slots.startswith("sudo ROOTFS_AB=1 ./tools/kernel_flash/l4t_initrd_flash.sh --external-device nvme0n1p1")
    assert f"-c {AB_XML}" in slots
    assert slots.endswith(f"{BOARD} external")


def test_thor_names_its_disk_itself_and_has_its_own_driver(tmp_path: Path) -> None:
    board = "jetson-agx-thor-devkit"
    made = tree(tmp_path, release=38, chip="264", board=board, applied=False)
    (made / "tools/kernel_flash/l4t_initrd_flash.sh").rename(made / "l4t_initrd_flash.sh")
    (made / "tools/kernel_flash/l4t_initrd_flash.sh").symlink_to("../../l4t_initrd_flash.sh")
    lines = ask(made, deb(tmp_path, target="jetpack7-thor"), board=board).stdout.splitlines()
    assert "sudo ./apply_binaries.sh --openrm" in lines
    assert lines[-1] == f"sudo ./l4t_initrd_flash.sh --showlogs --network usb0 {board} internal"


def test_executed_the_tools_get_what_was_shown_and_the_password_is_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(flashing, "_has_terminal", lambda: True)
    made = tree(tmp_path, applied=False)
    done = ask(made, deb(tmp_path), more=("--ab", "--execute"), typed="s3cret word\ns3cret word\n")
    assert done.exit_code == 0, done.exception
    assert "s3cret" not in done.output
    said = (made / "said").read_text().splitlines()
    assert said[0].startswith("apply_binaries.sh ROOTFS_AB=")
    assert "-u ann -p s3cret word -n robot" in said[1]
    assert said[2].startswith("tools/kernel_flash/l4t_initrd_flash.sh ROOTFS_AB=1 --external-device nvme0n1p1")
    assert (made / "rootfs/opt/edge-install/edge-runtime.deb").is_file()


def test_a_tool_that_fails_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(flashing, "_has_terminal", lambda: True)
    made = tree(tmp_path, applied=False)
    (made / "apply_binaries.sh").write_text("#!/bin/sh\nexit 3\n")
    done = ask(made, deb(tmp_path), more=("--execute",), typed="a\na\n")
    assert str(done.exception) == "./apply_binaries.sh ended with exit code 3: what it said is above"
    assert not (made / "said").exists()


def test_the_board_installs_what_was_laid_once_at_its_first_boot(tmp_path: Path) -> None:
    made, package = tree(tmp_path), deb(tmp_path)
    for _ in range(2):  # twice is no different
        assert ask(made, package).exit_code == 0
    laid = made / "rootfs/opt/edge-install/edge-runtime.deb"
    assert laid.read_bytes() == package.read_bytes()
    wanted = made / "rootfs/etc/systemd/system/multi-user.target.wants/edge-install.service"
    assert wanted.readlink() == Path("/etc/systemd/system/edge-install.service")
    unit = (made / "rootfs/etc/systemd/system/edge-install.service").read_text().splitlines()
    steps = [line for line in unit if line.startswith("ExecStart=")]
    assert steps[0] == "ExecStart=/usr/bin/systemctl mask --runtime edge-runtime.service"
    assert steps[1].endswith("--install /opt/edge-install/edge-runtime.deb")
    assert steps[2] == "ExecStart=/usr/sbin/usermod --append --groups edge ann"
    assert steps[-1] == "ExecStart=/usr/bin/systemctl --no-block reboot"


def test_systemd_takes_the_first_boots_unit(tmp_path: Path) -> None:
    analyzer = shutil.which("systemd-analyze")
    if analyzer is None:
        pytest.skip("no systemd-analyze on this machine: apt install systemd")
    unit = tmp_path / overlay.UNIT
    unit.write_text(overlay.first_boot(["edge-runtime"], "ann"))
    done = subprocess.run([analyzer, "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_board_that_cannot_install_it_gives_up_and_says_why_on_its_screen() -> None:
    lines = overlay.first_boot(["edge-runtime"], "ann").splitlines()
    assert {"StartLimitBurst=20", "Restart=on-failure", "StandardOutput=journal+console"} <= set(lines)
    (limit,) = (int(line.partition("=")[2]) for line in lines if line.startswith("StartLimitIntervalSec"))
    assert limit > overlay.TRIES * (overlay.PAUSE_S + 600)
    (after,) = (line.partition("=")[2] for line in lines if line.startswith("ExecStopPost"))
    words = shlex.split(after.replace("$$", "$"))
    for result, says in (("exit-code", True), ("success", False)):
        done = subprocess.run(words, env={"SERVICE_RESULT": result}, capture_output=True, text=True, check=True)
        assert ("the package is not installed" in done.stdout) is says


def test_between_installation_and_reboot_the_service_does_not_start(tmp_path: Path) -> None:
    """What postinst asks before it starts the service, after the first boot's mask."""
    if (systemctl := shutil.which("systemctl")) is None:
        pytest.skip("no systemctl on this machine: apt install systemd")
    (tmp_path / "usr/lib/systemd/system").mkdir(parents=True)
    (tmp_path / "usr/lib/systemd/system/edge-runtime.service").write_text("[Install]\nWantedBy=multi-user.target\n")
    for words in (("enable",), ("mask", "--runtime")):
        command = [systemctl, f"--root={tmp_path}", *words, "edge-runtime.service"]
        subprocess.run(command, check=True, capture_output=True)
    asked = [systemctl, f"--root={tmp_path}", "--quiet", "is-enabled", "edge-runtime.service"]
    assert subprocess.run(asked, capture_output=True, check=False).returncode != 0


@pytest.mark.parametrize(
    ("needs", "met"),
    [
        ("python3.10 (>= 3.10.6)", True),
        ("python3.10 (>= 3.10.12-1)", False),  # "~" sorts before the end
        ("systemd (>= 250) | systemd (<< 250)", True),
        ("rauc (>= 1.8)", True),
        ("rauc (>= 1.10)", False),
        ("updater", True),
        ("updater (>= 1)", False),  # provided, and no version said
    ],
)
def test_versions_are_compared_as_dpkg_does(needs: str, met: bool, tmp_path: Path) -> None:
    made, package = tree(tmp_path), deb(tmp_path, Depends=needs)
    if met:
        assert ask(made, package).exit_code == 0
    else:
        assert f"needs {needs}, which rootfs has not" in refusal(made, package)


def test_what_it_needs_besides_comes_along(tmp_path: Path) -> None:
    made, needy = (
        tree(tmp_path),
        deb(tmp_path, Depends="python3.10 (>= 3.10), rauc, libnvinfer | python3-libnvinfer:any"),
    )
    assert "needs libnvinfer or python3-libnvinfer, which rootfs has not" in refusal(made, needy)
    assert ask(made, needy, deb(tmp_path, name="python3-libnvinfer", arch="all")).exit_code == 0
    assert (made / "rootfs/opt/edge-install/python3-libnvinfer.deb").is_file()


def test_a_tree_of_another_release_or_none_is_refused(tmp_path: Path) -> None:
    made, package = tree(tmp_path, release=38), deb(tmp_path)
    assert refusal(made, package) == f"{made}: is Jetson Linux 38, and Jetson Orin, JetPack 6 is 36"
    (made / "nv_tegra/bsp_version").unlink()
    (made / "rootfs/etc/nv_tegra_release").unlink()
    assert "says its release" in refusal(made, package)
    (made / "apply_binaries.sh").unlink()
    assert "apply_binaries.sh is missing" in refusal(made, package)


@pytest.mark.parametrize(
    "name",
    [
        "rootfs/etc",
        "tools/l4t_create_default_user.sh",
        "tools/kernel_flash/l4t_initrd_flash.sh",
        "tools/kernel_flash/flash_l4t_external.xml",
        "bootloader/generic/cfg/flash_t234_qspi.xml",
    ],
)
def test_a_tree_with_something_missing_is_refused(name: str, tmp_path: Path) -> None:
    made, package = tree(tmp_path), deb(tmp_path)
    (made / name).rename(tmp_path / "away")
    assert f"{name} is missing" in refusal(made, package)


def test_an_unknown_board_or_one_with_another_chip_is_refused(tmp_path: Path) -> None:
    made, package = tree(tmp_path), deb(tmp_path)
    assert 'did you mean "jetson-orin-nano-devkit"' in refusal(made, package, board="jetson-orin-nano-devkt")
    (made / "p3767.conf.common").write_text('DTB_FILE="tegra264-p3834-nv.dtb";\n')
    assert "has a tegra264" in refusal(made, package)


def test_a_package_that_is_no_jetsons_is_refused(tmp_path: Path) -> None:
    made = tree(tmp_path)
    assert "is no Jetson" in refusal(made, deb(tmp_path, target="debian12-arm64"))
    assert "is for amd64" in refusal(made, deb(tmp_path, arch="amd64"))
    assert "and 0 are" in refusal(made, deb(tmp_path, name="other"))
    assert "does not say what it is for" in refusal(made, deb(tmp_path, target="unheard-of"))
    (tmp_path / "x.deb").write_bytes(b"no package")
    assert "is no Debian package" in refusal(made, tmp_path / "x.deb")
    assert "there is no such package" in refusal(made, tmp_path / "y.deb")


def test_another_package_in_the_overlay_is_refused(tmp_path: Path) -> None:
    made = tree(tmp_path)
    laid = made / "rootfs/opt/edge-install/edge-runtime.deb"
    laid.parent.mkdir(parents=True)
    laid.write_bytes(b"another")
    assert "another package lies there already" in refusal(made, deb(tmp_path))


def test_updates_need_two_slots_and_a_partition_that_both_share(tmp_path: Path) -> None:
    made, package = tree(tmp_path), deb(tmp_path, updates="yes")
    assert "needs two system slots: add --ab" in refusal(made, package)
    assert "has no partition edge-data" in refusal(made, package, more=("--ab",))
    layout = tmp_path / "own.xml"
    layout.write_text('<partition name="APP"/><partition name="APP_b"/><partition name="edge-data"/>\n')
    done = ask(made, package, more=("--ab", "--layout", str(layout)))
    assert f"-c {layout}" in done.stdout


@pytest.mark.parametrize(("option", "value"), [("--user", "Ann Lee"), ("--user", "$(id)"), ("--hostname", "a b")])
def test_names_that_would_break_a_command_are_refused(option: str, value: str, tmp_path: Path) -> None:
    made, package = tree(tmp_path), deb(tmp_path)
    assert f'{option}: "{value}" is no name' in refusal(made, package, more=(option, value))


def test_executing_takes_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    made, package = tree(tmp_path), deb(tmp_path)
    assert refusal(made, package, more=("--execute",)) == "--execute: NVIDIA's tools need root: run this with sudo"


def test_executing_takes_a_terminal_where_a_password_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(flashing, "_has_terminal", lambda: False)
    made, package = tree(tmp_path), deb(tmp_path)
    assert "asks for ann's password, and there is no terminal" in refusal(made, package, more=("--execute",))
    (made / "rootfs/etc/passwd").write_text("ann:x:1000:1000::/home/ann:/bin/bash\n")
    assert ask(made, package, more=("--execute",)).exit_code == 0


def test_the_user_is_not_root_and_the_tree_is_there(tmp_path: Path) -> None:
    made, package = tree(tmp_path), deb(tmp_path)
    assert refusal(made, package, more=("--user", "root")).startswith("--user: root is there already")
    assert "nowhere is not there" in refusal(tmp_path / "nowhere", package)


def test_what_a_package_asks_for_is_read() -> None:
    assert deb_file.named("a (>= 1) | b:any", "|") == (Named("a", ">=", "1"), Named("b"))
    assert deb_file.named("", ",") == ()
