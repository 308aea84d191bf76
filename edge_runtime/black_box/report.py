"""An incident as the record that the report reads, and what the report says before everything else: why, and how it
came to that."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from html import escape
from typing import Any

import numpy as np

from edge_runtime import report_plots
from edge_runtime.black_box.incident import Frame, Incident
from edge_runtime.record import RunRecord
from edge_runtime.recorder import TICK_TIMES
from edge_runtime.report_text import number

BEFORE_S, AFTER_S = 10.0, 2.0
"""What is looked at closely."""
MOMENTS_S = (-5.0, -2.0, -1.0, -0.5, 0.0, 0.5)
"""When the pictures that are shown were newest, from the incident on."""
_JPEG = b"\xff\xd8\xff"


def record(incident: Incident) -> RunRecord:
    """All of it as a run; what only the whole run would tell (episodes, counters) is empty."""
    header, t_ns = incident.header, incident.t_ns
    period_ns = 1e9 / header.rate_hz
    begun, ended = (int(t_ns[0]), int(t_ns[-1])) if t_ns.size else (incident.trigger.t_ns, incident.trigger.t_ns)
    lasted_ns = np.append(np.diff(t_ns), period_ns) if t_ns.size else np.zeros(0)
    spent = np.bincount(incident.state, lasted_ns, len(header.states)) / 1e9
    return RunRecord(
        robot=header.robot,
        rate_hz=header.rate_hz,
        joint_names=header.joints,
        state_names=header.states,
        started_ns=begun,
        ended_ns=ended,
        ticks=t_ns.size,
        missed=int(np.sum(incident.lateness_ns // period_ns)),
        t_ns=t_ns,
        lateness_ns=incident.lateness_ns,
        tick_ns=incident.tick_ns,
        serial_ns=incident.serial_ns,
        sensor_age_ns=incident.sensor_age_ns,
        sent_ns=incident.sent_ns,
        cpu_ns=incident.cpu_ns,
        state=incident.state,
        setpoint_rad=incident.setpoint_rad,
        measured_rad=incident.measured_rad,
        inference_t_ns=incident.inference_t_ns,
        inference_ns=incident.inference_ns,
        chunks=len(incident.chunks),
        episodes=0,
        successes=0,
        state_seconds={name: float(s) for name, s in zip(header.states, spent, strict=True)},
        events=incident.events,
        machine=header.machine,
    )


def summary(incident: Incident) -> dict[str, Any]:
    """For programs: what the report's key `incident` holds."""
    header, trigger = incident.header, incident.trigger
    wall_ns = trigger.t_ns + header.wall_ns
    begun_ns = int(incident.t_ns[0]) if incident.t_ns.size else trigger.t_ns
    return {
        "state": trigger.state,
        "began": _began(incident),
        "cause": trigger.cause,
        "utc": datetime.fromtimestamp(wall_ns // 1_000_000 / 1e3, timezone.utc).isoformat(timespec="milliseconds"),
        "t_s": round((trigger.t_ns - begun_ns) / 1e9, 3),
        "bundle": header.seal,
        "frames": {name: len(frames) for name, frames in incident.frames.items()},
        "frames_s": {name: _reach_s(incident, frames) for name, frames in incident.frames.items()},
        "bus_bytes": {name: sum(len(one.data) for one in pieces) for name, pieces in incident.bytes.items()},
        "before": [
            {"t_s": round((event.t_ns - trigger.t_ns) / 1e9, 3), "name": event.name, "cause": event.cause}
            for event in incident.events
            if -BEFORE_S <= (event.t_ns - trigger.t_ns) / 1e9 <= AFTER_S
        ],
    }


def text(found: dict[str, Any]) -> str:
    """The beginning of the report as lines."""
    return "\n".join(_lines(found)) + "\n\n"


def page(incident: Incident, found: dict[str, Any]) -> str:
    """The beginning of the report's page."""
    return "\n".join(_sections(incident, found))


def _lines(found: dict[str, Any]) -> Iterator[str]:
    yield f"{_path(found)} on {found['utc']}: {found['cause']}"
    frames = ", ".join(f"{name} {n} frames" for name, n in found["frames"].items())
    bytes_ = ", ".join(f"bus {name} {n} bytes" for name, n in found["bus_bytes"].items())
    yield f"it is at {found['t_s']:.3f} s below; {frames}; {bytes_}"
    for event in found["before"]:
        yield f"  {event['t_s']:+9.3f} s  {event['name']:16} {event['cause']}"


def _sections(incident: Incident, found: dict[str, Any]) -> Iterator[str]:
    robot, began, cause = (escape(x) for x in (incident.header.robot, found["began"], found["cause"]))
    yield (
        f'<header class="bad"><p>{robot}: black box of {escape(found["utc"])}</p>'
        f"<h1>{escape(_path(found))}: {cause}</h1>"
        f"<p>In the plots of all {_all_s(incident):.0f} s it is at {found['t_s']:.3f} s.</p></header>"
    )
    near = _near(incident)
    if near.t_ns.size:
        yield (
            f"<h2>The {BEFORE_S:.0f} s before</h2><p>0 s is when it began, with {began}. Of each joint the setpoint, "
            "broad, and the measured angle on it, degrees.</p>"
        )
        yield f'<div class="wide">{report_plots.strip_chart(near)}</div>'
        yield f'<div class="joints">{"".join(_joints(near))}</div>'
    rows = "".join(
        f"<tr><td>{event['t_s']:+.3f} s</td><td>{escape(event['name'])}</td><td>{escape(event['cause'])}</td></tr>"
        for event in found["before"]
    )
    yield f'<table class="words three"><tbody>{rows}</tbody></table>'
    for camera, frames in incident.frames.items():
        yield f'<h2>Camera {escape(camera)}</h2><div class="pictures">{"".join(_pictures(incident, frames))}</div>'


def _path(found: dict[str, Any]) -> str:
    """The state with which it began, and the one to which that led within a second."""
    return found["state"] if found["began"] == found["state"] else f"{found['began']} → {found['state']}"


def _began(incident: Incident) -> str:
    """The state that was entered when it began: HOLD, where SAFE followed."""
    trigger, states = incident.trigger, incident.header.states
    names = (event.name.partition(" ")[0] for event in incident.events if event.t_ns == trigger.t_ns)
    return next((name for name in names if name in states), trigger.state)


def _joints(near: RunRecord) -> Iterator[str]:
    for joint, name in enumerate(near.joint_names):
        yield f"<div><h3>{escape(name)}</h3>{report_plots.joint_plot(near, joint)}</div>"


def _near(incident: Incident) -> RunRecord:
    """The last seconds before and what followed, as a run that begins with the incident."""
    whole, t_ns = record(incident), incident.trigger.t_ns
    low, high = t_ns - int(BEFORE_S * 1e9), t_ns + int(AFTER_S * 1e9)
    rows = (whole.t_ns >= low) & (whole.t_ns <= high)
    columns = (*TICK_TIMES, "state", "setpoint_rad", "measured_rad")
    cut = {name: getattr(whole, name)[rows] for name in columns}
    return replace(whole, started_ns=t_ns, ticks=int(rows.sum()) + 1, **cut)


def _pictures(incident: Incident, frames: list[Frame]) -> Iterator[str]:
    """The newest picture at each moment, and how old it was then."""
    for moment_s in MOMENTS_S:
        at_ns = incident.trigger.t_ns + int(moment_s * 1e9)
        newest = next((frame for frame in reversed(frames) if frame.t_ns <= at_ns), None)
        if newest is not None and newest.jpeg.startswith(_JPEG):
            told = f"{moment_s:+g} s, {number((at_ns - newest.t_ns) / 1e6)} ms old"
            image = f'<img src="data:image/jpeg;base64,{b64encode(newest.jpeg).decode()}" alt="{told}">'
            yield f"<figure>{image}<figcaption>{told}</figcaption></figure>"


def _reach_s(incident: Incident, frames: list[Frame]) -> float | None:
    """How far back the pictures reach from the incident."""
    return round((incident.trigger.t_ns - frames[0].t_ns) / 1e9, 3) if frames else None


def _all_s(incident: Incident) -> float:
    return float(incident.t_ns[-1] - incident.t_ns[0]) / 1e9 if incident.t_ns.size else 0.0
