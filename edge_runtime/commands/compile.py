"""The command that builds a bundle's engines on the machine that will run them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_runtime.commands.output import bars, emit, json_option

if TYPE_CHECKING:
    from rich.progress import TaskID


ARCHITECTURES = "sm75, sm80, sm86, sm89, sm120, sm121"
"""Those of TensorRT-RTX, as --help names them."""


class _Library(click.Choice[str]):
    """A backend's name, with a dash or as its file has it."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from edge_runtime.plugins import spelt

        return super().convert(spelt(value), param, ctx)


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--backend", type=_Library(["trt", "trt-rtx"]), default="trt", show_default=True, help="Which library.")
@click.option(
    "--for",
    "arch",
    metavar="ARCH",
    default="",
    help=f"GPU to build for without having it (trt-rtx only): {ARCHITECTURES}.",
)
@click.option("--workspace", metavar="MIB", type=click.IntRange(min=1), help="Most memory that one layer may work in.")
@click.option("--memory-limit", metavar="MIB", type=click.IntRange(min=1), help="Most memory that the build may take.")
@click.option(
    "--optimisation-level", type=click.IntRange(0, 5), default=3, show_default=True, help="How hard to look; 5 longest."
)
@click.option("--rebuild", is_flag=True, help="Build every engine anew, the good ones too.")
@json_option
def compile(
    bundle: Path,
    backend: str,
    arch: str,
    workspace: int | None,
    memory_limit: int | None,
    optimisation_level: int,
    rebuild: bool,
    json_file: str | None,
) -> None:
    """Build TensorRT engines of a bundle's graphs, on the machine that will run them.

    An engine that fits the bundle, this machine and these options is kept. All of them together answer the bundle's
    probes, and new ones are kept if its gate is passed. Ctrl-C leaves the ones from before.
    """
    from edge_runtime import plugins
    from edge_runtime.engines import compile
    from edge_runtime.engines.key import BuildOptions

    options = BuildOptions(workspace or 0, memory_limit or 0, optimisation_level)
    library = plugins.file_name(backend)
    with _bars() as tell:
        found = compile.compile_bundle(bundle, library, arch, options, rebuild=rebuild, progress=tell)
    emit(compile.facts(found), compile.text(found), json_file)


@contextmanager
def _bars() -> Iterator[Callable[[str, float], None] | None]:
    """A bar for each graph that is built, and for the gate, where a person sees it; else None."""
    with bars() as shown:
        if shown is None:
            yield None
            return
        tasks: dict[str, TaskID] = {}

        def tell(graph: str, part: float) -> None:
            if graph not in tasks:
                tasks[graph] = shown.add_task(graph, total=1.0)
            shown.update(tasks[graph], completed=part)

        yield tell


COMMANDS: tuple[click.Command, ...] = (compile,)
