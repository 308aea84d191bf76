"""Did you mean: the nearest of the names that exist, for one-line errors."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: object, known: Iterable[object]) -> str:
    """`, did you mean "velocity"?`, or where nothing is near: `; known: a, b, c`. Empty where nothing is known."""
    names = sorted(str(k) for k in known)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    if near:
        return f', did you mean "{near[0]}"?'
    return f"; known: {', '.join(names)}" if names else ""
