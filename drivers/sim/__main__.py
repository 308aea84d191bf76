"""`python -m drivers.sim --dir DIR`: the simulated robot, or its servos alone, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import gc
import signal
import sys
from pathlib import Path

from drivers.errors import Disconnected, DriverError
from drivers.sim.alone import PROTOCOLS, ServosAlone
from drivers.sim.server import Simulator


def main(arguments: list[str] | None = None) -> int:
    """Serve until a signal. Exit code 2 if it cannot start, or ends by itself."""
    parser = argparse.ArgumentParser(prog="python -m drivers.sim", description="Serve the simulated robot.")
    parser.add_argument("--dir", type=Path, required=True, help="where the arm's port and the sockets appear")
    parser.add_argument("--seed", type=int, help="layout of the table (default 0)")
    parser.add_argument("--baud", type=int, default=1_000_000, help="line speed in bit/s (default 1000000)")
    parser.add_argument("--usb-latency-ms", type=float, default=1.0, help="length of a USB frame (default 1)")
    parser.add_argument("--protocol", choices=tuple(PROTOCOLS), help="serve servos alone, without arm and cameras")
    parser.add_argument("--port", type=Path, help="serial port that they are on, in place of a pseudo-terminal")
    parser.add_argument("--servos", type=int, help="how many, with ids from 1 (default 6)")
    parser.add_argument("--trace", type=Path, help="file for what the arm's servos are told and do")
    options = parser.parse_args(arguments)
    latency_ns = round(options.usb_latency_ms * 1e6)
    try:
        made = make(
            options.dir,
            options.seed,
            options.protocol,
            options.servos,
            options.baud,
            latency_ns,
            options.trace,
            options.port,
        )
        with contextlib.closing(made) as simulator:
            serve(simulator)
    except DriverError as error:
        print(f"simulator: {error}", file=sys.stderr)
        return 2
    return 0


def make(
    directory: Path,
    seed: int | None = None,
    protocol: str | None = None,
    servos: int | None = None,
    baud: int = 1_000_000,
    usb_latency_ns: int = 1_000_000,
    trace: Path | None = None,
    port: Path | None = None,
) -> Simulator | ServosAlone:
    """The simulated robot, or with `protocol` servos alone, in `directory`; those may be on a serial `port` instead.

    Raises `DriverError` where it cannot be.
    """
    if protocol is None and servos is not None:
        raise DriverError("--servos goes with --protocol: the simulated robot has six")
    if protocol is None and port is not None:
        raise DriverError("--port goes with --protocol: the simulated robot's arm has a port of its own")
    if protocol is not None and seed is not None:
        raise DriverError("--seed goes without --protocol: servos alone have no table")
    if protocol is not None and trace is not None:
        raise DriverError("--trace goes without --protocol: it is the simulated robot's")
    sys.setswitchinterval(0.0005)  # the serial thread must not wait for one that renders
    try:
        if protocol is None:
            return Simulator(directory, seed or 0, baud, usb_latency_ns, trace)
        return ServosAlone(directory, protocol, servos or 6, baud, usb_latency_ns, port)
    except OSError as error:
        raise Disconnected(f"{error.filename or directory}: {error.strerror or error}") from error


def serve(simulator: Simulator | ServosAlone) -> None:
    """Say that it is there, and keep it going until SIGTERM or Ctrl-C. `Disconnected` where it ends by itself."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: simulator.stop())
    gc.freeze()
    print(simulator.greeting, flush=True)
    simulator.run()


if __name__ == "__main__":
    sys.exit(main())
