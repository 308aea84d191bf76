"""What is tried on the robot with two system slots, one function a row: each answers what it saw, or raises `Wrong`.

They build on each other, in the order of `benchmarks.boot.ab`: a robot's life in a few minutes.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.boot import releases
from benchmarks.boot.results import Wrong
from benchmarks.boot.two_slots import HEALTHY_S, INSTALL_S, READY_S, ROLLBACK_S, TwoSlots
from edge_runtime.deploy import places
from edge_runtime.deploy.update import layout

ON_RECORD = f"test -e {layout.TRIAL}"
"""A moment of an installation: the update was found to be in order, and nothing of it is written."""
Trial = Callable[[TwoSlots], str]
_WRITTEN_MIB = "$(awk '{print int($7 / 2048)}' /sys/class/block/vda3/stat)"
"""What was written to slot B since the machine started (Linux, Documentation/block/stat.rst)."""
_INSTALLS = "installs.service"


def at_least(mib: int) -> str:
    """A moment of an installation: so much of slot B is on the disk."""
    return f"test {_WRITTEN_MIB} -ge {mib}"


def boots(robot: TwoSlots) -> str:
    robot.power_on()
    seen = robot.ready("A")
    return f"{seen} {robot.machine.up_s:.0f} s after power-on"


def is_good(robot: TwoSlots) -> str:
    """Wait for the service's proof; the slot is good, and GRUB's count of tries begins anew."""
    robot.wait(f"test -e {places.HEALTHY}", HEALTHY_S)
    robot.wait("systemctl --quiet is-active edge-runtime-good.service", READY_S)
    tries = robot.machine.output(f"grub-editenv {layout.GRUB_ENVIRONMENT} list")
    if "A_TRY=0" not in tries.split() or not robot.slot("A")["good"]:
        raise Wrong(f"{tries}; {robot.journal('edge-runtime-good.service')}")
    return robot.journal("edge-runtime-good.service", 2).splitlines()[0]


def refuses(robot: TwoSlots, bundle: str) -> str:
    """Both ways in: our command, and RAUC's own past it. Nothing may have changed afterwards."""
    before, said = robot.boot_state(), []
    for command in ("edge update install", "rauc install"):
        result = robot.machine.run(f"{command} {releases.STICK}/{bundle}.raucb", INSTALL_S)
        if result.status == 0:
            raise Wrong(f"{command} took it: {result.output}")
        said.append(_last_words(result.output))
    if robot.boot_state() != before:
        raise Wrong(f"refused, but boot order or slot changed: {' / '.join(said)}")
    if robot.status()["trial"] is not None:
        raise Wrong(f"refused, but it is on trial: {' / '.join(said)}")
    return f"nothing changed; {said[0]}"


def _last_words(output: str) -> str:
    return (output.strip().splitlines() or [""])[-1].strip()


def survives_power_cut(robot: TwoSlots, when: str) -> str:
    """While the good update is installed to slot B, as soon as `when` is so on the robot: slot A boots."""
    _cut(robot, when)
    written = robot.machine.output(f"echo {_WRITTEN_MIB}")
    robot.power_on()
    seen = robot.ready("A")
    status, slot_b = robot.until_over(READY_S), robot.slot("B")
    if slot_b["good"] or status["primary"] != "A":
        raise Wrong(f"{seen}, but slot B, half written, may start: {status}")
    return f"{written} MiB were written; {seen}, slot B is not good"


def survives_power_cut_at_the_switch(robot: TwoSlots) -> str:
    """As soon as GRUB's environment says that slot A, bad until then, is to start: whichever does is whole."""
    _cut(robot, f"grub-editenv {layout.GRUB_ENVIRONMENT} list | grep -q ^A_OK=1")
    robot.power_on()
    start = robot.starts()
    return f"{robot.ready_in(start.slot)}, {'on trial' if robot.status()['trial'] else 'not on trial'}"


def _cut(robot: TwoSlots, when: str) -> None:
    """Begin to install the good update, and wait for the moment."""
    bundle = f"{releases.STICK}/good.raucb"
    robot.machine.output(f"systemd-run --quiet --collect --unit={_INSTALLS} edge update install {bundle}")
    end_s = time.monotonic() + INSTALL_S
    while robot.machine.run(when).status != 0:
        ended = robot.machine.run(f"systemctl is-active {_INSTALLS}").status != 0
        if ended or time.monotonic() > end_s:
            raise Wrong(f"the moment did not come: {robot.journal(_INSTALLS)}")


def keeps_good_update(robot: TwoSlots) -> str:
    """Install, reboot: the other slot on trial, and good only once the service has proved itself."""
    target = "B" if robot.status()["booted"] == "A" else "A"
    robot.install("good")
    robot.reboot()
    seen = robot.ready(target)
    if robot.status()["trial"] is None:
        raise Wrong(f"{seen}, but not on trial")
    proved = robot.machine.run(f"test -e {places.HEALTHY}").status == 0
    ended = robot.until_over(HEALTHY_S)
    if proved or not ended["last"]["good"]:
        raise Wrong(f"{seen}, but: {ended['last']}")
    return f"{seen} on trial, then version {ended['version']} good: {ended['last']['why']}"


def gives_up_update(robot: TwoSlots, bundle: str) -> str:
    """Install, reboot into the bad system, and wait: the slot before is there again, by itself."""
    good = robot.status()["booted"]
    robot.install(bundle)
    robot.reboot()
    tries = 0
    while (start := robot.starts(ROLLBACK_S)).slot != good:
        tries += 1
    seen = robot.ready_in(good)
    status = robot.until_over(READY_S)
    other = next(slot for slot in status["slots"] if not slot["booted"])
    if other["good"] or status["last"]["good"] or status["primary"] != good or start.slot != good:
        raise Wrong(f"{seen}, but {status}")
    return f"after {tries} start(s) of slot {other['bootname']}: {seen}; {status['last']['why']}"
