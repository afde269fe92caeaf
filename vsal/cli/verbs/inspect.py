"""`vsal inspect`: what a manifest holds, in figures and pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vsal.cli.options import verb
from vsal.cli.progress import warning_lines
from vsal.cli.screen import Screen

if TYPE_CHECKING:
    from rich.table import Table

    from vsal.manifest import Manifest, TitleRecord

# Mean saliency and QP range need every map of a title, so larger manifests are summed up by their titles' records.
READ_THROUGH = 50
SHOWN = 100


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("inspect")(inspect)


@verb()
def inspect(
    screen: Screen,
    out: Annotated[str, typer.Argument(help="A manifest: the --out of prepare.")],
    title: Annotated[str | None, typer.Option(help="Id of one title.")] = None,
    png: Annotated[str | None, typer.Option(help="Folder for pictures of the title's shots.")] = None,
    shot: Annotated[list[int] | None, typer.Option(help="Draw this shot only; may be given several times.")] = None,
) -> int:
    """Summarise a manifest; draw a title's shots with heat map and QP map.

    `vsal inspect OUT --title ID --png DIR` writes an overview and a page for each shot. A title whose manifest file is
    damaged is told, and the others go on; the exit code is then 1.
    """
    from vsal import manifest as manifests
    from vsal.errors import SettingsError

    manifest = manifests.read_manifest(out)
    records = manifest.titles()
    if title is None and (png or shot):
        if png and len(records) == 1 and records[0].path:
            title = records[0].title_id
        else:
            raise SettingsError("say which title to draw: --title ID" if png else "--shot needs --title and --png")
    if title is not None:
        records = [record for record in records if record.title_id == title]
        if not records:
            raise SettingsError(f"{out} has no title {title!r}: `vsal inspect {out}` lists them")
    figures = _figures(manifest, records) if len(records) <= READ_THROUGH else [None] * len(records)

    pictures: list[str] = []
    if title is not None and png is not None:
        if records[0].status == "failed":
            raise SettingsError(f"{title} has no maps to draw: {records[0].reason}: {records[0].detail}")
        from vsal.report.title import draw_title

        with screen.log.status("drawing"), manifest.title(title) as opened:
            pictures = draw_title(opened, png, shot)

    described = [asdict(r) | (f or _unread(r)) for r, f in zip(records, figures, strict=True)]
    screen.document({"out": out, "totals": _totals(records), "titles": described, "pictures": pictures})
    if not screen.as_json:
        screen.show(_table(described), *_words(records), *_problems(described), *_makers(described), *_drawn(pictures))
    return 1 if any("problem" in item for item in described) else 0


def _figures(manifest: Manifest, records: Sequence[TitleRecord]) -> list[dict[str, Any] | None]:
    def figures(record: TitleRecord) -> dict[str, Any] | None:
        from vsal.manifest import ManifestError

        if record.status == "failed":
            return None
        try:
            with manifest.title(record.title_id) as title:
                total, blocks, low, high = 0, 0, 0, 0
                for row in title.iter_maps():
                    frames = row.frame_end - row.frame_start
                    total += int(row.saliency.sum(dtype="int64")) * frames
                    blocks += row.saliency.size * frames
                    low, high = min(low, int(row.qp_offset.min())), max(high, int(row.qp_offset.max()))
                return {
                    "mean_saliency": round(total / blocks / 255, 4) if blocks else None,
                    "qp_min": low,
                    "qp_max": high,
                    "decode_errors": title.decode_errors,
                    "model": title.model.get("name"),
                    "saliency_mode": title.settings.get("saliency_mode"),
                    "aggregator": title.settings.get("aggregator"),
                }
        except (ManifestError, OSError) as error:
            return {"problem": str(error)}

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(pool.map(figures, records))


def _unread(record: TitleRecord) -> dict[str, Any]:
    """Of a title that no run tells of, and whose manifest file cannot be read."""
    return {"problem": record.detail} if record.status == "failed" and not record.uri else {}


def _totals(records: Sequence[TitleRecord]) -> dict[str, int]:
    kept = [record for record in records if record.status != "failed"]
    return {
        "titles": len(records),
        "prepared": len(kept),
        "failed": len(records) - len(kept),
        "frames": sum(record.frames for record in kept),
        "shots": sum(record.shots for record in kept),
        "maps": sum(record.maps for record in kept),
    }


def _table(described: Sequence[dict[str, Any]]) -> Table:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("title", overflow="fold")
    table.add_column("last run")
    for name in ("shots", "maps", "frames", "mean saliency", "QP offsets", "decode errors"):
        table.add_column(name, justify="right")
    for item in described[:SHOWN]:
        cells = [escape(item["title_id"]), "[red]failed[/]" if item["status"] == "failed" else item["status"]]
        if item["status"] != "failed":
            cells += [str(item["shots"]), str(item["maps"]), str(item["frames"])]
        if "problem" in item:
            cells += ["[red]damaged[/]"]
        elif "qp_min" in item:
            mean = item["mean_saliency"]
            cells += ["" if mean is None else f"{mean:.3f}", f"{item['qp_min']:+d} to {item['qp_max']:+d}"]
            cells += [str(item["decode_errors"])]
        table.add_row(*cells)
    return table


def _words(records: Sequence[TitleRecord]) -> list[str]:
    from rich.markup import escape

    totals = _totals(records)
    told = [f"... and {len(records) - SHOWN} titles more (all with --json)"] if len(records) > SHOWN else []
    told.append(
        f"[bold]{totals['prepared']} prepared[/], {totals['failed']} failed: "
        f"{totals['shots']} shots, {totals['maps']} maps, {totals['frames']} frames"
    )
    told += warning_lines((r.title_id, r.detail) for r in records if r.status == "done")
    failed = [record for record in records if record.status == "failed"]
    told += [f"[red]failed[/]  {escape(r.title_id)}  {r.reason}: {escape(r.detail)}" for r in failed[:SHOWN]]
    if len(records) > READ_THROUGH:
        told.append("Mean saliency and QP range of a title: --title ID")
    return told


def _problems(described: Sequence[dict[str, Any]]) -> list[str]:
    """Titles whose manifest file cannot be read, with the reason and the remedy."""
    from rich.markup import escape

    return [
        f"[red]damaged[/]  {escape(item['title_id'])}  {escape(item['problem'])}"
        for item in described
        if "problem" in item and item["status"] != "failed"
    ]


def _makers(described: Sequence[dict[str, Any]]) -> list[str]:
    """What made the maps, a line each where titles differ."""
    from rich.markup import escape

    known = [item for item in described if item.get("model")]
    made = {(item["saliency_mode"], item["model"], item["aggregator"]) for item in known}
    return [
        escape(f"saliency mode {mode}: model {model}, aggregator {name}") for mode, model, name in sorted(made, key=str)
    ]


def _drawn(pictures: Sequence[str]) -> list[str]:
    from rich.markup import escape

    return [escape(path) for path in pictures]
