"""The tasks of a title: `prepare_title`, the unit of work, of retry and of commit, and `scan_segment` below it."""

from __future__ import annotations

import logging
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError, WorkerCrashedError

from vsal.assembly import JoinBroken
from vsal.assembly.cuts import make_cut_decider
from vsal.assembly.inputs import scan_settings
from vsal.assembly.ordered import OrderedChunks
from vsal.distributed.actors import StaleTitle
from vsal.distributed.job import Job, JobBox, unboxed
from vsal.distributed.open_title import OpenTitle
from vsal.distributed.outcomes import TitleOutcome
from vsal.distributed.retries import POISON_DEATHS
from vsal.errors import Reason, TitleFailed
from vsal.planning import WorkItem
from vsal.saliency.contract import ModelInput
from vsal.settings import PrepareSettings, RunSettings
from vsal.video.clock import SampleClock
from vsal.video.probe import VideoInfo, probe
from vsal.video.scan import Chunk, scan_segment
from vsal.video.segments import WHOLE, Segment, SegmentBroken, cut_segments

# A decoder of any codec here is hundreds of times faster than this share of real time; what takes longer hangs.
STALL_S = 300.0
STALL_PER_VIDEO_S = 20.0


@ray.remote(num_cpus=0, max_retries=0)
def _warm() -> None:
    """Imports what tasks need, which takes a third of a second of CPU in each new worker."""


def warm_workers(count: int) -> list[Any]:
    """Starts workers before there is work for them; answers come when their imports are done."""
    return [_warm.options(scheduling_strategy="SPREAD").remote() for _ in range(count)]


def window_bytes(settings: PrepareSettings, model_input: ModelInput) -> int:
    """Size of a full window of model inputs: RGB, and motion where the model asks for it."""
    width, height = model_input.size_for(16 / 9)
    channels = 4 if model_input.motion else 3
    frames = scan_settings(settings, model_input).window_frames
    if model_input.mask_frame is not None and model_input.batch is not None:
        frames += 2 * model_input.batch  # what the model sees around the first and the last sample
    return frames * width * height * channels


@ray.remote(num_cpus=1, max_retries=0)
def scan_task(box: JobBox, attempt_id: str, info: VideoInfo, segment: Segment) -> int:
    """Scans one segment: windows to the sessions, chunks with their masks to the aggregator. Returns its frames.

    The masks never come by here: the aggregator is handed the reference. What is in flight is bounded, and every chunk
    is acknowledged before the task returns, since an object dies with its owner.
    """
    job = unboxed(box)
    aggregator = job.pools.aggregator_of(title_of(attempt_id))
    near = job.pools.saliency_near(ray.get_runtime_context().get_node_id())
    acknowledgements: deque[Any] = deque()
    frames = 0
    chunks = scan_segment(info, segment, scan_settings(job.settings, job.model_input), job.model_input.size_for)
    if job.model_input.ordered:
        inferred = _in_order(job, info, chunks, near[zlib.crc32(attempt_id.encode()) % len(near)])
    else:
        inferred = _at_once(job, segment, chunks, near)
    for chunk, masks in inferred:
        frames += len(chunk.pts)
        bare = replace(chunk, frames=chunk.frames[:0], motion_maps=None)  # the pictures stay out of the aggregator
        acknowledgements.append(aggregator.add.remote(attempt_id, bare, masks))
        while len(acknowledgements) > job.run.windows_in_flight:
            ray.get(acknowledgements.popleft())
    ray.get(list(acknowledgements))
    return frames


def _at_once(job: Job, segment: Segment, chunks: Iterable[Chunk], near: list[Any]) -> Iterator[tuple[Chunk, Any]]:
    """Each chunk with the reference of its masks, by all sessions in turn."""
    for number, chunk in enumerate(chunks):
        masks = None
        if len(chunk.samples):
            actor = near[(segment.index + number) % len(near)]
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


@ray.remote(num_cpus=0, max_retries=0)
def prepare_title(box: JobBox, item: WorkItem, attempt: int) -> TitleOutcome:
    """Prepares one title, its segments in parallel."""
    return _outcome(item, attempt, lambda: _prepare(box, item, attempt_id_of(item, attempt)))


@ray.remote(num_cpus=1, max_retries=0)
def prepare_short_title(box: JobBox, item: WorkItem, attempt: int) -> TitleOutcome | None:
    """Prepares a title of one segment in this process, without an aggregator between: for titles of a few seconds the
    calls cost more than the work. None where it has more segments and is a case for `prepare_title`.
    """
    info: VideoInfo | None = None

    def work() -> dict[str, Any]:
        nonlocal info
        info = probe(item.title.uri)
        if len(cut_segments(info, unboxed(box).run.segment_s)) > 1:
            raise _NotShort
        return _prepare_here(unboxed(box), item, info)

    try:
        return _outcome(item, attempt, work)
    except _NotShort:
        return None


class _NotShort(BaseException):
    """The title has more than one segment."""


