"""Commands that change what a model computes in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edge_runtime.commands.output import emit, json_option, progress, warn


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("-o", "--out", metavar="BUNDLE", type=click.Path(path_type=Path), required=True, help="The new bundle.")
@click.option("--target", metavar="NAME", required=True, help="Where it is to run, such as jetpack6-orin or cpu.")
@click.option(
    "--precision",
    metavar="PART=P",
    multiple=True,
    help="Of vision, table, backbone or expert: fp32, bf16, fp16, int8, int4 or fp8, where not the target's preset.",
)
@click.option(
    "--ranges",
    type=click.Choice(["max", "percentile", "smooth"]),
    default="smooth",
    show_default=True,
    help="How far the levels of activations reach; smooth: SmoothQuant.",
)
@click.option("--block", type=click.IntRange(16, 1024), default=128, show_default=True, help="Inputs to an int4 scale.")
@click.option("--keep-fp", metavar="N", type=click.IntRange(min=0), default=0, help="Most sensitive layers to spare.")
@click.option("--sensitivity/--no-sensitivity", default=True, help="Measure what each layer alone does (long).")
@click.option("--accept-accuracy", "accept", is_flag=True, help="Seal the bundle even where it fails the gate.")
@click.option(
    "--map", "mapped", metavar="NAME=FIELD", multiple=True, help="Field of the dataset for a camera or for state."
)
@click.option(
    "--observations", type=click.IntRange(2, 4096), default=64, show_default=True, help="How many to calibrate with."
)
@click.option("--on-corrupt", type=click.Choice(["skip", "fail"]), default="fail", show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Which observations, and noise.")
@click.option("--threads", type=click.IntRange(1, 256), default=None, help="Cores; by default all.")
@json_option
def quantize(
    bundle: Path,
    dataset: Path,
    out: Path,
    mapped: tuple[str, ...],
    observations: int,
    on_corrupt: str,
    threads: int | None,
    json_file: str | None,
    **options: Any,
) -> None:
    """Make a bundle in low precision of BUNDLE, calibrated and judged with observations of DATASET.

    BUNDLE is what edge export made. DATASET is what edge dataset describes. BUNDLE is left as it is; the new one is
    written when its actions are close enough to the old one's on observations that calibration has not seen.
    """
    import os

    from edge_runtime import inspect, plugins

    quantizer = plugins.require("export.quantize_dataset")
    asked = quantizer.Asked(threads=threads or os.cpu_count() or 1, **options)
    with progress("bundle") as told:
        quantizer.run(bundle, dataset, out, asked, mapped, observations, on_corrupt, warn, told)
    words, facts = inspect.inspect(out)
    emit(facts, words, json_file)


COMMANDS: tuple[click.Command, ...] = (quantize,)
