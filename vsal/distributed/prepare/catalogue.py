"""The door to preparing a catalogue: what is checked before any work, the run, its summary."""

from __future__ import annotations

import time
from collections.abc import Sequence

import ray

from vsal import storage
from vsal.assembly.cuts import make_cut_decider
from vsal.catalog import Title
from vsal.distributed.cluster import check_budget, cluster_size, join_bytes, ray_cluster
from vsal.distributed.credit import Credit
from vsal.distributed.metrics import RunMetrics
from vsal.distributed.outcomes import Summary, new_run_id
from vsal.distributed.prepare import tasks
from vsal.distributed.prepare.checkpoints import sweep_checkpoints
from vsal.distributed.prepare.job import Job
from vsal.distributed.prepare.ledger import Ledger
from vsal.distributed.prepare.pools import start_pools
from vsal.distributed.prepare.tasks import window_bytes
from vsal.distributed.prepare.work import PrepareWork
from vsal.distributed.run import OnProgress, Run
from vsal.distributed.warm import warm_workers
from vsal.distributed.watch import Watch
from vsal.errors import SettingsError
from vsal.planning import work_list
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
    items = work_list(titles, out, settings, model.sha256)
    ledger = Ledger(out, len(titles), began)
    ledger.settle_known(items, force=run.force)
    todo = [item for item in items if item.failure is None and (run.force or not item.committed)]
    startup_s = seconds = time.perf_counter() - began
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
                job = Job(out, settings, run, model.name, model.sha256, model_input, shot_model, int(size.cpus), pools)
                credit = Credit(size.cpus, join_bytes(size, run, window))
                metrics = RunMetrics("prepare", TOTALS)
                Run(PrepareWork(job, todo), run, ledger, credit, watch, metrics, on_progress).work()
            finally:
                pools.stop()
                watch.close()
            seconds = time.perf_counter() - began  # without Ray's shutdown
    summary = Summary(
        run_id=new_run_id(),
        place=("out", out),
        outcomes=ledger.in_order([title.title_id for title in titles]),
        seconds=seconds,
        startup_s=startup_s,
        max_failed=run.max_failed,
        totals=TOTALS,
        settings={**settings.shaping(), "model": model.name, "model_sha256": model.sha256},
    )
    ended = {outcome.title_id for outcome in summary.outcomes if outcome.status != "failed"}
    sweep_checkpoints(out, {item.fingerprint for item in items if item.fingerprint and item.title.title_id in ended})
    ledger.write(summary)
    return summary
