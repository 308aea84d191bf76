"""Changes of the safety code that change nothing that it does, each with its reason."""

from __future__ import annotations

BRAKE, GUARD, FENCE = "edge_runtime/brake.py", "edge_runtime/guard.py", "edge_runtime/fence.py"
LAST_BIT = "differs only where two rounded figures are the same to the last bit, and either answer is right there"

EQUIVALENT: dict[tuple[str, str, str], str] = {
    (BRAKE, "if b > limit:", "b > limit  →  b >= limit"): "where b is the limit the middle piece lasts no time",
    (BRAKE, "if v0 < 0.0:  # it turns where v0 + a0·t - J·t²/2 is zero for the first time", "v0 < 0.0  →  v0 <= 0.0"): (
        "from v0 = 0, with a0 >= 0 as it is then, it turns at once: after no way"
    ),
    (
        GUARD,
        "if meet is not None and self._excess(side, meet, p, v, a) <= SLACK and self._emit(*self._after(meet)):",
        "self._excess(side, meet, p, v, a) <= SLACK  →  self._excess(side, meet, p, v, a) < SLACK",
    ): LAST_BIT,
    (
        GUARD,
        "b = None if way <= self._near and moves else self._search(side, p, v, a)",
        "way <= self._near  →  way < self._near",
    ): LAST_BIT,
    (
        GUARD,
        "return self.a + t * j1 if max(abs(j1), abs(j2), abs(j3)) <= self.jerk else None",
        "max(abs(j1), abs(j2), abs(j3)) <= self.jerk  →  max(abs(j1), abs(j2), abs(j3)) < self.jerk",
    ): LAST_BIT,
    (
        GUARD,
        "if above <= 0.0:",
        "above <= 0.0  →  above < 0.0",
    ): "the search finds the same: its first step is at the far end",
    (GUARD, "if room < 0.0:", "room < 0.0  →  room <= 0.0"): "of no room either rule makes zero",
    (GUARD, "if below > 0.0:", "below > 0.0  →  below >= 0.0"): LAST_BIT,
    (GUARD, "if excess > 0.0:", "excess > 0.0  →  excess >= 0.0"): LAST_BIT,
    (GUARD, "if excess >= -self._near:", "excess >= -self._near  →  excess > -self._near"): LAST_BIT,
    (FENCE, "INSIDE = -1", "1  →  2"): "any number will do that no side has",
    (
        FENCE,
        "if x < self._lowest[axis] - SLACK_M:",
        "x < self._lowest[axis] - SLACK_M  →  x <= self._lowest[axis] - SLACK_M",
    ): LAST_BIT,
    (
        FENCE,
        "elif x > self._highest[axis] + SLACK_M:",
        "x > self._highest[axis] + SLACK_M  →  x >= self._highest[axis] + SLACK_M",
    ): LAST_BIT,
    (
        FENCE,
        "return stayed < out - SLACK_M if above else stayed > out + SLACK_M",
        "stayed < out - SLACK_M  →  stayed <= out - SLACK_M",
    ): LAST_BIT,
    (
        FENCE,
        "return stayed < out - SLACK_M if above else stayed > out + SLACK_M",
        "stayed > out + SLACK_M  →  stayed >= out + SLACK_M",
    ): LAST_BIT,
    (
        FENCE,
        "if min(a, b) - bow_m < low - SLACK_M or max(a, b) + bow_m > high + SLACK_M:",
        "min(a, b) - bow_m < low - SLACK_M  →  min(a, b) - bow_m <= low - SLACK_M",
    ): LAST_BIT,
    (
        FENCE,
        "if min(a, b) - bow_m < low - SLACK_M or max(a, b) + bow_m > high + SLACK_M:",
        "max(a, b) + bow_m > high + SLACK_M  →  max(a, b) + bow_m >= high + SLACK_M",
    ): LAST_BIT,
}
"""(file, text of the line, change) → why no test can notice it."""
