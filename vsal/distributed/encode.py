"""Encoding a catalogue on Ray: titles are planned, their chunks encoded in parallel, joined, and accounted for."""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

import ray
from ray.exceptions import RayError, WorkerCrashedError

from vsal import manifest, storage
from vsal.distributed.cluster import cluster_size, ray_cluster
from vsal.encode.chunks import ChunkDone, ChunkSpec, encode_chunk
from vsal.encode.settings import EncodeSettings
from vsal.encode.title import EncodePlan, check_settings, finish, finished, plan_title
from vsal.errors import Reason, SettingsError, TitleFailed, VsalError
from vsal.settings import RunSettings

POISON_DEATHS = 2  # a chunk that has killed so many workers would kill the next
POLL_S = 0.5
_RETRIED = {Reason.WORKER_DIED, Reason.WRITE_FAILED}

Status = Literal["done", "skipped", "failed"]


@dataclass(frozen=True, slots=True)
class EncodeOutcome:
    """How the encode of one title ended."""

    title_id: str
    status: Status
    reason: Reason | None = None
    detail: str = ""
    path: str = ""  # of the output, relative to DEST
    frames: int = 0
    bytes: int = 0
    chunks: int = 0
    seconds: float = 0.0  # from plan to published file
    attempts: int = 1  # of the chunk that took most


@dataclass(frozen=True, slots=True)
class EncodeProgress:
    """Where a run stands, for whoever draws it."""

    titles: int
    done: int
    skipped: int
    failed: int
    in_flight: int
    frames: int
    elapsed_s: float
    finished: EncodeOutcome | None = None


@dataclass(frozen=True, slots=True)
class EncodeSummary:
    """The end of a run."""

    run_id: str
    dest: str
    outcomes: Sequence[EncodeOutcome]
    seconds: float
    max_failed: int = 0
    settings: dict[str, Any] = field(default_factory=dict)

    def count(self, status: Status) -> int:
        """Number of titles that ended so."""
        return sum(outcome.status == status for outcome in self.outcomes)

    @property
    def exit_code(self) -> int:
        """0 only if no more titles failed than were allowed to."""
        return 0 if self.count("failed") <= self.max_failed else 1

    def document(self) -> dict[str, Any]:
        """The JSON document of the run."""
        statuses: tuple[Status, ...] = ("done", "skipped", "failed")
        return {
            "run_id": self.run_id,
            "dest": self.dest,
            "titles": {status: self.count(status) for status in statuses},
            "frames": sum(outcome.frames for outcome in self.outcomes if outcome.status == "done"),
            "bytes": sum(outcome.bytes for outcome in self.outcomes if outcome.status == "done"),
            "seconds": round(self.seconds, 3),
            "failed": [
                {"title_id": o.title_id, "reason": str(o.reason), "detail": o.detail, "attempts": o.attempts}
                for o in self.outcomes
                if o.status == "failed"
            ],
            "outcomes": [asdict(outcome) for outcome in self.outcomes] if len(self.outcomes) <= 1000 else None,
            "settings": self.settings,
        }


# Failures travel as values: a title's is an outcome, and no more an exception of the run.


@ray.remote(num_cpus=1, max_retries=0)
def _plan_task(
    out: str, title_id: str, settings: EncodeSettings, dest: str, whole: bool, force: bool
) -> tuple[EncodePlan, bool] | TitleFailed:
    try:
        plan = plan_title(out, title_id, settings, dest, whole)
        return plan, finished(plan) and not force
    except TitleFailed as failure:
        return failure
    except (VsalError, OSError) as error:
        return TitleFailed(Reason.UNREADABLE, str(error))


@ray.remote(max_retries=0)
def _chunk_task(spec: ChunkSpec) -> ChunkDone | TitleFailed:
    try:
        return encode_chunk(spec)
    except TitleFailed as failure:
        return failure
    except OSError as error:
        return TitleFailed(Reason.WRITE_FAILED, str(error))
    except VsalError as error:
        return TitleFailed(Reason.UNSUPPORTED, str(error))


