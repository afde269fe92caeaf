"""Encoding one title: what is checked, planned, encoded, joined and recorded, without Ray."""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import vsal
from vsal import storage
from vsal.encode.budget import Solved, solve_gain
from vsal.encode.chunk_folders import Lease, clear, folder_of
from vsal.encode.chunks import ChunkDone, ChunkSpec, bounds_of, check_there, cut_chunks, encode_chunk
from vsal.encode.codecs import encoder_of
from vsal.encode.codecs.trial import refuse_ignored, refuse_interlaced, trial_facts
from vsal.encode.keys import asked_key, chunk_key, settings_key, title_key
from vsal.encode.mux.assemble import assemble, choose_container
from vsal.encode.mux.join import ChunksDoNotJoin
from vsal.encode.record import Record, holds, looking_in, read_record, record_uri, version_of, write_record
from vsal.encode.settings import EncodeSettings
from vsal.encode.source_facts import SourceFacts, read_source_facts
from vsal.errors import Reason, TitleFailed
from vsal.manifest import TitleManifest, maps_uri
from vsal.roi.grid import block_grid_shape
from vsal.storage import SourceInfo


@dataclass(frozen=True, slots=True)
class EncodePlan:
    """How one title is going to be encoded: plain data, for workers on any machine.

    Attributes:
        dest: folder of the finished files.
        container: of the finished file, as a file ending.
        end_pts: where the last frame ends, in the source's time base.
        duration_s: of the title, from its first frame to the end of its last.
        manifest: version of the manifest file.
        fingerprint: in that file.
        asked: key of what was asked for, which is known without opening the source.
        key: of what that comes to; that chunks which did not join are made in one piece is no part of it.
        folder: of the chunks, until they are joined.
        solved: the strength of the maps, where a share of the bits was asked for.
        made: the record of the output, where it is there already and is to stay.
    """

    title_id: str
    facts: SourceFacts
    settings: EncodeSettings
    chunks: tuple[ChunkSpec, ...]
    dest: str
    container: str
    end_pts: int
    duration_s: float
    manifest: SourceInfo
    fingerprint: str
    asked: str
    key: str
    folder: str
    solved: Solved | None = None
    made: Record | None = None

    @property
    def output(self) -> str:
        """The finished file."""
        return storage.join(self.dest, f"{self.title_id}.{self.container}")


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
    manifest = storage.stat(maps_uri(out, title_id))
    with TitleManifest(maps_uri(out, title_id)) as title:
        facts = read_source_facts(title.source.uri)
        check_fit(title, facts)
        refuse_interlaced(settings, facts)
        encoder_of(settings.codec).pixel_format(settings, facts)
        container = choose_container(facts, settings)
        bounds = bounds_of(title, facts, settings)
        key = title_key(chunk_key(title.fingerprint, facts, settings), bounds, container)
        of_settings = settings_key(settings)
        folder = folder_of(dest, of_settings, title_id, key)
        last = title.map_at(title.frames - 1)
        plan = EncodePlan(
            title_id,
            facts,
            settings,
            (),
            dest=dest,
            container=container,
            end_pts=last.pts_end,
            duration_s=float((last.pts_end - title.map_at(0).pts_start) * facts.info.time_base),
            manifest=manifest,
            fingerprint=title.fingerprint,
            asked=asked_key(title.fingerprint, of_settings),
            key=key,
            folder=folder,
        )
        made = None if force else record_of(plan)
        if made is not None:
            return replace(plan, made=made)
        solved = _solved(title, plan) if settings.budget is not None and settings.roi else None
        gain = None if solved is None else solved.gain
        chunks = cut_chunks(title, facts, settings, folder, [0, title.frames] if whole else bounds, gain)
        return replace(plan, chunks=tuple(chunks), solved=solved)


def _solved(title: TitleManifest, plan: EncodePlan) -> Solved:
    """The strength that a share of the bits asks for; found once, so that an interrupted encode goes on with it."""
    kept = storage.join(plan.folder, "budget.json")
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


