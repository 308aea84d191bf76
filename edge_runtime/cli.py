"""`edge`: the one front door. Whatever a person can mend is one line on stderr and exit code 2."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from drivers.errors import DriverError
from edge_runtime.apart import left_behind
from edge_runtime.commands import (
    calibrate,
    cameras,
    compile,
    data,
    deploy,
    doctor,
    flash,
    incident,
    measure,
    models,
    package,
    precision,
    robot,
    run,
    serve,
    talk,
    update,
)
from edge_runtime.errors import EdgeError, fatal, printable
from edge_runtime.suggest import did_you_mean

SECTIONS: tuple[tuple[str, tuple[click.Command, ...]], ...] = (
    ("Run", (*run.COMMANDS, *serve.COMMANDS, *incident.COMMANDS)),
    ("Talk to a running robot", talk.COMMANDS),
    ("Models", (*models.COMMANDS, *data.COMMANDS, *precision.COMMANDS, *compile.COMMANDS)),
    ("Robot", (*robot.COMMANDS, *doctor.COMMANDS, *cameras.COMMANDS, *calibrate.COMMANDS)),
    ("Put it on a robot", (*package.COMMANDS, *flash.COMMANDS, *deploy.COMMANDS, *update.COMMANDS)),
    ("Measure", measure.COMMANDS),
)


class Contents(click.Group):
    """A group whose help is a table of contents, and whose wrong names have a nearest right one."""

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(len(str(c.name)) for _, commands in SECTIONS for c in commands)
        for title, commands in SECTIONS:
            with formatter.section(title):
                rows = [(str(c.name).ljust(width), c.get_short_help_str(limit=90)) for c in commands]
                formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in self.commands and not name.startswith("-"):
            raise click.UsageError(f'there is no command "{name}"{did_you_mean(name, self.commands)}', ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=Contents,
    commands={str(c.name): c for _, commands in SECTIONS for c in commands},
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="edge-runtime", message="%(version)s")
@click.pass_context
def edge(ctx: click.Context) -> None:
    """Drive a robot arm from a vision-language-action checkpoint, on time.

    A robot is described by one file, robot.toml; commands look for it in the present folder unless told otherwise.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit code: 0 done, 2 something to mend, 130 interrupted.

    After a `fatal` error it does not return, nor where a thread was left behind in its device: everything is written
    by then, and nothing of this process may wait for that thread, or for the device.
    """
    code = _run(argv)
    if left_behind():
        _leave(code)
    return code


def _run(argv: Sequence[str] | None) -> int:
    try:
        return _edge(argv)
    except click.Abort:
        return _say("interrupted", 130)
    except KeyboardInterrupt:
        return _say("interrupted", 130)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 0
    except click.ClickException as error:
        return _say(_usage(error), 2)
    except (EdgeError, DriverError) as error:
        return _say(str(error), 2)
    except OSError as error:
        if error.filename is None:
            raise
        return _say(f"{error.filename2 or error.filename}: {error.strerror}", 2)  # 2: where a rename leads


def _edge(argv: Sequence[str] | None) -> int:
    """The command's exit code. Ends the process after a `fatal` error, whatever that has led to."""
    try:
        answer = edge.main(args=argv, prog_name="edge", standalone_mode=False)
    except BaseException as error:
        if (found := fatal(error)) is not None:
            try:
                _say(str(found), 2)
            finally:
                _leave(2)
        raise
    return answer if isinstance(answer, int) else 0


def _leave(code: int) -> NoReturn:
    """End the process without what Python does at its own end."""
    try:
        sys.stdout.flush()
    finally:
        os._exit(code)


def _usage(error: click.ClickException) -> str:
    """click's message on one line, with the command it is about and where its help is."""
    if isinstance(error, click.NoSuchOption):
        known = [name for p in error.ctx.command.params for name in p.opts] if error.ctx else []
        message = f'there is no option "{error.option_name}"{did_you_mean(error.option_name, known)}'
    else:
        message = error.format_message().rstrip(".")
        message = message[:1].lower() + message[1:]
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    if ctx is None or ctx.parent is None:
        return f"{message} (edge --help lists everything)" if isinstance(error, click.UsageError) else message
    return f"{ctx.command_path.partition(' ')[2]}: {message} ({ctx.command_path} --help)"


def _say(message: str, code: int) -> int:
    sys.stdout.flush()
    click.echo(f"edge: {printable(' '.join(message.split()))}", err=True)
    return code
