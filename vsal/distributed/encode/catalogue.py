"""The door to encoding a catalogue: what is checked before any work, the run, its summary."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from vsal import manifest, storage
from vsal.distributed import journal
from vsal.distributed.cluster import cluster_size, ray_cluster
from vsal.distributed.credit import Credit
from vsal.distributed.encode import tasks
from vsal.distributed.encode.work import EncodeWork, commit_in, outcome_of
from vsal.distributed.failures import StepFailed
from vsal.distributed.known import encodes, failed_titles
from vsal.distributed.metrics import RunMetrics
from vsal.distributed.outcomes import OnProgress, Outcome, Summary, new_run_id
from vsal.distributed.pulse import alone
from vsal.distributed.record import RunRecord
from vsal.distributed.run import Run
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
    run_id = new_run_id()
    known = journal.read_known(dest, run_id)
    if run.retry_failed:
        failed = failed_titles(known, "encode")
        wanted = [title_id for title_id in wanted if title_id in failed]
    # The size of its maps tells how long a title is, as far as that can be known without opening it.
    items = [Item(title_id, manifest.maps_uri(out, title_id), files[title_id].size) for title_id in wanted]
    settled = [] if run.force else _encoded(items, Encoded(out, dest, settings, files), encodes(known))
    done = {outcome.title_id for outcome, _ in settled}
    items, startup_s = [item for item in items if item.title_id not in done], 0.0
    if items:
        _try(settings, run)
    with RunRecord("encode", run_id, ("dest", dest), len(wanted), began, run, settings.to_json()) as record:
        for outcome, news in settled:
            record.tally.settle(outcome, journaled=news)
        del known, settled, done
        if items:
            with Lease(dest, settings_key(settings), run_id) as lease, ray_cluster(run, address):
                startup_s = time.perf_counter() - began
                size, watch = cluster_size(), Watch()
                # The first title's plan keeps one busy, and its chunks want all.
                warm_workers(int(size.cpus), tasks.__name__)
                work = EncodeWork(out, dest, settings, run, items, int(size.cpus_of_largest_node), lease.name)
                credit = Credit(size.cpus, held_bytes=0)  # chunks wait for their join on disk
                try:
                    metrics = RunMetrics("encode", TOTALS)
                    tally, drain = record.tally, record.drain
                    record.work(Run(work, run, tally, credit, watch, metrics, on_progress, drain).work)
                finally:
                    watch.close()
                lease.sweep()
        else:
            sweep(dest, settings_key(settings))
        return record.end(wanted, TOTALS, startup_s, (lambda: sweep_folder(dest),))


def _wanted(out: str, files: Mapping[str, SourceInfo], title_ids: Sequence[str] | None) -> list[str]:
    wanted = list(sorted(files) if title_ids is None else title_ids)
    missing = sorted(set(wanted) - set(files))
    if not wanted or missing:
        raise SettingsError(
            f"{out} holds no maps of {', '.join(missing) or 'any title'}, and {len(files)} titles in all: see "
            f"`vsal inspect {out}`"
        )
    return wanted


def _encoded(items: list[Item], encoded: Encoded, told: Mapping[str, Outcome]) -> list[tuple[Outcome, bool]]:
    """Outcomes of the titles that are encoded already, and whether each is news to the journals. Nothing of them is
    planned or opened.

    Args:
        items: all titles.
        encoded: what lies in DEST.
        told: by title how the last encode ended that was committed, from journals.
    """
    wanted = {item.title_id for item in items}
    known = encoded.known({title_id: commit_in(told[title_id]) for title_id in wanted & told.keys()})
    records = encoded.read([item.title_id for item in items if item.title_id not in known])
    found = [(_again(told[item.title_id]), False) for item in items if item.title_id in known]
    found += [(outcome_of(item, "skipped", records[item.title_id]), True) for item in items if item.title_id in records]
    return found


def _again(outcome: Outcome) -> Outcome:
    return replace(outcome, status="skipped", detail="", seconds=0.0, attempts=0)


def _try(settings: EncodeSettings, run: RunSettings) -> None:
    try:
        with alone(run.stall_s):
            check_settings(settings)
    except StepFailed as failed:
        raise SettingsError(
            f"a trial of {settings.codec} {failed.failure.detail}: the encoder hangs. Name another one with "
            "--encoder-program, or another --codec"
        ) from failed


def sweep_folder(dest: str) -> None:
    """Removes what killed writers left, and encoders among the temporary files."""
    storage.sweep(dest)
    storage.sweep_temporary()
