"""What goes along from the system that runs into the slot that an update has just filled: folders here."""

from __future__ import annotations

import hashlib
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge_runtime.deploy.systems import SYSTEMS
from edge_runtime.deploy.update import build

IMAGE_USERS = "root:x:0:0:root:/root:/bin/bash\nedge:x:997:997::/var/lib/edge-runtime:/usr/sbin/nologin\n"
IMAGE_GROUPS = "root:x:0:\nsudo:x:27:\ndialout:x:20:\nedge:x:997:\n"
ANN = "ann:x:1000:1000:Ann:/home/ann:/bin/bash\n"
BOB = "bob:x:1001:1001:Bob:/home/bob:/bin/sh\n"
TOML = "etc/edge-runtime/robot.toml"


@dataclass(frozen=True)
class Slots:
    """`old` runs; `new` has just been filled from `bundle`."""

    old: Path
    new: Path
    bundle: Path

    def hook(self) -> str:
        """What it says of what does not go along."""
        names = {"OLD": self.old, "RAUC_SLOT_MOUNT_POINT": self.new, "RAUC_BUNDLE_MOUNT_POINT": self.bundle}
        done = subprocess.run(
            ["/bin/sh", self.bundle / "hook", "slot-post-install"],
            env={"PATH": "/usr/bin:/bin", **{name: str(path) for name, path in names.items()}},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stderr


def write(root: Path, **texts: str) -> None:
    """Files of /etc."""
    (root / "etc").mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (root / "etc" / name).write_text(text)


@pytest.fixture
def slots(tmp_path: Path) -> Slots:
    """Two systems of one image, with an `edge` that has another number in the new one."""
    made = Slots(tmp_path / "old", tmp_path / "new", tmp_path / "bundle")
    made.bundle.mkdir()
    build._fill(made.bundle, "rootfs.tar", SYSTEMS["debian12-amd64"], "1.6")
    for root, text in ((made.old, "old"), (made.new, "new")):
        write(root, passwd=IMAGE_USERS, group=IMAGE_GROUPS, shadow="root:*:::::::\n", gshadow="sudo:*::\nedge:!::\n")
        (root / "etc/edge-runtime").mkdir()
        (root / TOML).write_text(f'name = "{text}"\n')
        (root / "etc/edge-runtime/trust.pem").write_text(text)
    (made.old / "etc/edge-runtime/system-version").write_text("1.5\n")
    return made


def packaged(slots: Slots, text: str) -> None:
    """dpkg of the running system knows a robot.toml of that text."""
    folder = slots.old / "var/lib/dpkg"
    (folder / "info").mkdir(parents=True)
    digest = hashlib.md5(text.encode()).hexdigest()
    (folder / "status").write_text(
        "Package: edge-runtime\nStatus: install ok installed\nMaintainer: x\nArchitecture: amd64\nVersion: 1\n"
        f"Conffiles:\n /etc/edge-runtime/robot.toml {digest}\n /etc/edge-runtime/trust.pem {'0' * 32}\n"
        "Description: x\n"
    )


def test_version_and_trust_are_the_releases(slots: Slots) -> None:
    slots.hook()
    assert (slots.new / "etc/edge-runtime/system-version").read_text() == "1.6\n"
    assert (slots.new / "etc/edge-runtime/trust.pem").read_text() == "new", "or no key could ever be changed"


def test_what_a_network_and_a_login_know_the_robot_by_goes_along(slots: Slots) -> None:
    write(slots.old, **{"machine-id": "0123\n", "hostname": "arm-1\n"})
    write(slots.new, **{"machine-id": "uninitialized\n", "hostname": "image\n"})
    for path in ("ssh/ssh_host_ed25519_key", "NetworkManager/system-connections/home"):
        (slots.old / "etc" / path).parent.mkdir(parents=True)
        (slots.old / "etc" / path).write_text("secret")
        (slots.old / "etc" / path).chmod(0o600)
    slots.hook()
    for path in ("machine-id", "hostname", "ssh/ssh_host_ed25519_key", "NetworkManager/system-connections/home"):
        assert (slots.new / "etc" / path).read_bytes() == (slots.old / "etc" / path).read_bytes()
    assert stat.S_IMODE((slots.new / "etc/ssh/ssh_host_ed25519_key").stat().st_mode) == 0o600


@pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="no dpkg-query on this machine")
@pytest.mark.parametrize(("brought", "kept"), [("as it came", 'name = "old"\n'), ('name = "old"\n', 'name = "new"\n')])
def test_a_robot_toml_that_its_owner_changed_stays(brought: str, kept: str, slots: Slots) -> None:
    packaged(slots, brought)
    (slots.new / TOML).chmod(0o640)
    inode = (slots.new / TOML).stat().st_ino
    slots.hook()
    assert (slots.new / TOML).read_text() == kept
    assert (slots.new / TOML).stat().st_ino == inode, "whose group has the number that it has in the new system"
    assert stat.S_IMODE((slots.new / TOML).stat().st_mode) == 0o640


def test_where_nobody_knows_what_came_the_robots_own_stays(slots: Slots) -> None:
    (slots.old / "etc/edge-runtime/arm.urdf").write_text("<robot/>")
    (slots.old / "etc/edge-runtime/meshes").mkdir()
    slots.hook()
    assert (slots.new / TOML).read_text() == 'name = "old"\n'
    assert (slots.new / "etc/edge-runtime/arm.urdf").read_text() == "<robot/>"


