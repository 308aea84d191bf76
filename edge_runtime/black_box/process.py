"""The process that writes black boxes, beside the run that fills them: `python -m edge_runtime.black_box.process`.

It sleeps until the run says a word or has gone. So writing takes nothing of the run's interpreter, and what was there
when the run was killed is written all the same. Lines of JSON: a `Start` and then `Trigger`s on standard input, an
`Answer` for each on standard output.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import msgspec
import numpy as np

from edge_runtime.arena import Array, Layout, seen
from edge_runtime.black_box.folder import Folder
from edge_runtime.black_box.incident import KILLED, Header, Trigger
from edge_runtime.black_box.rings import incident
from edge_runtime.errors import one_line

NICE = 10
"""Whatever else the machine has to do comes first."""
END = "END"
"""State of the `Trigger` that says that the run ends as it should."""


class Start(msgspec.Struct, frozen=True):
    """What the process must know of its run."""

    descriptor: int
    layout: Layout
    header: Header
    folder: str
    files: int


class Answer(msgspec.Struct, frozen=True):
    """The file, or why there is none."""

    file: str = ""
    failure: str = ""
    t_ns: int = -1
    """Of the trigger; -1 before any: what it says is that none can be written."""


class Writer:
    """Writes one black box after another."""

    def __init__(self, start: Start, arrays: Mapping[str, Array], out: TextIO) -> None:
        self._start = start
        self._arrays = arrays
        self._folder = Folder(Path(start.folder), start.files)
        self._out = out

    def prepare(self) -> None:
        """Say at once where nothing could be written."""
        try:
            self._folder.prepare()
        except OSError as error:
            self._answer(Answer(failure=_said(error)))

    def write(self, trigger: Trigger) -> None:
        """Write a black box, and answer."""
        try:
            file = self._folder.keep(incident(self._arrays, self._start.header, trigger))
            self._answer(Answer(file=str(file), t_ns=trigger.t_ns))
        except Exception as error:  # noqa: BLE001  the next one may succeed
            self._answer(Answer(failure=_said(error), t_ns=trigger.t_ns))

    def write_last(self) -> None:
        """Write what a run has left that ended without a word, unless it lay still all the time."""
        ticks, state = self._arrays["ticks.t_ns"], self._arrays["ticks.state"]
        newest_ns = int(ticks.max(initial=-1))
        recent = ticks > newest_ns - int(self._start.header.seconds * 1e9)
        if newest_ns >= 0 and np.any(state[recent] > 0):
            self.write(Trigger(KILLED, "the process was killed", newest_ns))

    def _answer(self, answer: Answer) -> None:
        with suppress(OSError):  # nobody listens any more
            self._out.write(msgspec.json.encode(answer).decode() + "\n")
            self._out.flush()


def _said(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename2 or error.filename}: {error.strerror}"
    return one_line(error) or type(error).__name__


def main() -> None:
    """Until the run ends or has gone."""
    os.nice(NICE)
    if not (line := sys.stdin.readline()).endswith("\n"):  # the run has gone already
        return
    start = msgspec.json.decode(line, type=Start)
    writer = Writer(start, seen(start.descriptor, start.layout), sys.stdout)
    writer.prepare()
    for line in sys.stdin:
        if not line.endswith("\n"):  # the run was killed in the midst of a word
            break
        trigger = msgspec.json.decode(line, type=Trigger)
        if trigger.state == END:
            return
        writer.write(trigger)
    writer.write_last()


if __name__ == "__main__":
    main()
