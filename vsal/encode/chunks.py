"""Cutting a title into chunks that are encoded on their own, and encoding one."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from vsal import storage
from vsal.encode.budget import spent_on_areas
from vsal.encode.codecs import FrameRun, encode_frames, encoder_of
from vsal.encode.keys import chunk_key
from vsal.encode.settings import EncodeSettings
from vsal.encode.source import FrameRange, frames
from vsal.encode.source_facts import SourceFacts
from vsal.errors import Reason, TitleFailed
from vsal.manifest import MapRow, TitleManifest
from vsal.roi.qp import QpMapping


@dataclass(frozen=True, slots=True)
class ChunkSpec:
    """One chunk of one title: all that a worker on any machine needs to encode it.

    Attributes:
        manifest_uri: of the title's manifest file.
        frame_end: one past the last frame.
        start_pts: timestamp of the first frame.
        mapping: by which saliency becomes QP, where cells or a gain ask for other offsets than the maps'.
        gain: strength of the maps; None leaves them as they are, 0 encodes without.
        version: of the encoder, by which all chunks of the title are coded.
        uri: where the chunk is published, named by all that its bytes depend on; its presence is its commit.
    """

    manifest_uri: str
    facts: SourceFacts
    settings: EncodeSettings
    index: int
    frame_start: int
    frame_end: int
    start_pts: int
    mapping: QpMapping
    gain: float | None
    version: str
    uri: str

    @property
    def times_uri(self) -> str:
        """Where the timestamps of its frames are."""
        return self.uri + ".pts.npy"

    @property
    def areas_uri(self) -> str:
        """Where it is said what its areas cost, if they are measured."""
        return self.uri + ".areas.json"


@dataclass(frozen=True, slots=True)
class ChunkDone:
    """A chunk that lies under its name."""

    index: int
    frames: int
    size: int
    seconds: float
    reused: bool = False
    areas: tuple[int, int] | None = None  # bytes of the top area and of the rest, where they are measured


class ChunksLost(Exception):
    """Chunks that were published lie there no more: others removed them, and they have to be made again."""


def bounds_of(title: TitleManifest, facts: SourceFacts, settings: EncodeSettings) -> list[int]:
    """First frame of each chunk and the title's end: chunks of at least `chunk_s` seconds that begin where a shot does;
    one where the title is short or cannot be cut.
    """
    if not _wants_chunks(title, facts, settings):
        return [0, title.frames]
    return chunk_bounds([start for _, start, _ in title.shots()], title.frames, _chunk_frames(facts, settings))


def cut_chunks(
    title: TitleManifest,
    facts: SourceFacts,
    settings: EncodeSettings,
    folder: str,
    bounds: Sequence[int],
    gain: float | None = None,
) -> list[ChunkSpec]:
    """The chunks of a title.

    Args:
        title: the manifest file.
        facts: of the source.
        settings: of the encode.
        folder: under which chunks are published.
        bounds: as `bounds_of` gives them.
        gain: strength of the maps, where a budget has solved for it.
    """
    key = chunk_key(title.fingerprint, facts, settings, gain)
    version = encoder_of(settings.codec).version(settings)
    mapping = QpMapping.of_settings(title.settings)
    return [
        ChunkSpec(
            manifest_uri=title.uri,
            facts=facts,
            settings=settings,
            index=index,
            frame_start=start,
            frame_end=end,
            start_pts=title.map_at(start).pts_start,
            mapping=mapping,
            gain=gain,
            version=version,
            uri=storage.join(folder, f"{start:08d}-{end:08d}-{key}.chunk"),
        )
        for index, (start, end) in enumerate(pairwise(bounds))
    ]


def chunk_bounds(shot_starts: Sequence[int], frame_count: int, least: int) -> list[int]:
    """First frame of each chunk, and the title's end; the last chunk takes a rest shorter than half of `least`."""
    bounds = [0]
    for start in shot_starts:
        if start - bounds[-1] >= least and frame_count - start >= least // 2:
            bounds.append(start)
    return [*bounds, frame_count]


def _chunk_frames(facts: SourceFacts, settings: EncodeSettings) -> int:
    return max(1, round(settings.chunk_s * float(facts.fps)))


