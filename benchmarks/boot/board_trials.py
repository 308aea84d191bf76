"""What is tried on the emulated board, one function a row: each answers what it saw, or raises `Wrong`."""

from __future__ import annotations

import json
import re
import time

from benchmarks.boot.board import CAMERAS, JOINTS, SERVO_PORT
from benchmarks.boot.machine import Machine
from benchmarks.boot.results import Wrong
from edge_runtime.deploy import places

BOOT_S, READY_S, STATE_S, HANG_S = 400.0, 300.0, 120.0, 120.0
"""Generous: the processor is emulated, on a machine that others may use as well."""
PROOF_S = 900.0
"""A thousand ticks in a row, each in time: 200 s at 5 Hz where nothing comes between."""

_ASK = f"{places.EDGE.name} {{}} --robot {places.ROBOT}"
_TORQUE = f"""{places.PYTHON} -I -c '
import serial
from drivers.feetech import packets, sts
with serial.Serial("{SERVO_PORT}", 1_000_000, timeout=5) as port:
    port.write(packets.sync_read(range(1, {len(JOINTS) + 1}), sts.TORQUE_ENABLE.address, 1))
    print(*port.read({7 * len(JOINTS)})[5::7])'"""
"""Asks the servos themselves: an answer is 7 bytes, of which the sixth is the value (Feetech's protocol)."""
_DROP_IN = f"/run/systemd/system/{places.SERVICE}.d"
_ONE_START = f"""mkdir {_DROP_IN}
printf '[Service]\\nRestart=no\\n' > {_DROP_IN}/once.conf
systemctl daemon-reload"""
_ANY_STARTS = f"rm -r {_DROP_IN}; systemctl daemon-reload; systemctl start {places.SERVICE}"


def boots(board: Machine) -> str:
    """By the console, which systemd tells of a service when it says READY."""
    board.wait_for_line(f"Started {places.SERVICE}", BOOT_S)
    seconds = board.up_s
    board.wait_for_agent(READY_S)
    unit = service(board)
    began_s, ready_s = (int(unit[f"{name}TimestampMonotonic"]) / 1e6 for name in ("ExecMainStart", "ActiveEnter"))
    if unit["NRestarts"] != "0":
        raise Wrong(f"READY only after {unit['NRestarts']} restarts")
    return f"READY {seconds:.0f} s after power-on, {ready_s - began_s:.0f} s after its start"


def waits_disarmed(board: Machine) -> str:
    state = state_of(board)
    if state != "DISARMED":
        raise Wrong(state)
    return state


def has_device_names(board: Machine) -> str:
    """In /dev/edge, with the group and the permissions of our rules."""
    wanted = {"arm": SERVO_PORT, **CAMERAS}
    seen = {name: board.output(f"readlink -f /dev/edge/{name} {path}").split() for name, path in wanted.items()}
    told = ", ".join(f"{name} {board.output(f'stat -Lc %n:%G:%a /dev/edge/{name}')}" for name in wanted)
    told = told.replace("/dev/edge/", "")
    if any(len(set(nodes)) != 1 for nodes in seen.values()) or told.count(":660") != len(wanted):
        raise Wrong(f"{told}; {seen}")
    return "; ".join(f"/dev/edge/{name} is {nodes[0]}" for name, nodes in seen.items())


def is_real_time(board: Machine) -> str:
    """One thread, and it alone, is SCHED_FIFO."""
    rows = board.output(f"ps -L -o class=,rtprio=,comm= -p {pid_of(board)}").splitlines()
    raised = [" ".join(row.split()) for row in rows if row.split()[0] != "TS"]
    if len(raised) != 1 or not raised[0].startswith("FF 50"):
        raise Wrong(f"{len(rows)} threads, of which {raised}")
    return f"one of {len(rows)} threads: {raised[0]}"


def has_locked_memory(board: Machine) -> str:
    found = re.search(r"VmLck:\s+(\d+) kB", board.output(f"cat /proc/{pid_of(board)}/status"))
    if found is None or int(found[1]) == 0:
        raise Wrong("nothing is locked")
    return f"VmLck {int(found[1]) / 1e3:.0f} MB"


