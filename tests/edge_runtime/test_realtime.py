"""Real-time settings are taken where they may be, said where not, and given back; a stuck process is ended."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from edge_runtime import realtime
from edge_runtime.realtime import RealtimeReport, StuckTimer

AS_USUAL = "import os; os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))\n"
"""Whatever a simulator in the same process as these tests has left."""
ROOT = Path(__file__).resolve().parents[2]


def child(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", AS_USUAL + code]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=ROOT, check=False)


@pytest.fixture
def permissions() -> None:
    """A kernel whose scheduler knows permissions. Some sandboxes' give SCHED_FIFO to anyone, and never take it back."""
    if os.geteuid() != 0:
        return
    asked = child(
        "import os, resource\n"
        "resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0)); os.setgid(65534); os.setuid(65534)\n"
        "try: os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(50))\n"
        "except PermissionError: print('refused')\n"
    )
    if asked.stdout != "refused\n":
        pytest.skip("this kernel gives SCHED_FIFO to a user without any right to it: it is not Linux's scheduler")


def test_a_process_that_is_stuck_is_ended_by_the_kernel() -> None:
    """A pattern that never ends keeps the interpreter lock: no bytecode runs, no Python handler could."""
    began = time.monotonic()
    ended = child(
        "import re; from edge_runtime.realtime import StuckTimer\n"
        "with StuckTimer() as timer:\n"
        "    timer.pet(0.3)\n"
        "    re.match('(a+)+b', 'a' * 60)\n"
    )
    assert ended.returncode == -signal.SIGALRM
    assert time.monotonic() - began < 15


def test_a_process_that_pets_in_time_lives_and_is_disarmed_at_the_end() -> None:
    ended = child(
        "import time; from edge_runtime.realtime import StuckTimer\n"
        "with StuckTimer() as timer:\n"
        "    for _ in range(5): timer.pet(0.5); time.sleep(0.05)\n"
        "time.sleep(0.7); print('alive')\n"
    )
    assert (ended.returncode, ended.stdout) == (0, "alive\n")


def test_the_handler_that_was_there_comes_back() -> None:
    def handler(number: int, frame: object) -> None: ...

    before = signal.signal(signal.SIGALRM, handler)
    try:
        with StuckTimer() as timer:
            timer.pet(5.0)
            assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGALRM) is handler
        assert signal.getitimer(signal.ITIMER_REAL)[0] == 0.0
    finally:
        signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("permissions")
def test_settings_are_given_back() -> None:
    code = (
        "import gc, os, sys, threading\n"
        "from edge_runtime import realtime; from edge_runtime.realtime import obtain\n"
        "def settings():\n"
        "    policy = os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK\n"
        "    return policy, os.sched_getaffinity(0), sys.getswitchinterval(), gc.isenabled(), os.getpriority(0, 0)\n"
        "before = settings()\n"
        "with obtain(10, min(os.sched_getaffinity(0))) as report:\n"
        "    assert not gc.isenabled() and gc.get_freeze_count() > 0\n"
        "    assert abs(sys.getswitchinterval() - realtime.SWITCH_S) < 1e-6\n"
        "    if 'SCHED_FIFO 10' in report.obtained:\n"
        "        assert os.sched_getscheduler(0) == os.SCHED_FIFO | os.SCHED_RESET_ON_FORK\n"
        "        other = []\n"
        "        thread = threading.Thread(target=lambda: other.append(os.sched_getscheduler(0)))\n"
        "        thread.start(); thread.join()\n"
        "        assert other == [os.SCHED_OTHER], other\n"
        "assert settings() == before and gc.get_freeze_count() == 0, (settings(), before)\n"
        "print(report)\n"
    )
    ended = child(code)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("real time: collector frozen, switch interval 0.1 ms")


@pytest.mark.usefixtures("permissions")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to lose its permissions")
def test_without_permission_nothing_fails_and_one_line_says_what_is_missing() -> None:
    code = (
        "import os, resource, sys\n"
        "from edge_runtime.realtime import obtain\n"
        "resource.setrlimit(resource.RLIMIT_MEMLOCK, (8192, 8192))\n"
        "resource.setrlimit(resource.RLIMIT_NICE, (0, 0)); resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "with obtain(50, 4095) as report: print(report)\n"
    )
    ended = child(code)
    assert ended.returncode == 0, ended.stderr
    (line,) = ended.stdout.splitlines()
    assert line.startswith("real time: collector frozen, switch interval 0.1 ms; without SCHED_FIFO 50 (")
    for remedy in ("LimitRTPRIO", "LimitMEMLOCK=infinity", "LimitNICE=-15", "core 4095", "the limit is 8 KiB"):
        assert remedy in line


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root and setpriv (util-linux)")
@pytest.mark.parametrize(
    ("capability", "said"),
    [
        (("--reuid=65534", "--clear-groups", "--inh-caps=+ipc_lock", "--ambient-caps=+ipc_lock"), "locked"),
        (("--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock"), "the limit is 8 KiB"),  # root in a container
    ],
)
def test_a_finite_limit_is_for_whoever_has_no_capability_to_lock(capability: tuple[str, ...], said: str) -> None:
    code = (
        "import resource; from edge_runtime import realtime\n"
        "resource.setrlimit(resource.RLIMIT_MEMLOCK, (8192, 8192))\n"
        "try: realtime._lock_memory(); print('locked')\n"
        "except PermissionError as error: print(error.strerror)\n"
    )
    command = ["setpriv", *capability, sys.executable, "-c", code]
    if subprocess.run([*command[:-2], "-c", ""], capture_output=True, timeout=30, check=False).returncode:
        pytest.skip("whom setpriv makes of us may not run this Python")
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=ROOT, check=False)
    assert (done.stdout, done.stderr) == (f"{said}\n", "")


def test_a_report_is_one_line() -> None:
    assert str(RealtimeReport(("a", "b"), ())) == "real time: a, b"
    assert str(RealtimeReport((), ("c (d: e)", "f"))) == "real time: nothing; without c (d: e); f"


def test_a_helper_runs_and_keeps_no_process_alive() -> None:
    ran = threading.Event()
    thread = realtime.helper(ran.set, "camera base")
    assert thread.daemon
    assert thread.name == "camera base"
    thread.start()
    thread.join()
    assert ran.is_set()
