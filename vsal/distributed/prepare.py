"""The driver: keeps some titles in flight, owns retries, writes the run's summary. Pixels never come by here."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import RayError, TaskCancelledError, WorkerCrashedError

from vsal import storage
from vsal.assembly.cuts import make_cut_decider
from vsal.catalog import Title
from vsal.distributed.actors import start_pools
from vsal.distributed.cluster import check_budget, cluster_size, ray_cluster
from vsal.distributed.job import Job, boxed
from vsal.distributed.ledger import Ledger
from vsal.distributed.metrics import RunMetrics
from vsal.distributed.outcomes import Progress, RunSummary, TitleOutcome, new_run_id
from vsal.distributed.retries import POISON_DEATHS, POLL_S, RETRIED
from vsal.distributed.tasks import (
    STALL_S,
    attempt_id_of,
    prepare_short_title,
    prepare_title,
    title_of,
    warm_workers,
    window_bytes,
)
from vsal.errors import Reason, SettingsError
from vsal.planning import WorkItem, work_list
from vsal.saliency.contract import read_contract
from vsal.saliency.fit import require_fit
from vsal.saliency.registry import load_model
from vsal.settings import PrepareSettings, RunSettings

SHORT_BYTES = 2_000_000  # files that are tried as one segment in one task: most last seconds

OnProgress = Callable[[Progress], None]


def prepare_catalogue(
    titles: Sequence[Title],
    out: str,
    settings: PrepareSettings,
    run: RunSettings,
    *,
    address: str | None = None,
    on_progress: OnProgress | None = None,
) -> RunSummary:
    """Prepares every title of a catalogue that is not committed yet.

    Ray is started, or joined, only if there is work to do; a Ray that the caller has started is used and left running.

    Args:
        titles: of the catalogue, with unique ids.
        out: root of the manifest, any place that `vsal.storage` reaches.
        settings: what shapes the manifest.
        run: how the work is run.
        address: of the Ray cluster to join; None for this machine.
        on_progress: called about twice a second, and once for each title that ends.

    Returns:
        The run's summary, which is also written to OUT/runs.

    Raises:
        SettingsError: before any work: empty catalogue, output not writable, model does not load, no GPU, no room.
    """
    began = time.perf_counter()
    if not titles:
        raise SettingsError("the catalogue has no title")
    storage.check_writable(out)
    model = load_model(settings.model, accept_licence=run.accept_licence)
    shot_model = storage.read_bytes(settings.shot_model) if settings.shot_model else None
    settings = settings.pinned(shot_model)
    model_input = require_fit(read_contract(model.data), settings.saliency_mode, settings.aggregator)
    make_cut_decider(settings, shot_model)  # a cut model that does not load stops the run here
    items = work_list(titles, out, settings, model.sha256)
    ledger = Ledger(out, len(titles), began)
    ledger.settle_known(items, force=run.force)
    todo = deque(item for item in items if item.failure is None and (run.force or not item.committed))
    startup_s = seconds = time.perf_counter() - began
    if todo:
        with ray_cluster(run, address):
            size = cluster_size()
            check_budget(size, run, window_bytes(settings, model_input))
            in_flight = min(run.titles_in_flight or int(size.cpus) + 2, len(todo))
            warming = warm_workers(int(size.cpus) + in_flight)
            pools = start_pools(model.data, run, size)
            ray.get(warming)
            startup_s = time.perf_counter() - began
            job = Job(out, settings, run, model.name, model.sha256, model_input, shot_model, int(size.cpus), pools)
            _Driver(job, ledger, in_flight, on_progress).work(todo)
            seconds = time.perf_counter() - began  # without Ray's shutdown
    summary = RunSummary(
        run_id=new_run_id(),
        out=out,
        outcomes=ledger.in_order([title.title_id for title in titles]),
        seconds=seconds,
        startup_s=startup_s,
        max_failed=run.max_failed,
        settings={**settings.shaping(), "model": model.name, "model_sha256": model.sha256},
    )
    ledger.write(summary)
    return summary


class _Driver:
    """The loop over titles: at most `in_flight` at once, each tried at most `run.attempts` times."""

    def __init__(self, job: Job, ledger: Ledger, in_flight: int, on_progress: OnProgress | None) -> None:
        self._box = boxed(job)
        self._run = job.run
        self._in_order = job.model_input.ordered
        self._pools = job.pools
        self._ledger = ledger
        self._most = in_flight
        self._on_progress = on_progress
        self._metrics = RunMetrics()
        self._deaths: dict[str, int] = {}
        self._long: set[str] = set()  # small files that are no short titles
        self._begun: set[str] = set()  # attempts that an aggregator has opened

    def work(self, todo: deque[WorkItem]) -> None:
        """Runs until every title has an outcome."""
        flying: dict[Any, tuple[WorkItem, int, float]] = {}
        again: deque[tuple[WorkItem, int]] = deque((item, 1) for item in todo)
        last_poll = 0.0
        try:
            while again or flying:
                while again and len(flying) < self._most:
                    item, attempt = again.popleft()
                    flying[self._start(item, attempt)] = (item, attempt, time.monotonic())
                ready, _ = ray.wait(list(flying), num_returns=1, timeout=POLL_S)
                for task in ready:
                    item, attempt, _ = flying.pop(task)
                    outcome = self._outcome(task, item, attempt)
                    if outcome is None:
                        self._long.add(item.title.title_id)
                        again.appendleft((item, attempt))
                        continue
                    if outcome.reason in RETRIED and attempt < self._run.attempts and not self._poison(outcome):
                        again.append((item, attempt + 1))
                        continue
                    self._ledger.settle(outcome)
                    self._metrics.ended(outcome)
                    self._show(len(flying), outcome)
                if time.monotonic() - last_poll > POLL_S:
                    last_poll = time.monotonic()
                    self._poll()
                    self._cancel_stuck(flying)
                    self._show(len(flying), None)
        except BaseException:
            for task in flying:
                ray.cancel(task, force=True)
            raise

    def _start(self, item: WorkItem, attempt: int) -> Any:
        # Titles of a model with a memory are fed to it by the scan task, which does not wait for the masks.
        small = item.source is not None and item.source.size <= SHORT_BYTES and not self._in_order
        task = prepare_short_title if small and item.title.title_id not in self._long else prepare_title
        return task.remote(self._box, item, attempt)

    def _outcome(self, task: Any, item: WorkItem, attempt: int) -> TitleOutcome | None:
        """How a title ended; None where it was taken for a short one and is none."""
        failed = TitleOutcome(item.title.title_id, item.title.uri, "failed", attempts=attempt)
        try:
            outcome: TitleOutcome | None = ray.get(task)
            return outcome
        except TaskCancelledError:
            return replace(failed, reason=Reason.TIMEOUT, detail=f"it took longer than {self._limit_s():.0f} s")
        except WorkerCrashedError:
            deaths = self._deaths[item.title.title_id] = self._deaths.get(item.title.title_id, 0) + 1
            poison = "poison: " if deaths >= POISON_DEATHS else ""
            return replace(
                failed, reason=Reason.WORKER_DIED, detail=f"{poison}the worker that held the title died {deaths} times"
            )
        except RayError as error:
            return replace(failed, reason=Reason.WORKER_DIED, detail=f"{type(error).__name__} under the title")

    def _poison(self, outcome: TitleOutcome) -> bool:
        return outcome.detail.startswith("poison")

    def _poll(self) -> None:
        """Asks the aggregators how far the open titles are."""
        try:
            reports = ray.get([actor.progress.remote() for actor in self._pools.aggregators], timeout=5)
        except RayError:  # one is restarting; its titles are tried again
            return
        for report in reports:
            self._begun.update(report)
            self._ledger.open_frames.update((title_of(attempt_id), frames) for attempt_id, frames in report.items())

    def _cancel_stuck(self, flying: dict[Any, tuple[WorkItem, int, float]]) -> None:
        limit_s = self._limit_s()
        for task, (item, attempt, started) in flying.items():
            if attempt_id_of(item, attempt) not in self._begun and time.monotonic() - started > limit_s:
                ray.cancel(task, force=True)

    def _limit_s(self) -> float:
        """How long a header or a short title may take."""
        return self._run.title_timeout_s or STALL_S

    def _show(self, in_flight: int, finished: TitleOutcome | None) -> None:
        self._metrics.in_flight(in_flight)
        if self._on_progress is not None:
            self._on_progress(self._ledger.progress(in_flight, finished))
