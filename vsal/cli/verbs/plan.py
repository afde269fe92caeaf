"""`vsal plan`: what prepare would do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vsal.cli.options import verb
from vsal.cli.progress import span
from vsal.cli.screen import Screen
from vsal.cli.verbs.prepare import Catalog
from vsal.settings import PrepareSettings, RunSettings

if TYPE_CHECKING:
    from rich.table import Table

    from vsal.planning import TitlePlan

SHOWN = 40  # rows on the screen; --json has them all


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("plan")(plan)


@verb(PrepareSettings, RunSettings)
def plan(
    screen: Screen,
    settings: PrepareSettings,
    run: RunSettings,
    catalog: Catalog,
    out: Annotated[
        str | None, typer.Option("--out", "-o", help="The manifest that a run would write: says what it would skip.")
    ] = None,
) -> int:
    """Say what `vsal prepare` would do, from the headers of the videos; decodes nothing.

    Segments and frames to infer are estimates by the declared duration. Ends with 1 if more titles than --max-failed
    cannot be prepared.
    """
    from vsal import storage
    from vsal.catalog import read_catalog
    from vsal.distributed import parts
    from vsal.distributed.known import committed_files
    from vsal.planning import plan_titles
    from vsal.regions import read_regions
    from vsal.saliency.contract import read_contract
    from vsal.saliency.fit import require_fit
    from vsal.saliency.registry import load_model

    titles = read_catalog(catalog)
    settings = settings.pinned(storage.read_bytes(settings.shot_model) if settings.shot_model else None)
    model = load_model(settings.model, accept_licence=run.accept_licence)
    wants = require_fit(read_contract(model.data), settings.saliency_mode, settings.aggregator)
    segment_s = math.inf if wants.ordered else run.segment_s  # a model with a memory needs titles in one piece
    regions = read_regions(settings.regions) if settings.regions else None
    known = committed_files(parts.read_all(out).table) if out else None
    plans = []
    with screen.log.status(f"reading {len(titles)} headers"):
        for item in plan_titles(
            titles, out, settings, model.sha256, segment_s=segment_s, force=run.force, known=known, regions=regions
        ):
            plans.append(item)
    totals = _totals(plans)
    chosen = {"saliency_mode": settings.saliency_mode, "model": model.name, "aggregator": settings.aggregator}
    screen.document({**chosen, "totals": totals, "titles": [item.document() for item in plans]})
    if not screen.as_json:
        screen.show(_table(plans), *_words(totals, len(plans)), _by(chosen))
    return 0 if totals["failed"] <= run.failures_allowed(len(plans)) else 1


def _totals(plans: Sequence[TitlePlan]) -> dict[str, Any]:
    todo = [item for item in plans if not item.would_skip and item.failure is None]
    return {
        "titles": len(plans),
        "to_do": len(todo),
        "would_skip": sum(item.would_skip and item.failure is None for item in plans),
        "failed": sum(item.failure is not None for item in plans),
        "duration_s": round(sum(item.duration_s or 0.0 for item in todo), 3),
        "unknown_duration": sum(item.duration_s is None for item in todo),
        "segments": sum(item.segments for item in todo),
        "frames": sum(item.frames or 0 for item in todo),
        "frames_to_infer": sum(item.frames_to_infer or 0 for item in todo),
    }


def _table(plans: Sequence[TitlePlan]) -> Table:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("title", overflow="fold")
    table.add_column("video")
    for name in ("duration", "segments", "frames", "to infer"):
        table.add_column(name, justify="right")
    table.add_column("what", overflow="fold")
    for item in plans[:SHOWN]:
        what = "already done" if item.would_skip else "prepare"
        if item.failure is not None:
            what = f"[red]{item.failure.reason}[/]: {escape(item.failure.detail)}"
        known = item.duration_s is not None
        table.add_row(
            escape(item.item.title.title_id),
            f"{item.codec} {item.width}x{item.height}" if item.codec else "",
            span(item.duration_s) if item.duration_s is not None else "" if item.failure else "unknown",
            str(item.segments) if item.segments else "",
            str(item.frames) if item.frames is not None and known else "",
            str(item.frames_to_infer) if item.frames_to_infer is not None else "",
            what,
        )
    return table


def _by(chosen: dict[str, str]) -> str:
    from rich.markup import escape

    mode, model, aggregator = chosen.values()
    return f"saliency mode {mode}: model {escape(model)}, aggregator {aggregator}"


def _words(totals: dict[str, Any], titles: int) -> list[str]:
    told = [f"... and {titles - SHOWN} titles more (all with --json)"] if titles > SHOWN else []
    told.append(
        f"[bold]{totals['to_do']} to do[/], {totals['would_skip']} already done, {totals['failed']} cannot be prepared"
    )
    if totals["to_do"]:
        unknown = f", {totals['unknown_duration']} of unknown length" if totals["unknown_duration"] else ""
        told.append(
            f"{span(totals['duration_s'])} of video{unknown}: {totals['segments']} segments, "
            f"{totals['frames']} frames, about {totals['frames_to_infer']} of them to infer"
        )
    return told
