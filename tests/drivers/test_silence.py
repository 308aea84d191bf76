"""One late answer is no supply loss; several in a row are, and so is a line where nobody has answered yet."""

from __future__ import annotations

from drivers.silence import Silence

LATE = "no motor answered in time"
SUPPLY = "no motor answers though the port is there: is their supply on?"


def test_the_supply_is_named_at_first_and_once_several_in_a_row_have_failed() -> None:
    silence = Silence()
    assert silence.words(" And this?") == f"{SUPPLY} And this?"
    silence.end()
    assert [silence.words() for _ in range(4)] == [LATE, LATE, SUPPLY, SUPPLY]
    silence.end()
    assert silence.words(" And this?") == LATE
