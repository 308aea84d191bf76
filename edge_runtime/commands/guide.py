"""The person at a terminal, for guided procedures: questions, and a table of live values until Enter is pressed."""

from __future__ import annotations

import os
import select
import sys
import termios
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from edge_runtime.errors import EdgeError

if TYPE_CHECKING:
    from rich.table import Table

SHOWN_S = 0.05
"""Between two looks at the values."""


class Terminal:
    """Speaks on standard error, listens on standard input. Where that ends, the person has given up."""

    def __init__(self, *, agreed: bool = False) -> None:
        """`agreed`: whatever is to be agreed to has been, on the command line."""
        from rich.console import Console

        self._agreed = agreed
        self._console = Console(stderr=True, highlight=False)

    def tell(self, words: str) -> None:
        """One line that asks for nothing."""
        click.echo(words, err=True)

    def agree(self, question: str) -> None:
        """Return where the person has typed y or yes; `EdgeError` where anything else, `click.Abort` where nothing."""
        if self._agreed:
            self.tell(question)
            return
        click.echo(f"{question}. Go on? [y/N] ", err=True, nl=False)
        _forget_typed()
        try:
            answer = _line()
        except click.Abort:
            click.echo(err=True)
            raise
        if answer.strip().lower() not in ("y", "yes"):
            raise EdgeError("not agreed to, so nothing was done: answer y, or say --yes")

    def wait(self, words: str, show: Callable[[], Any], done: Callable[[], bool] = lambda: False) -> None:
        """Show what `show` answers, a table with title, columns and rows, until Enter is pressed or `done`."""
        from rich.live import Live

        self.tell(f"{words}, then press Enter")
        _forget_typed()
        with Live(console=self._console, auto_refresh=False, transient=True) as live:
            while not _pressed():
                live.update(_table(show()), refresh=self._console.is_terminal)
                if done():
                    return
        _line()


def _table(shown: Any) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=shown.title, box=box.SIMPLE_HEAD)
    for index, name in enumerate(shown.columns):
        table.add_column(name, justify="right" if index else "left", min_width=8)
    for row in shown.rows:
        table.add_row(*row)
    return table


def _forget_typed() -> None:
    """An Enter too many at a terminal answers no question that was not asked yet."""
    if sys.stdin.isatty():
        termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)


def _pressed() -> bool:
    return bool(select.select([sys.stdin.fileno()], [], [], SHOWN_S)[0])


def _line() -> str:
    """What was typed up to Enter, unbuffered so that `_pressed` sees what follows. Raises `click.Abort` at the end."""
    text = b""
    while not text.endswith(b"\n"):
        byte = os.read(sys.stdin.fileno(), 1)
        if not byte:
            raise click.Abort
        text += byte
    return text.decode(errors="replace")
