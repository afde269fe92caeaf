"""The door to verifying a folder of encodes: in this process while that is quicker, on Ray from then on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

from vsal.distributed.cluster import cluster_size, ray_cluster
from vsal.distributed.credit import Credit
from vsal.distributed.failures import classify
from vsal.distributed.metrics import RunMetrics
from vsal.distributed.outcomes import Outcome, Progress
from vsal.distributed.pulse import alone
from vsal.distributed.run import Run
from vsal.distributed.tally import Tally
from vsal.distributed.verify import tasks
from vsal.distributed.verify.work import VerifyWork, proved, unproved
from vsal.distributed.warm import warm_workers
from vsal.distributed.watch import Watch
from vsal.distributed.work import Item
from vsal.encode.proof.titles import Verification, encodes_in, verify_encode
from vsal.manifest import maps_uri, read_manifest
from vsal.settings import RunSettings

TRIED_S = 15.0  # in this process, before Ray is thought of: by then it is known how long a title takes
RAY_S = 6.0  # that Ray takes to start on this machine, with workers that have imported what they need

OnTitle = Callable[[Outcome], None]


def verify_catalogue(
    asked: Verification, run: RunSettings, *, address: str | None = None, on_title: OnTitle | None = None
) -> list[Outcome]:
    """Verify all encodes of a folder. A title that cannot be looked at has failed, and the others go on.

    Args:
        asked: what is verified, and how.
        run: how the work is run.
        address: of the Ray cluster to join; None to start Ray on this machine, if that is worth it.
        on_title: told of each title as it ends.

    Returns:
        One outcome a title, by the titles' ids; `verdict`, `correlation` and `shots` are among its figures.

    Raises:
        SettingsError: the folder holds no encode.
        ManifestError: there is no manifest.
    """
    manifest = read_manifest(asked.out)
    records, files = encodes_in(asked.encoded), manifest.title_files()
    ended: dict[str, Outcome] = {}

    def settle(outcome: Outcome) -> None:
        ended[outcome.title_id] = outcome
        if on_title is not None:
            on_title(outcome)

    items = [
        Item(title_id, maps_uri(asked.out, title_id), files[title_id].size if title_id in files else 0)
        for title_id in sorted(records)
    ]
    left = items if address is not None else _here(asked, items, run, settle)
    if left:
        _on_ray(asked, left, run, address, settle)
    return [ended[title_id] for title_id in sorted(records)]


def _here(asked: Verification, items: Sequence[Item], run: RunSettings, settle: OnTitle) -> list[Item]:
    """Verifies titles one by one until Ray would be quicker for the rest; those that are left."""
    began = time.perf_counter()
    for done, item in enumerate(items):
        if _is_worth_ray(time.perf_counter() - began, done, len(items) - done):
            return list(items[done:])
        settle(_outcome(asked, item, run))
    return []


def _is_worth_ray(seconds: float, done: int, left: int) -> bool:
    if not done or seconds < TRIED_S:
        return False
    here_s = seconds / done * left
    return here_s > RAY_S + here_s / min(left, os.cpu_count() or 1)


def _outcome(asked: Verification, item: Item, run: RunSettings) -> Outcome:
    try:
        with alone(run.stall_s):
            return proved(item, verify_encode(asked, item.title_id))
    except Exception as error:  # whatever it is, it is this title's
        return unproved(item, classify(error))


def _on_ray(asked: Verification, items: Sequence[Item], run: RunSettings, address: str | None, settle: OnTitle) -> None:
    def look(progress: Progress) -> None:
        if progress.finished is not None:
            settle(progress.finished)

    with ray_cluster(run, address):
        size, watch = cluster_size(), Watch()
        warm_workers(min(int(size.cpus), len(items)), tasks.__name__)
        tally, credit = Tally(len(items), time.perf_counter()), Credit(size.cpus, held_bytes=0)
        try:
            Run(VerifyWork(asked, items), run, tally, credit, watch, RunMetrics("verify"), look).work()
        finally:
            watch.close()