def proves_itself(board: Machine) -> str:
    """The deadline report is pulled out of the board and read here."""
    board.wait_until(f"test -e {places.HEALTHY}", PROOF_S)
    healthy = json.loads(board.read(str(places.HEALTHY)))
    folder = board.output(f"ls -d {places.REPORTS}/*-healthy | tail -n 1")
    report, page = json.loads(board.read(f"{folder}/report.json")), board.read(f"{folder}/report.html")
    if not healthy["healthy"] or b"</html>" not in page:
        raise Wrong(f"healthy {healthy['healthy']}, page of {len(page)} bytes")
    control = report["control"]
    p50_ms, p99_ms = (healthy["lateness_us"][name] / 1e3 for name in ("p50", "p99"))
    return (
        f"{control['ticks']} ticks at {control['rate_hz']:g} Hz, lateness p50 {p50_ms:.1f} ms, p99 {p99_ms:.1f} ms; "
        f"inference {healthy['inference_ms']:.0f} ms; report.html {len(page) // 1000} kB"
    )


def arms(board: Machine) -> str:
    began_s = time.monotonic()
    board.output(_ASK.format("arm"))
    wait_for_state(board, "READY")
    return f"READY, at the start pose, {time.monotonic() - began_s:.0f} s after edge arm"


def acts_safely_after_kill_9(board: Machine) -> str:
    """Without another start, so that the servos can be asked what has become of them."""
    if (state := state_of(board)) != "READY":
        raise Wrong(f"not armed: {state}")
    board.output(_ONE_START)
    board.output(f"kill -KILL {pid_of(board)}")
    board.wait_until(f"systemctl is-failed {places.SERVICE}", STATE_S)
    torque = board.output(_TORQUE)
    said = board.output(f"journalctl -u {places.SERVICE} -o cat --grep '^bus arm: safe' | tail -n 1")
    board.output(_ANY_STARTS, READY_S)
    if torque.split() != ["0"] * len(JOINTS):
        raise Wrong(f"torque of the servos {torque}; {said}")
    return f"{said}; torque by the servos themselves: {torque}; {state_of(board)} after the next start"


def restarts_what_hangs(board: Machine) -> str:
    """systemd's watchdog, not the hardware's."""
    pid, began_s = pid_of(board), time.monotonic()
    board.output(f"kill -STOP {pid}")
    ready = f"test $(systemctl show -P MainPID {places.SERVICE}) != {pid} && systemctl is-active {places.SERVICE}"
    board.wait_until(ready, READY_S)
    seconds = time.monotonic() - began_s
    said = board.output(f"journalctl -u {places.SERVICE} -o cat --grep 'Watchdog timeout' | tail -n 1")
    if not said:
        raise Wrong("it came back, but not by the watchdog")
    return f"{said.split(': ')[-1]} READY again after {seconds:.0f} s, {state_of(board)}"


def resets_a_system_that_hangs(board: Machine) -> str:
    """A kernel that has panicked stands still (kernel.panic is 0): only the hardware can help."""
    watchdog = board.output("cat /sys/class/watchdog/watchdog0/identity")
    board.output("sysctl kernel.panic=0; (sleep 1; echo c > /proc/sysrq-trigger) > /dev/null 2>&1 &")
    began_s = time.monotonic()
    board.wait_for_line("Kernel panic", STATE_S)
    event = board.wait_for_event("WATCHDOG", HANG_S)
    reset_s = time.monotonic() - began_s
    board.wait_for_line(f"Started {places.SERVICE}", BOOT_S)
    board.wait_for_agent(READY_S)
    return (
        f"{watchdog}: {event['data']['action']} {reset_s:.0f} s after the panic; "
        f"READY {time.monotonic() - began_s:.0f} s after it, {state_of(board)}"
    )


def service(board: Machine) -> dict[str, str]:
    """The unit as systemd sees it."""
    rows = board.output(f"systemctl show {places.SERVICE}").splitlines()
    return dict(row.split("=", 1) for row in rows if "=" in row)


def pid_of(board: Machine) -> int:
    return int(service(board)["MainPID"])


def state_of(board: Machine) -> str:
    """What `edge status` says, or why it says nothing."""
    done = board.run(_ASK.format("status"))
    found = re.search(r"^state +(\S+)", done.output, re.MULTILINE)
    return found[1] if found else f"no state: {done.output.strip()}"


def wait_for_state(board: Machine, state: str) -> None:
    end_s = time.monotonic() + STATE_S
    while (now := state_of(board)) != state:
        if time.monotonic() > end_s:
            raise Wrong(f"it is {now}, not {state}")
        time.sleep(1.0)
