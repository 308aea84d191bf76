"""A run as one page that needs nothing else: style sheet and plots are in it, and it loads nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from html import escape
from importlib import resources
from typing import Any

from edge_runtime import report_plots
from edge_runtime.floor import Floor
from edge_runtime.record import RunRecord
from edge_runtime.report import PERCENTILES, tasks_ended, verdict
from edge_runtime.report_text import event_runs, flat, number, rows

EVENTS = 300
"""Rows of the event table: the last ones."""


def page(record: RunRecord, report: dict[str, Any], floor: Floor | None = None, front: str = "") -> str:
    """The whole page. `report` is `report.summary(record)`; `floor` is drawn with the lateness where measured.

    `front` is HTML that takes the place of the verdict.
    """
    style = resources.files("edge_runtime").joinpath("report.css").read_text(encoding="utf-8")
    title = escape(f"{report['robot']}: run report")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{style}</style></head><body><main>\n"
        + "\n".join((front or _header(report), *_sections(record, report, floor)))
        + "\n</main></body></html>\n"
    )


def _sections(record: RunRecord, report: dict[str, Any], floor: Floor | None) -> Iterator[str]:
    yield _figures(report)
    if record.t_ns.size:
        yield _run(record, report)
        yield _lateness(record, report, floor)
        yield _joints(record, report)
    else:
        yield _percentile_table(report)
    yield _events(report)
    yield _two_columns("Counted", {name: n for name, n in report["counters"].items() if n}, "Nothing was counted.")
    yield _two_columns("Machine", dict(_flat(report["machine"])), "Nothing is known of it.")


def _header(report: dict[str, Any]) -> str:
    level, sentence = verdict(report)
    return f'<header class="{level}"><p>{escape(report["robot"])}</p><h1>{escape(sentence)}</h1></header>'


def _figures(report: dict[str, Any]) -> str:
    control, task = report["control"], report["task"]
    late, age, inference = control["lateness_us"], report["sensor_to_motor_ms"], report["inference_ms"]
    over = report.get("lateness_over_floor", {}).get("p99_9")
    boxes = [
        _figure(
            f"{control['missed']}",
            f"of {control['ticks'] + control['missed']}",
            "slots missed",
            "bad" if control["missed"] else "",
        ),
        _figure(number(late["p99_9"]), "µs", f"lateness p99.9{f', {number(over)} × its floor' if over else ''}"),
        _figure(number(age["p99"]), "ms", f"sensor to motor p99, {number(age['p50'])} at p50"),
        _figure(number(inference["p50"]), "ms", f"inference p50, {number(inference['max'])} at most"),
    ]
    if ended := tasks_ended(report):
        boxes.append(_figure(f"{task['successes']}", f"of {ended}", "tasks done"))
    return f'<div class="figures">{"".join(boxes)}</div>'


def _figure(value: str, unit: str, about: str, kind: str = "") -> str:
    return (
        f'<div class="figure {kind}"><b>{escape(value)} <small>{escape(unit)}</small></b>'
        f"<span>{escape(about)}</span></div>"
    )


def _run(record: RunRecord, report: dict[str, Any]) -> str:
    held = (int(record.t_ns[-1]) - int(record.t_ns[0])) / 1e9
    window = "" if record.ticks <= record.t_ns.size else f" Plots show the last {held:.0f} s."
    states = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in report["states"].items() if seconds > 0)
    return (
        f"<h2>The run</h2><p>{report['seconds']:.1f} s: {escape(states)}. {report['chunks']} action chunks.{window}</p>"
        + f'<div class="wide">{report_plots.strip_chart(record)}</div>'
    )


def _lateness(record: RunRecord, report: dict[str, Any], floor: Floor | None) -> str:
    keys = '<span class="key"></span>this loop'
    if floor is not None:
        keys += ' &ensp;<span class="key floor"></span>cyclictest on this machine, the same minute, period and priority'
    return (
        '<div class="pair"><section><h2>How late the control thread woke</h2>'
        f"<p>{keys}</p>{report_plots.lateness_histogram(record, floor)}</section>"
        f"<section><h2>Percentiles</h2><p>Measured values, not fits</p>{_percentile_table(report)}</section></div>"
    )


def _percentile_table(report: dict[str, Any]) -> str:
    heads = "".join(f"<th>{name.replace('_', '.')}</th>" for name in PERCENTILES)
    body = "".join(
        f'<tr class="{"floor" if label.startswith(" ") else ""}"><td>{escape(label.strip())}</td>'
        + "".join(f"<td>{number(row[p]) if p in row else ''}</td>" for p in PERCENTILES)
        + "</tr>"
        for label, row in rows(report)
    )
    return f"<table><thead><tr><th></th>{heads}</tr></thead><tbody>{body}</tbody></table>"


def _joints(record: RunRecord, report: dict[str, Any]) -> str:
    plots = []
    for joint, name in enumerate(record.joint_names):
        error = report["tracking_mrad"][name]
        told = f"off by {number(error['rms'])} mrad rms, {number(error['max'])} at most"
        plots.append(f"<div><h3>{escape(name)}<span>{told}</span></h3>{report_plots.joint_plot(record, joint)}</div>")
    return (
        '<h2>Joints</h2><p><span class="key set"></span>setpoint &ensp;<span class="key"></span>measured, degrees; '
        "how far apart while moving</p>"
        f'<div class="joints">{"".join(plots)}</div>'
    )


def _events(report: dict[str, Any]) -> str:
    events = report["events"]
    if not events:
        return "<h2>Events</h2><p>None.</p>"
    named = ", ".join(f"{n} × {name}" for name, n in Counter(event["name"] for event in events).most_common())
    runs = event_runs(events)
    which = f"{named}." + (f" The last {sum(n for _, n in runs[-EVENTS:])}:" if len(runs) > EVENTS else "")
    body = "".join(
        f"<tr><td>{first['t_s']:.3f} s</td><td>{escape(first['name'])}{f' × {n}' if n > 1 else ''}</td>"
        f'<td title="{escape(first["cause"])}">{escape(first["cause"])}</td></tr>'
        for first, n in runs[-EVENTS:]
    )
    return f'<h2>Events</h2><p>{escape(which)}</p><table class="words three"><tbody>{body}</tbody></table>'


def _two_columns(title: str, values: dict[str, Any], empty: str) -> str:
    if not values:
        return f"<h2>{title}</h2><p>{empty}</p>"
    body = "".join(f"<tr><td>{escape(str(k))}</td><td>{escape(str(v))}</td></tr>" for k, v in values.items())
    return f'<h2>{title}</h2><table class="words two"><tbody>{body}</tbody></table>'


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested tables as dotted rows, lists on one line."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", flat(value)
