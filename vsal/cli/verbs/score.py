"""`vsal score`: the figures of one pair of files, weighted by where people look."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vsal.cli.options import verb
from vsal.cli.screen import Screen
from vsal.errors import SettingsError

if TYPE_CHECKING:
    from rich.table import Table

    from vsal.evaluate.roi.score import Score, Weigh

LABELS = {
    "alone": "under the weights", "even": "0.1 + 0.9 weights", "inside": "inside", "outside": "outside",
}  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("score")(score)


@verb()
def score(
    screen: Screen,
    reference: Annotated[str, typer.Argument(help="The source.", metavar="REF")],
    encoded: Annotated[str, typer.Argument(help="The encode, by any encoder.", metavar="ENC")],
    maps: Annotated[str | None, typer.Option(help="Weights: a manifest, the --out of prepare.")] = None,
    title: Annotated[
        str | None, typer.Option(help="Title of the manifest, or clip of the gaze [default: REF's name].")
    ] = None,
    mask: Annotated[str | None, typer.Option(help="Weights: a video of masks, frame by frame.")] = None,
    gaze: Annotated[
        str | None, typer.Option(help="Weights: a gaze set's folder, or its fixations.parquet or .csv.")
    ] = None,
    against: Annotated[str | None, typer.Option(help="A twin of ENC: differences inside and outside.")] = None,
    metrics: Annotated[
        str, typer.Option(help="basic: PSNR and SSIM. full: VMAF, VMAF NEG, CAMBI and XPSNR too.")
    ] = "basic",
    every: Annotated[int, typer.Option(min=1, help="Of the full metrics: score every nth frame.")] = 1,
    seconds: Annotated[float | None, typer.Option(min=0.01, help="Of the source, from its beginning.")] = None,
    frames: Annotated[Path | None, typer.Option(help="Write the figures of each frame: .csv or .parquet.")] = None,
) -> None:
    """Measure an encode against its source under weights that move from frame to frame.

    Frames are paired by their times; a frame rate, size or range that differs is found and named. `alone` figures are
    under the weights, `even` ones have a tenth of the weight spread evenly.
    """
    from vsal.evaluate.roi.points import Metrics
    from vsal.evaluate.roi.score import difference, score_pair

    if metrics not in ("basic", "full"):
        raise SettingsError(f"--metrics is basic or full, not {metrics!r}")
    if frames is not None and frames.suffix not in (".csv", ".parquet"):
        raise SettingsError(f"--frames writes .csv or .parquet, not {frames.suffix or frames.name!r}")
    measured = Metrics(metrics == "full", every)
    with screen.log.status("measuring") as status:

        def one(uri: str) -> Score:
            weigh = _weigh(reference, maps, title, mask, gaze)
            return score_pair(
                reference, uri, weigh, measured, seconds, lambda done: status.update(f"{uri}: {done} frames")
            )

        found = one(encoded)
        twin = None if against is None else one(against)
    for text in found.warnings:
        screen.note(f"warning: {text}")
    document = _document(found)
    if twin is not None:
        document["against"] = difference(found, twin) | {"warnings": list(twin.warnings), "twin": twin.encoded}
        if document["against"]["note"]:
            screen.note(f"warning: {document['against']['note']}")
    if frames is not None:
        _write(frames, found)
    screen.document(document)
    screen.show(_table(found, twin))


def _weigh(reference: str, maps: str | None, title: str | None, mask: str | None, gaze: str | None) -> Weigh | None:
    from vsal import storage
    from vsal.encode.source_facts import read_source_facts
    from vsal.evaluate.roi.account import GazeAccount
    from vsal.evaluate.roi.score import weigh_by_gaze, weigh_by_maps, weigh_by_masks
    from vsal.manifest import read_manifest

    given = [name for name, value in (("--maps", maps), ("--mask", mask), ("--gaze", gaze)) if value is not None]
    if len(given) > 1:
        raise SettingsError(f"{' and '.join(given)} are weights each: give one")
    named = title or storage.name(reference).rpartition(".")[0]
    if maps is not None:
        manifest = read_manifest(maps)
        if named not in manifest.title_ids():
            raise SettingsError(f"{maps} holds no maps of {named}: name one of its titles with --title")
        return weigh_by_maps(manifest.title(named))
    if mask is not None:
        return weigh_by_masks(mask, read_source_facts(reference).info)
    if gaze is not None:
        account = GazeAccount.open(gaze)
        if named not in account.fixations:
            raise SettingsError(f"{gaze} holds no fixation of {named}: name one of its clips with --title")
        return weigh_by_gaze(account, named, read_source_facts(reference).info)
    if title is not None:
        raise SettingsError("--title names a title of --maps or a clip of --gaze: give one of them")
    return None


def _document(found: Score) -> dict[str, Any]:
    """As ffmpeg-quality-metrics has it (global and a list for each metric), with what is pooled over errors."""
    rows = found.rows()
    figures = [name for name in (rows[0] if rows else {}) if name not in ("n", "time_s")]
    known = {name: [row[name] for row in rows if row[name] is not None] for name in figures}
    return {
        "input_file_ref": found.reference,
        "input_file_dist": found.encoded,
        "bytes": found.bytes,
        "frames": len(rows),
        "frames_missing": found.missing,
        "warnings": list(found.warnings),
        "pooled": {name: _finite(value) for name, value in found.pooled.items()},
        "global": {name: _spread(values) for name, values in known.items() if values},
        **{name: [{"n": row["n"] + 1, name: row[name]} for row in rows] for name in figures},
    }


def _spread(values: list[float]) -> dict[str, float]:
    return {
        "average": statistics.fmean(values),
        "median": statistics.median(values),
        "stdev": statistics.stdev(values) if len(values) > 1 else 0.0,
        "min": min(values),
        "max": max(values),
    }


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None  # NaN is not either


def _write(path: Path, found: Score) -> None:
    import csv

    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = found.rows()
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _table(found: Score, twin: Score | None) -> Table:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    columns = [found, *([twin] if twin is not None else [])]
    for of in columns:
        table.add_column(escape(of.encoded), justify="right")
    if twin is not None:
        table.add_column("difference", justify="right")
    others = {} if twin is None else twin.pooled
    for name, value in found.pooled.items():
        metric, _, column = name.partition("_")
        label = f"{metric.upper()} {LABELS.get(column, column.replace('_', ' '))}".strip()
        cells = [f"{value:.3f}"]
        if twin is not None:
            cells += [f"{others[name]:.3f}", f"{value - others[name]:+.3f}"] if name in others else ["", ""]
        table.add_row(label, *cells)
    sizes = [f"{of.bytes}" for of in columns]
    table.add_row("bytes", *sizes, *([f"{found.bytes / twin.bytes - 1:+.1%}"] if twin is not None else []))
    table.add_row("frames", *(f"{len(of.numbers)}" for of in columns), *([""] if twin is not None else []))
    return table
