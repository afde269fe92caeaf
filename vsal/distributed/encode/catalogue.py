"""The door to encoding a catalogue: what is checked before any work, the run, its summary."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence

from vsal import manifest, storage
from vsal.distributed.cluster import cluster_size, ray_cluster
from vsal.distributed.credit import Credit
from vsal.distributed.encode import tasks
from vsal.distributed.encode.work import EncodeWork, outcome_of
from vsal.distributed.failures import StepFailed
from vsal.distributed.metrics import RunMetrics
from vsal.distributed.outcomes import Summary, Tally, new_run_id
from vsal.distributed.pulse import alone
from vsal.distributed.run import OnProgress, Run
from vsal.distributed.warm import warm_workers
from vsal.distributed.watch import Watch
from vsal.distributed.work import Item
from vsal.encode.chunk_folders import Lease, sweep
from vsal.encode.keys import settings_key
from vsal.encode.resume import Encoded
from vsal.encode.settings import EncodeSettings
from vsal.encode.title import check_settings
from vsal.errors import SettingsError
from vsal.settings import RunSettings
from vsal.storage import SourceInfo

TOTALS = ("bytes",)


def encode_catalogue(
    out: str,
    dest: str,
    settings: EncodeSettings,
    run: RunSettings,
    *,
    title_ids: Sequence[str] | None = None,
    address: str | None = None,
    on_progress: OnProgress | None = None,
) -> Summary:
    """Encode every prepared title that is not encoded with these settings yet.

    Ray is started, or joined, and the encoder tried only if there is work to do.

    Args:
        out: where `vsal prepare` wrote.
        dest: folder of the finished files.
        settings: of the encodes.
        run: how the work is run: attempts, limits, force, max_failed, titles_in_flight.
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
    files = manifest.read_manifest(out).title_files()
    wanted = _wanted(out, files, title_ids)
    storage.check_writable(dest)
    run_id, tally = new_run_id(), Tally(len(wanted), began)
    # The size of its maps tells how long a title is, as far as that can be known without opening it.
    items = [Item(title_id, manifest.maps_uri(out, title_id), files[title_id].size) for title_id in wanted]
    if not run.force:
        items = _unsettled(items, Encoded(out, dest, settings, files), tally)
    startup_s = seconds = time.perf_counter() - began
    if not items:
        sweep(dest, settings_key(settings), wanted)
    else:
        _try(settings, run)
        with Lease(dest, settings_key(settings), run_id) as lease, ray_cluster(run, address):
            startup_s = time.perf_counter() - began
            size, watch = cluster_size(), Watch()
            warm_workers(
                int(size.cpus), tasks.__name__
            )  # the first title's plan keeps one busy, and its chunks want all
            work = EncodeWork(out, dest, settings, run, items, int(size.cpus_of_largest_node), lease.name)
            credit = Credit(size.cpus, held_bytes=0)  # chunks wait for their join on disk
            try:
                Run(work, run, tally, credit, watch, RunMetrics("encode", TOTALS), on_progress).work()
            finally:
                watch.close()
            lease.sweep({outcome.title_id for outcome in tally.in_order(wanted) if outcome.status != "failed"})
            seconds = time.perf_counter() - began  # without Ray's shutdown
    summary = Summary(
        run_id=run_id,
        place=("dest", dest),
        outcomes=tally.in_order(wanted),
        seconds=seconds,
        startup_s=startup_s,
        max_failed=run.max_failed,
        totals=TOTALS,
        settings=settings.to_json(),
    )
    storage.sweep(dest)  # what killed writers left
    document = json.dumps(summary.document(), indent=1)
    storage.write_bytes(manifest.runs_uri(dest, summary.run_id), document.encode())
    return summary


def _wanted(out: str, files: Mapping[str, SourceInfo], title_ids: Sequence[str] | None) -> list[str]:
    wanted = list(sorted(files) if title_ids is None else title_ids)
    missing = sorted(set(wanted) - set(files))
    if not wanted or missing:
        raise SettingsError(
            f"{out} holds no maps of {', '.join(missing) or 'any title'}, and {len(files)} titles in all: see "
            f"`vsal inspect {out}`"
        )
    return wanted


def _unsettled(items: list[Item], encoded: Encoded, tally: Tally) -> list[Item]:
    """Settles the titles that are encoded already; those that are left. Nothing of them is planned or opened."""
    records = encoded.read([item.title_id for item in items])
    for item in items:
        if item.title_id in records:
            tally.settle(outcome_of(item, "skipped", records[item.title_id]))
    return [item for item in items if item.title_id not in records]


def _try(settings: EncodeSettings, run: RunSettings) -> None:
    try:
        with alone(run.stall_s):
            check_settings(settings)
    except StepFailed as failed:
        raise SettingsError(
            f"a trial of {settings.codec} {failed.failure.detail}: the encoder hangs. Name another one with "
            "--encoder-program, or another --codec"
        ) from failed