def record_of(plan: EncodePlan) -> Record | None:
    """The record of the output, if what it names is there, made by the very same settings from the very same maps.

    It holds as `record` the version of its own file.
    """
    record = read_record(plan.dest, plan.title_id)
    if record is None or record.get("key") != plan.key:
        return None
    look = looking_in(plan.dest)
    written = look(storage.name(record_uri(plan.dest, plan.title_id)))
    return record | {"record": version_of(written)} if written is not None and holds(record, look) else None


def finish(plan: EncodePlan, done: Iterable[ChunkDone], lease: str = "") -> Record:
    """Join the chunks, publish the output under its name, record what it is, and remove the chunks.

    The record is the commit: until it is written nothing counts, whatever lies beside it, and what fails after it fails
    nobody.

    Args:
        plan: of the title.
        done: all its chunks.
        lease: name of the lease under which they were made.

    Returns:
        The record, and as `record` the version of the file that holds it.

    Raises:
        TitleFailed: the chunks do not join; they are removed, since nobody knows which of them is wrong.
        ChunksLost: some are there no more.
    """
    local = storage.staging_file(plan.output)
    try:
        kept = assemble(plan.facts, plan.chunks, plan.end_pts, plan.container, local)
        published = storage.publish(local, plan.output)
    except ChunksDoNotJoin:
        storage.discard(local)
        clear(plan.folder, lease)
        raise
    except Exception:
        storage.discard(local)
        check_there(plan.chunks)
        raise
    except BaseException:
        storage.discard(local)
        raise
    results = list(done)
    record: Record = {
        "key": plan.key,
        "asked": plan.asked,
        "settings_key": settings_key(plan.settings),
        "manifest": version_of(plan.manifest) | {"fingerprint": plan.fingerprint},
        "outputs": [version_of(published)],
        "vsal": vsal.__version__,
        "encoder": encoder_of(plan.settings.codec).version(plan.settings),
        "title_id": plan.title_id,
        "source": plan.facts.info.uri,
        "video_bytes": sum(chunk.size for chunk in results),
        "frames": sum(chunk.frames for chunk in results),
        "duration_s": round(plan.duration_s, 3),
        "chunks": [[chunk.frame_start, chunk.frame_end] for chunk in plan.chunks],
        "reused": sum(chunk.reused for chunk in results),
        "encode_seconds": round(sum(chunk.seconds for chunk in results), 3),
        "settings": plan.settings.to_json(),
        "gain": None if plan.solved is None else plan.solved.gain,
        "budget": None if plan.solved is None else _budget(plan.solved, results),
        "streams": list(kept.streams),
        "left_out": list(kept.left_out),
    }
    written = write_record(plan.dest, plan.title_id, record)
    clear(plan.folder, lease)
    return record | {"record": version_of(written)}


def _budget(solved: Solved, done: Sequence[ChunkDone]) -> dict[str, Any]:
    """What was asked for and what came of it: measured on the encode itself if all its chunks were."""
    measured = [chunk.areas for chunk in done if chunk.areas is not None]
    if not measured or len(measured) < len(done):
        return asdict(solved)
    top, rest = (sum(area) for area in zip(*measured, strict=True))
    return asdict(solved) | {"achieved": round(top / (top + rest), 4), "measured_on": "whole"}


def encode_title(
    out: str,
    title_id: str,
    settings: EncodeSettings,
    dest: str,
    on_frame: Callable[[int], None] = lambda done: None,
    force: bool = False,
) -> Record:
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
    with Lease(dest, settings_key(settings), secrets.token_hex(6)) as lease:
        for chunk in plan.chunks:
            before = sum(part.frames for part in done)
            done.append(encode_chunk(chunk, lambda count, before=before: on_frame(before + count)))  # type: ignore[misc]
        record = finish(plan, done, lease.name)
        lease.sweep()
    return record | {"seconds": round(time.monotonic() - begun, 3)}
