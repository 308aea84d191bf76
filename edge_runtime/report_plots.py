"""The report's plots: what happened when, how late the loop woke, and where each joint was against its setpoint."""

from __future__ import annotations

import math
from html import escape

import numpy as np
from numpy.typing import NDArray

from edge_runtime.floor import Floor
from edge_runtime.record import RunRecord
from edge_runtime.report_svg import Floats, Panel, nice_ticks, svg, with_gaps

WIDTH = 1104.0
LEFT, RIGHT = 66.0, 8.0
LANE = 92.0
BINS_PER_DECADE = 12


def seconds(record: RunRecord, t_ns: NDArray[np.int64]) -> Floats:
    """Seconds since the run began."""
    return (t_ns - record.started_ns) / 1e9


def strip_chart(record: RunRecord) -> str:
    """States, sensor age, inference time and lateness over one time axis, with every event through them."""
    t = seconds(record, record.t_ns)
    inference_t = seconds(record, record.inference_t_ns)
    span, skips = _span(record, t), _skipped(record)
    gaps = skips[skips > 0] - 1
    age_ms = np.where(record.sensor_age_ns >= 0, record.sensor_age_ns / 1e6, np.nan)
    shown = (inference_t >= span[0]) & (inference_t <= span[1])
    inference_ms = record.inference_ns[shown] / 1e6
    states = Panel(LEFT, 40, WIDTH - LEFT - RIGHT, 24, span, (0.0, 1.0))
    age = _lane(states, 1, (0.0, _above(age_ms)))
    inference = _lane(states, 2, (0.0, _above(inference_ms)))
    late = _lane(states, 3, (0.0, max(3.0, math.ceil(math.log10(max(1.0, float(record.lateness_ns.max()) / 1e3))))))
    _state_bars(states, record, t)
    _lane_title(age, "Sensor to motor", "age of the frame behind each setpoint when it was on the wire, ms")
    age.grid_y(3)
    age.trace(*with_gaps(t, age_ms, gaps), "thin")
    _lane_title(inference, "Inference", "each dot one action chunk, ms")
    inference.grid_y(3)
    inference.dots(inference_t[shown], inference_ms, "")
    _lane_title(late, "Lateness", "of each wake-up, log scale; where slots were skipped, a red bar")
    for power in range(int(late.y[1]) + 1):
        late.line(LEFT, late.py(power), WIDTH - RIGHT, late.py(power), "grid")
        if power % 2 == 0 or power == late.y[1]:
            late.text(LEFT - 7, late.py(power) + 3.5, _micro(10.0**power), "tick", "end")
    late_log = np.log10(np.maximum(record.lateness_ns / 1e3, 1.0))
    late.trace(*with_gaps(t, late_log, gaps), "thin")
    for at in t[skips].tolist():
        late.line(late.px(at), late.top, late.px(at), late.top + late.height, "miss")
    late.axis_x(nice_ticks(*span, 10), lambda value: f"{value:g} s")
    bottom = late.top + late.height
    _events(states, record, bottom)
    return svg(
        WIDTH, bottom + 24, "states, sensor age, inference time and lateness over time", states, age, inference, late
    )


def _lane(above: Panel, index: int, y: tuple[float, float]) -> Panel:
    top = above.top + above.height + 40 + (index - 1) * (LANE + 44)
    return Panel(above.left, top, above.width, LANE, above.x, y)


def _lane_title(panel: Panel, title: str, about: str) -> None:
    panel.add(
        f'<text x="{panel.left:.1f}" y="{panel.top - 10:.1f}"><tspan class="title">{escape(title)}</tspan>'
        f'<tspan class="quiet" dx="8">{escape(about)}</tspan></text>'
    )


def _state_bars(panel: Panel, record: RunRecord, t: Floats) -> None:
    """One bar for each stretch of a state, with its name where there is room."""
    changes = np.flatnonzero(np.diff(record.state)) + 1
    starts = [0, *changes.tolist()]
    ends = [*changes.tolist(), t.size - 1]
    for start, end in zip(starts, ends, strict=True):
        name = record.state_names[int(record.state[start])]
        x0, x1 = panel.px(float(t[start])), panel.px(float(t[end]))
        told = escape(f"{name} {t[start]:.2f}–{t[end]:.2f} s")
        panel.add(
            f'<rect class="s {escape(name.lower())}" x="{x0:.1f}" y="{panel.top:g}" width="{max(x1 - x0, 0.8):.1f}" '
            f'height="{panel.height:g}"><title>{told}</title></rect>'
        )
        if x1 - x0 > 9 * len(name) + 8:
            panel.text((x0 + x1) / 2, panel.top + 16, name, "inside", "middle")


def _events(panel: Panel, record: RunRecord, bottom: float) -> None:
    """A mark above the states for each event; a change of state has a line through every lane."""
    for event in record.events:
        at = (event.t_ns - record.started_ns) / 1e9
        if not panel.x[0] <= at <= panel.x[1]:
            continue
        x, change = panel.px(at), event.name.partition(" ")[0] in record.state_names
        if change:
            panel.line(x, panel.top, x, bottom, "event")
        head = f"M{x - 4:.1f} {panel.top - 8:.1f}h8l-4 6z" if change else f"M{x:.1f} {panel.top - 9:.1f}v7"
        told = escape(f"{at:.3f} s  {event.name}: {event.cause}")
        panel.add(f'<path class="{"event-head" if change else "event-mark"}" d="{head}"><title>{told}</title></path>')


