"""What a bitstream says once for all its frames, and where: in the container alone, or between the frames too.

`hvc1`, which Apple's players ask for, holds HEVC's parameter sets in the sample entry and nowhere else (ISO/IEC
14496-15, 8.4.1), and a sample entry has room for one set that all chunks must share. The same holds for H.264's `avc1`
and AV1's `av01`, and for Matroska's one CodecPrivate.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from av.packet import Packet

HEVC_SETS = frozenset({32, 33, 34})  # nal_unit_type of VPS, SPS and PPS (ITU-T H.265, table 7-1)
DOLBY_VISION_RPU = 62  # UNSPEC62: where Dolby Vision puts one RPU a frame
_ARRAYS_AT = 22  # of an HEVCDecoderConfigurationRecord (ISO/IEC 14496-15, 8.3.3.1): the number of its arrays
_LENGTH_BYTES = 4  # of a NAL unit, as FFmpeg's MP4 writer always has it


def declared_sets(codec: str, extradata: bytes | None) -> frozenset[bytes]:
    """The parameter sets that a stream's container holds.

    Args:
        codec: FFmpeg's name of the codec.
        extradata: as a chunk's container has it.

    Returns:
        HEVC's VPS, SPS and PPS; other codecs' whole configuration record, which holds nothing else. HEVC's holds what
        the encoder says of itself too, and that differs between machines. Empty where there is none, as with VP9.
    """
    if not extradata:
        return frozenset()
    if codec != "hevc":
        return frozenset({extradata})
    found: set[bytes] = set()
    at = _ARRAYS_AT + 1
    for _ in range(extradata[_ARRAYS_AT]):
        kind, count = extradata[at] & 0x3F, int.from_bytes(extradata[at + 1 : at + 3])
        at += 3
        for _ in range(count):
            size = int.from_bytes(extradata[at : at + 2])
            if kind in HEVC_SETS:
                found.add(extradata[at + 2 : at + 2 + size])
            at += 2 + size
    return frozenset(found)


def hevc_units(data: bytes) -> Iterator[bytes]:
    """NAL units of an HEVC packet out of an MP4, without their lengths."""
    at = 0
    while at + _LENGTH_BYTES < len(data):
        size = int.from_bytes(data[at : at + _LENGTH_BYTES])
        yield data[at + _LENGTH_BYTES : at + _LENGTH_BYTES + size]
        at += _LENGTH_BYTES + size


def hevc_unit_type(unit: bytes) -> int:
    """`nal_unit_type` (ITU-T H.265, 7.3.1.2)."""
    return unit[0] >> 1 & 0x3F


def sets_between(packet: Packet[Any]) -> frozenset[bytes]:
    """HEVC parameter sets in a packet itself."""
    return frozenset(unit for unit in hevc_units(bytes(packet)) if hevc_unit_type(unit) in HEVC_SETS)


def has_rpu(packet: Packet[Any]) -> bool:
    """Whether an HEVC packet holds Dolby Vision's RPU."""
    return any(hevc_unit_type(unit) == DOLBY_VISION_RPU for unit in hevc_units(bytes(packet)))


def without_sets(packet: Packet[Any]) -> Packet[Any]:
    """An HEVC packet without parameter sets; the packet itself where it holds none."""
    units = list(hevc_units(bytes(packet)))
    kept = [unit for unit in units if hevc_unit_type(unit) not in HEVC_SETS]
    if len(kept) == len(units):
        return packet
    made = Packet(b"".join(len(unit).to_bytes(_LENGTH_BYTES) + unit for unit in kept))
    made.time_base, made.pts, made.dts, made.duration = packet.time_base, packet.pts, packet.dts, packet.duration
    made.is_keyframe = packet.is_keyframe
    return made
