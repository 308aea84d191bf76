"""The service's unit: what runs as whom, how long it may be silent, and what of the machine it can touch.

systemd 249 (JetPack 6) and later know every setting here.
"""

from __future__ import annotations

from collections.abc import Iterator

from edge_runtime.config import Robot
from edge_runtime.deploy.host import waits
from edge_runtime.deploy.host.access import Access, access
from edge_runtime.deploy.host.cores import all_but
from edge_runtime.deploy.host.parts import SERIAL, parts
from edge_runtime.deploy.places import EDGE, PYTHON, ROBOT, RUN, SERVICE, STATE, USER
from edge_runtime.deploy.systems import System
from edge_runtime.deploy.update.units import FAILED
from edge_runtime.realtime import NICE

SLICE = "edge.slice"
_PATH_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_.")


def service(robot: Robot, system: System, *, updates: bool) -> str:
    """`edge-runtime.service` for `robot`; with `updates` a start limit that is reached leads to `FAILED`."""
    may = access(robot, system)
    sections = (
        ("Unit", (*_order(robot, may), *_limit(updates))),
        ("Service", (*_program(), *_ending(robot), *_real_time(robot), *_devices(may), *_network(may), *_walls(may))),
        ("Install", ("WantedBy=multi-user.target",)),
    )
    return "\n".join(f"[{name}]\n" + "\n".join(lines) + "\n" for name, lines in sections)


def device_unit(path: str) -> str:
    """What systemd calls a device that is to be waited for: `systemd-escape --path --suffix=device`."""
    shown = "".join(
        "-" if c == "/" else c if c in _PATH_CHARACTERS and (i or c != ".") else f"\\x{ord(c):02x}"
        for i, c in enumerate(path.strip("/"))
    )
    return f"{shown}.device"


def _order(robot: Robot, may: Access) -> Iterator[str]:
    yield "Description=Edge runtime: the control loop of one robot"
    if ports := [device_unit(part.path) for part in parts(robot) if part.role is SERIAL and part.path in may.devices]:
        yield "# A port of the board's own is allowed by its path, so it must be there; adapters are waited for inside."
        yield f"Wants={' '.join(ports)}"
        yield f"After={' '.join(ports)}"
    if may.network:
        yield "# A camera is on the network."
        yield "Wants=network-online.target"
        yield "After=network-online.target"


def _limit(updates: bool) -> Iterator[str]:
    yield "# Too many failures, however slow: the robot stays as its safe action left it, for a person."
    yield f"StartLimitIntervalSec={waits.START_LIMIT_S}"
    yield f"StartLimitBurst={waits.STARTS}"
    if updates:
        yield "# A system that has not proved itself yet goes back to the one before."
        yield f"OnFailure={FAILED}"


def _program() -> Iterator[str]:
    yield "Type=notify"
    yield "# Only the process whose control thread ticks may say that it lives."
    yield "NotifyAccess=main"
    yield f"ExecStart={EDGE} serve {ROBOT}"
    yield "# The robot's safe action, whatever has become of the process: also after kill -9. An arm without power does"
    yield "# not confirm it, which is no failure of the service: what it says is in the journal."
    yield f"ExecStopPost=-{PYTHON} -I -m edge_runtime.safe_stop {ROBOT}"
    yield "# An end that was asked for (another bundle is to run) is no failure: earlier starts are forgotten."
    forget = f'[ "$$SERVICE_RESULT" != success ] || systemctl reset-failed {SERVICE}'
    yield f"ExecStopPost=-+/bin/sh -c '{forget}'"
    yield f"User={USER}"
    yield f"Group={USER}"
    yield f"Slice={SLICE}"
    yield f"WorkingDirectory={STATE}"
    yield f"StateDirectory={STATE.name}"
    yield "# What a member of the group puts there belongs to the group."
    yield "StateDirectoryMode=2775"
    yield f"RuntimeDirectory={RUN.name}"
    yield "RuntimeDirectoryMode=0750"
    yield "UMask=0007"


