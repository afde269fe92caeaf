"""`vsal status`: how runs stand, from their journals alone."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vsal.cli.options import verb
from vsal.cli.progress import failure_lines, span
from vsal.cli.screen import Screen

if TYPE_CHECKING:
    from rich.console import Group

WATCH_S = 5.0  # between two looks, as often as a run writes


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("status")(status)


@verb()
def status(
    screen: Screen,
    place: Annotated[
        str, typer.Argument(help="Where a run writes: the --out of prepare or the --dest of encode.", metavar="PLACE")
    ],
    watch: Annotated[bool, typer.Option("--watch", help="Show it anew every five seconds until the run ends.")] = False,
) -> int:
    """Tell how a run stands, or stood: titles by outcome, rate, slowest titles, what was lost, what limits it.

    Reads the journals of the place only, so it works from any machine, while a run goes on or long after it.
    """
    from vsal.distributed.status import read_status

    document = read_status(place)
    if watch and not screen.as_json:
        from rich.live import Live

        with Live(_shown(document), console=screen.log, transient=True, auto_refresh=False) as live:
            while (document["run"] or {}).get("phase") in ("running", "stopping"):
                time.sleep(WATCH_S)
                document = read_status(place)
                live.update(_shown(document), refresh=True)
    while watch and screen.as_json and (document["run"] or {}).get("phase") in ("running", "stopping"):
        time.sleep(WATCH_S)
        document = read_status(place)
    screen.document(document)
    screen.show(*lines(document))
    return 0


def _shown(document: Mapping[str, Any]) -> Group:
    from rich.console import Group
    from rich.text import Text

    return Group(*(Text.from_markup(line) for line in lines(document)))


def lines(document: Mapping[str, Any]) -> list[str]:
    """The status in words."""
    from rich.markup import escape

    titles, run = document["titles"], document["run"]
    told = run_lines(run) if run else []
    more = f", {titles['interrupted']} interrupted" if titles["interrupted"] else ""
    told.append(f"Over all runs: {titles['done']} done, {titles['failed']} failed{more}")
    if document["reasons"]:
        told.append("Failed: " + ", ".join(f"{count} {reason}" for reason, count in document["reasons"].items()))
    told += failure_lines(document["failed"], f"vsal status {document['place']} --json")
    for other in document["runs"]:
        counts = _counts(other)
        told.append(f"[dim]{escape(other['run_id'])}  {other['kind']} {other['phase']}: {counts}[/]")
    return told


def run_lines(run: Mapping[str, Any]) -> list[str]:
    """The run that began last."""
    from rich.markup import escape

    phase = run["phase"]
    since = datetime.fromtimestamp(run["began"]).strftime("%Y-%m-%d %H:%M:%S")
    told = [f"[bold]{run['kind']} {phase}[/]  {escape(run['run_id'])}  since {since} on {escape(str(run['host']))}"]
    if phase == "dead":
        told.append(f"[red]Not heard of for {span(run['silent_s'])}[/]: the same command goes on from there.")
    for name in ("stopped", "error"):
        if run.get(name):
            told.append(f"{name.capitalize()}: {escape(str(run[name]))}")
    told.append(f"{run.get('titles', 0)} titles: {_counts(run)}")
    if "frames" in run:
        elapsed = run.get("elapsed_s", 0.0)
        rate = run.get("frames_per_s") if phase == "running" else run["frames"] / elapsed if elapsed else None
        rates = f", {rate:.0f} frames/s" if rate is not None else ""
        eta = f", about {span(run['eta_s'])} left" if phase == "running" and run.get("eta_s") else ""
        told.append(f"{run['frames']} frames, {span(run['video_s'])} of video in {span(elapsed)}{rates}{eta}")
    if run.get("waits_for"):
        told.append(f"Waits for {escape(run['waits_for'])}")
    if phase == "running" and run.get("limited_by"):
        shares = ", ".join(f"{stage} {share:.0%}" for stage, share in run["stages"].items())
        told.append(
            f"Limited by {run['limited_by']}: steps are at {shares or 'nothing yet'}; "
            f"{run['used_cpus']:g} of {run['cpus']:g} CPUs asked for, driver {run['driver_busy']:.0%} busy"
        )
    if run.get("failures"):
        failures = ", ".join(f"{count} {rule}" for rule, count in run["failures"].items())
        told.append(f"Steps that failed: {failures}; lost {span(run['lost_s'])} of work, {run['lost_frames']} frames")
    for node in run.get("sick", ()):
        told.append(f"[yellow]sick[/]  {escape(str(node))}")
    for title in run.get("slowest", ()) if phase == "running" else ():
        steps = ", ".join(title["steps"]) + (" ..." if title["running"] > len(title["steps"]) else "")
        told.append(
            f"  open  {escape(title['title_id'])}  {span(title['seconds'])}, {title['frames']} frames: "
            f"{escape(steps) or 'waits for its turn'}"
        )
    return told


def _counts(run: Mapping[str, Any]) -> str:
    words = {"done": "done", "skipped": "already there", "failed": "failed", "interrupted": "interrupted"}
    counts = [f"{run[name]} {word}" for name, word in words.items() if run.get(name)]
    if run.get("in_flight") and run["phase"] == "running":
        counts.append(f"{run['in_flight']} open")
    if run.get("left") and run["phase"] != "running":
        counts.append(f"{run['left']} not done")
    return ", ".join(counts) or "none has ended"
