"""`edge` as a user starts it, with a policy that never ends and a saboteur inside who waits for orders.

    python -m benchmarks.faults.edge PIPE run robot.toml …

Everything else is the program itself: its command line, threads, drivers, signals. The saboteur does what only code
inside a process can do to it, when a line comes through the named pipe `PIPE`: `think KIND` (what inferences do from
now on: well, stall, crash, slow or hang) and `grab SECONDS` (a thread keeps the interpreter lock for so long, and
leaves it alone for `PAUSE_S`). SIGUSR1 blocks the thread that gets it, which is the control thread, and SIGUSR2 raises
in it what nobody expects.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from typing import Any

from benchmarks.faults.sway import Sway
from edge_runtime import app, cli
from edge_runtime.policies.base import Floats, Observation

SLOW_S = 0.4
PAUSE_S = 0.1
POLL_S = 0.01


class Saboteur(Sway):
    """The policy, and what is wrong with it."""

    kind = "well"

    def infer(self, observation: Observation, chunk_out: Floats) -> None:
        while self.kind == "stall":
            time.sleep(POLL_S)
        if self.kind == "hang":
            block()
        if self.kind == "crash":
            raise RuntimeError("the inference library has failed")
        if self.kind == "slow":
            time.sleep(SLOW_S)
        super().infer(observation, chunk_out)


def grab(seconds: float) -> None:
    """Keep the interpreter lock: a call through PyDLL does not give it up."""
    ctypes.PyDLL(None).usleep(min(round(seconds * 1e6), 0xFFFFFFFF))


def listen(pipe: str, saboteur: Saboteur) -> None:
    """Do what comes through the pipe, which is open at both ends so that it never ends."""
    with os.fdopen(os.open(pipe, os.O_RDWR), "r") as orders:
        while True:
            what, how = orders.readline().split()
            if what == "grab":
                grab(float(how))
                time.sleep(PAUSE_S)
            else:
                saboteur.kind = how


def block(*_: Any) -> None:
    """Never come back, without the interpreter lock."""
    while True:
        time.sleep(3600.0)


def fail(*_: Any) -> None:
    raise SystemError("the control thread was killed")


def main() -> int:
    pipe, *arguments = sys.argv[1:]
    saboteur = Saboteur()
    vars(app)["robot_policy"] = lambda *_, **__: saboteur
    signal.signal(signal.SIGUSR1, block)
    signal.signal(signal.SIGUSR2, fail)
    threading.Thread(target=listen, args=(pipe, saboteur), daemon=True).start()
    return cli.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
