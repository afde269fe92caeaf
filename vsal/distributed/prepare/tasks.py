"""The tasks of a title: opening it, which for a short one is all, and scanning its segments."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import ray

from vsal.assembly.cuts import make_cut_decider
from vsal.assembly.inputs import scan_settings
from vsal.assembly.ordered import OrderedChunks
from vsal.distributed.box import Box, unboxed
from vsal.distributed.prepare.job import Job
from vsal.distributed.prepare.open_title import OpenTitle
from vsal.distributed.pulse import Beat, Ticket, working
from vsal.distributed.work import Answer
from vsal.planning import WorkItem
from vsal.saliency.contract import MOTION_LAYERS, ModelInput
from vsal.settings import PrepareSettings
from vsal.video.clock import SampleClock
from vsal.video.probe import VideoInfo, probe
from vsal.video.scan import Chunk, scan_segment
from vsal.video.segments import WHOLE, Segment, cut_segments


@dataclass(frozen=True, slots=True)
class Cut:
    """A title that is to be scanned: what it is, and the segments that it was cut into."""

    info: VideoInfo
    segments: list[Segment]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A title that is committed: its counts and its file, and its length."""

    counts: dict[str, Any]
    duration_s: float


def window_bytes(settings: PrepareSettings, model_input: ModelInput) -> int:
    """Size of a full window of model inputs: RGB, and motion where the model asks for it."""
    width, height = model_input.size_for(16 / 9)
    channels = 3 + (MOTION_LAYERS if model_input.signed else 1) * model_input.motion
    frames = scan_settings(settings, model_input).window_frames
    if model_input.mask_frame is not None and model_input.batch is not None:
        frames += 2 * model_input.batch  # what the model sees around the first and the last sample
    return frames * width * height * channels


def mask_bytes(settings: PrepareSettings, model_input: ModelInput, seconds: float) -> int:
    """Size of the masks of so much video: float16, and as much again for gates where the model gives them."""
    width, height = model_input.size_for(16 / 9)
    layers = 2 if model_input.motion else 1
    return round(seconds * settings.sample_rate * width * height * 2 * layers)


@ray.remote(num_cpus=1, max_retries=0)
def open_task(ticket: Ticket, box: Box, item: WorkItem) -> Answer:
    """Probes a title and cuts it into segments."""
    with working(ticket) as beat:
        return Answer(_cut(unboxed(box), item), seconds=beat.seconds)


@ray.remote(num_cpus=1, max_retries=0)
def short_title_task(ticket: Ticket, box: Box, item: WorkItem) -> Answer:
    """Prepares a title of one segment in this process, without an aggregator between: for titles of a few seconds the
    calls cost more than the work. One that has more segments is only opened.
    """
    with working(ticket) as beat:
        job: Job = unboxed(box)
        cut = _cut(job, item)
        if len(cut.segments) > 1:
            return Answer(cut, seconds=beat.seconds)
        counts = _prepare_here(job, item, cut.info, beat)
        return Answer(Prepared(counts, cut.info.duration_s or 0.0), counts["frames"], beat.seconds)


@ray.remote(num_cpus=1, max_retries=0)
def scan_task(ticket: Ticket, box: Box, attempt_id: str, title_id: str, info: VideoInfo, segment: Segment) -> Answer:
    """Scans one segment: windows to the sessions, chunks with their masks to the aggregator. Returns its frames.

    The masks never come by here: the aggregator is handed the reference. What is in flight is bounded, and every chunk
    is acknowledged before the task returns, since an object dies with its owner.
    """
    with working(ticket) as beat:
        job: Job = unboxed(box)
        aggregator = job.pools.aggregator_of(title_id)
        sessions = _sessions(job)
        acknowledgements: deque[Any] = deque()
        chunks = scan_segment(info, segment, scan_settings(job.settings, job.model_input), job.model_input.size_for)
        if job.model_input.ordered:
            inferred = _in_order(job, info, chunks, sessions[zlib.crc32(attempt_id.encode()) % len(sessions)])
        else:
            inferred = _at_once(job, segment, chunks, sessions)
        for chunk, masks in inferred:
            beat.frames += len(chunk.pts)
            bare = replace(chunk, frames=chunk.frames[:0], motion_maps=None)  # the pictures stay out of the aggregator
            acknowledgements.append(aggregator.add.remote(attempt_id, bare, masks))
            while len(acknowledgements) > job.run.windows_in_flight:
                beat.fetch(acknowledgements.popleft())
        while acknowledgements:
            beat.fetch(acknowledgements.popleft())
        return Answer(None, beat.frames, beat.seconds)


def _cut(job: Job, item: WorkItem) -> Cut:
    info = probe(item.title.uri)
    # A model with a memory needs the title from its beginning to its end.
    whole = job.model_input.ordered
    return Cut(info, [WHOLE] if whole else cut_segments(info, job.run.segment_s, job.workers))


def _sessions(job: Job) -> list[Any]:
    return job.pools.saliency_near(ray.get_runtime_context().get_node_id())


def _at_once(job: Job, segment: Segment, chunks: Iterable[Chunk], sessions: list[Any]) -> Iterator[tuple[Chunk, Any]]:
    """Each chunk with the reference of its masks, by all sessions in turn."""
    for number, chunk in enumerate(chunks):
        masks = None
        if len(chunk.samples):
            actor = sessions[(segment.index + number) % len(sessions)]
            masks = actor.infer.remote(job.pools.model, chunk.frames, chunk.motion_maps)
        yield chunk, masks


def _in_order(job: Job, info: VideoInfo, chunks: Iterable[Chunk], actor: Any) -> Iterator[tuple[Chunk, Any]]:
    """The same for a model with a memory, which goes from call to call by reference; the scan does not wait for it."""
    clock = SampleClock(job.settings.sample_rate, info.time_base, info.zero_pts)
    ordered = OrderedChunks(job.model_input, make_cut_decider(job.settings, job.shot_model), clock)
    memory = None
    for chunk in chunks:
        for ready, run in ordered.add(chunk):
            masks = None
            if run is not None:
                masks, memory = actor.infer_in_order.options(num_returns=2).remote(job.pools.model, run, memory)
            yield ready, masks


def _prepare_here(job: Job, item: WorkItem, info: VideoInfo, beat: Beat) -> dict[str, Any]:
    sessions = _sessions(job)
    title = OpenTitle(job, item, info, [WHOLE])
    waiting: deque[tuple[Chunk, Any]] = deque()
    chunks = scan_segment(info, WHOLE, scan_settings(job.settings, job.model_input), job.model_input.size_for)

    def add_next() -> None:
        chunk, masks = waiting.popleft()
        title.add(chunk, None if masks is None else beat.fetch(masks))
        beat.frames += len(chunk.pts)

    try:
        for number, chunk in enumerate(chunks):
            masks = None
            if len(chunk.samples):
                actor = sessions[(zlib.crc32(item.title.title_id.encode()) + number) % len(sessions)]
                masks = actor.infer.remote(job.pools.model, chunk.frames, chunk.motion_maps)
            waiting.append((chunk, masks))
            while len(waiting) > job.run.windows_in_flight:
                add_next()
        while waiting:
            add_next()
        return dict(title.commit())
    finally:
        title.abandon()
