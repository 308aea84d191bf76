"""The result for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from edge_runtime.accuracy_text import percent

Any_ = Mapping[str, Any]
_HEADS = ("policy", "cameras", "floor", "by", "p50", "p99", "× floor", "× eager", "× compile", "GiB", "error")
_WIDTHS = (10, 9, 8, 23, 9, 9, 9, 9, 11, 7, 9)


def table(result: Any_) -> str:
    """All sections, one after the other; times in ms, by CUDA's events; speeds are p50 by wall clock."""
    lines = [
        *_machine(result["machine"]),
        *_backends(result.get("backends", {})),
        *_contract(result.get("contract", {})),
    ]
    lines += [
        *_outputs(result.get("outputs", {})),
        *_speed(result.get("speed", [])),
        *_kernels(result.get("speed", [])),
    ]
    return "\n".join([*lines, *_goals(result.get("goals", []))])


def dashed(backend: str) -> str:
    """The name as robot.toml and the commands have it: "ort-cuda"."""
    return backend.replace("_", "-")


def _machine(machine: Any_) -> Iterator[str]:
    gpu = machine["gpu"]
    shared = ", memory shared with the CPU" if gpu["integrated"] else ""
    yield f"{gpu['name']} ({gpu['arch']}, {gpu['memory_bytes'] / (1 << 30):.0f} GiB{shared}), CUDA {gpu['cuda']}"


def _backends(found: Any_) -> Iterator[str]:
    for one in found.values():
        said = f"runs, {one['version']}" if one["ran"] else f"cannot: {one['why']}"
        yield f"  {one['title']:<20}{said}".replace("\n", " ")


def _contract(found: Any_) -> Iterator[str]:
    for name, one in found.items():
        counts = f"{one['passed']} passed, {one['failed']} failed, {one['skipped']} skipped" if one["ran"] else ""
        yield f"contract of {dashed(name)}: {counts or 'not run: ' + one['why']}"
        yield from (f"    {test}: {why}" for test, why in one.get("failures", {}).items())


def _outputs(found: Any_) -> Iterator[str]:
    for policy, backends in found.items():
        for name, one in backends.items():
            if not one["ran"]:
                yield f"answers of {policy} on {dashed(name)}: not run: {one['why']}"
                continue
            errors = one["against_cpu"]
            largest, same = errors["max_share"], errors["tokens_same"]
            said = "not finite" if largest is None else f"largest error {percent(largest)} of a range"
            said += "" if same is None else f", {same:.0%} of tokens the same"
            yield f"answers of {policy} on {dashed(name)}: {said}: {one['verdict']}"


def _speed(rows: list[Any_]) -> Iterator[str]:
    if rows:
        yield "".join(f"{head:>{width}}" for head, width in zip(_HEADS, _WIDTHS, strict=True))
    for row in rows:
        compiled = row.get("compile")
        mode = f"compile, {compiled['mode']}" if compiled else ""
        parts = {"eager": row.get("eager"), mode: compiled, **row.get("ours", {})}
        for name, part in parts.items():
            if part is not None and part["ran"]:
                yield _figures(row, name, part)
            elif part is not None:
                yield f"{row['model']:>10}{row['cameras']:>9}{'':8}{dashed(name):>23}  not run: {part['why']}"
        if not row.get("bundle", {"ran": True})["ran"]:
            yield f"{row['model']:>10}{row['cameras']:>9}{'':8}{'ours':>23}  not run: no bundle: {row['bundle']['why']}"


def _figures(row: Any_, name: str, part: Any_) -> str:
    times, floor = part.get("events_ms", part["wall_ms"]), row.get("floor_ms")
    agreed = part.get("agreement", {})
    error = agreed.get("ours_to_float32", agreed.get("ours_to_pytorch"))  # None where it is not finite
    verdict = "" if agreed.get("verdict", "pass") == "pass" else " FAIL"
    cells = (
        row["model"],
        row["cameras"],
        f"{floor:.2f}" if floor else "unknown",
        dashed(name),
        f"{times['p50']:.2f}",
        f"{times['p99']:.2f}",
        f"{times['p50'] / floor:.2f}" if floor else "",
        _ratio(row.get("eager"), part),
        _ratio(row.get("compile"), part),
        f"{part['memory_bytes'] / (1 << 30):.1f}" if "memory_bytes" in part else "",
        "" if error is None else f"{error:.1e}",
    )
    return "".join(f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=True)) + verdict


def _ratio(other: Any_ | None, part: Any_) -> str:
    """How many times as fast as `other`, p50 by wall clock."""
    if other is None or not other["ran"] or other is part:
        return ""
    return f"{other['wall_ms']['p50'] / part['wall_ms']['p50']:.2f}"


def _kernels(rows: list[Any_]) -> Iterator[str]:
    for row in rows:
        for backend, part in row.get("ours", {}).items():
            found = part.get("kernels", {"ran": False})
            if not found["ran"]:
                continue
            yield f"kernels of {row['model']}, {row['cameras']} cameras, on {dashed(backend)}: {found['ms']:.2f} ms"
            for one in found["rows"][:6]:
                floor = "" if one["floor_ms"] is None else f", floor {one['floor_ms']:.2f}"
                yield f"  {one['graph']:<9}{one['kind']:<15}{one['ms']:8.2f} ms in {one['kernels']} kernels{floor}"


def _goals(found: list[Any_]) -> Iterator[str]:
    for goal in found:
        figure = "" if goal["found"] is None else f"{goal['found']:g}, "
        where = f" ({dashed(goal['backend'])})" if goal["backend"] else ""
        yield f"goal: {goal['goal']} {goal['limit']}{where}: {figure}{goal['state']}"
