"""Commands about one robot: its configuration, and the last resort that brings its motors to rest."""

from __future__ import annotations

import json

import click

from edge_runtime.commands.output import emit, json_option, robot_argument, warn


@click.command()
@click.option("--check", metavar="FILE", help="Say whether this machine can run FILE, or what is wrong in it.")
@click.option("--schema", is_flag=True, help="Print the JSON schema of robot.toml, for editors.")
@json_option
def config(check: str | None, schema: bool, json_file: str | None) -> None:
    """Check a robot.toml, or print its JSON schema."""
    from edge_runtime import config

    if (check is None) == (not schema):
        raise click.UsageError("give one of --check FILE and --schema")
    if check is None:
        emit(config.schema(), json.dumps(config.schema(), indent=2), json_file)
        return
    from dataclasses import asdict

    import msgspec

    from edge_runtime import config_parts, in_force, stopping
    from edge_runtime.black_box import memory

    robot, notes = config_parts.load(check)
    notes += config_parts.missing(check, robot)
    found = {
        "file": check,
        "robot": robot.name,
        "cameras": [camera.name for camera in robot.cameras],
        "buses": {bus.name: [joint.name for joint in bus.joints] for bus in robot.buses},
        "rate_hz": robot.control.rate_hz,
        "bundle": robot.policy.bundle,
        "workspace": msgspec.to_builtins(robot.workspace),
        "seam": robot.motion.seam,
        "prefix_every": robot.policy.prefix_every,
        "control_socket": robot.control.socket,
        "stops": [asdict(stop) for stop in stopping.longest_stops(robot)],
        "rest_after_s": stopping.rest_after_s(robot),
        "black_box_bytes": memory.memory_bytes(robot) if robot.black_box.folder else 0,
        "notes": notes,
    }
    buses = "; ".join(f"bus {bus.name} ({bus.kind}) with {len(bus.joints)} joints" for bus in robot.buses)
    cameras = ", ".join(camera.name for camera in robot.cameras)
    words = f"{check}: good: {robot.name}, {robot.control.rate_hz:g} Hz, cameras {cameras}; {buses}"
    lines = (words, stopping.words(robot), *in_force.words(robot), memory.words(robot))
    emit(found, "\n".join(lines), json_file)
    for note in notes:
        warn(note)


@click.command("safe-stop")
@robot_argument
def safe_stop(robot: str) -> int:
    """Bring every motor to its declared safe action."""
    from edge_runtime.safe_stop import main

    return main([robot])


COMMANDS: tuple[click.Command, ...] = (config, safe_stop)
