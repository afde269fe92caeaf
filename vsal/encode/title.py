"""Encoding one title: what is checked, planned, encoded, joined and recorded, without Ray."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import vsal
from vsal import storage
from vsal.encode.budget import Solved, solve_gain
from vsal.encode.chunks import ChunkDone, ChunkSpec, cut_chunks, encode_chunk, key_of
from vsal.encode.codecs import encoder_of
from vsal.encode.codecs.trial import refuse_ignored, refuse_interlaced, trial_facts
from vsal.encode.mux.assemble import assemble, choose_container
from vsal.encode.mux.join import ChunksDoNotJoin
from vsal.encode.settings import EncodeSettings
from vsal.encode.source_facts import SourceFacts, read_source_facts
from vsal.errors import Reason, TitleFailed
from vsal.manifest import TitleManifest, maps_uri
from vsal.roi.grid import block_grid_shape

CHUNKS_FOLDER = ".chunks"


@dataclass(frozen=True, slots=True)
class EncodePlan:
    """How one title is going to be encoded: plain data, for workers on any machine.

    Attributes:
        dest: the finished file.
        record: beside it, what it was made of; its presence with the right key is what resume reads.
        last_duration: of the last frame, in the source's time base.
        duration_s: of the title, from its first frame to the end of its last.
        key: of everything that was asked for; how the title is cut in the end is no part of it.
        folder: of the chunks, until they are joined.
        solved: the strength of the maps, where a share of the bits was asked for.
        made: the record of the output, where it is there already and is to stay.
    """

    title_id: str
    facts: SourceFacts
    settings: EncodeSettings
    chunks: tuple[ChunkSpec, ...]
    dest: str
    record: str
    container: str
    last_duration: int
    duration_s: float
    key: str
    folder: str
    solved: Solved | None = None
    made: dict[str, Any] | None = None


def check_settings(settings: EncodeSettings) -> None:
    """What can be refused before any title is looked at.

    Raises:
        SettingsError: the encoder is not there, or does not take the settings.
        SettingIgnored: it would ignore the maps under them.
    """
    encoder = encoder_of(settings.codec)
    encoder.check(settings)
    if settings.pix_fmt:
        encoder.pixel_format(settings, trial_facts())
    refuse_ignored(settings)


def plan_title(
    out: str, title_id: str, settings: EncodeSettings, dest: str, whole: bool = False, force: bool = False
) -> EncodePlan:
    """Look at one title's manifest and source and say how it will be encoded.

    Args:
        out: where `vsal prepare` wrote.
        title_id: of the title.
        settings: of the encode.
        dest: folder of the finished files.
        whole: encode it in one piece whatever the settings say.
        force: encode it again where it is there already.

    Raises:
        TitleFailed: source and manifest do not fit each other, or the encoder does not take the source.
    """
    with TitleManifest(maps_uri(out, title_id)) as title:
        facts = read_source_facts(title.source.uri)
        check_fit(title, facts)
        refuse_interlaced(settings, facts)
        encoder_of(settings.codec).pixel_format(settings, facts)
        folder = storage.join(dest, CHUNKS_FOLDER, title_id)
        chunks = cut_chunks(title, facts, settings, folder)
        container = choose_container(facts, settings)
        last = title.map_at(title.frames - 1)
        rest = last.frame_end - 1 - last.frame_start
        plan = EncodePlan(
            title_id,
            facts,
            settings,
            tuple(chunks),
            dest=storage.join(dest, f"{title_id}.{container}"),
            record=storage.join(dest, f"{title_id}.encode.json"),
            container=container,
            last_duration=last.pts_end - last.pts_start if rest == 0 else facts.info.frame_duration,
            duration_s=float((last.pts_end - title.map_at(0).pts_start) * facts.info.time_base),
            key=f"{key_of(title, facts, settings)}-{container}-{len(chunks)}",
            folder=folder,
        )
        made = None if force else record_of(plan)
        if made is not None:
            return replace(plan, made=made)
        solved = _solved(title, plan) if settings.budget is not None and settings.roi else None
        if solved is not None or whole:
            gain = None if solved is None else solved.gain
            chunks = cut_chunks(title, facts, settings, folder, gain, whole)
        return replace(plan, chunks=tuple(chunks), solved=solved)


def _solved(title: TitleManifest, plan: EncodePlan) -> Solved:
    """The strength that a share of the bits asks for; found once, so that an interrupted encode goes on with it."""
    kept = storage.join(plan.folder, f"{plan.key}.budget.json")
    with contextlib.suppress(FileNotFoundError, ValueError, TypeError):
        return Solved(**json.loads(storage.read_bytes(kept)))
    solved = solve_gain(title, plan.facts, plan.settings)
    storage.write_bytes(kept, json.dumps(asdict(solved)).encode())
    return solved


def check_fit(title: TitleManifest, facts: SourceFacts) -> None:
    """Whether the source is still the one that the manifest was made of, and its maps have the picture's geometry.

    Raises:
        TitleFailed: it is not.
    """
    known, info = title.source, facts.info
    now = storage.stat(known.uri)
    same = now.size == known.size and (now.etag == known.etag if known.etag else now.mtime_ns == known.mtime_ns)
    if not same:
        raise TitleFailed(
            Reason.UNSUPPORTED,
            f"{known.uri} is not what its maps were made of: then {known.size} bytes, now {now.size} (or as many, "
            "changed since): prepare the title again",
        )
    first = title.map_at(0)
    if (first.width, first.height) != (info.width, info.height) or first.time_base != info.time_base:
        raise TitleFailed(
            Reason.UNSUPPORTED,
            f"the maps of {known.uri} are for {first.width}x{first.height} in units of {first.time_base} s, the source "
            f"has {info.width}x{info.height} in {info.time_base} s: prepare the title again",
        )
    if first.qp_offset.shape != block_grid_shape(info.width, info.height):
        raise TitleFailed(
            Reason.UNSUPPORTED, f"the maps of {known.uri} are not in 16x16 blocks: prepare the title again"
        )


def record_of(plan: EncodePlan) -> dict[str, Any] | None:
    """The record of the output, if it is there, made by the very same settings from the very same maps."""
    try:
        record: dict[str, Any] = json.loads(storage.read_bytes(plan.record))
    except (FileNotFoundError, ValueError):
        return None
    return record if record.get("key") == plan.key and storage.exists(plan.dest) else None


def finish(plan: EncodePlan, done: Iterable[ChunkDone]) -> dict[str, Any]:
    """Join the chunks, publish the output under its name, record what it is, and remove the chunks.

    Returns:
        The record.

    Raises:
        TitleFailed: the chunks do not join; they are removed, since nobody knows which of them is wrong.
    """
    chunks = list(plan.chunks)
    local = storage.staging_file(plan.dest)
    try:
        kept = assemble(plan.facts, chunks, plan.last_duration, plan.container, local)
        storage.publish(local, plan.dest)
    except ChunksDoNotJoin:
        storage.discard(local)
        _clear(plan.folder)
        raise
    except BaseException:
        storage.discard(local)
        raise
    results = list(done)
    record = {
        "key": plan.key,
        "vsal": vsal.__version__,
        "title_id": plan.title_id,
        "source": plan.facts.info.uri,
        "output": storage.name(plan.dest),
        "bytes": storage.stat(plan.dest).size,
        "video_bytes": sum(chunk.size for chunk in results),
        "frames": sum(chunk.frames for chunk in results),
        "duration_s": round(plan.duration_s, 3),
        "chunks": [[chunk.frame_start, chunk.frame_end] for chunk in chunks],
        "reused": sum(chunk.reused for chunk in results),
        "encode_seconds": round(sum(chunk.seconds for chunk in results), 3),
        "settings": plan.settings.to_json(),
        "gain": None if plan.solved is None else plan.solved.gain,
        "budget": None if plan.solved is None else _budget(plan.solved, results),
        "streams": list(kept.streams),
        "left_out": list(kept.left_out),
    }
    storage.write_bytes(plan.record, json.dumps(record, indent=1).encode())
    _clear(plan.folder)
    return record


def _budget(solved: Solved, done: Sequence[ChunkDone]) -> dict[str, Any]:
    """What was asked for and what came of it: measured on the encode itself if all its chunks were."""
    measured = [chunk.areas for chunk in done if chunk.areas is not None]
    if not measured or len(measured) < len(done):
        return asdict(solved)
    top, rest = (sum(area) for area in zip(*measured, strict=True))
    return asdict(solved) | {"achieved": round(top / (top + rest), 4), "measured_on": "whole"}


def _clear(folder: str) -> None:
    """Remove a title's chunks, and what killed writers left of others."""
    for info in storage.list_files(folder):
        storage.remove(info.uri)
    storage.sweep(folder)
    local = storage.local_path(folder)
    if local is not None:
        with contextlib.suppress(OSError):  # something else lies there
            os.rmdir(local)
            os.rmdir(os.path.dirname(local))


def encode_title(
    out: str,
    title_id: str,
    settings: EncodeSettings,
    dest: str,
    on_frame: Callable[[int], None] = lambda done: None,
    force: bool = False,
) -> dict[str, Any]:
    """Encode one title in this process, chunk by chunk; what the Ray job does, on one machine.

    Returns:
        The record of the output, also where it was there already.

    Raises:
        TitleFailed: it cannot be encoded.
        SettingsError: the encoder does not take the settings.
    """
    begun = time.monotonic()
    plan = plan_title(out, title_id, settings, dest, force=force)
    if plan.made is not None:
        return plan.made | {"skipped": True}
    done: list[ChunkDone] = []
    for chunk in plan.chunks:
        before = sum(part.frames for part in done)
        done.append(encode_chunk(chunk, lambda count, before=before: on_frame(before + count)))  # type: ignore[misc]
    return finish(plan, done) | {"seconds": round(time.monotonic() - begun, 3)}
