"""`vsal encode`: maps into encoders, titles out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vsal.cli.options import verb
from vsal.cli.progress import display, failure_lines, span, stopped_lines
from vsal.cli.screen import Screen
from vsal.encode.settings import Budget, EncodeSettings, parse_encoder_options
from vsal.errors import SettingsError
from vsal.settings import RunSettings

if TYPE_CHECKING:
    from vsal.distributed.outcomes import Summary
    from vsal.settings_file import SettingsFile

SHARE_MISSED = 0.02  # of the bits: what is told of
RUN = frozenset(
    {
        "attempts", "stall_s", "title_timeout_s", "grace_s", "max_failed", "force", "retry_failed",
        "titles_in_flight", "object_store_mb",
    }
)  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("encode")(encode)


@verb(RunSettings, only=RUN)
def encode(
    screen: Screen,
    run: RunSettings,
    out: Annotated[str, typer.Argument(help="A manifest: the --out of prepare.", metavar="MANIFEST")],
    dest: Annotated[str, typer.Option(help="Where the encodes go: a folder, s3:// or gs://.")],
    codec: Annotated[
        str | None, typer.Option(help="Encoder: x264, x265, vp9, svtav1 or kvazaar \\[default: x264].")
    ] = None,
    crf: Annotated[float | None, typer.Option(help="Constant rate factor; kvazaar takes it as its QP.")] = None,
    preset: Annotated[str | None, typer.Option(help="The encoder's preset; cpu-used for vp9.")] = None,
    settings_file: Annotated[
        str | None,
        typer.Option("--settings", help="Settings that `evaluate roi --tune` has written; options override them."),
    ] = None,
    title: Annotated[list[str] | None, typer.Option(help="Only this title; may be repeated.")] = None,
    encoder_option: Annotated[
        list[str] | None, typer.Option(help="key=value for the encoder; may be repeated.")
    ] = None,
    roi: Annotated[bool, typer.Option("--roi/--no-roi", help="Under the maps, or the plain twin.")] = True,
    max_rectangles: Annotated[int, typer.Option(help="Regions a map at most (x264, x265, vp9).")] = 600,
    top_area: Annotated[str | None, typer.Option(help="Share of the picture, as 25%, that --bit-share is for.")] = None,
    bit_share: Annotated[str | None, typer.Option(help="Share of the bits, as 40%, for --top-area.")] = None,
    measure_share: Annotated[
        bool, typer.Option(help="Measure the share on the whole title, by two more encodes.")
    ] = False,
    pix_fmt: Annotated[str | None, typer.Option(help="Pixel format [default: the source's].")] = None,
    container: Annotated[str, typer.Option(help="auto, mp4, mov, mkv or webm.")] = "auto",
    chunked: Annotated[
        bool | None, typer.Option("--chunked/--no-chunked", help="In chunks at shots [default: when long].")
    ] = None,
    chunk_seconds: Annotated[float, typer.Option(help="Shortest chunk, in seconds.")] = 60.0,
    threads: Annotated[int, typer.Option(help="Of one encoder; 0 by the size of the machine.")] = 0,
    code_fields_as_frames: Annotated[
        bool, typer.Option(help="Take interlaced sources, as progressive frames.")
    ] = False,
    encoder_program: Annotated[str | None, typer.Option(help="SvtAv1EncApp, or an ffmpeg with kvazaar.")] = None,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster to join, host:port or 'auto' \\[default: start Ray here].")
    ] = None,
) -> int:
    """Encode prepared titles, with each map in force on exactly its frames.

    A title whose encode with the same settings is there is left as it is. Settings under which an encoder would ignore
    the maps are refused.
    """
    from vsal.distributed.encode import encode_catalogue
    from vsal.encode.codecs import encoder_of

    file = _file(settings_file, codec)
    codec = codec or (file.codec if file else "x264")
    settings = EncodeSettings(
        codec,
        crf=crf,
        preset=preset or (file.preset if file else None),
        encoder_options=(dict(file.encoder_options) if file else {}) | parse_encoder_options(encoder_option or []),
        roi=roi,
        max_rectangles=max_rectangles,
        budget=_budget(top_area, bit_share),
        measure_share=measure_share,
        pix_fmt=pix_fmt,
        container=container,
        chunked=chunked,
        chunk_s=chunk_seconds,
        threads=threads,
        code_fields_as_frames=code_fields_as_frames,
        program=encoder_program,
    )
    with display(screen.log) as report:
        summary = encode_catalogue(
            out, dest, settings, run, title_ids=title or None, address=address, on_progress=report
        )
    screen.document(summary.document())
    screen.show(*lines(summary, out, settings))
    unpaid = sorted(outcome.title_id for outcome in summary.outcomes if file and outcome.title_id in file.no_roi)
    if unpaid and roi:
        screen.note(f"Maps do not pay for {', '.join(unpaid)} by {settings_file}: encode them with --no-roi --title ID")
    caveat = encoder_of(codec).caveat
    if caveat and roi:
        screen.note(caveat)
    return summary.exit_code


def lines(summary: Summary, out: str, settings: EncodeSettings) -> list[str]:
    """The end of a run in words."""
    from rich.markup import escape

    budget = settings.budget
    done, skipped, failed = (summary.count(status) for status in ("done", "skipped", "failed"))
    told = [f"[bold]{done} encoded[/], {skipped} already there, {failed} failed, in {span(summary.seconds)}"]
    if done:
        frames, size = summary.total("frames"), summary.total("bytes")
        rate = f", {size * 8 / 1000 / summary.video_s:.0f} kb/s" if summary.video_s else ""
        speed = frames / max(summary.seconds - summary.startup_s, 1e-9)
        told.append(f"{frames} frames, {size / 1e6:.1f} MB{rate}: {speed:.0f} frames/s")
    for outcome in summary.outcomes:
        name = escape(outcome.title_id)
        bit_share, left_out = outcome.figures.get("bit_share"), outcome.figures.get("left_out")
        if bit_share is not None and budget is not None:
            told.append(f"{name}: {budget.top_area:.0%} of the picture gets {bit_share:.1%} of the bits")
            without = outcome.figures.get("bit_share_without")
            if without is not None and without >= budget.bit_share:
                told[-1] += f": it has {without:.1%} without maps, so the {budget.bit_share:.1%} asked for need none"
            elif abs(bit_share - budget.bit_share) > SHARE_MISSED:
                told[-1] += f", not the {budget.bit_share:.1%} asked for: offsets stay within 12 QP"
        if left_out:
            told.append(f"{name}: not kept: {escape(', '.join(left_out))}")
    told += failure_lines(summary.failed(), f"{summary.place[1]}/runs/{summary.run_id}.json")
    told += stopped_lines(summary)
    if failed and summary.exit_code == 0:
        told.append(f"{failed} failed titles are within --max-failed {summary.max_failed}.")
    if done or skipped:
        proof = f"  (prove the maps: vsal verify {out} --encoded {summary.place[1]})" if settings.roi else ""
        told.append(f"Encodes: {escape(summary.place[1] + proof)}")
    return told


def _file(uri: str | None, codec: str | None) -> SettingsFile | None:
    if uri is None:
        return None
    from vsal.settings_file import read_settings

    file = read_settings(uri)
    if codec is not None and codec != file.codec:
        raise SettingsError(f"--settings {uri} was found for {file.codec}, not for {codec}: leave out --codec")
    return file


def _budget(top_area: str | None, bit_share: str | None) -> Budget | None:
    if top_area is None and bit_share is None:
        return None
    if top_area is None or bit_share is None:
        raise SettingsError("--top-area and --bit-share go together, as in --top-area 25% --bit-share 40%")
    return Budget(_share("--top-area", top_area), _share("--bit-share", bit_share))


def _share(option: str, text: str) -> float:
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise SettingsError(f"{option} is a share such as 25% or 0.25, not {text!r}") from None
