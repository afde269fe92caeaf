"""`vsal remap`: other QP offsets from the saliency that a manifest keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from vsal.cli.options import verb
from vsal.cli.screen import Screen
from vsal.settings import PrepareSettings

if TYPE_CHECKING:
    from vsal.manifest import TitleRecord


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("remap")(remap)


@verb(PrepareSettings, only=frozenset({"qp_mapping", "qp_floor", "qp_limit", "qp_offset", "regions"}))
def remap(
    screen: Screen,
    settings: PrepareSettings,
    source: Annotated[str, typer.Argument(help="A manifest: the --out of prepare.", metavar="MANIFEST")],
    out: Annotated[str, typer.Option("--out", "-o", help="Where the new manifest goes: a folder, s3:// or gs://.")],
) -> int:
    """Write a manifest anew with another QP mapping, without running a model.

    Saliency stays as it is, but for --regions. A later `vsal prepare` with the same mapping into the new place finds
    its titles done.
    """
    from rich.markup import escape

    from vsal import manifest
    from vsal.regions import read_regions
    from vsal.roi.qp import QpMapping

    mapping = QpMapping.of_settings(settings.model_dump())
    regions = read_regions(settings.regions) if settings.regions else None
    if regions is not None:
        regions.require_any(manifest.read_manifest(source).title_ids())
    with screen.log.status("remapping"):
        records = manifest.remap(source, out, mapping, regions=regions)
    _journal(out, records)
    counts = {status: sum(r.status == status for r in records) for status in ("done", "skipped", "failed")}
    failed = [record for record in records if record.status == "failed"]
    screen.document(
        {
            "out": out,
            "titles": counts,
            "maps": sum(r.maps for r in records if r.status == "done"),
            "failed": [{"title_id": r.title_id, "reason": r.reason, "detail": r.detail} for r in failed],
        }
    )
    screen.show(f"[bold]{counts['done']} remapped[/], {counts['skipped']} already there, {counts['failed']} failed")
    for record in failed:
        screen.show(f"[red]failed[/]  {escape(record.title_id)}  {record.reason}: {escape(record.detail)}")
    return 1 if failed else 0


def _journal(out: str, records: Sequence[TitleRecord]) -> None:
    """Tells the journals of OUT: the table of titles that a later run writes there is a view of them."""
    from vsal.distributed.journal import Journal
    from vsal.distributed.outcomes import Outcome, new_run_id
    from vsal.errors import Reason

    journal = Journal(out, new_run_id(), "prepare", {"titles": len(records), "command": "remap"})
    for record in records:
        reason = None if record.reason is None else Reason(record.reason)
        journal.add(
            Outcome(
                record.title_id, record.uri, record.status, reason, record.detail, record.path, record.frames,
                seconds=record.seconds, attempts=record.attempts,
                figures={"shots": record.shots, "maps": record.maps},
            )
        )  # fmt: skip
    counts = {status: sum(r.status == status for r in records) for status in ("done", "skipped", "failed")}
    journal.close("ended", {**counts, "left": 0})
