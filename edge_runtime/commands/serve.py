"""The command that systemd runs on a robot."""

from __future__ import annotations

from pathlib import Path

import click

from edge_runtime.commands.output import interruptible, log_events, robot_argument


@click.command()
@robot_argument
def serve(robot: str) -> None:
    """Run the robot as its service does.

    The bundle is the one that `edge deploy` made current. Before anything moves its engines are built where they are
    missing and it answers its own probes; then systemd is told READY, and the robot waits, disarmed. The end comes with
    SIGTERM, or when another bundle is to run and no task is going on.
    """
    from edge_runtime.deploy.service.service import Service

    log_events()
    try:
        with interruptible():
            Service.of(Path(robot)).serve()
    except KeyboardInterrupt:  # asked to end before anything was connected
        return


COMMANDS: tuple[click.Command, ...] = (serve,)