@ray.remote(num_cpus=1, max_retries=0)
def _finish_task(plan: EncodePlan, done: list[ChunkDone]) -> dict[str, Any] | TitleFailed:
    try:
        return finish(plan, done)
    except TitleFailed as failure:
        return failure
    except OSError as error:
        return TitleFailed(Reason.WRITE_FAILED, str(error))


def encode_catalogue(
    out: str,
    dest: str,
    settings: EncodeSettings,
    run: RunSettings,
    *,
    title_ids: Sequence[str] | None = None,
    address: str | None = None,
    on_progress: Callable[[EncodeProgress], None] | None = None,
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
    with ray_cluster(run, address):
        driver = _Driver(out, dest, settings, run, wanted, began, on_progress)
        outcomes = driver.work()
    return EncodeSummary(
        run_id=f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}",
        dest=dest,
        outcomes=[outcomes[title_id] for title_id in wanted],
        seconds=time.perf_counter() - began,
        max_failed=run.max_failed,
        settings=settings.to_json(),
    )


@dataclass(slots=True)
class _Open:
    """A title in flight."""

    began: float
    whole: bool = False
    plan: EncodePlan | None = None
    done: dict[int, ChunkDone] = field(default_factory=dict)
    attempts: dict[int, int] = field(default_factory=dict)
    deaths: dict[int, int] = field(default_factory=dict)


