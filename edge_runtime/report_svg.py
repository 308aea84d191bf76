"""Plots drawn by hand as SVG text: scales, axes, oscilloscope traces and step histograms.

A trace of any length becomes one path of at most two points a column: the lowest and the highest value in it, as an
oscilloscope draws, so that a single late tick in an hour is still seen. Colours come from the page's style sheet.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
COLUMNS = 700
"""Columns of a full-width trace: more than a screen shows."""


def nice_ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers (1, 2, 5 times a power of ten) in [low, high], about so many."""
    span = high - low
    if not span > 0:
        return [low]
    raw = span / max(about, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def label(value: float) -> str:
    """A tick's number without noise: 0.25, 12, 1500."""
    return f"{value:.6g}" if abs(value) < 1e6 else f"{value:.0f}"


def envelope(x: Floats, y: Floats, columns: int) -> tuple[Floats, Floats]:
    """The trace x, y [N] (x rising) as at most two points a column; a gap (y not finite) stays one, as NaN."""
    if x.size <= 2 * columns:
        return x, y
    column = np.minimum(((x - x[0]) / (x[-1] - x[0]) * columns).astype(np.int64), columns - 1)
    starts = np.flatnonzero(np.diff(column, prepend=-1))
    finite = np.isfinite(y)
    lows = np.minimum.reduceat(np.where(finite, y, np.inf), starts)
    highs = np.maximum.reduceat(np.where(finite, y, -np.inf), starts)
    lows[~np.isfinite(lows)] = np.nan
    highs[~np.isfinite(highs)] = np.nan
    return np.repeat(x[starts], 2), np.stack([lows, highs], axis=1).ravel()


def with_gaps(x: Floats, y: Floats, after: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """The trace x, y [N] with a gap, as NaN, behind each of the values `after`."""
    behind = after + 1
    return np.insert(x, behind, x[behind]), np.insert(y, behind, np.nan)


@dataclass
class Panel:
    """One plot area: a box on the canvas, a range for each axis, and the marks drawn so far."""

    left: float
    top: float
    width: float
    height: float
    x: tuple[float, float]
    y: tuple[float, float]
    log_x: bool = False
    marks: list[str] = field(default_factory=list)

    def px(self, value: float) -> float:
        low, high = self.x
        share = math.log(value / low) / math.log(high / low) if self.log_x else (value - low) / (high - low)
        return self.left + share * self.width

    def py(self, value: float) -> float:
        low, high = self.y
        return self.top + self.height - (value - low) / (high - low) * self.height

    def add(self, mark: str) -> None:
        self.marks.append(mark)

    def text(self, x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> None:
        self.add(f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>')

    def line(self, x0: float, y0: float, x1: float, y1: float, kind: str) -> None:
        self.add(f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" class="{kind}"/>')

    def grid_y(self, about: int = 3, unit: str = "") -> None:
        """Faint horizontal lines with numbers at the left; the topmost number carries the unit."""
        ticks = nice_ticks(*self.y, about)
        for tick in ticks:
            self.line(self.left, self.py(tick), self.left + self.width, self.py(tick), "grid")
            words = f"{label(tick)} {unit}".strip() if tick == ticks[-1] else label(tick)
            self.text(self.left - 7, self.py(tick) + 3.5, words, "tick", "end")

    def axis_x(self, ticks: list[float], words: Callable[[float], str] = label) -> None:
        """Numbers under the box."""
        bottom = self.top + self.height
        self.line(self.left, bottom, self.left + self.width, bottom, "axis")
        for tick in ticks:
            self.line(self.px(tick), bottom, self.px(tick), bottom + 4, "axis")
            self.text(self.px(tick), bottom + 16, words(tick), "tick", "middle")

    def trace(self, x: Floats, y: Floats, kind: str, columns: int = COLUMNS) -> None:
        """A line through x, y [N], broken where y is not finite; a value between two gaps is a dot."""
        xs, ys = envelope(x, y, columns)
        low, high = self.y
        ys = np.clip(ys, low, high)
        left = self.left + (xs - self.x[0]) / (self.x[1] - self.x[0]) * self.width
        down = self.top + self.height - (ys - low) / (high - low) * self.height
        parts: list[str] = []
        command = "M"
        for across, along, seen in zip(left.tolist(), down.tolist(), np.isfinite(ys).tolist(), strict=True):
            if seen:
                parts.append(f"{command}{across:.1f} {along:.1f}" + ("h0" if command == "M" else ""))
            command = "L" if seen else "M"
        if parts:
            self.add(f'<path class="trace {kind}" d="{"".join(parts)}"/>')

    def dots(self, x: Floats, y: Floats, kind: str) -> None:
        """One dot a value: a path of zero-length strokes with round ends."""
        spots = "".join(f"M{self.px(a):.1f} {self.py(b):.1f}h0" for a, b in zip(x.tolist(), y.tolist(), strict=True))
        if spots:
            self.add(f'<path class="dots {kind}" d="{spots}"/>')

    def steps(self, edges: Floats, heights: Floats, kind: str) -> None:
        """A histogram's outline over edges [B+1], heights [B]; nothing is drawn where a bin is below the box."""
        floor = self.py(self.y[0])
        path: list[str] = []
        before = False
        for left, right, height in zip(edges[:-1].tolist(), edges[1:].tolist(), heights.tolist(), strict=True):
            seen = height > self.y[0]
            if before and not seen:
                path.append(f"V{floor:.1f}")
            elif seen and not before:
                path.append(f"M{self.px(left):.1f} {floor:.1f}")
            if seen:
                path.append(f"V{self.py(height):.1f}H{self.px(right):.1f}")
            before = seen
        if before:
            path.append(f"V{floor:.1f}")
        self.add(f'<path class="{kind}" d="{"".join(path)}"/>')


def svg(width: float, height: float, title: str, *panels: Panel) -> str:
    """The drawing of some panels, that scales with the page."""
    body = "".join(mark for panel in panels for mark in panel.marks)
    return f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(title)}">{body}</svg>'
