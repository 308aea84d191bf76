"""Accuracy in words, the same wherever it is printed."""

from __future__ import annotations

from edge_runtime.accuracy import Accuracy, ActionErrors, ClosedLoop


def whole(found: Accuracy) -> list[str]:
    """What was compared with what: cosine and relative error of every component, errors of actions, the verdict."""
    lines = [f"against {found.reference}, {found.observations}"]
    for name, row in found.components.items():
        lines.append(f"  {name:<22}cosine {row.cosine:.7f}, relative error {row.relative_error:.1e}")
    return [*lines, *actions(found.actions), f"verdict: {found.verdict}"]


def actions(errors: ActionErrors) -> list[str]:
    """Errors of actions, in units and as shares, each share beside its gate."""
    unit = errors.unit or "the robot's units"
    lines = [
        f"actions of {errors.observations} observations: mean {errors.mean:.2g}, 99 % {errors.p99:.2g}, "
        f"largest {errors.max:.2g} {unit}"
    ]
    shares = (
        ("mean", errors.mean_share, errors.gate.mean_share),
        ("99 %", errors.p99_share, errors.gate.p99_share),
        ("largest", errors.max_share, errors.gate.max_share),
    )
    words = ", ".join(f"{name} {percent(value)}{_gate(gate)}" for name, value, gate in shares)
    lines.append(f"of each range: {words} ({errors.worst})")
    if errors.tokens_same is not None:
        least = errors.gate.tokens_same
        gate = "" if least is None else f" (at least {100 * least:g}%)"
        lines.append(f"tokens: {errors.tokens_same:.1%} identical{gate}")
    return [*lines, errors.fault] if errors.fault else lines


def closed_loop(found: ClosedLoop) -> str:
    """Success in simulation beside the reference's."""
    return (
        f"closed loop, {found.episodes} paired episodes: {found.success:.1%} of them, reference "
        f"{found.reference_success:.1%}; difference {found.difference:+.1%} ({found.low:+.1%} to {found.high:+.1%})"
    )


def percent(share: float) -> str:
    """Two places behind the point, or what is too small for them as a power of ten."""
    return f"{share:.2%}" if share >= 1e-4 or share == 0.0 else f"{100 * share:.1e}%"


def _gate(gate: float | None) -> str:
    return "" if gate is None else f" (at most {percent(gate)})"
