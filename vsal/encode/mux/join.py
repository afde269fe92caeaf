"""Joining chunks: one run of packets with the source's timestamps, however each encoder reordered its frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from av.packet import Packet
from numpy.typing import NDArray

from vsal import storage
from vsal.encode.chunks import ChunkSpec
from vsal.encode.codecs import encoder_of
from vsal.encode.mux.parameter_sets import declared_sets, has_rpu, sets_between, without_sets
from vsal.errors import Reason, TitleFailed
from vsal.video.container import open_container
from vsal.vitals import vitals

Times = NDArray[np.int64]


class ChunksDoNotJoin(TitleFailed):
    """Chunks do not hold the frames that they should, overlap, or need different decoders; one piece has no joins."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Timestamps of a title's packets in decoding order, in the source's time base.

    Attributes:
        pts: of each packet.
        dts: strictly rising, none after its pts.
        duration: of the frame of each packet.
        bounds: first packet of each chunk, and their number.
        one_header: all parameter sets are those of the chunks' headers, so that the packets need hold none.
    """

    pts: Times
    dts: Times
    duration: Times
    bounds: list[int]
    one_header: bool


@dataclass(frozen=True, slots=True)
class _Coded:
    """What a chunk's file holds: for each packet the number of its frame in display order, and what decoders need."""

    ranks: Times
    declared: frozenset[bytes]
    sets: frozenset[bytes]
    rpus: int


def timeline(chunks: Sequence[ChunkSpec], end_pts: int, shift: int = 0) -> Timeline:
    """When each packet of the joined chunks is decoded and shown.

    The chunk files' own times only give the order in which frames are coded; what they mean comes from the source. So
    chunks join without a gap whatever the encoder does to times, and a variable frame rate stays as it was.

    Args:
        chunks: all of the title, in order.
        end_pts: where the last frame ends in the source.
        shift: what is taken from all times.

    Raises:
        ChunksDoNotJoin: a chunk is missing frames, chunks overlap, or their parameter sets differ.
        TitleFailed: some frames have lost their Dolby Vision metadata.
    """
    ordered, bounds, read = [], [0], list[_Coded]()
    uri = chunks[0].facts.info.uri
    for chunk in chunks:
        with storage.open_input(chunk.times_uri) as file:
            shown: Times = np.load(file) - shift
        coded = _coded(chunk)
        if len(coded.ranks) != len(shown):
            raise ChunksDoNotJoin(
                Reason.DECODE_ERROR,
                f"{chunk.uri}, chunk {chunk.index} of {uri}: {len(coded.ranks)} of {len(shown)} frames",
            )
        read.append(coded)
        ordered.append(shown[coded.ranks])
        bounds.append(bounds[-1] + len(coded.ranks))
    _check_joinable(read, chunks[0])
    pts = np.concatenate(ordered)
    rising = np.sort(pts)
    if len(rising) > 1 and int(np.diff(rising).min()) < 1:
        raise ChunksDoNotJoin(Reason.DECODE_ERROR, f"chunks of {uri} overlap in time")
    spans = np.append(np.diff(rising), max(1, end_pts - shift - int(rising[-1])))
    durations = spans[np.searchsorted(rising, pts)]
    one_header = read[0].sets == read[0].declared
    return Timeline(pts, _decode_times(pts, rising), durations, bounds, one_header)


def _check_joinable(read: Sequence[_Coded], first: ChunkSpec) -> None:
    """Whether one decoder, set up once, can show them all, and no frame has lost what it was to carry."""
    uri = first.facts.info.uri
    odd = next((number for number, coded in enumerate(read) if coded.sets != read[0].sets), None)
    if odd is not None:
        raise ChunksDoNotJoin(
            Reason.DECODE_ERROR,
            f"chunk {odd} of {uri} has other parameter sets than chunk 0, but a file holds one: other versions of the "
            "encoder code so. Have one version on all machines, or use --no-chunked",
        )
    frames, rpus = sum(len(coded.ranks) for coded in read), sum(coded.rpus for coded in read)
    if rpus < frames and encoder_of(first.settings.codec).carries_dolby_vision(first.settings, first.facts):
        raise TitleFailed(
            Reason.UNSUPPORTED,
            f"{rpus} of {frames} frames of {uri} came out with Dolby Vision metadata, and players need all: encode it "
            "without, with --encoder-option dolbyvision=0",
        )


def _decode_times(pts: Times, rising: Times) -> Times:
    """Display times, delayed by as many frames as the reordering takes."""
    place = np.searchsorted(rising, pts)
    delay = int(np.max(np.arange(len(pts)) - place))
    step = max(1, int(np.median(np.diff(rising)))) if len(rising) > 1 else 1
    before = rising[0] - step * np.arange(delay, 0, -1)
    return np.concatenate([before, rising[: len(rising) - delay]])


def _coded(chunk: ChunkSpec) -> _Coded:
    stamps: list[int] = []
    rpus = 0
    with open_container(chunk.uri) as container:
        video = container.streams.video[0]
        codec = video.codec_context.codec.canonical_name
        sets = declared = declared_sets(codec, video.codec_context.extradata)
        for packet in container.demux(video):
            if not packet.size or packet.pts is None:
                continue
            stamps.append(packet.pts)
            vitals.moved_bytes += packet.size
            if codec == "hevc":
                rpus += has_rpu(packet)
                sets |= sets_between(packet) if packet.is_keyframe else frozenset()
    times = np.array(stamps, dtype=np.int64)
    ranks: Times = np.argsort(np.argsort(times, kind="stable"), kind="stable").astype(np.int64)
    return _Coded(ranks, declared, sets, rpus)


def joined_packets(
    chunks: Sequence[ChunkSpec], times: Timeline, time_base: Fraction, strip_sets: bool = False
) -> Iterator[Packet[Any]]:
    """The packets of all chunks, in decoding order.

    Args:
        chunks: in order.
        times: of their packets.
        time_base: of these.
        strip_sets: take parameter sets out of HEVC packets, for a container that holds them itself.
    """
    number = 0
    for chunk in chunks:
        with open_container(chunk.uri) as container:
            for coded in container.demux(container.streams.video[0]):
                if not coded.size:
                    continue
                packet = without_sets(coded) if strip_sets and coded.is_keyframe else coded
                packet.time_base = time_base
                packet.pts, packet.dts = int(times.pts[number]), int(times.dts[number])
                packet.duration = int(times.duration[number])
                number += 1
                yield packet
