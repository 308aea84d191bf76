"""A run in figures: from the record that the recorder fills to a dictionary for programs and lines for people.

Percentiles are measured values (the next higher sample), over the ticks that the record holds; what was never measured
is null, never invented.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_runtime.floor import Floor
from edge_runtime.record import RunRecord
from edge_runtime.watchdog import HUNG, LOST

PERCENTILES = {"p50": 50.0, "p99": 99.0, "p99_9": 99.9, "max": 100.0}

MOVING = ("RUN", "COAST")

_ENDS = {HUNG: "an inference that hangs", LOST: "the loss of the GPU"}

Level = Literal["good", "warn", "bad"]


def summary(record: RunRecord, floor: Floor | None = None) -> dict[str, Any]:
    """The report for programs. `floor` is what `cyclictest` measured beside the run, where it did."""
    aged = record.sensor_age_ns[record.sensor_age_ns >= 0]
    report: dict[str, Any] = {
        "robot": record.robot,
        "seconds": round((record.ended_ns - record.started_ns) / 1e9, 3),
        "control": {
            "rate_hz": record.rate_hz,
            "ticks": record.ticks,
            "missed": record.missed,
            "lateness_us": quantiles(record.lateness_ns, 1e3),
            "jitter_us": quantiles(np.abs(np.diff(record.lateness_ns)), 1e3),
            "sent_us": quantiles(record.sent_ns[record.sent_ns >= 0], 1e3),
            "cpu_us": quantiles(record.cpu_ns[record.cpu_ns >= 0], 1e3),
            "tick_us": quantiles(record.tick_ns, 1e3),
        },
        "serial_ms": quantiles(record.serial_ns, 1e6),
        "sensor_to_motor_ms": quantiles(aged, 1e6),
        "inference_ms": quantiles(record.inference_ns, 1e6),
        "chunks": record.chunks,
        "states": {name: round(seconds, 3) for name, seconds in record.state_seconds.items()},
        "events": [
            {"t_s": round((e.t_ns - record.started_ns) / 1e9, 4), "name": e.name, "cause": e.cause}
            for e in record.events
        ],
        "task": {"episodes": record.episodes, "successes": record.successes, "cut_off": _cut_off(record)},
        "faults": {"holds": sum(e.name == "HOLD" for e in record.events), "safe_s": _safe_while_running(record)},
        "tracking_mrad": _tracking(record),
        "counters": dict(record.counters),
        "machine": record.machine,
    }
    if floor is not None:
        report["floor_us"] = floor.quantiles()
        report["lateness_over_floor"] = ratios(report["control"]["lateness_us"], report["floor_us"])
    return report


def quantiles(values: NDArray[np.int64], unit: float) -> dict[str, float | None]:
    """Percentiles of `values` in `unit`; null where there are none."""
    if values.size == 0:
        return dict.fromkeys(PERCENTILES)
    found = np.percentile(values, list(PERCENTILES.values()), method="higher")
    return {name: round(float(value) / unit, 3) for name, value in zip(PERCENTILES, found, strict=True)}


def ratios(measured: dict[str, float | None], floor: dict[str, float]) -> dict[str, float | None]:
    """How many times its floor each percentile is; null where either is not known."""
    return {
        name: round(value / floor[name], 2) if value is not None and floor.get(name) else None
        for name, value in measured.items()
    }


def _tracking(record: RunRecord) -> dict[str, dict[str, float | None]]:
    """`tracking` of each joint over the ticks in which the arm was to move."""
    moving = np.isin(record.state, [i for i, name in enumerate(record.state_names) if name in MOVING])
    setpoint, measured = record.setpoint_rad[moving], record.measured_rad[moving]
    return {name: tracking(setpoint[:, j], measured[:, j]) for j, name in enumerate(record.joint_names)}


def tracking(setpoint_rad: NDArray[np.float64], measured_rad: NDArray[np.float64]) -> dict[str, float | None]:
    """How far a joint was from its setpoint, mrad: root mean square and greatest; null where nothing was commanded."""
    error = setpoint_rad - measured_rad
    error = error[np.isfinite(error)]
    if error.size == 0:
        return {"rms": None, "max": None}
    return {
        "rms": round(float(np.sqrt(np.mean(error**2))) * 1e3, 2),
        "max": round(float(np.abs(error).max()) * 1e3, 2),
    }


def _safe_while_running(record: RunRecord) -> float:
    """Seconds in SAFE while the loop ran: every armed run ends in SAFE, a good one only after its last tick."""
    after = (record.ended_ns - int(record.t_ns[-1])) / 1e9 if record.t_ns.size else 0.0
    return round(max(0.0, record.state_seconds.get("SAFE", 0.0) - after - 1.0 / record.rate_hz), 3)


def _cut_off(record: RunRecord) -> int:
    """Tasks that the end of the run stopped: for the cause for which it is SAFE then."""
    end = next((event.cause for event in reversed(record.events) if event.name == "SAFE"), None)
    return sum(event.name == "HOLD (task)" and event.cause == end for event in record.events)


def tasks_ended(report: dict[str, Any]) -> int:
    """How many tasks came to an end of their own, good or bad."""
    return int(report["task"]["episodes"] - report["task"]["cut_off"])


def verdict(report: dict[str, Any]) -> tuple[Level, str]:
    """One sentence on a run. Good: no slot missed, no fault. Bad: a fault, nothing ran, or over 0.1 % missed.

    What ends the process is a fault too, whether or not the arm was driven then.
    """
    control, task, faults = report["control"], report["task"], report["faults"]
    ticks, missed = control["ticks"], control["missed"]
    if not ticks:
        return "bad", "The control loop never ran"
    share = missed / (ticks + missed)
    ended = [event for event in report["events"] if event["name"] in (HUNG, LOST)]
    faulty = faults["safe_s"] > 0 or faults["holds"] > 0 or bool(ended)
    parts = ["Every tick on time" if not missed else f"{missed} of {ticks + missed} slots missed ({share:.2%})"]
    parts.append(f"{ticks} ticks at {control['rate_hz']:g} Hz")
    if tasks := tasks_ended(report):
        parts.append(f"{task['successes']} of {tasks} tasks done")
    if task["cut_off"]:
        parts.append("a task cut off by the end")
    if faults["holds"]:
        parts.append(f"{faults['holds']} faults led to HOLD" if faults["holds"] > 1 else "a fault led to HOLD")
    if faults["safe_s"] > 0:
        parts.append(f"SAFE for {faults['safe_s']:.1f} s")
    parts += [f"ended by {_ENDS[event['name']]}" for event in ended[:1]]
    return "bad" if faulty or share > 1e-3 else "warn" if missed else "good", ", ".join(parts)