def _outcome(item: WorkItem, attempt: int, work: Callable[[], dict[str, Any]]) -> TitleOutcome:
    """How the work on a title ends; every way is an outcome, never an exception."""
    began = time.perf_counter()
    outcome = TitleOutcome(item.title.title_id, item.title.uri, "failed", attempts=attempt)
    try:
        facts = work()
        outcome = replace(outcome, status="done", path=f"maps/{item.title.title_id}.parquet", **facts)
    except TitleFailed as failure:
        outcome = replace(outcome, reason=failure.reason, detail=failure.detail)
    except (RayError, StaleTitle) as error:
        detail = f"an actor, a worker or a node died under the title: {type(error).__name__}"
        outcome = replace(outcome, reason=Reason.WORKER_DIED, detail=detail)
    except Exception as error:  # a fault of vsal's own must cost one title, not the run
        logging.getLogger(__name__).exception("preparing %s", item.title.title_id)
        detail = f"a fault of vsal: {type(error).__name__}: {error}"
        outcome = replace(outcome, reason=Reason.WORKER_DIED, detail=detail)
    return replace(outcome, seconds=time.perf_counter() - began)


def _prepare_here(job: Job, item: WorkItem, info: VideoInfo) -> dict[str, Any]:
    near = job.pools.saliency_near(ray.get_runtime_context().get_node_id())
    title = OpenTitle(job, item, info, segments=1)
    waiting: deque[tuple[Chunk, Any]] = deque()
    chunks = scan_segment(info, WHOLE, scan_settings(job.settings, job.model_input), job.model_input.size_for)
    try:
        for number, chunk in enumerate(chunks):
            masks = None
            if len(chunk.samples):
                actor = near[(zlib.crc32(item.title.title_id.encode()) + number) % len(near)]
                masks = actor.infer.remote(job.pools.model, chunk.frames, chunk.motion_maps)
            waiting.append((chunk, masks))
            while len(waiting) > job.run.windows_in_flight:
                _add(title, *waiting.popleft())
        while waiting:
            _add(title, *waiting.popleft())
        return {**title.commit(), "duration_s": info.duration_s or 0.0}
    finally:
        title.abandon()


def _add(title: OpenTitle, chunk: Chunk, masks: Any) -> None:
    title.add(chunk, None if masks is None else _reraised(masks))


def _prepare(box: JobBox, item: WorkItem, attempt_id: str) -> dict[str, Any]:
    job = unboxed(box)
    aggregator = job.pools.aggregator_of(item.title.title_id)
    info = probe(item.title.uri)
    # A model with a memory needs the title from its beginning to its end.
    whole = job.model_input.ordered
    segments = [WHOLE] if whole else cut_segments(info, job.run.segment_s, job.workers)
    while True:
        try:
            _reraised(aggregator.begin.remote(box, attempt_id, item, info, len(segments)))
            _scan_all(box, attempt_id, info, segments)
            counts = _reraised(aggregator.finish.remote(attempt_id))
            return {**counts, "duration_s": info.duration_s or 0.0}
        except (JoinBroken, SegmentBroken) as broken:
            if len(segments) == 1:
                raise TitleFailed(Reason.DECODE_ERROR, str(broken)) from broken
            # No clean entry points after all (intra refresh, a wrong index): in one piece there are no joins. Under
            # another name, so that what is still on its way from the pieces is refused.
            segments = [WHOLE]
            attempt_id += "/whole"
        except BaseException:
            aggregator.abandon.remote(attempt_id)
            raise


def attempt_id_of(item: WorkItem, attempt: int) -> str:
    """Names one attempt at a title among all that an aggregator may hear of."""
    return f"{item.title.title_id}#{attempt}"


def title_of(attempt_id: str) -> str:
    """The title of an attempt."""
    return attempt_id.rpartition("#")[0]


def _scan_all(box: JobBox, attempt_id: str, info: VideoInfo, segments: list[Segment]) -> None:
    """Scans the segments in parallel, in order of their start; one whose worker died is done again alone."""
    job = unboxed(box)
    waiting = deque(segments)
    deaths = 0
    running: dict[Any, tuple[Segment, float]] = {}
    # Enough to keep every CPU busy, few enough that the aggregator holds little of what cannot be joined yet.
    most = job.workers + 1
    limit_s = _time_limit_s(job.run, info, len(segments))
    try:
        while waiting or running:
            while waiting and len(running) < most:
                segment = waiting.popleft()
                task = scan_task.remote(box, attempt_id, info, segment)
                running[task] = (segment, time.monotonic() + limit_s)
            ready, _ = ray.wait(list(running), timeout=1.0)
            for task in ready:
                segment, _ = running.pop(task)
                try:
                    _reraised(task)
                except WorkerCrashedError as error:
                    deaths += 1
                    if deaths >= POISON_DEATHS:
                        raise TitleFailed(
                            Reason.WORKER_DIED,
                            f"poison: scanning it killed {deaths} workers, the last in segment {segment.index} of "
                            f"{len(segments)}; look at its memory use, or at the source",
                        ) from error
                    waiting.appendleft(segment)
            late = [segment.index for segment, deadline in running.values() if time.monotonic() > deadline]
            if late:
                raise TitleFailed(
                    Reason.TIMEOUT,
                    f"segment {late[0]} of {len(segments)} was not scanned within {limit_s:.0f} s (--title-timeout-s)",
                )
    finally:
        for task in running:
            ray.cancel(task, force=True)


def _time_limit_s(run: RunSettings, info: VideoInfo, segments: int) -> float:
    if run.title_timeout_s is not None:
        return run.title_timeout_s
    return STALL_S + STALL_PER_VIDEO_S * (info.duration_s or 0.0) / segments


def _reraised(reference: Any) -> Any:
    """`ray.get` that raises what the remote code raised, as its own class."""
    try:
        return ray.get(reference)
    except RayTaskError as error:
        cause: BaseException = error
        while isinstance(cause, RayTaskError) and isinstance(cause.cause, BaseException):
            cause = cause.cause
        raise cause from error