def _ending(robot: Robot) -> Iterator[str]:
    yield "# Hashing and loading the bundle; compiling engines asks for more."
    yield f"TimeoutStartSec={waits.START_S}"
    yield "# Longer than the longest call that a control thread which is well makes between two ticks."
    yield f"WatchdogSec={waits.watchdog_s(robot)}"
    yield "# Ends a hung process at once; what ignores even this is killed."
    yield "WatchdogSignal=SIGABRT"
    yield "TimeoutAbortSec=2"
    yield "# The call in progress, the longest stop, the safe action, the black box."
    yield f"TimeoutStopSec={waits.stop_s(robot)}"
    yield "# The safe action waits for nobody: the process that writes the black box of a killed run goes on beside it."
    yield "KillMode=process"
    yield "Restart=always"
    yield f"RestartSec={waits.RESTART_S}"
    yield "# Events come in bursts, and each of them counts."
    yield "LogRateLimitIntervalSec=0"


def _real_time(robot: Robot) -> Iterator[str]:
    yield "# The control thread raises itself; CPUSchedulingPolicy= would raise the inference library's threads too."
    yield f"LimitRTPRIO={robot.control.priority}"
    yield f"LimitNICE={NICE}"
    yield "LimitMEMLOCK=infinity"
    yield "RestrictRealtime=no"
    yield "# A core dump of a model takes longer than the arm may be left alone."
    yield "LimitCORE=0"
    if robot.control.cpu >= 0:
        yield f"# Core {robot.control.cpu} is the control thread's, which moves there itself."
        yield f"CPUAffinity={all_but(robot.control.cpu)}"
    yield "# The largest process of the machine is the last that it can do without."
    yield "OOMScoreAdjust=-900"
    yield "# Losing a camera's or the black box's process is not the end of the loop."
    yield "OOMPolicy=continue"


def _devices(may: Access) -> Iterator[str]:
    if may.groups:
        yield f"SupplementaryGroups={' '.join(may.groups)}"
    yield "DevicePolicy=closed"
    if any(entry.startswith("char-") for entry in may.devices):
        yield "# Whole classes where a device can be plugged in again: it comes back under another number."
    for entry in may.devices:
        yield f"DeviceAllow={entry} rw"


def _network(may: Access) -> Iterator[str]:
    yield f"RestrictAddressFamilies={' '.join(may.families)}"
    if not may.network:
        yield "IPAddressDeny=any"
    if may.can:
        yield "# CAN interfaces are the host's: no network of its own, but of the host's only CAN."
    yield f"PrivateNetwork={_yes(not may.can and not may.network)}"


def _walls(may: Access) -> Iterator[str]:
    yield "NoNewPrivileges=yes"
    yield "CapabilityBoundingSet="
    yield "AmbientCapabilities="
    yield "ProtectSystem=strict"
    yield "ProtectHome=yes"
    if may.argus:
        yield "# The camera daemon's socket is in the host's /tmp, where nothing can be written from here."
        yield f"Environment=TMPDIR={RUN}"
    yield f"PrivateTmp={_yes(not may.argus)}"
    for name in ("Clock", "ControlGroups", "Hostname", "KernelLogs", "KernelModules", "KernelTunables"):
        yield f"Protect{name}=yes"
    yield "ProtectProc=invisible"
    yield "LockPersonality=yes"
    yield "RestrictNamespaces=yes"
    yield "RestrictSUIDSGID=yes"
    yield "RemoveIPC=yes"
    if may.compiles:
        yield "# CUDA and GStreamer write machine code for this machine and run it."
    yield f"MemoryDenyWriteExecute={_yes(not may.compiles)}"
    yield "SystemCallArchitectures=native"
    yield "# With @resources and @memlock: what the control thread asks for itself is left to the limits above."
    yield "SystemCallFilter=@system-service"
    yield "SystemCallFilter=~@privileged"
    yield "SystemCallErrorNumber=EPERM"


def _yes(true: bool) -> str:
    return "yes" if true else "no"
