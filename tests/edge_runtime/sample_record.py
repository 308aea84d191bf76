"""A made-up run for the report's tests, with the shapes of a real one: sawtooth sensor age, states, misses, events."""

from __future__ import annotations

import numpy as np

from edge_runtime.record import Event, RunRecord

STATES = ("DISARMED", "READY", "RUN", "COAST", "HOLD", "SAFE", "TAKEOVER")
JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")


def record(seconds: float = 20.0, rate_hz: float = 100.0, seed: int = 1, skip: int = 3) -> RunRecord:
    """A run of `seconds` in which `skip` slots are missed."""
    rng = np.random.default_rng(seed)
    start = 5_000_000_000_000
    period = round(1e9 / rate_hz)
    slots = np.arange(round(seconds * rate_hz))
    slots = np.delete(slots, np.linspace(slots.size * 0.4, slots.size * 0.9, skip).astype(int)) if skip else slots
    t = start + slots * period
    s = slots / rate_hz
    n = slots.size
    state = np.full(n, 2, np.int8)
    state[s < seconds * 0.02] = 0
    state[(s >= seconds * 0.02) & (s < seconds * 0.1)] = 1
    state[(s >= seconds * 0.62) & (s < seconds * 0.65)] = 3
    state[s >= seconds * 0.95] = 1
    late = (rng.lognormal(np.log(55), 0.35, n) * 1e3).astype(np.int64)
    late[rng.random(n) < 0.004] *= 14
    woken = t + late
    late[np.flatnonzero(np.diff(slots) > 1) + 1] += period  # from the slot that was waited for
    age = ((s % (1 / 30)) * 1e9 + 62e6 + rng.normal(0, 1.5e6, n)).astype(np.int64)
    age[(state != 2) & (state != 3)] = -1
    inference_t = start + (np.arange(seconds * 0.1, seconds * 0.95, 0.09) * 1e9).astype(np.int64)
    inference = (rng.normal(44, 2.5, inference_t.size) * 1e6).astype(np.int64)
    phase = np.arange(6)[None, :]
    setpoint = 0.9 * np.sin(s[:, None] * (0.5 + 0.09 * phase) + phase) + 0.15 * np.sin(2.1 * s[:, None] + phase)
    measured = setpoint.copy()
    measured[4:] = setpoint[:-4]
    measured += rng.normal(0, 0.004, setpoint.shape)
    setpoint[state == 0] = np.nan
    seconds_in = {name: round(float((state == i).sum() / rate_hz), 3) for i, name in enumerate(STATES)}
    return RunRecord(
        robot="bench arm",
        rate_hz=rate_hz,
        joint_names=JOINTS,
        state_names=STATES,
        started_ns=start,
        ended_ns=start + round(seconds * 1e9),
        ticks=n,
        missed=skip,
        t_ns=woken,
        lateness_ns=late,
        tick_ns=(rng.normal(900, 60, n) * 1e3).astype(np.int64),
        sent_ns=np.where(state == 0, -1, late + 40_000),
        cpu_ns=np.full(n, 140_000),
        serial_ns=(rng.normal(3.1, 0.2, n) * 1e6).astype(np.int64),
        sensor_age_ns=age,
        state=state,
        setpoint_rad=setpoint,
        measured_rad=measured,
        inference_t_ns=inference_t,
        inference_ns=inference,
        chunks=inference_t.size,
        episodes=3,
        successes=3,
        state_seconds=seconds_in,
        counters={"velocity limited": 12, "frames dropped": 1},
        events=[
            Event(start + round(seconds * 0.02 * 1e9), "READY", "armed"),
            Event(start + round(seconds * 0.1 * 1e9), "RUN", "task: pick up the red cup"),
            Event(start + round(seconds * 0.62 * 1e9), "COAST", "frame base 214 ms old"),
            Event(start + round(seconds * 0.65 * 1e9), "RUN", "frame base fresh"),
            Event(start + round(seconds * 0.95 * 1e9), "READY", "done <success signal>"),
        ],
        machine={"cpu": "2 × a processor", "kernel": "6.1", "realtime": {"fifo": True, "mlockall": False}},
    )


def empty_record() -> RunRecord:
    """A run that ended before its first tick."""
    nothing = np.zeros(0, np.int64)
    return RunRecord(
        robot="bench arm",
        rate_hz=100.0,
        joint_names=JOINTS,
        state_names=STATES,
        started_ns=0,
        ended_ns=0,
        ticks=0,
        missed=0,
        t_ns=nothing,
        lateness_ns=nothing,
        tick_ns=nothing,
        serial_ns=nothing,
        sensor_age_ns=nothing,
        state=np.zeros(0, np.int8),
        setpoint_rad=np.zeros((0, 6)),
        measured_rad=np.zeros((0, 6)),
        inference_t_ns=nothing,
        inference_ns=nothing,
        chunks=0,
        episodes=0,
        successes=0,
    )
