"""Preparing as a kind of work: a title is opened, its segments scanned and joined by an aggregator, then committed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vsal.distributed.box import boxed
from vsal.distributed.failures import BROKEN_JOIN, STALE, Failure
from vsal.distributed.outcomes import Outcome
from vsal.distributed.prepare.job import Job
from vsal.distributed.prepare.tasks import Cut, Prepared, mask_bytes, open_task, scan_task, short_title_task
from vsal.distributed.pulse import Ticket
from vsal.distributed.work import Item, Step
from vsal.planning import WorkItem
from vsal.video.segments import WHOLE, Segment

SHORT_BYTES = 2_000_000  # files that are tried as one segment in one task: most last seconds
BEGINNINGS = 10  # of a title whose aggregator is lost time and again


@dataclass(slots=True)
class _Long:
    """A title that is scanned in segments.

    Attributes:
        beginnings: how often an aggregator was asked to open it.
        anew: its pieces did not fit: what was kept of it is not to be trusted.
        segments: that are to be scanned in this attempt.
        scanned: indices of segments that are done.
        failed: its outcome, while what it left is cleared away.
    """

    cut: Cut
    beginnings: int = 0
    anew: bool = False
    segments: list[Segment] = field(default_factory=list)
    scanned: set[int] = field(default_factory=set)
    failed: Outcome | None = None


class PrepareWork:
    """As `vsal.distributed.work.Work` says.

    Args:
        job: the run.
        items: the titles that are left.
    """

    kind = "prepare"

    def __init__(self, job: Job, items: Sequence[WorkItem]) -> None:
        self._job, self._items = job, items
        self._box = boxed(job)
        self._long: dict[str, _Long] = {}
        sessions = [actor for _, actor in job.pools.saliency]
        self._actors = {f"session {i}": actor for i, actor in enumerate(sessions)}
        self._actors |= {f"aggregator {i}": actor for i, actor in enumerate(job.pools.aggregators)}

    def actors(self) -> Mapping[str, Any]:
        """Sessions and aggregators."""
        return self._actors

    def todo(self) -> Iterator[Item]:
        """The titles by the size of their files."""
        for item in self._items:
            yield Item(item.title.title_id, item.title.uri, item.source.size if item.source else 0, item)

    def first(self, item: Item) -> Sequence[Step]:
        """Opening it; a small file is prepared at once if it turns out short."""
        # Titles of a model with a memory are fed to it by the scan task, which does not wait for the masks.
        small = item.size <= SHORT_BYTES and not self._job.model_input.ordered
        task = short_title_task if small else open_task
        return [Step("open", lambda ticket: task.remote(ticket, self._box, item.content), what="opening it")]

    def then(self, item: Item, step: Step, value: Any) -> Sequence[Step] | Outcome:
        """Segments follow from opening, the commit from the last segment."""
        if isinstance(value, Prepared):
            return self._done(item, value.counts, value.duration_s)
        if isinstance(value, Cut):
            self._long[item.title_id] = _Long(value)
            return self._begin(item)
        title = self._long[item.title_id]
        if step.name == "begin":
            title.segments = value
            return [self._scan(item, title, segment) for segment in title.segments]
        if step.name == "finish":
            del self._long[item.title_id]
            return self._done(item, value, title.cut.info.duration_s or 0.0)
        if step.name == "abandon":
            return self._settled(item)
        title.scanned.add(step.content)
        return [self._call("finish", item, "committing it")] if len(title.scanned) == len(title.segments) else []

    def failed(self, item: Item, step: Step, failure: Failure) -> Sequence[Step] | Outcome:
        """A title that cannot go on as it is begins again, in one piece if need be; or it has failed."""
        title = self._long.get(item.title_id)
        outcome = Outcome(
            item.title_id, item.uri, "failed", failure.reason, failure.detail, trace=failure.trace
        )  # fmt: skip
        if title is None:
            return outcome
        if title.failed is not None:  # abandoning it failed: its aggregator is lost, and its memory with it
            return self._settled(item)
        if failure.rule == BROKEN_JOIN and title.segments != [WHOLE]:
            # No clean entry points after all (intra refresh, a wrong index): in one piece there are no joins.
            title.cut, title.anew = replace(title.cut, segments=[WHOLE]), True
            return self._begin(item)
        if failure.rule == STALE and title.beginnings < BEGINNINGS:
            return self._begin(item)
        title.failed = outcome
        return [self._call("abandon", item, "clearing it away")]

    def _begin(self, item: Item) -> list[Step]:
        title = self._long[item.title_id]
        title.beginnings += 1
        title.scanned.clear()
        aggregator = self._job.pools.aggregator_of(item.title_id)

        def start(ticket: Ticket) -> Any:
            return aggregator.begin.remote(
                self._box, self._attempt_id(item), item.content, title.cut.info, title.cut.segments, title.anew
            )  # fmt: skip

        return [Step("begin", start, what="opening it", cpus=0)]

    def _scan(self, item: Item, title: _Long, segment: Segment) -> Step:
        job, attempt_id, info = self._job, self._attempt_id(item), title.cut.info
        task = scan_task.options(name=f"scan_task {segment.index}")

        def start(ticket: Ticket) -> Any:
            return task.remote(ticket, self._box, attempt_id, item.title_id, info, segment)

        count = len(title.segments)
        seconds = min(job.run.segment_s, info.duration_s or job.run.segment_s) if count > 1 else info.duration_s or 0.0
        return Step(
            f"scan {segment.index}",
            start,
            what=f"segment {segment.index} of {count}",
            held_bytes=mask_bytes(job.settings, job.model_input, seconds),
            join=segment.index,
            content=segment.index,
        )

    def _call(self, method: str, item: Item, what: str) -> Step:
        aggregator = self._job.pools.aggregator_of(item.title_id)
        attempt_id = self._attempt_id(item)
        return Step(method, lambda ticket: getattr(aggregator, method).remote(attempt_id), what=what, cpus=0)

    def _attempt_id(self, item: Item) -> str:
        """Names one beginning of a title: what is still on its way from the one before is refused."""
        return f"{item.title_id}#{self._long[item.title_id].beginnings}"

    def _settled(self, item: Item) -> Outcome:
        outcome = self._long.pop(item.title_id).failed
        assert outcome is not None  # a title is abandoned only once it has failed
        return outcome

    def _done(self, item: Item, counts: Mapping[str, Any], duration_s: float) -> Outcome:
        figures = dict(counts)
        return Outcome(
            item.title_id, item.uri, "done", path=f"maps/{item.title_id}.parquet",
            frames=figures.pop("frames"), detail=figures.pop("detail"), duration_s=duration_s,
            fingerprint=item.content.fingerprint, file=figures.pop("file"), figures=figures,
        )  # fmt: skip
