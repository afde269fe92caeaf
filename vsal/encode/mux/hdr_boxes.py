"""Mastering display and content light level as boxes of an MP4 sample entry.

PyAV gives no access to a stream's side data, but a stream made after a template takes the template's. So the boxes are
put into a small MP4, and the stream that is written is made after that one; from there FFmpeg carries them into MP4,
MOV, Matroska and WebM. VP9 has no other place for them.
"""

from __future__ import annotations

import struct

from vsal.video.stream_facts import Mastering

_PATH = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
_STSD_HEADER = 8  # version, flags, number of entries


def with_hdr_boxes(mp4: bytes, mastering: Mastering | None, light: tuple[int, int] | None) -> bytes:
    """An MP4 whose one video sample entry says the HDR metadata; sizes of the boxes around it are put right.

    The index may lie anywhere; offsets to media are not kept, as only the header of the result is read.
    """
    extra = b""
    if mastering is not None:
        extra += _box(b"mdcv", _mastering_payload(mastering))
    if light is not None:
        extra += _box(b"clli", struct.pack(">HH", min(light[0], 65535), min(light[1], 65535)))
    if not extra:
        return mp4
    data = bytearray(mp4)
    starts, start, end = [], 0, len(data)
    for name in _PATH:
        start, end = _find(data, name, start, end)
        starts.append(start)
        start += 8 + (_STSD_HEADER if name == b"stsd" else 0)
    starts.append(start)  # the sample entry
    at = start + int.from_bytes(data[start : start + 4], "big")
    data[at:at] = extra
    for place in starts:
        size = int.from_bytes(data[place : place + 4], "big") + len(extra)
        data[place : place + 4] = size.to_bytes(4, "big")
    return bytes(data)


def _box(name: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", 8 + len(payload)) + name + payload


def _find(data: bytearray, name: bytes, start: int, end: int) -> tuple[int, int]:
    while start + 8 <= end:
        size = int.from_bytes(data[start : start + 4], "big")
        if data[start + 4 : start + 8] == name:
            return start, start + size
        if size == 1:
            size = int.from_bytes(data[start + 8 : start + 16], "big")
        if size < 8:
            break
        start += size
    raise ValueError(f"the MP4 has no {name.decode()} box")


def _mastering_payload(mastering: Mastering) -> bytes:
    """ISO/IEC 14496-12 mdcv: green, blue, red and white in steps of 0.00002, luminance in 0.0001 cd/m2."""
    points = (mastering.green, mastering.blue, mastering.red, mastering.white)
    coordinates = [round(value * 50000) for point in points for value in point]
    return struct.pack(">8H2I", *coordinates, round(mastering.max_nits * 10000), round(mastering.min_nits * 10000))
