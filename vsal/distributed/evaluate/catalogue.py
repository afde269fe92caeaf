"""The door to evaluating a catalogue: what is checked before any work, the run, its table."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

import ray

from vsal import storage
from vsal.catalog import Title
from vsal.distributed import journal
from vsal.distributed.cluster import cluster_size, ray_cluster
from vsal.distributed.credit import Credit
from vsal.distributed.evaluate import tasks
from vsal.distributed.evaluate.work import EvaluateWork
from vsal.distributed.failures import StepFailed
from vsal.distributed.known import failed_titles
from vsal.distributed.metrics import RunMetrics
from vsal.distributed.outcomes import OnProgress, Summary, new_run_id
from vsal.distributed.pulse import alone
from vsal.distributed.record import RunRecord
from vsal.distributed.run import Run
from vsal.distributed.warm import warm_workers
from vsal.distributed.watch import Watch
from vsal.distributed.work import Item
from vsal.encode.title import check_settings
from vsal.errors import SettingsError
from vsal.evaluate.roi.catalogue import judged_titles
from vsal.evaluate.roi.document import document_of, markdown_of
from vsal.evaluate.roi.ladder import Judged, Ladder, check_ladder, whole_rows
from vsal.evaluate.roi.table import RoiTable, make_table
from vsal.settings import RunSettings

TOTALS = ("encodes",)


def evaluate_catalogue(
    titles: Sequence[Title],
    ladder: Ladder,
    run: RunSettings,
    *,
    address: str | None = None,
    on_progress: OnProgress | None = None,
) -> tuple[Summary, RoiTable]:
    """Encode every title by every codec at every rate under every arm, and say what maps give.

    Args:
        titles: of the catalogue, with unique ids.
        ladder: what is done with each; controls are among its arms.
        run: how the work is run.
        address: of the Ray cluster to join; None for this machine.
        on_progress: called about twice a second, and once for each title that ends.

    Returns:
        The run's summary, also in DEST/runs, and the table of all titles that are done, also in DEST/evaluation.json
        and DEST/evaluation.md.

    Raises:
        SettingsError: before any work: no title, output not writable, an encoder not there, or it would ignore maps.
    """
    began = time.perf_counter()
    if not titles:
        raise SettingsError("the catalogue has no title")
    storage.check_writable(ladder.dest)
    check_ladder(ladder)
    _try_encoders(ladder, run)
    run_id = new_run_id()
    judged = judged_titles(titles, ladder.account)
    wanted = [title.title_id for title in judged]
    if run.retry_failed:
        failed = failed_titles(journal.read_known(ladder.dest, run_id), "evaluate")
        wanted = [title_id for title_id in wanted if title_id in failed]
    items = [Item(title.title_id, title.uri, _bytes(title)) for title in judged if title.title_id in set(wanted)]
    with RunRecord("evaluate", run_id, ("dest", ladder.dest), len(items), began, run, _settings(ladder)) as record:
        startup_s = 0.0
        if items:
            with ray_cluster(run, address):
                startup_s = time.perf_counter() - began
                size, watch = cluster_size(), Watch()
                warm_workers(int(size.cpus), tasks.__name__)
                work = EvaluateWork(ladder, ray.put(ladder), judged, items)
                credit = Credit(size.cpus, held_bytes=0)  # a row is a few hundred bytes
                try:
                    metrics = RunMetrics("evaluate", TOTALS)
                    loop = Run(work, run, record.tally, credit, watch, metrics, on_progress, record.drain)
                    record.work(loop.work)
                finally:
                    watch.close()
        summary = record.end(wanted, TOTALS, startup_s, (lambda: _sweep(ladder.dest),))
    failed_now = {outcome.title_id for outcome in summary.outcomes if outcome.status == "failed"}
    rows = [row for title in judged if title.title_id not in failed_now for row in whole_rows(ladder, title)]
    table = make_table((ladder.account.name, ladder.account.says), ladder.arms, rows)
    storage.write_bytes(storage.join(ladder.dest, "evaluation.json"), json.dumps(document_of(table), indent=1).encode())
    storage.write_bytes(storage.join(ladder.dest, "evaluation.md"), markdown_of(table).encode())
    return summary, table


def _sweep(dest: str) -> None:
    storage.sweep(dest)


def _try_encoders(ladder: Ladder, run: RunSettings) -> None:
    """A trial of each codec under maps, at its first rate."""
    steered = next((arm for arm in ladder.arms if arm.kind != "plain"), ladder.arms[0])
    for rates in ladder.rates:
        try:
            with alone(run.stall_s):
                check_settings(rates.settings(rates.crfs[0], steered))
        except StepFailed as failed:
            raise SettingsError(f"a trial of {rates.codec} {failed.failure.detail}: the encoder hangs") from failed


def _bytes(title: Judged) -> int:
    """Of its source; 0 where that is not there, which its first step will tell."""
    try:
        return storage.stat(title.uri).size
    except OSError:
        return 0


def _settings(ladder: Ladder) -> dict[str, object]:
    return {
        "weights": ladder.account.name,
        "arms": [arm.to_json() for arm in ladder.arms],
        "rates": {rates.codec: list(rates.crfs) for rates in ladder.rates},
        "presets": {rates.codec: rates.preset for rates in ladder.rates},
        "seconds": ladder.seconds,
        "shots_per_title": ladder.shots_per_title,
        "metrics": "full" if ladder.metrics.full else "basic",
    }
