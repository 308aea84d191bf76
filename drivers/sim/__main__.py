"""`python -m drivers.sim --dir DIR`: the simulated robot, or its servos alone, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import gc
import signal
import sys
from pathlib import Path

from drivers.errors import Disconnected
from drivers.sim.alone import PROTOCOLS, ServosAlone
from drivers.sim.server import Simulator


def main(arguments: list[str] | None = None) -> int:
    """Serve until a signal. Exit code 2 if it cannot start."""
    parser = argparse.ArgumentParser(prog="python -m drivers.sim", description="Serve the simulated robot.")
    parser.add_argument("--dir", type=Path, required=True, help="where the arm's port and the sockets appear")
    parser.add_argument("--seed", type=int, default=0, help="layout of the table (default 0)")
    parser.add_argument("--baud", type=int, default=1_000_000, help="line speed in bit/s (default 1000000)")
    parser.add_argument("--usb-latency-ms", type=float, default=1.0, help="length of a USB frame (default 1)")
    parser.add_argument("--protocol", choices=tuple(PROTOCOLS), help="serve servos alone, without arm and cameras")
    parser.add_argument("--servos", type=int, default=6, help="how many, with ids from 1 (default 6)")
    options = parser.parse_args(arguments)
    sys.setswitchinterval(0.0005)  # the serial thread must not wait for one that renders
    try:
        simulator = _make(options)
    except (Disconnected, OSError) as error:
        print(f"simulator: {error}", file=sys.stderr)
        return 2
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: simulator.stop())
    gc.freeze()
    print(simulator.greeting, flush=True)
    try:
        simulator.run()
    except Disconnected as error:
        print(f"simulator: {error}", file=sys.stderr)
        return 1
    finally:
        simulator.close()
    return 0


def _make(options: argparse.Namespace) -> Simulator | ServosAlone:
    latency_ns = round(options.usb_latency_ms * 1e6)
    if options.protocol is None:
        return Simulator(options.dir, options.seed, options.baud, latency_ns)
    return ServosAlone(options.dir, options.protocol, options.servos, options.baud, latency_ns)


if __name__ == "__main__":
    sys.exit(main())
