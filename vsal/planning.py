"""What a run will do, known before it starts and without Ray: which titles, which are done, how much there is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from vsal import manifest, storage
from vsal.catalog import Title
from vsal.errors import Reason, TitleFailed, VsalError
from vsal.regions import Region, Regions, regions_key
from vsal.settings import PrepareSettings
from vsal.storage import SourceInfo

# Stat and footer reads wait for a disk or an object store, not for a CPU.
THREADS = 25  # as many connections as pyarrow's client keeps
# Titles that one thread takes at a time: handing over a title costs as much as a local stat.
BATCH = 32


@dataclass(frozen=True, slots=True)
class Committed:
    """A manifest file as the journal of the run that wrote or found it has it.

    Attributes:
        fingerprint: of the file.
        file: its version; where another lies there now, nothing is known.
        counts: its frames, shots and maps.
    """

    fingerprint: str
    file: SourceInfo
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WorkItem:
    """One title of the catalogue, and what is known of it before any work."""

    title: Title
    source: SourceInfo | None  # None where the source cannot be had
    fingerprint: str | None  # of the manifest that a run would write
    regions: tuple[Region, ...] = ()  # that somebody marked in it
    committed: Committed | None = None  # OUT holds a manifest with this very fingerprint
    failure: TitleFailed | None = None


@dataclass(frozen=True, slots=True)
class TitlePlan:
    """A work item with the facts that the container's header tells.

    `segments` and `frames_to_infer` are estimates by the declared duration: cutting at keyframes and counting frames
    would need the packets.
    """

    item: WorkItem
    would_skip: bool
    codec: str = ""
    width: int = 0
    height: int = 0
    fps: float | None = None
    duration_s: float | None = None
    segments: int = 0
    frames: int | None = None
    frames_to_infer: int | None = None
    failure: TitleFailed | None = None

    def document(self) -> dict[str, Any]:
        """The title as `vsal plan --json` prints it."""
        source = self.item.source
        return {
            "title_id": self.item.title.title_id,
            "uri": self.item.title.uri,
            "bytes": source.size if source else None,
            "would_skip": self.would_skip,
            "codec": self.codec or None,
            "width": self.width or None,
            "height": self.height or None,
            "fps": None if self.fps is None else round(self.fps, 3),
            "duration_s": None if self.duration_s is None else round(self.duration_s, 3),
            "segments": self.segments,
            "frames": self.frames,
            "frames_to_infer": self.frames_to_infer,
            "failed": None
            if self.failure is None
            else {"reason": str(self.failure.reason), "detail": self.failure.detail},
        }


def work_list(
    titles: Sequence[Title],
    out: str,
    settings: PrepareSettings,
    model_sha256: str,
    known: Mapping[str, Committed] | None = None,
    regions: Regions | None = None,
) -> list[WorkItem]:
    """One item a title, in the catalogue's order.

    OUT/maps is listed once, and only manifests are opened of which `known` does not tell. A title that cannot be looked
    at becomes an item with a failure; nothing is raised for a single title.

    Args:
        titles: of the catalogue.
        out: root of the manifest.
        settings: what shapes it.
        model_sha256: of the model.
        known: by title, what journals tell of manifest files.
        regions: of the titles, where somebody marked some.
    """
    files = storage.list_versions(storage.join(out, "maps"), recursive=False)
    present = {storage.name(info.uri): info for info in files}
    sources = storage.told_by_listings([title.uri for title in titles])
    shaping, known = settings.shaping(), known or {}

    def look(title: Title) -> WorkItem:
        try:
            source = sources.get(title.uri) or storage.stat(title.uri)
        except Exception as error:
            return WorkItem(title, None, None, failure=_source_failure(title, error))
        mine = () if regions is None else regions.of(title.title_id)
        fingerprint = manifest.fingerprint(source, model_sha256, shaping | {"regions": regions_key(mine)})
        uri = manifest.maps_uri(out, title.title_id)
        file = present.get(storage.name(uri))
        if file is None:
            return WorkItem(title, source, fingerprint, mine)
        committed = known.get(title.title_id)
        try:
            if committed is None or not committed.file.same_version(file):
                read = manifest.read_commit(out, title.title_id)
                committed = None if read is None else Committed(read[0], file, read[1])
        except OSError as error:
            # It may be done; doing it again would cost more than asking again in the next run.
            detail = f"cannot read {uri}, so it is not known whether the title is done: {error}"
            return WorkItem(title, source, fingerprint, mine, failure=TitleFailed(Reason.WRITE_FAILED, detail))
        same = committed is not None and committed.fingerprint == fingerprint
        return WorkItem(title, source, fingerprint, mine, committed if same else None)

    return list(_threaded(look, titles))


def plan_titles(
    titles: Sequence[Title],
    out: str | None,
    settings: PrepareSettings,
    model_sha256: str,
    *,
    segment_s: float,
    force: bool = False,
    known: Mapping[str, Committed] | None = None,
    regions: Regions | None = None,
) -> Iterator[TitlePlan]:
    """What a run over these titles would do, one plan a title in the catalogue's order, as they become known.

    Files are opened, and at most the first picture of each is decoded. Without `out` nothing counts as done already;
    `known` and `regions` are as for `work_list`.
    """
    items = work_list(titles, out, settings, model_sha256, known, regions) if out is not None else _unplaced(titles)

    def look(item: WorkItem) -> TitlePlan:
        return _plan(item, settings, segment_s, force)

    yield from _threaded(look, items)


def _unplaced(titles: Sequence[Title]) -> list[WorkItem]:
    def look(title: Title) -> WorkItem:
        try:
            return WorkItem(title, storage.stat(title.uri), None)
        except Exception as error:
            return WorkItem(title, None, None, failure=_source_failure(title, error))

    return list(_threaded(look, titles))


def _plan(item: WorkItem, settings: PrepareSettings, segment_s: float, force: bool) -> TitlePlan:
    # Here, so that FFmpeg stays out of processes that need the work list only.
    from vsal.video.probe import probe
    from vsal.video.segments import SHORTEST_CUT

    would_skip = item.committed is not None and not force
    if item.failure is not None:
        return TitlePlan(item, would_skip, failure=item.failure)
    try:
        info = probe(item.title.uri, decode=False)
    except TitleFailed as failure:
        return TitlePlan(item, would_skip, failure=failure)
    frames = info.frames_estimate
    infer = None
    if info.duration_s is not None:
        # One sample at each point of the clock from 0 up to the last frame, but never a frame twice.
        last_s = max(0.0, info.duration_s - (1 / float(info.fps) if info.fps else 0.0))
        infer = math.floor(last_s * settings.sample_rate) + 1
    if frames is not None:
        infer = min(infer, frames) if infer is not None else frames
    segments = 1
    if info.segmentable and info.duration_s is not None and info.duration_s >= SHORTEST_CUT * segment_s:
        segments = max(1, round(info.duration_s / segment_s))
    return TitlePlan(
        item,
        would_skip,
        codec=info.codec,
        width=info.width,
        height=info.height,
        fps=None if info.fps is None else float(info.fps),
        duration_s=info.duration_s,
        segments=segments,
        frames=frames,
        frames_to_infer=infer,
    )


def _source_failure(title: Title, error: Exception) -> TitleFailed:
    if isinstance(error, TitleFailed):
        return error
    if isinstance(error, FileNotFoundError):
        return TitleFailed(Reason.SOURCE_NOT_FOUND, f"there is no {title.uri}")
    if isinstance(error, IsADirectoryError):
        return TitleFailed(Reason.UNSUPPORTED, f"{title.uri} is a folder, not a video file")
    if isinstance(error, VsalError):
        return TitleFailed(Reason.UNREADABLE, str(error))
    return TitleFailed(Reason.UNREADABLE, f"cannot look at {title.uri}: {error}")


T = TypeVar("T")
R = TypeVar("R")


def _threaded(look: Callable[[T], R], things: Sequence[T]) -> Iterator[R]:
    """`look` at each thing in THREADS threads, results in order."""
    batches = [things[i : i + BATCH] for i in range(0, len(things), BATCH)]
    if len(batches) < THREADS:
        size = max(1, math.ceil(len(things) / THREADS))
        batches = [things[i : i + size] for i in range(0, len(things), size)]
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="vsal-plan")
    try:
        for results in pool.map(lambda batch: [look(thing) for thing in batch], batches):
            yield from results
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupted run does not wait for the rest of the catalogue
