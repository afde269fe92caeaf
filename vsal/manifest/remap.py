"""Another QP mapping for a manifest that is there, without a model."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from vsal import storage
from vsal.errors import Reason, SettingsError, TitleFailed
from vsal.manifest.fingerprints import algorithms
from vsal.manifest.marked import marked
from vsal.manifest.reader import Manifest, read_fingerprint, read_manifest
from vsal.manifest.schema import KEY_FINGERPRINT, KEY_REGIONS, ManifestError, MapRow, file_metadata, maps_uri
from vsal.manifest.title import TitleManifest
from vsal.manifest.titles import TitleRecord, write_titles
from vsal.manifest.writer import ManifestWriter
from vsal.regions import Regions, TitleRegions, regions_key
from vsal.roi.levels import saliency_of
from vsal.roi.qp import QpMapping, qp_offsets
from vsal.video.probe import VideoInfo

log = logging.getLogger(__name__)


def mapping_settings(mapping: QpMapping) -> dict[str, Any]:
    """A mapping as the settings of `vsal prepare` name it."""
    return {
        "qp_mapping": mapping.kind,
        "qp_floor": mapping.floor,
        "qp_limit": mapping.limit,
        "qp_offset": mapping.offset,
    }


def remap(
    out: str,
    dest: str,
    mapping: QpMapping,
    on_title: Callable[[TitleRecord], None] | None = None,
    regions: Regions | None = None,
) -> list[TitleRecord]:
    """Write the titles of one OUT to another, with QP offsets by another mapping, and regions that somebody marked.

    Saliency stays as it is, byte for byte, but where regions are merged. Settings and fingerprint become those that
    `vsal prepare` with this mapping, and these regions, would have written, so a later run into `dest` finds the titles
    done. A title that is there already with that fingerprint is skipped; one that cannot be read or written fails, and
    the others go on.

    Args:
        out: where a manifest is.
        dest: where the new one goes; not `out`.
        mapping: from saliency to QP offsets.
        on_title: told of each title when it has ended.
        regions: to be merged; None leaves the maps with those that they have.

    Returns:
        one record a title, which `dest`/titles.parquet holds too. Titles that failed in `out` stay failed.

    Raises:
        SettingsError: `dest` is `out`, or cannot be written.
        ManifestError: there is no manifest at `out`.
    """
    if storage.join(out) == storage.join(dest):
        raise SettingsError(f"remapping {out} onto itself would lose the old offsets: choose another --out")
    manifest = read_manifest(out)
    storage.check_writable(dest)
    records = []
    for record in _known_titles(manifest):
        if record.status != "failed":
            record = _outcome(manifest, dest, mapping, regions, record)
        records.append(record)
        if on_title is not None:
            on_title(record)
    write_titles(dest, records)
    return records


def _known_titles(manifest: Manifest) -> list[TitleRecord]:
    """Every title with a record or a manifest file; a file outlives a failure of a later run."""
    there = manifest.title_ids()
    try:
        records = {record.title_id: record for record in manifest.titles()}
    except ManifestError:
        records = {}
    for title_id in there:
        known = records.get(title_id)
        if known is None or known.status == "failed":
            uri = known.uri if known else ""
            records[title_id] = TitleRecord(title_id, uri, "done", path=f"maps/{title_id}.parquet")
    return list(records.values())


def _outcome(
    manifest: Manifest, dest: str, mapping: QpMapping, regions: Regions | None, record: TitleRecord
) -> TitleRecord:
    started = time.perf_counter()
    failed = replace(record, status="failed", path="", frames=0, shots=0, maps=0, seconds=0.0, attempts=1)
    try:
        with manifest.title(record.title_id) as title:
            written = _remap_title(title, dest, mapping, regions)
            return replace(
                record,
                uri=title.source.uri,
                status="done" if written else "skipped",
                reason=None,
                detail="",
                frames=title.frames,
                shots=title.shot_count,
                maps=title.map_count,
                seconds=time.perf_counter() - started,
                attempts=int(written),
            )
    except TitleFailed as error:
        return replace(failed, reason=str(error.reason), detail=error.detail)
    except (ManifestError, ValueError) as error:
        return replace(failed, reason=str(Reason.UNREADABLE), detail=str(error))
    except OSError as error:
        return replace(failed, reason=str(Reason.WRITE_FAILED), detail=str(error))
    except Exception as error:  # a fault of vsal: it costs its title alone
        log.exception("remapping %s", record.title_id)
        return replace(failed, reason=str(Reason.INTERNAL), detail=f"a fault of vsal: {type(error).__name__}: {error}")


def _remap_title(title: TitleManifest, dest: str, mapping: QpMapping, regions: Regions | None) -> bool:
    settings = title.settings | mapping_settings(mapping)
    mine = () if regions is None else regions.of(title.title_id)
    if mine:
        if settings.get("regions"):
            raise ManifestError(
                f"{title.uri} has regions merged already, and its maps without them are not kept: give --regions to "
                "`vsal prepare`, or remap the manifest that was made without"
            )
        settings["regions"] = regions_key(mine)
    model = title.model
    # Its maps are as old as they were; their QP offsets are of today.
    versions = {name: version for name, version in title.algorithms.items() if not name.startswith("qp.")}
    versions |= {name: version for name, version in algorithms(settings).items() if name.startswith("qp.")}
    metadata = title.metadata | file_metadata(
        title.source, model["name"], model["sha256"], settings, title.video, title.decode_errors, versions
    )
    metadata |= {KEY_REGIONS: regions.uri} if regions is not None and mine else {}
    if read_fingerprint(dest, title.title_id) == metadata[KEY_FINGERPRINT]:
        return False
    target = maps_uri(dest, title.title_id)
    path = storage.staging_file(target)
    info = VideoInfo.from_json(title.video) if mine else None
    try:
        with ManifestWriter(path, metadata) as writer:
            if info is None:
                for row in title.iter_maps():
                    writer.append([_remapped(row, mapping)])
            else:
                merged = TitleRegions(mine, info.orientation)
                for row in title.iter_maps():
                    writer.append([marked(row, merged, info.zero_pts, mapping)])
        storage.publish(path, target)
    except BaseException:
        storage.discard(path)
        raise
    return True


def _remapped(row: MapRow, mapping: QpMapping) -> MapRow:
    return replace(row, qp_offset=qp_offsets(saliency_of(row.saliency), mapping))
