"""`vsal prepare`: catalogue in, manifest out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vsal.cli.options import verb
from vsal.cli.progress import display, failure_lines, span, stopped_lines, warning_lines
from vsal.cli.screen import Screen
from vsal.settings import PrepareSettings, RunSettings

if TYPE_CHECKING:
    from vsal.distributed.outcomes import Summary

Catalog = Annotated[
    str,
    typer.Argument(
        help="A video, a folder, a glob, or a list of videos (.txt, .csv, .jsonl, .parquet); a path, s3:// or gs://.",
        show_default=False,
    ),
]
Address = Annotated[
    str | None,
    typer.Option(help="Ray cluster to join, host:port or 'auto' \\[default: start Ray here].", show_default=False),
]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("prepare")(prepare)


@verb(PrepareSettings, RunSettings)
def prepare(
    screen: Screen,
    settings: PrepareSettings,
    run: RunSettings,
    catalog: Catalog,
    out: Annotated[str, typer.Option("--out", "-o", help="Where the manifest goes: a folder, s3:// or gs://.")],
    settings_file: Annotated[
        str | None,
        typer.Option("--settings", help="Settings that `evaluate roi --tune` has written; options override them."),
    ] = None,
    address: Address = None,
) -> int:
    """Find the shots and saliency of every title and write the ROI manifest.

    A title whose manifest is committed with the same model, source and settings is left as it is, so the same command
    goes on after an interruption.
    """
    from vsal.catalog import read_catalog
    from vsal.distributed.prepare import prepare_catalogue

    titles = read_catalog(catalog)
    with display(screen.log) as report:
        summary = prepare_catalogue(titles, out, settings, run, address=address, on_progress=report)
    screen.document(summary.document())
    screen.show(*lines(summary))
    return summary.exit_code


def lines(summary: Summary) -> list[str]:
    """The end of a run in words."""
    from rich.markup import escape

    done, skipped, failed = (summary.count(status) for status in ("done", "skipped", "failed"))
    document = summary.document()
    told = []
    if done == failed == skipped == 0 and not summary.stopped:
        told.append("Nothing to do: no title of the catalogue failed the last time.")
    elif done == failed == 0 and not summary.stopped:
        told.append(
            f"Nothing to do: all {skipped} titles are prepared with these settings already (--force does them again)."
            if skipped != 1
            else "Nothing to do: the title is prepared with these settings already (--force does it again)."
        )
    else:
        told.append(f"[bold]{done} done[/], {skipped} already done, {failed} failed, in {span(summary.seconds)}")
        if done:
            work_s = max(summary.seconds - summary.startup_s, 1e-9)
            told.append(
                f"{document['shots']} shots, {document['maps']} maps, {document['frames']} frames: "
                f"{document['frames'] / work_s:.0f} frames/s, {summary.video_s / work_s:.1f} x real time"
            )
        if document["decode_errors"]:
            told.append(f"{document['decode_errors']} damaged places were decoded around")
    told += warning_lines((o.title_id, o.detail) for o in summary.outcomes if o.status == "done")
    told += failure_lines(document["failed"], f"vsal inspect {summary.place[1]}")
    told += stopped_lines(summary)
    if failed and summary.exit_code == 0:
        told.append(f"{failed} failed titles are within --max-failed {summary.max_failed}.")
    if done or skipped:
        told.append(f"Manifest: {escape(summary.place[1])}  (look at it: vsal inspect {escape(summary.place[1])})")
    return told
