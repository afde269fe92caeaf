"""Encoding a catalogue on Ray: titles are planned, their chunks encoded in parallel, joined, and accounted for."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import ray

from vsal import manifest, storage
from vsal.distributed.cluster import cluster_size, ray_cluster
from vsal.distributed.encode_metrics import EncodeMetrics
from vsal.distributed.encode_outcomes import EncodeOutcome, EncodeSummary, EncodeTally, write_summary
from vsal.distributed.encode_tasks import WorkerKilled, answer_of, chunk_task, join_task, plan_task
from vsal.distributed.outcomes import Progress, new_run_id
from vsal.distributed.retries import POISON_DEATHS, POLL_S, RETRIED
from vsal.encode.chunks import ChunkDone
from vsal.encode.settings import EncodeSettings
from vsal.encode.title import EncodePlan, check_settings
from vsal.errors import Reason, SettingsError, TitleFailed
from vsal.settings import RunSettings

OnProgress = Callable[[Progress], None]


def encode_catalogue(
    out: str,
    dest: str,
    settings: EncodeSettings,
    run: RunSettings,
    *,
    title_ids: Sequence[str] | None = None,
    address: str | None = None,
    on_progress: OnProgress | None = None,
) -> EncodeSummary:
    """Encode every prepared title that is not encoded with these settings yet.

    Args:
        out: where `vsal prepare` wrote.
        dest: folder of the finished files.
        settings: of the encodes.
        run: how the work is run: attempts, force, max_failed, titles_in_flight.
        title_ids: of the titles; all that are prepared if None.
        address: of the Ray cluster to join; None for this machine.
        on_progress: called about twice a second, and once for each title that ends.

    Returns:
        The run's summary, which is also written to DEST/runs.

    Raises:
        SettingsError: before any work: nothing prepared, output not writable, the encoder not there, or it would ignore
            the maps.
    """
    began = time.perf_counter()
    known = manifest.read_manifest(out).title_ids()
    wanted = list(known if title_ids is None else title_ids)
    missing = sorted(set(wanted) - set(known))
    if not wanted or missing:
        raise SettingsError(
            f"{out} holds no maps of {', '.join(missing) or 'any title'}, and {len(known)} titles in all: see "
            f"`vsal inspect {out}`"
        )
    storage.check_writable(dest)
    check_settings(settings)
    tally = EncodeTally(len(wanted), began)
    with ray_cluster(run, address):
        startup_s = time.perf_counter() - began
        _Driver(out, dest, settings, run, tally, on_progress).work(wanted)
        seconds = time.perf_counter() - began  # without Ray's shutdown
    summary = EncodeSummary(
        run_id=new_run_id(),
        dest=dest,
        outcomes=tally.in_order(wanted),
        seconds=seconds,
        startup_s=startup_s,
        max_failed=run.max_failed,
        settings=settings.to_json(),
    )
    write_summary(summary)
    return summary


@dataclass(frozen=True, slots=True)
class _Step:
    """What a task is for: the unit of retry."""

    title_id: str
    kind: Literal["plan", "chunk", "join"]
    chunk: int = 0


@dataclass(slots=True)
class _Open:
    """A title in flight."""

    began: float
    whole: bool = False
    plan: EncodePlan | None = None
    done: dict[int, ChunkDone] = field(default_factory=dict)
    attempts: dict[_Step, int] = field(default_factory=dict)
    deaths: dict[_Step, int] = field(default_factory=dict)

    @property
    def planned(self) -> EncodePlan:
        """Its plan, where it is known to have one."""
        assert self.plan is not None
        return self.plan


class _Driver:
    """The loop over titles and their steps. A chunk is the unit of retry, a title of commit."""

    def __init__(
        self,
        out: str,
        dest: str,
        settings: EncodeSettings,
        run: RunSettings,
        tally: EncodeTally,
        on_progress: OnProgress | None,
    ) -> None:
        self._out, self._dest, self._settings, self._run = out, dest, settings, run
        self._tally, self._on_progress = tally, on_progress
        self._size = cluster_size()
        self._most = run.titles_in_flight or int(self._size.cpus) + 1
        self._metrics = EncodeMetrics()
        self._open: dict[str, _Open] = {}
        self._flying: dict[Any, _Step] = {}

    def work(self, title_ids: Sequence[str]) -> None:
        """Run until every title has an outcome."""
        waiting = deque(title_ids)
        try:
            while waiting or self._open:
                while waiting and len(self._open) < self._most:
                    title_id = waiting.popleft()
                    self._open[title_id] = _Open(time.perf_counter())
                    self._start(_Step(title_id, "plan"))
                ready, _ = ray.wait(list(self._flying), num_returns=1, timeout=POLL_S)
                for task in ready:
                    self._take(self._flying.pop(task), answer_of(task))
                self._show(None)
        except BaseException:
            for task in self._flying:
                ray.cancel(task, force=True)
            raise

    def _start(self, step: _Step) -> None:
        title = self._open[step.title_id]
        task: Any
        if step.kind == "plan":
            task = plan_task.remote(self._out, step.title_id, self._settings, self._dest, title.whole, self._run.force)
        elif step.kind == "chunk":
            plan = title.planned
            # Many chunks run best with one thread each; one chunk alone has a node to itself.
            cpus = self._settings.threads or (1 if len(plan.chunks) > 1 else int(self._size.cpus_of_largest_node))
            spec = replace(plan.chunks[step.chunk], settings=replace(plan.settings, threads=cpus))
            task = chunk_task.options(num_cpus=cpus).remote(spec)
        else:
            task = join_task.remote(title.planned, [title.done[index] for index in sorted(title.done)])
        self._flying[task] = step

    def _take(self, step: _Step, answer: Any) -> None:
        title = self._open[step.title_id]
        if isinstance(answer, TitleFailed):
            self._failed(step, title, answer)
        elif step.kind == "plan":
            self._planned(step.title_id, title, answer)
        elif step.kind == "chunk":
            title.done[step.chunk] = answer
            self._tally.open_frames[step.title_id] = sum(part.frames for part in title.done.values())
            if len(title.done) == len(title.planned.chunks):
                self._start(_Step(step.title_id, "join"))
        else:
            seconds = round(time.perf_counter() - title.began, 3)
            attempts = max(title.attempts.values(), default=1)
            self._settle(_outcome(step.title_id, "done", answer, seconds, attempts))

    def _planned(self, title_id: str, title: _Open, plan: EncodePlan) -> None:
        title.plan = plan
        if plan.made is not None:
            self._settle(_outcome(title_id, "skipped", plan.made))
            return
        for index in range(len(plan.chunks)):
            self._start(_Step(title_id, "chunk", index))

    def _failed(self, step: _Step, title: _Open, failure: TitleFailed) -> None:
        attempt = title.attempts.get(step, 1)
        if isinstance(failure, WorkerKilled):
            title.deaths[step] = title.deaths.get(step, 0) + 1
        poison = title.deaths.get(step, 0) >= POISON_DEATHS
        if failure.reason in RETRIED and attempt < self._run.attempts and not poison:
            title.attempts[step] = attempt + 1
            self._start(step)
            return
        chunked = title.plan is not None and len(title.plan.chunks) > 1
        if failure.reason is Reason.DECODE_ERROR and chunked:
            # The source cannot be entered at a shot, or its chunks do not join; from its beginning it has no joins.
            self._forget(step.title_id)
            self._open[step.title_id] = _Open(title.began, whole=True)
            self._start(_Step(step.title_id, "plan"))
            return
        detail = _poisoned(step, title) if poison else failure.detail
        seconds = round(time.perf_counter() - title.began, 3)
        self._settle(EncodeOutcome(step.title_id, "failed", failure.reason, detail, seconds=seconds, attempts=attempt))

    def _forget(self, title_id: str) -> None:
        """Stops what still runs of a title."""
        for task in [task for task, step in self._flying.items() if step.title_id == title_id]:
            del self._flying[task]
            ray.cancel(task, force=True)

    def _settle(self, outcome: EncodeOutcome) -> None:
        self._forget(outcome.title_id)
        self._tally.settle(outcome)
        self._metrics.ended(outcome)
        del self._open[outcome.title_id]
        self._show(outcome)

    def _show(self, ended: EncodeOutcome | None) -> None:
        self._metrics.in_flight(len(self._open))
        if self._on_progress is not None:
            self._on_progress(self._tally.progress(len(self._open), ended))


def _outcome(
    title_id: str, status: Literal["done", "skipped"], record: dict[str, Any], seconds: float = 0.0, attempts: int = 1
) -> EncodeOutcome:
    """Of a title whose output is there, from the record beside it."""
    return EncodeOutcome(
        title_id,
        status,
        path=record["output"],
        frames=record["frames"],
        bytes=record["bytes"],
        chunks=len(record["chunks"]),
        seconds=seconds,
        attempts=attempts,
        duration_s=record["duration_s"],
        left_out=tuple(record["left_out"]),
        bit_share=(record["budget"] or {}).get("achieved"),
        bit_share_without=(record["budget"] or {}).get("without"),
    )


def _poisoned(step: _Step, title: _Open) -> str:
    what = {"plan": "planning it", "join": "joining its chunks"}.get(step.kind)
    if what is None:
        chunk = title.planned.chunks[step.chunk]
        number, count = step.chunk, len(title.planned.chunks)
        what = f"chunk {number} of {count}, frames {chunk.frame_start} to {chunk.frame_end - 1},"
    return f"poison: {what} killed {title.deaths[step]} workers; look at its memory use, or at the source"
