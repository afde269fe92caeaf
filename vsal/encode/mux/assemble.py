"""The finished file: the encoded video among everything else that the source holds."""

from __future__ import annotations

import heapq
import io
import os
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.error
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from vsal import storage
from vsal.encode.chunks import ChunkSpec
from vsal.encode.codecs import encoder_of
from vsal.encode.mux.hdr_boxes import with_hdr_boxes
from vsal.encode.mux.join import Timeline, joined_packets, timeline
from vsal.encode.settings import EncodeSettings
from vsal.encode.source_facts import SourceFacts
from vsal.errors import Reason, TitleFailed
from vsal.video.container import describe, open_container
from vsal.video.ffmpeg import find_ffmpeg
from vsal.vitals import vitals

# Demuxers whose time begins near 0 as a rule; in the others (transport streams) it begins anywhere and is shifted.
_ZERO_BASED = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
_FORMATS = {"mp4": "mp4", "mov": "mov", "mkv": "matroska", "webm": "webm"}
# What a container says of itself and of the bytes of the old video, and is no longer true.
_STALE = (
    "major_brand",
    "minor_version",
    "compatible_brands",
    "encoder",
    "duration",
    "bps",
    "number_of_",
    "_statistics",
)


@dataclass(frozen=True, slots=True)
class Kept:
    """What of the source went into the output.

    Attributes:
        container: of the output, as a file ending.
        streams: kinds of the streams, in their order.
        left_out: streams that the container cannot hold, each with its kind and codec.
    """

    container: str
    streams: tuple[str, ...]
    left_out: tuple[str, ...]


def choose_container(facts: SourceFacts, settings: EncodeSettings) -> str:
    """The ending of the output: the source's kind where it holds the codec and every other stream, Matroska else."""
    if settings.container != "auto":
        return settings.container
    containers = encoder_of(settings.codec).containers
    uri, kind = facts.info.uri, facts.info.container
    ending = os.path.splitext(storage.name(uri))[1].lower().removeprefix(".")
    if kind == "matroska,webm" and ending != "webm":
        return "mkv"
    wanted = ending if ending in ("webm", "mov") and ending in containers else "mp4"
    if wanted not in containers:
        return "mkv"
    with open_container(uri) as source:
        fits = all(_fits(stream, wanted) for stream in source.streams if stream.type in ("audio", "subtitle"))
    return wanted if fits else "mkv"


def _fits(stream: Stream, ending: str) -> bool:
    with av.open(os.devnull, "w", format=_FORMATS[ending]) as trial:
        try:
            trial.add_stream_from_template(stream, opaque=True)
        except (ValueError, av.error.FFmpegError):
            return False
        return True


def assemble(facts: SourceFacts, chunks: Sequence[ChunkSpec], last_duration: int, ending: str, path: str) -> Kept:
    """Write the finished file from the chunks and the source.

    Args:
        facts: of the source.
        chunks: all of the title, in order.
        last_duration: of the last frame, in the source's time base.
        ending: the container.
        path: local file to write.

    Raises:
        TitleFailed: the chunks do not join, or the file cannot be written.
    """
    info = facts.info
    try:
        with ExitStack() as stack:
            source = stack.enter_context(open_container(info.uri))
            shift_s = _shift_s(source, info.container)
            times = timeline(chunks, last_duration, round(shift_s / info.time_base))
            options = {"video_track_timescale": str(info.time_base.denominator)} if ending in ("mp4", "mov") else {}
            if options:
                # Edit lists count in the movie's time scale: one that is as fine as the video's keeps its beginning.
                options["movie_timescale"] = str(info.time_base.denominator)
            output = stack.enter_context(av.open(path, "w", format=_FORMATS[ending], container_options=options))
            template = stack.enter_context(open_container(chunks[0].uri))
            streams, left_out = _add_streams(output, source, _template(template, facts, stack), facts)
            _keep_words(source, output)
            _write(output, source, streams, chunks, times, facts, shift_s)
            wanted = [str(stream.type) for stream in output.streams]
            wanted += ["timecode" for _ in filter(_is_timecode, source.streams)]
    except av.error.FFmpegError as error:
        raise TitleFailed(Reason.WRITE_FAILED, f"joining {info.uri} fails: {describe(error)}") from error
    sar = facts.sample_aspect_ratio
    if ending in ("mkv", "webm") and not encoder_of(chunks[0].settings.codec).says_aspect and sar not in (None, 1):
        _say_aspect(path, ending, Fraction(info.width * sar, info.height) if sar else Fraction(1))
    kinds = _kinds(path)
    # Tracks without a sample are not written, and there is no timecode for some frame rates.
    lost = [f"{kind} without content" for kind in (Counter(wanted) - Counter(kinds)).elements()]
    return Kept(ending, tuple(kinds), (*left_out, *lost))


