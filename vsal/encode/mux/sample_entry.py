"""What an MP4's sample entry says of pictures beside their coding: HDR metadata, the light around them, 360 degrees.

PyAV gives no access to a stream's side data, but a stream made after a template takes the template's. So the boxes are
put into a small MP4, and the stream that is written is made after that one; from there FFmpeg carries them into MP4,
MOV, Matroska and WebM, as far as these have a place for them. VP9 has no other place for HDR metadata.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import ExitStack

import av
import av.error
from av.container import InputContainer
from av.video.stream import VideoStream

from vsal.encode.source_facts import SourceFacts
from vsal.video.container import open_container
from vsal.video.stream_facts import AMBIENT, STEREO, Mastering

# Without it FFmpeg writes neither Dolby Vision's configuration nor 360 degrees, which are not ISO's own.
UNOFFICIAL = {"strict": "unofficial"}
# Ambient viewing environment (ISO/IEC 14496-12), stereoscopic layout and projection (Google's Spherical Video V2):
# FFmpeg writes them from what it read, whatever the source's container.
_COPIED = (b"amve", b"st3d", b"sv3d")
_PATH = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
_STSD_HEADER = 8  # version, flags, number of entries
_VISUAL_ENTRY = 86  # of a VisualSampleEntry, with its own size and name: where its boxes begin


def template(chunk: InputContainer, facts: SourceFacts, stack: ExitStack) -> VideoStream:
    """A stream that says of the encoded video what its container must: what the source says of its pictures is put in.

    Args:
        chunk: the first of the title, an MP4 or IVF.
        facts: of the source.
        stack: keeps open what the stream is read from.
    """
    stream = chunk.streams.video[0]
    boxes = hdr_boxes(facts.mastering, facts.light)
    if facts.spherical or {AMBIENT, STEREO} & set(facts.further):
        boxes += _source_boxes(facts)
    if not boxes:
        return stream
    patched = io.BytesIO(with_boxes(_small_mp4(chunk, stream), boxes))
    return stack.enter_context(av.open(patched, "r")).streams.video[0]


def hdr_boxes(mastering: Mastering | None, light: tuple[int, int] | None) -> bytes:
    """Mastering display and content light level as ISO/IEC 14496-12's `mdcv` and `clli`."""
    boxes = b""
    if mastering is not None:
        boxes += _box(b"mdcv", _mastering_payload(mastering))
    if light is not None:
        boxes += _box(b"clli", struct.pack(">HH", min(light[0], 65535), min(light[1], 65535)))
    return boxes


def with_boxes(mp4: bytes, boxes: bytes) -> bytes:
    """An MP4 whose one video sample entry holds further boxes; sizes of the boxes around it are put right.

    The index may lie anywhere; offsets to media are not kept, as only the header of the result is read.
    """
    data = bytearray(mp4)
    starts = _entry_path(data)
    at = starts[-1] + _size(data, starts[-1])
    data[at:at] = boxes
    for place in starts:
        data[place : place + 4] = (_size(data, place) + len(boxes)).to_bytes(4, "big")
    return bytes(data)


def entry_boxes(mp4: bytes) -> dict[bytes, bytes]:
    """The boxes of an MP4's one video sample entry by their names, whole."""
    data = bytearray(mp4)
    entry = _entry_path(data)[-1]
    found = _boxes(data, entry + _VISUAL_ENTRY, entry + _size(data, entry))
    return {name: bytes(data[at : at + size]) for name, at, size in found}


def _source_boxes(facts: SourceFacts) -> bytes:
    """The source's own, as FFmpeg writes them into an MP4; none where MP4 does not hold its codec."""
    with open_container(facts.info.uri) as source:
        try:
            small = _small_mp4(source, next(s for s in source.streams.video if s.index == facts.info.stream_index))
        except (ValueError, av.error.FFmpegError):
            return b""
    found = entry_boxes(small)
    return b"".join(found[name] for name in _COPIED if name in found)


def _small_mp4(container: InputContainer, stream: VideoStream) -> bytes:
    """The stream's header and one packet."""
    header = io.BytesIO()
    with av.open(header, "w", format="mp4", container_options=UNOFFICIAL) as small:
        copy = small.add_stream_from_template(stream, opaque=True)
        packet = next(packet for packet in container.demux(stream) if packet.size)
        packet.pts = packet.dts = 0
        packet.stream = copy
        small.mux(packet)
    return header.getvalue()


def _entry_path(data: bytearray) -> list[int]:
    """Where the boxes around the sample entry begin, and last where it does."""
    starts, start, end = [], 0, len(data)
    for name in _PATH:
        found = next(((at, at + size) for kind, at, size in _boxes(data, start, end) if kind == name), None)
        if found is None:
            raise ValueError(f"the MP4 has no {name.decode()} box")
        starts.append(found[0])
        start, end = found[0] + 8 + (_STSD_HEADER if name == b"stsd" else 0), found[1]
    return [*starts, start]


def _boxes(data: bytearray, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    while start + 8 <= end:
        size = _size(data, start)
        if size == 1:
            size = int.from_bytes(data[start + 8 : start + 16], "big")
        if size < 8:
            return
        yield bytes(data[start + 4 : start + 8]), start, size
        start += size


def _size(data: bytearray, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")


def _box(name: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", 8 + len(payload)) + name + payload


def _mastering_payload(mastering: Mastering) -> bytes:
    """ISO/IEC 14496-12 mdcv: green, blue, red and white in steps of 0.00002, luminance in 0.0001 cd/m2."""
    points = (mastering.green, mastering.blue, mastering.red, mastering.white)
    coordinates = [round(value * 50000) for point in points for value in point]
    return struct.pack(">8H2I", *coordinates, round(mastering.max_nits * 10000), round(mastering.min_nits * 10000))
