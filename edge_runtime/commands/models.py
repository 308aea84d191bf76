"""Commands about models: from a checkpoint to a verified bundle, what is in one, and whether it computes that here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from edge_runtime.commands.output import emit, json_option, progress, warn

if TYPE_CHECKING:
    from edge_runtime.backends.base import Backend

BACKENDS = "ort (the CPU), ort-cuda, trt, trt-rtx"
"""Those of a robot, as --help names them."""
OBSERVATIONS = 16
"""Of a dataset, for `edge verify --against`: as many as `edge quantize` holds out by default."""


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path), required=False)
@click.option("-o", "--out", metavar="BUNDLE", type=click.Path(path_type=Path), help="Where the bundle goes.")
@click.option("--list", "list_", is_flag=True, help="Say which families and layouts there are and what each needs.")
@click.option(
    "--camera", "cameras", metavar="NAME=HxW", multiple=True, help="Size of this robot's frames; once a camera."
)
@click.option(
    "--cameras-like", metavar="FILE", type=click.Path(path_type=Path), help="Sizes of frames as in an observation file."
)
@click.option("--fps", type=float, help="Rate of the actions where the checkpoint does not say it.")
@click.option("--steps", type=click.IntRange(1, 1000), help="Flow steps where not the checkpoint's.")
@click.option(
    "--committed", metavar="N", type=click.IntRange(0), help="Actions it was trained to be given, if it does not say."
)
@click.option("--guided", is_flag=True, help='Add the guide graph that motion.seam = "guided" needs.')
@click.option("--max-tokens", type=click.IntRange(1, 100_000), help="Room for the prompt where not the checkpoint's.")
@click.option(
    "--dims", type=click.Path(path_type=Path), help="File with the model's sizes, where the layout lacks them."
)
@click.option(
    "--tokenizer", type=click.Path(path_type=Path), help="tokenizer.json or sentencepiece .model, where there is none."
)
@click.option("--fast-tokenizer", metavar="DIR", type=click.Path(path_type=Path), help="FAST tokenizer (pi0-FAST).")
@click.option("--statistics", metavar="KEY", help="Whose statistics, where the checkpoint has several robots'.")
@click.option("--crop", is_flag=True, help="Resize and crop frames as evaluations of OpenVLA fine-tunes do.")
@json_option
def export(
    checkpoint: Path | None,
    out: Path | None,
    list_: bool,
    cameras: tuple[str, ...],
    cameras_like: Path | None,
    json_file: str | None,
    **options: Any,
) -> None:
    """Export a checkpoint to a verified policy bundle."""
    from edge_runtime import plugins

    if list_:
        exporter = plugins.require("export.cli")
        rows = exporter.table()
        emit({"families": rows}, exporter.table_text(rows), json_file)
        return
    if checkpoint is None or out is None:
        raise click.UsageError("say which checkpoint and where the bundle goes: edge export CHECKPOINT -o BUNDLE")
    exporter = plugins.require("export.cli")
    asked = exporter.Options(**options)
    with progress("checkpoint") as told:
        exporter.run(checkpoint, out, asked, cameras=cameras, cameras_like=cameras_like, progress=told)
    _describe(out, json_file)


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--observation",
    metavar="FILE",
    type=click.Path(path_type=Path),
    required=True,
    help="safetensors file: image.<camera> uint8 [height, width, 3], state, and tokens with token_mask.",
)
@click.option("-o", "--out", metavar="FILE", type=click.Path(path_type=Path), required=True, help="Where actions go.")
@click.option("--instruction", metavar="TEXT", help="What the robot is to do, in the place of tokens.")
@click.option("--noise", metavar="FILE", type=click.Path(path_type=Path), help="Noise that flow matching starts from.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of that noise otherwise.")
@click.option("--steps", "flow_steps", type=click.IntRange(min=0), default=0, help="Flow steps; 0: the bundle's own.")
@click.option(
    "--on-malformed", type=click.Choice(["fault", "pad"]), default=None, help="Where action tokens mean no action."
)
@click.option("--backend", metavar="NAME", default="ort", show_default=True, help=f"What computes: {BACKENDS}.")
@click.option("--threads", type=click.IntRange(1, 256), default=1, show_default=True, help="Cores.")
@click.option("--intermediates", is_flag=True, help="Write what was computed on the way too.")
@json_option
def infer(
    bundle: Path,
    observation: Path,
    out: Path,
    json_file: str | None,
    backend: str,
    on_malformed: Literal["fault", "pad"] | None,
    **asked: Any,
) -> None:
    """Run a policy once, outside the loop, on an observation from a file."""
    _refuse_unknown(backend)
    from edge_runtime import infer
    from edge_runtime.apart import apart

    told = infer.Asked(backend=backend, on_malformed=on_malformed or "", **asked)
    found = apart(lambda: infer.infer(bundle, observation, told))
    infer.save_whole(out, found.tensors)
    emit(infer.facts(found, out), infer.text(found, out), json_file)


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--device", metavar="NAME", default="", help="Device whose roofline floor to show, such as agx-orin-64.")
@click.option(
    "--precision",
    metavar="[COMPONENT=]P",
    multiple=True,
    help="What if the model were of bf16, fp16, fp8, int8 or int4, or one component of it; repeatable.",
)
@click.option("--steps", type=click.IntRange(min=1), default=None, help="Flow steps, where not the bundle's own.")
@json_option
def inspect(bundle: Path, device: str, precision: tuple[str, ...], steps: int | None, json_file: str | None) -> None:
    """Check every byte of a bundle; say what is in it and how fast it can be at most."""
    from edge_runtime import inspect

    words, facts = inspect.inspect(bundle, device, precision, steps or 0)
    emit(facts, words, json_file)


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--backend",
    metavar="NAME",
    help=f"What computes: {BACKENDS}, or torch (PyTorch); by default ort, or torch where floats are in 16 bits.",
)
@click.option("--threads", type=click.IntRange(1, 256), default=1, show_default=True, help="Cores.")
@click.option(
    "--against",
    metavar="REFERENCE",
    type=click.Path(path_type=Path),
    help="The float32 bundle that BUNDLE was made of: compare every output of every graph.",
)
@click.option("--data", metavar="DATASET", type=click.Path(path_type=Path), help="Observations to compare on.")
@click.option(
    "--map", "mapped", metavar="NAME=FIELD", multiple=True, help="Field of the dataset for a camera or for state."
)
@click.option("--observations", type=click.IntRange(1, 4096), default=None, help="How many of DATASET; by default 16.")
@click.option("--seed", type=click.IntRange(min=0), default=None, help="As edge quantize had it; by default 0.")
@click.option(
    "--on-corrupt", type=click.Choice(["skip", "fail"]), default=None, help="As edge quantize had it; by default fail."
)
@json_option
def verify(
    bundle: Path,
    backend: str | None,
    threads: int,
    against: Path | None,
    data: Path | None,
    json_file: str | None,
    **chosen: Any,
) -> int:
    """Let a bundle answer its own probes here; exit code 1 where it computes something else.

    With --against and --data, what its accuracy.json says is computed anew, on observations of DATASET.
    """
    from edge_runtime import plugins, verify
    from edge_runtime.bundle import open_bundle
    from edge_runtime.errors import EdgeError
    from edge_runtime.policy import refuse_backend

    if backend is not None:
        _refuse_unknown(backend, plugins.TORCH)
    if against is not None and data is not None:
        return _verify_against(bundle, against, data, backend, threads, json_file, **chosen)
    if against is not None or data is not None:
        raise click.UsageError("--against and --data go together: the float32 bundle, and a dataset to compare on")
    if any(value not in (None, ()) for value in chosen.values()):
        raise click.UsageError("--map, --observations, --seed and --on-corrupt: only with --against and --data")
    checked = open_bundle(bundle)
    name = backend or (plugins.TORCH if checked.manifest.has_half else "ort")
    refuse_backend(checked, name)
    try:
        engine = _engine(name, threads)
    except EdgeError as error:
        if backend is not None or name != plugins.TORCH:
            raise
        raise EdgeError(
            f"{bundle}: some of its floats have 16 bits: run its engines (edge compile, then edge verify --backend trt)"
            ", or judge it where PyTorch is (pip install '.[export]' in the checkout)"
        ) from error
    with progress("probes") as tell:
        found = verify.check(checked, engine, lambda part: tell("probes", part))
    emit(verify.facts(checked, name, found), verify.text(checked, name, found), json_file)
    return 0 if found.verdict == "pass" else 1


def _verify_against(
    bundle: Path,
    reference: Path,
    data: Path,
    backend: str | None,
    threads: int,
    json_file: str | None,
    mapped: tuple[str, ...],
    observations: int | None,
    seed: int | None,
    on_corrupt: str | None,
) -> int:
    """`verify`, but by the original's answers to new observations."""
    from edge_runtime import accuracy, accuracy_text, plugins

    quantizer = plugins.require("export.quantize_dataset")
    engine = _engine(backend, threads) if backend else None
    asked = mapped, observations or OBSERVATIONS, seed or 0, on_corrupt or "fail", warn
    with progress("bundles") as tell:
        found = quantizer.verify_against(bundle, reference, data, *asked, threads, engine, tell)
    facts = {"path": str(bundle), "backend": backend, "against": str(reference), **accuracy.plain(found)}
    emit(facts, f"{bundle}:\n" + "\n".join(f"  {line}" for line in accuracy_text.whole(found)), json_file)
    return 0 if found.verdict == "pass" else 1


def _refuse_unknown(backend: str, *more: str) -> None:
    """Raise `EdgeError` where there is no such backend; `more`: what else the command takes."""
    from edge_runtime import plugins
    from edge_runtime.errors import EdgeError

    if fault := plugins.unknown(plugins.BACKENDS, backend, *more):
        raise EdgeError(f"--backend: {fault}")


def _engine(name: str, threads: int) -> Backend:
    from edge_runtime import plugins

    file = "export.torch_graph" if name == plugins.TORCH else f"{plugins.BACKENDS}.{plugins.file_name(name)}"
    engine: Backend = plugins.require(file).Engine(threads)
    return engine


def _describe(bundle: Path, json_file: str | None) -> None:
    from edge_runtime import inspect

    words, facts = inspect.inspect(bundle)
    emit(facts, words, json_file)


COMMANDS: tuple[click.Command, ...] = (export, inspect, verify, infer)