def _wants_chunks(title: TitleManifest, facts: SourceFacts, settings: EncodeSettings) -> bool:
    if not facts.info.segmentable or settings.chunked is False:
        return False
    return bool(settings.chunked) or title.frames > 2 * _chunk_frames(facts, settings)


def encode_chunk(spec: ChunkSpec, on_frame: Callable[[int], None] = lambda done: None) -> ChunkDone:
    """Encode a chunk and publish it; a chunk that is there already is left alone.

    Raises:
        TitleFailed: source, manifest and encoder do not fit each other, or this machine has another encoder.
        SettingsError: the encoder does not take a setting.
    """
    count = spec.frame_end - spec.frame_start
    with contextlib.suppress(FileNotFoundError):
        size = storage.stat(spec.uri).size
        return ChunkDone(spec.index, count, size, 0.0, reused=True, areas=_known_areas(spec))
    _check_version(spec)
    begun = time.monotonic()
    local = storage.staging_file(spec.uri)
    storage.claim(local)  # before anything is decoded for it
    try:
        with TitleManifest(spec.manifest_uri) as title:
            mapped = spec.settings.roi and spec.gain != 0.0
            maps = title.iter_maps(spec.frame_start, spec.frame_end) if mapped else None
            times = _encode(spec, maps, local, on_frame)
        if len(times) != count:
            raise TitleFailed(
                Reason.DECODE_ERROR,
                f"chunk {spec.index} of {spec.facts.info.uri} has {len(times)} frames, its maps {count}: "
                "prepare the title again",
            )
        size = os.path.getsize(local)
        areas = _measure_areas(spec, size) if spec.settings.measure_share else None
        _publish_times(spec, times)
        storage.publish(local, spec.uri)
    except TitleFailed:
        _check_room(spec)  # an encoder that is a program of its own says of a full disk what it likes
        raise
    finally:
        storage.discard(local)
    return ChunkDone(spec.index, count, size, time.monotonic() - begun, areas=areas)


def _check_version(spec: ChunkSpec) -> None:
    here = encoder_of(spec.settings.codec).version(spec.settings)
    if here != spec.version:
        raise TitleFailed(
            Reason.UNSUPPORTED,
            f"{socket.gethostname()} codes with {here}, the other chunks of {spec.facts.info.uri} with {spec.version}: "
            "have one version of the encoder on all machines",
        )


def _check_room(spec: ChunkSpec) -> None:
    beside = storage.staging_file(spec.uri)
    storage.claim(beside)
    storage.discard(beside)


def check_there(chunks: Iterable[ChunkSpec]) -> None:
    """Whether chunks that were published still are.

    Raises:
        ChunksLost: some are not.
    """
    lost = [chunk.index for chunk in chunks if not (storage.exists(chunk.uri) and storage.exists(chunk.times_uri))]
    if lost:
        raise ChunksLost(f"chunks {lost} lie there no more")


def _measure_areas(spec: ChunkSpec, size: int) -> tuple[int, int]:
    encoded = FrameRange(spec.frame_start, spec.frame_end, spec.start_pts)
    with TitleManifest(spec.manifest_uri) as title:
        areas = spent_on_areas(title, spec.facts, spec.settings, spec.gain, encoded, size)
    storage.write_bytes(spec.areas_uri, json.dumps(areas).encode())
    return areas


def _known_areas(spec: ChunkSpec) -> tuple[int, int] | None:
    if not spec.settings.measure_share:
        return None
    top, rest = json.loads(storage.read_bytes(spec.areas_uri))
    return top, rest


def _encode(spec: ChunkSpec, maps: Iterable[MapRow] | None, path: str, on_frame: Callable[[int], None]) -> list[int]:
    wanted = FrameRange(spec.frame_start, spec.frame_end, spec.start_pts)
    run = FrameRun(
        frames(spec.facts, wanted), spec.facts, maps, spec.settings,
        first_frame=spec.frame_start, mapping=spec.mapping, gain=spec.gain, on_frame=on_frame,
    )  # fmt: skip
    return encode_frames(run, path)


def _publish_times(spec: ChunkSpec, times: list[int]) -> None:
    local = storage.staging_file(spec.times_uri)
    try:
        with open(local, "wb") as file:
            np.save(file, np.array(times, dtype=np.int64))
        storage.publish(local, spec.times_uri)
    except BaseException:
        storage.discard(local)
        raise
