"""`vsal export`: maps as files for encoders that run elsewhere."""

from __future__ import annotations

from typing import Annotated

import typer

from vsal.cli.options import verb
from vsal.cli.screen import Screen
from vsal.encode.settings import ExportFormat


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("export")(export)


@verb()
def export(
    screen: Screen,
    out: Annotated[str, typer.Argument(help="A manifest: the --out of prepare.", metavar="MANIFEST")],
    kind: Annotated[ExportFormat, typer.Option("--format", help="What to write; docs/encoders.md says what each is.")],
    dest: Annotated[str, typer.Option(help="Where it goes: a folder, s3:// or gs://.")],
    title: Annotated[list[str] | None, typer.Option(help="Only this title; may be repeated.")] = None,
    crf: Annotated[float, typer.Option(help="Rate factor at which SVT-AV1 will run (svtav1-roi).")] = 35.0,
    max_rectangles: Annotated[int, typer.Option(help="Regions a map at most (ffmpeg-filter).")] = 600,
    bit_depth: Annotated[int, typer.Option(help="Of the encode (ffmpeg-filter).")] = 8,
) -> int:
    """Write the maps in the format of an encoder that runs elsewhere.

    A title whose manifest is damaged is told, and the others go on; the exit code is then 1.
    """
    from rich.markup import escape

    from vsal import storage
    from vsal.encode.exports import ExportSettings, export_title
    from vsal.errors import VsalError
    from vsal.manifest import read_manifest

    manifest = read_manifest(out)
    settings = ExportSettings(crf=crf, max_rectangles=max_rectangles, bit_depth=bit_depth)
    storage.check_writable(dest)
    written, failed = [], []
    for title_id in title or manifest.title_ids():
        try:
            with manifest.title(title_id) as found:
                written += export_title(found, kind, dest, settings)
        except (VsalError, OSError) as error:
            failed.append({"title_id": title_id, "detail": str(error)})
    screen.document({"format": str(kind), "files": written, "failed": failed})
    screen.show(f"[bold]{len(written)} {'file' if len(written) == 1 else 'files'}[/] written to {escape(dest)}")
    screen.show(*(f"[red]failed[/]  {escape(one['title_id'])}  {escape(one['detail'])}" for one in failed))
    return 1 if failed else 0
