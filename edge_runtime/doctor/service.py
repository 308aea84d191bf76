"""An installed robot is judged as what drives it: its service, with that user, its groups and its limits.

Taken from systemd, as the service would be started now, drop-ins and all. To stand in for it takes root.
"""

from __future__ import annotations

import os
import pwd
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from grp import getgrnam
from pathlib import Path

from edge_runtime.config import Robot
from edge_runtime.deploy import places
from edge_runtime.doctor.check import Check
from edge_runtime.doctor.host import Host
from edge_runtime.errors import EdgeError

_LIMITS = {
    "LimitRTPRIO": resource.RLIMIT_RTPRIO,
    "LimitNICE": resource.RLIMIT_NICE,
    "LimitMEMLOCK": resource.RLIMIT_MEMLOCK,
}


def installed(robot: Robot) -> bool:
    """Whether `robot` is one that a package has brought: what it runs is below the service's own folder."""
    return places.STATE in Path(robot.policy.bundle).parents


@contextmanager
def stood_in_for(host: Host) -> Iterator[tuple[Check, ...]]:
    """Within the block this process, which is root's, may what the service may. Not on two threads at once.

    Yields a line where root may not have its limits: those are as they were then. Raises `EdgeError` where the service
    is not known here.
    """
    said = host.run("systemctl", "show", f"--property=User,SupplementaryGroups,{','.join(_LIMITS)}", places.SERVICE)
    settings = dict(line.split("=", 1) for line in (said or "").splitlines() if "=" in line)
    try:
        user = pwd.getpwnam(settings["User"])
        groups = [getgrnam(name).gr_gid for name in settings["SupplementaryGroups"].split()]
        limits = {kind: _limit(settings[name]) for name, kind in _LIMITS.items()}
    except (KeyError, ValueError) as error:
        raise EdgeError(f"{places.SERVICE} is not known here: install the package") from error
    before, own = {kind: resource.getrlimit(kind) for kind in limits}, os.getgroups()
    try:
        refused = _raise_to(limits)
        os.setgroups([user.pw_gid, *groups])
        os.setresgid(user.pw_gid, user.pw_gid, 0)
        os.setresuid(user.pw_uid, user.pw_uid, 0)
        yield refused
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        os.setgroups(own)
        for kind, limit in before.items():
            resource.setrlimit(kind, limit)


def _raise_to(limits: dict[int, int]) -> tuple[Check, ...]:
    try:
        for kind, most in limits.items():
            resource.setrlimit(kind, (most, most))
    except ValueError:  # without CAP_SYS_RESOURCE, as in many containers
        found = "root may not take them here, nor could the service: looked at with those that are"
        return (Check("service's limits", "warn", found, "sudo edge doctor, on the host"),)
    return ()


def _limit(said: str) -> int:
    return resource.RLIM_INFINITY if said == "infinity" else int(said)