def _skipped(record: RunRecord) -> NDArray[np.int64]:
    """Ticks before which slots were skipped: those that woke a whole period late or more, as the pacer counts them."""
    return np.asarray(np.flatnonzero(record.lateness_ns >= round(1e9 / record.rate_hz)), np.int64)


def _span(record: RunRecord, t: Floats) -> tuple[float, float]:
    """The time axis: from the run's beginning where the record reaches back to it."""
    low = float(t[0]) if record.ticks > t.size else min(0.0, float(t[0]))
    return low, max(float(t[-1]), low + 1e-3)


def lateness_histogram(record: RunRecord, floor: Floor | None) -> str:
    """Share of wake-ups by lateness, both axes logarithmic; the measured floor of this machine as a dashed outline."""
    late_us = np.maximum(record.lateness_ns / 1e3, 1.0)
    highest = max(float(late_us.max()), float(floor.max_us) if floor else 1.0, 1e3)
    decades = math.ceil(math.log10(highest))
    edges = np.logspace(0, decades, decades * BINS_PER_DECADE + 1)
    shares = np.histogram(late_us, edges)[0] / late_us.size
    lowest = -math.ceil(math.log10(max(late_us.size, 100)) + 0.05)
    panel = Panel(58, 46, 520, 250, (1.0, 10.0**decades), (float(lowest), 0.0), log_x=True)
    for power in range(lowest, 1):
        panel.line(panel.left, panel.py(power), panel.left + panel.width, panel.py(power), "grid")
        panel.text(panel.left - 7, panel.py(power) + 3.5, f"{10.0 ** (power + 2):g} %", "tick", "end")
    panel.steps(edges, _log(shares), "histogram")
    if floor is not None:
        panel.steps(edges, _log(_rebinned(floor, edges)), "floor")
    free = [panel.left] * 3
    marks = np.percentile(late_us, [50, 99, 99.9, 100], method="higher")
    for name, value in zip(("p50", "p99", "p99.9", "max"), marks.tolist(), strict=True):
        x = panel.px(value)
        row = next((row for row, end in enumerate(free) if x - 20 >= end), 0)
        free[row] = x + 22
        panel.line(x, panel.top - 6 - 14 * row, x, panel.top + panel.height, "mark")
        panel.text(x, panel.top - 10 - 14 * row, name, "quiet", "middle")
    panel.axis_x([10.0**k for k in range(decades + 1)], _micro)
    return svg(590, 322, "histogram of wake-up lateness", panel)


def _rebinned(floor: Floor, edges: Floats) -> Floats:
    """Whole-microsecond counts as shares of other bins, each count spread evenly over its microsecond."""
    ends = np.arange(floor.counts.size + 1, dtype=np.float64)
    total = np.concatenate([[0.0], np.cumsum(floor.counts)])
    inside = np.interp(edges, ends, total)
    inside[0] = 0.0  # what is below the first edge counts to the first bin
    shares = np.diff(inside)
    shares[min(int(np.searchsorted(edges, floor.max_us, side="right")) - 1, shares.size - 1)] += floor.beyond
    return np.asarray(shares / floor.total)


def joint_plot(record: RunRecord, joint: int) -> str:
    """One joint in degrees: the setpoint as a broad band, the measured angle as a fine line on it."""
    t = seconds(record, record.t_ns)
    setpoint = np.degrees(record.setpoint_rad[:, joint])
    measured = np.degrees(record.measured_rad[:, joint])
    seen = np.concatenate([setpoint, measured])
    seen = seen[np.isfinite(seen)]
    low, high = (float(seen.min()), float(seen.max())) if seen.size else (0.0, 1.0)
    slack = max(0.06 * (high - low), 0.5)
    span = _span(record, t)
    panel = Panel(40, 8, 312, 118, span, (low - slack, high + slack))
    panel.grid_y(3, "°")
    panel.trace(t, setpoint, "set", 240)
    panel.trace(t, measured, "", 240)
    panel.axis_x(nice_ticks(*span, 5), lambda value: f"{value:g} s")
    return svg(360, 150, f"{record.joint_names[joint]}, degrees over time", panel)


def _above(values: Floats) -> float:
    """The top of an axis that holds all of `values`."""
    seen = values[np.isfinite(values)]
    return 1.05 * float(seen.max()) if seen.size and seen.max() > 0 else 1.0


def _log(shares: Floats) -> Floats:
    """log10 with nothing as minus infinity, without a warning."""
    return np.asarray(np.where(shares > 0, np.log10(np.maximum(shares, 1e-300)), -np.inf))


def _micro(us: float) -> str:
    return f"{us:g} µs" if us < 1e3 else f"{us / 1e3:g} ms" if us < 1e6 else f"{us / 1e6:g} s"