def people(slots: Slots) -> None:
    """Ann and Bob were given accounts; Ann commands the robot, and logs in with a key."""
    groups = IMAGE_GROUPS.replace("sudo:x:27:", "sudo:x:27:ann").replace("edge:x:997:", "edge:x:997:ann,bob")
    write(
        slots.old,
        passwd=f"{IMAGE_USERS}{ANN}{BOB}nobody:x:65534:65534::/nonexistent:/bin/false\nlocal:x:120:20::/:/bin/sh\n",
        group=f"{groups}ann:x:1000:\nbob:x:1001:\nteam:x:1500:ann,root\n",
        shadow="root:secret:::::::\nann:$y$ann:::::::\nbob:!:::::::\n",
        gshadow="sudo:*::ann\nedge:!::ann,bob\nann:!::\nteam:!:ann:ann\n",
    )
    keys = slots.old / "home/ann/.ssh/authorized_keys"
    keys.parent.mkdir(parents=True)
    keys.write_text("ssh-ed25519 AAAA ann\n")
    (slots.old / "home/ann/.ssh/id_ed25519").write_text("private")
    (slots.old / "home/ann/notes").write_text("mine")
    for path, mode in ((keys, 0o600), (keys.parent, 0o700), (slots.old / "home/ann", 0o750)):
        path.chmod(mode)
        chown(path, 1000)


def chown(path: Path, number: int) -> None:
    """Where this test may: as root."""
    try:
        shutil.chown(path, number, number)
    except PermissionError:
        return


def lines(slots: Slots, name: str) -> list[str]:
    return (slots.new / "etc" / name).read_text().splitlines()


def test_people_keep_their_accounts_and_groups(slots: Slots) -> None:
    people(slots)
    (slots.new / "etc/shadow").chmod(0o640)
    assert slots.hook() == ""
    assert (slots.new / "etc/passwd").read_text() == IMAGE_USERS + ANN + BOB
    assert lines(slots, "shadow") == ["root:*:::::::", "ann:$y$ann:::::::", "bob:!:::::::"]
    assert lines(slots, "group") == [
        *("root:x:0:", "sudo:x:27:ann", "dialout:x:20:", "edge:x:997:ann,bob"),
        *("ann:x:1000:", "bob:x:1001:", "team:x:1500:ann,root"),
    ]
    assert lines(slots, "gshadow") == ["sudo:*::ann", "edge:!::ann,bob", "ann:!::", "team:!:ann:ann"]
    assert stat.S_IMODE((slots.new / "etc/shadow").stat().st_mode) == 0o640


def test_the_next_update_changes_nothing_more(slots: Slots) -> None:
    people(slots)
    slots.hook()
    before = {path: path.read_bytes() for path in sorted(slots.new.rglob("*")) if path.is_file()}
    slots.hook()
    assert {path: path.read_bytes() for path in sorted(slots.new.rglob("*")) if path.is_file()} == before


def test_they_come_in_with_their_keys(slots: Slots) -> None:
    people(slots)
    slots.hook()
    for name in ("home/ann", "home/ann/.ssh", "home/ann/.ssh/authorized_keys"):
        old, new = (slots.old / name).stat(), (slots.new / name).stat()
        assert (new.st_mode, new.st_uid, new.st_gid) == (old.st_mode, old.st_uid, old.st_gid)
    assert (slots.new / "home/ann/.ssh/authorized_keys").read_text() == "ssh-ed25519 AAAA ann\n"
    assert [path.name for path in (slots.new / "home/ann/.ssh").iterdir()] == ["authorized_keys"]
    assert [path.name for path in (slots.new / "home/ann").iterdir()] == [".ssh"]


def test_a_link_is_no_way_to_what_only_root_may_read(slots: Slots, tmp_path: Path) -> None:
    people(slots)
    keys = slots.old / "home/ann/.ssh/authorized_keys"
    keys.unlink()
    (tmp_path / "secret").write_text("secret")
    keys.symlink_to(tmp_path / "secret")
    slots.hook()
    assert not (slots.new / "home/ann/.ssh").exists()


def test_an_account_that_the_image_brings_is_as_it_is_there(slots: Slots) -> None:
    people(slots)
    write(slots.new, passwd=IMAGE_USERS + ANN.replace("bash", "zsh"), group=f"{IMAGE_GROUPS}ann:x:1000:\n")
    write(slots.new, shadow="root:*:::::::\nann:$y$image:::::::\n")
    (slots.new / "home/ann").mkdir(parents=True, mode=0o700)
    assert slots.hook() == ""
    assert lines(slots, "passwd").count(ANN.replace("bash", "zsh").strip()) == 1
    assert "ann:$y$image:::::::" in lines(slots, "shadow")
    assert "ann:$y$ann:::::::" not in lines(slots, "shadow")
    assert "edge:x:997:ann,bob" in lines(slots, "group"), "but she may command the robot as before"
    assert stat.S_IMODE((slots.new / "home/ann").stat().st_mode) == 0o700
    assert (slots.new / "home/ann/.ssh/authorized_keys").exists(), "and come in as before"


@pytest.mark.parametrize(
    ("passwd", "group"),
    [("eve:x:1000:997::/home/eve:/bin/sh\n", ""), ("", "eve:x:1000:\n")],
    ids=["number", "group"],
)
def test_nobody_gets_anothers_number(passwd: str, group: str, slots: Slots) -> None:
    people(slots)
    write(slots.new, passwd=IMAGE_USERS + passwd, group=IMAGE_GROUPS + group)
    assert slots.hook().startswith("account ann: number 1000, or its group 1000, is another in the new system")
    assert not any(line.startswith("ann:") for line in lines(slots, "passwd") + lines(slots, "shadow"))
    assert "edge:x:997:bob" in lines(slots, "group")
    assert not (slots.new / "home/ann").exists()