def _kinds(path: str) -> list[str]:
    """Kinds of the streams of a finished file; a timecode counts as one also where it is a tag of the video."""
    with av.open(path) as made:
        own = [stream for stream in made.streams if not (_is_timecode(stream) or _is_chapter_list(stream, made))]
        kinds = [str(stream.type) for stream in own]
        said = any("timecode" in map(str.lower, stream.metadata) for stream in made.streams)
    return [*kinds, "timecode"] if said else kinds


def _say_aspect(path: str, ending: str, display_aspect: Fraction) -> None:
    """Write the shape of the pixels into a finished Matroska file.

    VP9 and AV1 streams do not say it themselves, and FFmpeg's Matroska writer takes it from a field that PyAV does not
    reach; an ffmpeg program does.

    Raises:
        TitleFailed: there is no ffmpeg, or it fails.
    """
    changed = storage.staging_file(path)
    command = [find_ffmpeg(), "-v", "error", "-i", path, "-map", "0", "-c", "copy", "-copyts", "-copy_unknown"]
    command += ["-aspect:v:0", f"{display_aspect.numerator}:{display_aspect.denominator}", "-f", _FORMATS[ending]]
    done = subprocess.run([*command, "-y", changed], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        storage.discard(changed)
        raise TitleFailed(Reason.WRITE_FAILED, f"ffmpeg does not write the aspect ratio: {done.stderr.strip()[-300:]}")
    storage.publish(changed, path)


def _shift_s(source: InputContainer, kind: str) -> Fraction:
    if kind in _ZERO_BASED or not source.start_time or source.start_time < 0:
        return Fraction(0)
    return Fraction(source.start_time, 1_000_000)


def _template(chunk: InputContainer, facts: SourceFacts, stack: ExitStack) -> VideoStream:
    """A stream that says of the encoded video what its container must: HDR metadata is put in where there is some."""
    stream = chunk.streams.video[0]
    if facts.mastering is None and facts.light is None:
        return stream
    header = io.BytesIO()
    with av.open(header, "w", format="mp4") as small:
        copy = small.add_stream_from_template(stream, opaque=True)
        packet = next(packet for packet in chunk.demux(stream) if packet.size)
        packet.stream = copy
        small.mux(packet)
    patched = io.BytesIO(with_hdr_boxes(header.getvalue(), facts.mastering, facts.light))
    return stack.enter_context(av.open(patched, "r")).streams.video[0]


def _add_streams(
    output: OutputContainer, source: InputContainer, template: VideoStream, facts: SourceFacts
) -> tuple[dict[int, Any], list[str]]:
    """Streams of the output by the number of the source's stream, in the source's order."""
    streams: dict[int, Any] = {}
    left_out: list[str] = []
    for stream in source.streams:
        if stream.index == facts.info.stream_index:
            made: Any = output.add_stream_from_template(template, opaque=True)
            made.codec_context.framerate = facts.fps
            if facts.sample_aspect_ratio is not None:
                made.codec_context.sample_aspect_ratio = facts.sample_aspect_ratio
            if facts.display_matrix is not None:
                made.set_display_matrix(facts.display_matrix)
        elif _is_timecode(stream) or _is_chapter_list(stream, source):
            # Said of the video, and of the file: MP4 and MOV make the tracks from that again, others need none.
            continue
        else:
            made = _copy_stream(output, stream)
            if made is None:
                left_out.append(f"{stream.type} {stream.name or 'unknown'}")
                continue
        made.disposition = stream.disposition
        made.metadata.update({k: v for k, v in stream.metadata.items() if not k.lower().startswith(_STALE)})
        streams[stream.index] = made
    return streams, left_out


def _is_timecode(stream: Stream) -> bool:
    """Whether it is the timecode track of a MOV or MP4: one sample that says when the title begins."""
    return stream.type == "data" and "timecode" in stream.metadata


def _is_chapter_list(stream: Stream, container: InputContainer) -> bool:
    """Whether it is the text track in which a MOV or MP4 keeps chapters: FFmpeg reads those and hides its samples."""
    return stream.type == "data" and stream.name == "bin_data" and 0 < stream.frames == len(container.chapters())


def _copy_stream(output: OutputContainer, stream: Stream) -> Any:
    """A stream of the output for one that is copied as it is; None where the container cannot hold it."""
    kind = output.format.name
    if stream.type == "data" and not _takes_data(stream, kind):
        return None
    if stream.type not in ("audio", "subtitle", "video", "attachment", "data") or (
        stream.type == "attachment" and kind != "matroska"
    ):
        return None
    try:
        return output.add_stream_from_template(stream, opaque=True)
    except (ValueError, av.error.FFmpegError):
        return None


def _takes_data(stream: Stream, kind: str) -> bool:
    """Whether a muxer takes a data stream: it tells when it writes its header, too late for the file itself."""
    trial = av.open(io.BytesIO(), "w", format=kind)
    try:
        trial.add_stream_from_template(stream, opaque=True)
        trial.start_encoding()
    except (ValueError, av.error.FFmpegError):
        return False
    finally:
        with suppress(av.error.FFmpegError):  # a header that was refused has no end
            trial.close()
    return True


def _keep_words(source: InputContainer, output: OutputContainer) -> None:
    output.metadata.update({k: v for k, v in source.metadata.items() if not k.lower().startswith(_STALE)})
    chapters = source.chapters()
    if chapters:
        output.set_chapters(chapters)


def _write(
    output: OutputContainer,
    source: InputContainer,
    streams: dict[int, Any],
    chunks: Sequence[ChunkSpec],
    times: Timeline,
    facts: SourceFacts,
    shift_s: Fraction,
) -> None:
    video = streams[facts.info.stream_index]
    lanes = [((_decoded_at_s(p), 0, p) for p in joined_packets(chunks, times, facts.info.time_base))]
    copied = [stream for stream in source.streams if stream.index in streams and streams[stream.index] is not video]
    copied = [stream for stream in copied if stream.type != "attachment"]
    if copied:
        lanes.append((_decoded_at_s(p), 1, p) for p in _copied_packets(source, copied, shift_s))
    # In decoding order over all streams, so that the muxer has little to hold back.
    for _, lane, packet in heapq.merge(*lanes, key=lambda item: item[:2]):
        packet.stream = video if lane == 0 else streams[packet.stream_index]
        vitals.bytes += packet.size
        output.mux(packet)


def _decoded_at_s(packet: Packet[Any]) -> float:
    return float((packet.dts or 0) * packet.time_base)


def _copied_packets(source: InputContainer, copied: Sequence[Stream], shift_s: Fraction) -> Iterator[Packet[Any]]:
    """Packets of the other streams with usable decoding times: whole, and strictly rising in each stream."""
    last: dict[int, int] = {}
    for packet in source.demux(*copied):
        stamp = packet.dts if packet.dts is not None else packet.pts
        if not packet.size or stamp is None:
            continue
        shift = round(shift_s / packet.time_base)
        stamp -= shift
        if packet.stream_index in last and stamp <= last[packet.stream_index]:
            stamp = last[packet.stream_index] + 1
        last[packet.stream_index] = stamp
        packet.dts = stamp
        packet.pts = stamp if packet.pts is None else max(stamp, packet.pts - shift)
        yield packet
