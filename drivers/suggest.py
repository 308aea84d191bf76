"""Did you mean: the nearest of the names that exist, for one-line errors."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: object, known: Iterable[object]) -> str:
    """`, did you mean "velocity"?`, or where nothing is near: `; known: a, b, c`. Empty where nothing is known.

    Capitals make no difference: a motor's name is printed on it in capitals.
    """
    names = {str(k).lower(): str(k) for k in sorted(known, key=str)}
    near = difflib.get_close_matches(str(name).lower(), names, n=1, cutoff=0.5)
    if near:
        return f', did you mean "{names[near[0]]}"?'
    return f"; known: {', '.join(names.values())}" if names else ""
