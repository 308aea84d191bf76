"""What a package for a robot with two system slots adds: RAUC's configuration, units and helpers, shared partitions.

RAUC from 1.5 on reads this configuration (JetPack 6 has an old one), so it has no key that only newer ones know:
`statusfile` stands where 1.8 would have `data-directory`, and older versions are refused in a handler where 1.12 has
`min-bundle-version`, which would ask for a new configuration with each version in any case.
"""

from __future__ import annotations

from importlib.resources import files as package_files
from pathlib import Path

from edge_runtime.deploy.places import PYTHON, STATE, TRUST, UNITS
from edge_runtime.deploy.systems import System
from edge_runtime.deploy.update import layout, units
from edge_runtime.deploy.update.layout import DATA, ESP

_BEFORE_INSTALL = f"""\
#!/bin/sh
exec {PYTHON} -I -m edge_runtime.deploy.update.before_install
"""


def depends(system: System) -> tuple[str, ...]:
    """Debian packages that a robot with two slots needs besides."""
    common = ("rauc", "rauc-service", "e2fsprogs", "tar", "util-linux")
    return (*common, *(() if system.jetpack else ("grub-common", "dosfstools")))


def files(system: System) -> dict[str, str]:
    """Absolute path on the robot → text. A text that begins with #! is a program."""
    return {
        str(layout.SYSTEM_CONFIG): system_conf(system),
        str(layout.BEFORE_INSTALL): _BEFORE_INSTALL,
        str(layout.GIVE_UP): text("give-up.sh"),
        **(_jetson() if system.jetpack else _grub()),
        **_data(),
        **_mounts(system),
        **units.files(),
    }


def system_conf(system: System) -> str:
    """RAUC's /etc/rauc/system.conf (RAUC reference, "System Configuration File").

    A robot's clock may stand at any date when it has no network: a bundle's own signing time is what its certificate
    is judged by.
    """
    bootloader = "custom" if system.jetpack else f"grub\ngrubenv={layout.GRUB_ENVIRONMENT}"
    handlers = f"pre-install={layout.BEFORE_INSTALL}\n"
    if system.jetpack:
        handlers += f"bootloader-custom-backend={layout.NVBOOT}\n"
    head = (
        f"[system]\ncompatible={layout.compatible(system.name)}\nbootloader={bootloader}\n"
        f"statusfile={layout.SLOT_STATUS}\nmountprefix=/run/rauc\nbundle-formats=verity\n\n"
        f"[keyring]\npath={TRUST}\nuse-bundle-signing-time=true\n\n[handlers]\n{handlers}"
    )
    return head + "".join(
        f"\n[slot.rootfs.{number}]\ndevice={slot.device}\ntype=ext4\nresize=true\nbootname={slot.bootname}\n"
        for number, slot in enumerate(layout.slots(system))
    )


def _jetson() -> dict[str, str]:
    """The boot backend; NVIDIA's own confirmation of every boot leaves a slot alone that is on trial."""
    return {
        str(layout.NVBOOT): text("nvboot.sh"),
        str(UNITS / "nv-l4t-bootloader-config.service.d/edge-runtime.conf"): (
            f"[Unit]\nRequiresMountsFor={layout.RECORDS}\nConditionPathExists=!{layout.TRIAL}\n"
        ),
    }


def _grub() -> dict[str, str]:
    return {str(layout.GRUB_CONFIG): text("grub.cfg")}


def _data() -> dict[str, str]:
    """RAUC's records are made, and RAUC waits for them, on the partition that both systems share."""
    return {
        "/usr/lib/tmpfiles.d/edge-runtime-update.conf": f"d {layout.RECORDS} 0755 root root -\n",
        str(UNITS / "rauc.service.d/edge-runtime.conf"): f"[Unit]\nRequiresMountsFor={layout.RECORDS} {ESP}\n",
    }


def _mounts(system: System) -> dict[str, str]:
    """The data partition, the runtime's state on it, and, where GRUB is, its environment's partition."""
    state = DATA / STATE.name
    mounts = {
        "data.mount": _mount(f"/dev/disk/by-partlabel/{layout.DATA_LABEL}", DATA, "ext4", "noatime"),
        r"var-lib-edge\x2druntime.mount": _mount(str(state), STATE, "none", "bind", after=DATA),
    }
    if not system.jetpack:
        esp = f"/dev/disk/by-partlabel/{layout.ESP_LABEL}"
        mounts["boot-efi.mount"] = _mount(esp, ESP, "vfat", "umask=0077,sync")
    made = {str(UNITS / name): unit for name, unit in mounts.items()}
    return {**made, **units.wanted("local-fs.target", *mounts)}


def _mount(what: str, where: Path, kind: str, options: str, after: Path | None = None) -> str:
    head = f"[Unit]\nRequiresMountsFor={after}\n\n" if after else ""
    return f"{head}[Mount]\nWhat={what}\nWhere={where}\nType={kind}\nOptions={options}\n"


def text(name: str) -> str:
    """A file that lies beside this one."""
    return package_files("edge_runtime.deploy.update").joinpath(name).read_text(encoding="utf-8")
