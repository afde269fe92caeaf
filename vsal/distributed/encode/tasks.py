"""The Ray tasks of an encode: a title's plan, its chunks, their join."""

from __future__ import annotations

import ray

from vsal.distributed.pulse import Ticket, working
from vsal.distributed.work import Answer
from vsal.encode.chunks import ChunkDone, ChunkSpec, encode_chunk
from vsal.encode.settings import EncodeSettings
from vsal.encode.title import EncodePlan, finish, plan_title
from vsal.errors import Reason


@ray.remote(num_cpus=1, max_retries=0)
def plan_task(
    ticket: Ticket, out: str, title_id: str, settings: EncodeSettings, dest: str, whole: bool, force: bool
) -> Answer:
    """How a title will be encoded; trial encodes for a share of the bits are made here."""
    with working(ticket) as beat:
        plan = plan_title(out, title_id, settings, dest, whole=whole, force=force)
        return Answer(plan, seconds=beat.seconds)


@ray.remote(max_retries=0)
def chunk_task(ticket: Ticket, spec: ChunkSpec) -> Answer:
    """Encodes one chunk and publishes it."""
    with working(ticket, Reason.WRITE_FAILED) as beat:

        def count(frames: int) -> None:
            beat.frames = frames

        done: ChunkDone = encode_chunk(spec, count)
        return Answer(done, done.frames, beat.seconds)


@ray.remote(num_cpus=1, max_retries=0)
def join_task(ticket: Ticket, plan: EncodePlan, done: list[ChunkDone], lease: str) -> Answer:
    """Joins a title's chunks and publishes the finished file; returns its record."""
    with working(ticket, Reason.WRITE_FAILED) as beat:
        record = finish(plan, done, lease)
        return Answer(record, seconds=beat.seconds)
