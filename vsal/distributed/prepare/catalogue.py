"""The door to preparing a catalogue: what is checked before any work, the run, its summary."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import ray

from vsal import storage
from vsal.assembly.cuts import make_cut_decider
from vsal.catalog import Title
from vsal.distributed import journal
from vsal.distributed.cluster import check_budget, cluster_size, join_bytes, ray_cluster
from vsal.distributed.credit import Credit
from vsal.distributed.known import committed_files, failed_titles, settled_titles
from vsal.distributed.metrics import RunMetrics
from vsal.distributed.outcomes import OnProgress, Outcome, Summary, new_run_id
from vsal.distributed.prepare import tasks
from vsal.distributed.prepare.checkpoints import sweep_checkpoints
from vsal.distributed.prepare.job import Job
from vsal.distributed.prepare.pools import start_pools
from vsal.distributed.prepare.tasks import window_bytes
from vsal.distributed.prepare.work import PrepareWork
from vsal.distributed.record import RunRecord
from vsal.distributed.run import Run
from vsal.distributed.warm import warm_workers
from vsal.distributed.watch import Watch
from vsal.errors import SettingsError
from vsal.planning import WorkItem, work_list
from vsal.regions import read_regions
from vsal.saliency.contract import read_contract
from vsal.saliency.fit import require_fit
from vsal.saliency.registry import load_model
from vsal.settings import PrepareSettings, RunSettings

TOTALS = ("shots", "maps", "decode_errors")
WARM_S = 300.0  # for workers to start; without them the run begins all the same


def prepare_catalogue(
    titles: Sequence[Title],
    out: str,
    settings: PrepareSettings,
    run: RunSettings,
    *,
    address: str | None = None,
    on_progress: OnProgress | None = None,
) -> Summary:
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
    regions = read_regions(settings.regions) if settings.regions else None
    if regions is not None:
        regions.require_any(title.title_id for title in titles)
    run_id = new_run_id()
    known = journal.read_known(out, run_id)
    if run.retry_failed:
        titles = _failed_of(titles, known)
    committed, journaled = committed_files(known), settled_titles(known)
    items = work_list(titles, out, settings, model.sha256, committed, regions)
    shaping = {**settings.shaping(), "model": model.name, "model_sha256": model.sha256}
    with RunRecord("prepare", run_id, ("out", out), len(titles), began, run, shaping) as record:
        todo, skipped = [], []
        for item in items:
            outcome = _known_outcome(item, run.force)
            if outcome is None:
                todo.append(item)
            else:
                title_id = item.title.title_id
                skipped += [item] if outcome.status == "skipped" else []
                news = title_id not in journaled or item.committed is not committed.get(title_id)
                record.tally.settle(outcome, journaled=outcome.status == "failed" or news)
        sweep_checkpoints(out, _fingerprints(skipped))  # of those whose run ended between commit and sweeping
        del items, committed, known, journaled, skipped
        startup_s = 0.0
        if todo:
            with ray_cluster(run, address):
                size, window = cluster_size(), window_bytes(settings, model_input)
                check_budget(size, run, window)
                warming = warm_workers(min(int(size.cpus) + 1, len(todo) + 1), tasks.__name__)
                watch = Watch()
                pools = start_pools(model.data, run, size, watch)
                try:
                    ray.wait(warming, num_returns=len(warming), timeout=WARM_S)
                    startup_s = time.perf_counter() - began
                    job = Job(
                        out, settings, run, model.name, model.sha256, model_input, shot_model, int(size.cpus), pools
                    )
                    credit = Credit(size.cpus, join_bytes(size, run, window))
                    metrics = RunMetrics("prepare", TOTALS)
                    work, tally, drain = PrepareWork(job, todo), record.tally, record.drain
                    record.work(Run(work, run, tally, credit, watch, metrics, on_progress, drain).work)
                finally:
                    pools.stop()
                    watch.close()
        made = record.tally.made
        views = (
            lambda: sweep_maps(out),
            lambda: sweep_checkpoints(out, _fingerprints(item for item in todo if made(item.title.title_id))),
            lambda: journal.write_titles(out, run_id),
        )
        return record.end([title.title_id for title in titles], TOTALS, startup_s, views)


def _fingerprints(items: Iterable[WorkItem]) -> set[str]:
    return {item.fingerprint for item in items if item.fingerprint is not None}


def sweep_maps(out: str) -> None:
    """Removes what killed writers left."""
    storage.sweep(storage.join(out, "maps"))


def _failed_of(titles: Sequence[Title], known: Any) -> Sequence[Title]:
    failed = failed_titles(known, "prepare")
    return [title for title in titles if title.title_id in failed]


def _known_outcome(item: WorkItem, force: bool) -> Outcome | None:
    """Of a title that needs no work: it is committed, or cannot be looked at."""
    title_id, uri, failure = item.title.title_id, item.title.uri, item.failure
    if failure is not None:
        return Outcome(title_id, uri, "failed", failure.reason, failure.detail, attempts=1)
    if item.committed is None or force:
        return None
    figures = dict(item.committed.counts)
    return Outcome(
        title_id, uri, "skipped", path=f"maps/{title_id}.parquet", frames=figures.pop("frames", 0), figures=figures,
        fingerprint=item.committed.fingerprint, file=item.committed.file,
    )  # fmt: skip
