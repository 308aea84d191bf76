"""The benchmark's figures for people: one table, and one drawing of six panels over the delay."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Any

import numpy as np

from benchmarks.seams.cells import SEAMS
from edge_runtime.report_svg import Panel, label, nice_ticks, svg

COLOURS = dict(zip(SEAMS, ("#6b7280", "#2563eb", "#d97706", "#059669", "#c026d3"), strict=True))
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#374151}.title{font-weight:600;fill:#111827}"
    ".grid{stroke:#e5e7eb}.axis{stroke:#9ca3af}.trace{fill:none;stroke-width:1.8}.dots{stroke-width:5;stroke-linecap:round}"
    + "".join(f".{seam}{{stroke:{colour}}}text.{seam}{{stroke:none;fill:{colour}}}" for seam, colour in COLOURS.items())
)
WIDTH, HEIGHT, GAP, LEFT, TOP = 270.0, 150.0, 78.0, 56.0, 62.0

Figures = dict[str, Any]
PANELS: tuple[tuple[str, Callable[[Figures], float | None]], ...] = (
    ("success, %", lambda c: 100 * float(c["share"])),
    ("time to grasp, median, s", lambda c: c["grasp_s"]),
    ("old plan to new plan, median, rad", lambda c: _jump(c, "plan", "rad")),
    ("step of the reference, p95, rad/s", lambda c: _jump(c, "reference", "rad_s")),
    ("jerk of the setpoints, rms, rad/s³", lambda c: c["jerk_rad_s3"]["rms"]),
    ("an episode's peak jerk, median, rad/s³", lambda c: (c["jerk_rad_s3"]["peak"] or {}).get("p50")),
)


PLACES = {"plan": "p50", "reference": "p95", "setpoint": "p95"}
"""What is shown of the takeovers' jumps: how far plans differ as a rule, and what is seldom exceeded further on."""


def table(cells: list[Figures]) -> str:
    """One line a cell; docs/seams.md says what is in it."""
    lines = [
        f"{'delay':>6}  {'seam':10}{'success':>8}  {'95 % interval':15}  {'grasp':>6}  {'plan to plan':^15}  "
        f"{'reference':^15}  {'setpoint':>8}  {'jerk':>6}  {'peak':>6}",
        f"{'ms':>6}  {'':10}{'':8}  {'':15}  {'s':>6}  {'rad':>7} {'rad/s':>7}  {'rad':>7} {'rad/s':>7}  "
        f"{'rad/s':>8}  {'rms':>6}  {'rad/s³':>6}",
    ]
    for _, group in groupby(cells, lambda c: c["delay_ms"]):
        lines += ["", *(_line(cell) for cell in group)]
    return "\n".join(lines)


def _line(c: Figures) -> str:
    low, high = c["interval"]
    jumps = "  ".join(
        f"{_number(_jump(c, place, 'rad'), 7, 4)} {_number(_jump(c, place, 'rad_s'), 7, 3)}"
        for place in ("plan", "reference")
    )
    peak = (c["jerk_rad_s3"]["peak"] or {}).get("p50")
    return (
        f"{c['delay_ms']:>6}  {c['seam']:10}{c['share']:8.0%}  {low:6.1%} – {high:6.1%}  "
        f"{_number(c['grasp_s'], 6, 2)}  {jumps}  {_number(_jump(c, 'setpoint', 'rad_s'), 8, 3)}  "
        f"{_number(c['jerk_rad_s3']['rms'], 6, 0)}  {_number(peak, 6, 0)}"
    )


def _number(value: float | None, width: int, digits: int) -> str:
    return f"{'–':>{width}}" if value is None else f"{value:{width}.{digits}f}"


def _jump(cell: Figures, place: str, unit: str) -> float | None:
    spread = cell["jump"][place][unit]
    return None if spread is None else float(spread[PLACES[place]])


def plot(cells: list[Figures]) -> str:
    """An SVG file that needs no style sheet."""
    delays = sorted({c["delay_ms"] for c in cells})
    panels = [_panel(i, title, value, cells, delays) for i, (title, value) in enumerate(PANELS)]
    for i, seam in enumerate(SEAMS):
        panels[0].text(LEFT + 90 * i, 22, f"● {seam}", seam)
    width, height = LEFT + 3 * (WIDTH + GAP) - GAP + 34, TOP + 2 * (HEIGHT + GAP) - GAP + 34
    drawn = svg(width, height, "what each seam between chunks costs, by the delay of the policy", *panels)
    paper = f'<style>{STYLE}</style><rect width="{width:g}" height="{height:g}" fill="#fff"/>'
    head, _, body = drawn.partition(">")
    return f'{head} xmlns="http://www.w3.org/2000/svg">{paper}{body}\n'


def _panel(
    index: int, title: str, value: Callable[[Figures], float | None], cells: list[Figures], delays: list[int]
) -> Panel:
    row, column = divmod(index, 3)
    found = {(c["seam"], c["delay_ms"]): value(c) for c in cells}
    highest = max((v for v in found.values() if v is not None), default=1.0)
    span = (float(delays[0]), float(delays[-1]) if len(delays) > 1 else delays[0] + 1.0)
    left, top = LEFT + column * (WIDTH + GAP), TOP + row * (HEIGHT + GAP)
    panel = Panel(left, top, WIDTH, HEIGHT, span, (0.0, 1.06 * highest or 1.0))
    panel.text(left, top - 12, title, "title")
    panel.grid_y(4)
    panel.axis_x(nice_ticks(*span, 6), lambda tick: f"{label(tick)} ms" if tick == span[1] else label(tick))
    for seam in SEAMS:
        line = [found.get((seam, delay)) for delay in delays]
        there = np.array([(d, v) for d, v in zip(delays, line, strict=True) if v is not None], float).reshape(-1, 2)
        panel.trace(there[:, 0], there[:, 1], seam)
        panel.dots(there[:, 0], there[:, 1], seam)
    return panel
