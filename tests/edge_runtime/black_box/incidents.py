"""A made-up incident, small and with something of everything."""

from __future__ import annotations

import numpy as np

from edge_runtime.black_box.incident import Bytes, Frame, Header, Incident, Plan, Trigger
from edge_runtime.record import Event
from tests.edge_runtime.sample_record import STATES

JOINTS = ("shoulder-pan", "left.elbow", "gripper")
WALL_NS = 1_700_000_000_000_000_000
"""Wall clock minus CLOCK_MONOTONIC: the day is in November 2023."""
AT_NS = 5_003_000_000_000
JPEG = b"\xff\xd8\xff" + bytes(range(200))


def incident(seconds: float = 3.0, rate_hz: float = 50.0, state: str = "HOLD") -> Incident:
    """`seconds` before a fault and a half after it."""
    n = int((seconds + 0.5) * rate_hz)
    t_ns = AT_NS - int(seconds * 1e9) + (np.arange(n) * (1e9 / rate_hz)).astype(np.int64)
    rng = np.random.default_rng(1)
    moving = t_ns < AT_NS
    setpoint = rng.normal(0, 1, (n, 3))
    setpoint[:4] = np.nan
    return Incident(
        header=Header(
            robot="bench arm",
            rate_hz=rate_hz,
            joints=JOINTS,
            states=STATES,
            cameras=("base", "wrist"),
            buses=("arm",),
            seconds=60.0,
            wall_ns=WALL_NS,
            config={"name": "bench arm", "control": {"rate_hz": rate_hz}},
            seal="0123abc",
            machine={"cpu": "2 × a processor"},
        ),
        trigger=Trigger(state, "newest frame of camera <wrist> is 214 ms old, limit 200 ms", AT_NS),
        t_ns=t_ns,
        lateness_ns=rng.integers(20_000, 90_000, n),
        tick_ns=rng.integers(700_000, 900_000, n),
        serial_ns=rng.integers(2_000_000, 2_500_000, n),
        sensor_age_ns=np.where(moving, rng.integers(40_000_000, 80_000_000, n), -1),
        sent_ns=np.where(moving, rng.integers(300_000, 400_000, n), -1),
        cpu_ns=rng.integers(100_000, 150_000, n),
        state=np.where(moving, 2, 4).astype(np.int8),
        setpoint_rad=setpoint,
        measured_rad=rng.normal(0, 1, (n, 3)),
        inference_t_ns=t_ns[:30:10] + 7,
        inference_ns=np.array([61_000_000, 62_500_123, 58_000_000]),
        chunks=[Plan(int(t_ns[10]), 3, 1, int(t_ns[8]), int(t_ns[8]) + 5, 50_000_000, rng.normal(0, 1, (4, 3)))],
        events=[
            Event(AT_NS - 2_000_000_000, "RUN (task)", "begin"),
            Event(AT_NS, state, "newest frame of camera <wrist> is 214 ms old, limit 200 ms"),
        ],
        frames={
            "base": [Frame(AT_NS + k * 500_000_000, JPEG + bytes([k + 10])) for k in range(-5, 1)],
            "wrist": [],
        },
        bytes={"arm": [Bytes(AT_NS - 5000, False, b"\xff\xff\x01"), Bytes(AT_NS - 4000, True, b"\xff\xff\x02\x00")]},
    )
