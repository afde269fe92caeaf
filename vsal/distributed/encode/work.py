"""Encoding as a kind of work: a title is planned, its chunks are encoded in parallel, joined and recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from vsal.distributed.encode.tasks import chunk_task, join_task, plan_task
from vsal.distributed.failures import LOST_CHUNKS, Failure
from vsal.distributed.outcomes import Outcome
from vsal.distributed.work import Item, Step
from vsal.encode.chunks import ChunkDone, ChunkSpec
from vsal.encode.record import info_of, version_of
from vsal.encode.resume import Commit
from vsal.encode.settings import EncodeSettings
from vsal.encode.title import EncodePlan
from vsal.errors import Reason
from vsal.settings import RunSettings

MAKINGS = 3  # of a title's chunks, where others remove them time and again


@dataclass(slots=True)
class _Planned:
    """A title whose chunks are being made.

    Attributes:
        plan: of it.
        made: how often its chunks were asked for.
        done: chunks by their index.
    """

    plan: EncodePlan
    made: int = 1
    done: dict[int, ChunkDone] = field(default_factory=dict)


class EncodeWork:
    """As `vsal.distributed.work.Work` says.

    Args:
        out: where `vsal prepare` wrote.
        dest: folder of the finished files.
        settings: of the encodes.
        run: how the work is run.
        items: the titles.
        cpus_of_largest_node: which a title of one chunk has to itself.
        lease: name of the lease under which chunks are made.
    """

    kind = "encode"

    def __init__(
        self,
        out: str,
        dest: str,
        settings: EncodeSettings,
        run: RunSettings,
        items: Sequence[Item],
        cpus_of_largest_node: int,
        lease: str,
    ) -> None:
        self._out, self._dest, self._settings, self._run = out, dest, settings, run
        self._items, self._node_cpus, self._lease = items, cpus_of_largest_node, lease
        self._planned: dict[str, _Planned] = {}

    def actors(self) -> Mapping[str, Any]:
        """None: encoders live as long as their chunk."""
        return {}

    def todo(self) -> Iterator[Item]:
        """The titles that are left. One may be encoded all the same, by other words: its plan tells."""
        return iter(self._items)

    def first(self, item: Item) -> Sequence[Step]:
        """The plan."""
        return [self._plan(item, whole=False)]

    def then(self, item: Item, step: Step, value: Any) -> Sequence[Step] | Outcome:
        """Chunks follow from the plan, the join from the last chunk."""
        if isinstance(value, EncodePlan):
            if value.made is not None:
                return outcome_of(item, "skipped", value.made)
            self._planned[item.title_id] = _Planned(value)
            return self._chunks(value)
        title = self._planned[item.title_id]
        if isinstance(value, ChunkDone):
            title.done[value.index] = value
            return [self._join(title)] if len(title.done) == len(title.plan.chunks) else []
        del self._planned[item.title_id]
        return outcome_of(item, "done", value)

    def failed(self, item: Item, step: Step, failure: Failure) -> Sequence[Step] | Outcome:
        """Chunks that do not fit their source or each other are made again in one piece, and those that others have
        removed are made again; else the title has failed.
        """
        title = self._planned.pop(item.title_id, None)
        if failure.rule == LOST_CHUNKS and title is not None and title.made < MAKINGS:
            self._planned[item.title_id] = _Planned(title.plan, title.made + 1)
            return self._chunks(title.plan)  # those that are there are not made again
        if failure.reason is Reason.DECODE_ERROR and title is not None and len(title.plan.chunks) > 1:
            # The source cannot be entered at a shot, or its chunks do not join; from its beginning it has no joins.
            return [self._plan(item, whole=True)]
        return Outcome(item.title_id, item.uri, "failed", failure.reason, failure.detail, trace=failure.trace)

    def _plan(self, item: Item, whole: bool) -> Step:
        asked = (self._out, item.title_id, self._settings, self._dest, whole, self._run.force)
        # Under another name for the whole title: what failed in the pieces is not held against it.
        name = "plan whole" if whole else "plan"
        return Step(name, lambda ticket: plan_task.remote(ticket, *asked), what="planning it")

    def _chunks(self, plan: EncodePlan) -> list[Step]:
        # The longest first: of what is left at the end only the short ones make others wait.
        longest_first = sorted(plan.chunks, key=lambda spec: spec.frame_start - spec.frame_end)
        return [self._chunk(plan, spec) for spec in longest_first]

    def _chunk(self, plan: EncodePlan, chunk: ChunkSpec) -> Step:
        # Many chunks run best with one thread each; one chunk alone has a node to itself.
        threads = self._settings.threads or (1 if len(plan.chunks) > 1 else self._node_cpus)
        cpus = min(threads, self._node_cpus)  # more than a node has would wait for ever
        spec = replace(chunk, settings=replace(plan.settings, threads=threads))
        task = chunk_task.options(num_cpus=cpus, name=f"chunk_task {chunk.index}")
        what = f"chunk {chunk.index} of {len(plan.chunks)}, frames {chunk.frame_start} to {chunk.frame_end - 1},"
        pieces = "" if len(plan.chunks) > 1 else " whole"
        return Step(f"chunk {chunk.index}{pieces}", lambda ticket: task.remote(ticket, spec), what=what, cpus=cpus)

    def _join(self, title: _Planned) -> Step:
        done = [title.done[index] for index in sorted(title.done)]
        asked = (title.plan, done, self._lease)
        return Step("join", lambda ticket: join_task.remote(ticket, *asked), what="joining its chunks")


def outcome_of(item: Item, status: Literal["done", "skipped"], record: dict[str, Any]) -> Outcome:
    """Of a title whose output is there, from the record beside it."""
    return Outcome(
        item.title_id,
        item.uri,
        status,
        path=record["outputs"][0]["name"],
        fingerprint=record["asked"],
        file=info_of(record["record"]),
        frames=record["frames"],
        duration_s=record["duration_s"],
        figures={
            "bytes": sum(file["size"] for file in record["outputs"]),
            "chunks": len(record["chunks"]),
            "left_out": list(record["left_out"]),  # streams of the source that the container does not hold
            "bit_share": (record["budget"] or {}).get("achieved"),  # of the top area, where one was asked for
            "bit_share_without": (record["budget"] or {}).get("without"),  # where that is enough, no maps are given
            # What resume needs beside fingerprint and file: see `commit_in`.
            "manifest": record["manifest"],
            "outputs": record["outputs"],
        },
    )


def commit_in(outcome: Outcome) -> Commit:
    """What an outcome tells of the encode that it was committed with; a commit of nothing where it tells of none."""
    if outcome.file is None or "outputs" not in outcome.figures:
        return {"asked": "", "outputs": [], "manifest": {}, "record": {}}
    told = {"manifest": outcome.figures["manifest"], "outputs": outcome.figures["outputs"]}
    return told | {"asked": outcome.fingerprint, "record": version_of(outcome.file)}