class _Driver:
    """The loop over titles and chunks. A chunk is the unit of retry, a title of commit."""

    def __init__(
        self,
        out: str,
        dest: str,
        settings: EncodeSettings,
        run: RunSettings,
        title_ids: Sequence[str],
        began: float,
        on_progress: Callable[[EncodeProgress], None] | None,
    ) -> None:
        self._out, self._dest, self._settings, self._run = out, dest, settings, run
        self._waiting = deque(title_ids)
        self._titles, self._began, self._on_progress = len(title_ids), began, on_progress
        self._size = cluster_size()
        self._most = run.titles_in_flight or int(self._size.cpus) + 1
        self._open: dict[str, _Open] = {}
        self._flying: dict[Any, tuple[str, int | None]] = {}  # task -> title, and chunk; -1 plans, None joins
        self._outcomes: dict[str, EncodeOutcome] = {}

    def work(self) -> dict[str, EncodeOutcome]:
        """Run until every title has an outcome."""
        try:
            while self._waiting or self._open:
                while self._waiting and len(self._open) < self._most:
                    title_id = self._waiting.popleft()
                    self._open[title_id] = _Open(time.perf_counter())
                    self._start_plan(title_id)
                ready, _ = ray.wait(list(self._flying), num_returns=1, timeout=POLL_S)
                for task in ready:
                    title_id, chunk = self._flying.pop(task)
                    self._take(title_id, chunk, _answer(task))
                self._show(None)
        except BaseException:
            for task in self._flying:
                ray.cancel(task, force=True)
            raise
        return self._outcomes

    def _start_plan(self, title_id: str) -> None:
        whole, force = self._open[title_id].whole, self._run.force
        task = _plan_task.remote(self._out, title_id, self._settings, self._dest, whole, force)
        self._flying[task] = (title_id, -1)

    def _start_chunk(self, title_id: str, plan: EncodePlan, index: int) -> None:
        # Many chunks run best with one thread each; one chunk alone has a node to itself.
        cpus = self._settings.threads or (1 if len(plan.chunks) > 1 else int(self._size.cpus_of_largest_node))
        spec = replace(plan.chunks[index], settings=replace(plan.settings, threads=cpus))
        self._flying[_chunk_task.options(num_cpus=cpus).remote(spec)] = (title_id, index)

    def _take(self, title_id: str, chunk: int | None, answer: Any) -> None:
        title = self._open.get(title_id)
        if title is None:  # it has failed by another of its chunks
            return
        if isinstance(answer, TitleFailed):
            self._failed(title_id, title, chunk, answer)
        elif chunk == -1:
            self._planned(title_id, title, *answer)
        elif chunk is None:
            self._settle(title_id, self._record(title_id, title, answer))
        else:
            title.done[chunk] = answer
            plan = title.plan
            if plan is not None and len(title.done) == len(plan.chunks):
                parts = [title.done[index] for index in sorted(title.done)]
                self._flying[_finish_task.remote(plan, parts)] = (title_id, None)

    def _planned(self, title_id: str, title: _Open, plan: EncodePlan, there: bool) -> None:
        title.plan = plan
        if there:
            outcome = EncodeOutcome(title_id, "skipped", path=storage.name(plan.dest), chunks=len(plan.chunks))
            self._settle(title_id, outcome)
            return
        for index in range(len(plan.chunks)):
            self._start_chunk(title_id, plan, index)

    def _failed(self, title_id: str, title: _Open, chunk: int | None, failure: TitleFailed) -> None:
        number = -2 if chunk is None else chunk
        tried = title.attempts[number] = title.attempts.get(number, 1) + 1
        if failure.reason is Reason.WORKER_DIED:
            title.deaths[number] = title.deaths.get(number, 0) + 1
        poison = title.deaths.get(number, 0) >= POISON_DEATHS
        if failure.reason in _RETRIED and tried <= self._run.attempts and not poison:
            if chunk == -1:
                self._start_plan(title_id)
            elif chunk is None and title.plan is not None:
                parts = [title.done[index] for index in sorted(title.done)]
                self._flying[_finish_task.remote(title.plan, parts)] = (title_id, None)
            elif chunk is not None and title.plan is not None:
                self._start_chunk(title_id, title.plan, chunk)
            return
        if failure.reason is Reason.DECODE_ERROR and title.plan and len(title.plan.chunks) > 1 and not title.whole:
            # The source cannot be entered at a shot; from its beginning it can.
            self._open[title_id] = _Open(title.began, whole=True)
            self._flying = {task: place for task, place in self._flying.items() if place[0] != title_id}
            self._start_plan(title_id)
            return
        detail = f"poison: {failure.detail}" if poison else failure.detail
        seconds = time.perf_counter() - title.began
        self._settle(
            title_id,
            EncodeOutcome(title_id, "failed", failure.reason, detail, seconds=seconds, attempts=tried - 1),
        )

    def _record(self, title_id: str, title: _Open, record: dict[str, Any]) -> EncodeOutcome:
        return EncodeOutcome(
            title_id,
            "done",
            path=record["output"],
            frames=record["frames"],
            bytes=record["bytes"],
            chunks=len(record["chunks"]),
            seconds=round(time.perf_counter() - title.began, 3),
            attempts=max(title.attempts.values(), default=1),
        )

    def _settle(self, title_id: str, outcome: EncodeOutcome) -> None:
        self._outcomes[title_id] = outcome
        del self._open[title_id]
        self._show(outcome)

    def _show(self, ended: EncodeOutcome | None) -> None:
        if self._on_progress is None:
            return
        count = dict.fromkeys(("done", "skipped", "failed"), 0)
        for outcome in self._outcomes.values():
            count[outcome.status] += 1
        frames = sum(outcome.frames for outcome in self._outcomes.values())
        frames += sum(part.frames for title in self._open.values() for part in title.done.values())
        elapsed_s = time.perf_counter() - self._began
        self._on_progress(
            EncodeProgress(
                self._titles, **count, in_flight=len(self._open), frames=frames, elapsed_s=elapsed_s, finished=ended
            )
        )


def _answer(task: Any) -> Any:
    """What a task returned; its worker's death as the failure that it is."""
    try:
        return ray.get(task)
    except WorkerCrashedError:
        return TitleFailed(Reason.WORKER_DIED, "the worker that encoded it died")
    except RayError as error:
        cause = getattr(error, "cause", None)
        return TitleFailed(Reason.WORKER_DIED, f"{type(cause or error).__name__}: {str(cause or error)[:300]}")
