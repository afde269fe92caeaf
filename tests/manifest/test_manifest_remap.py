from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from tests.fixtures_s3 import S3Server
from tests.manifest.content import MODEL, SETTINGS, SOURCE, map_rows, write_title
from vsal import storage
from vsal.errors import SettingsError
from vsal.manifest import (
    ManifestError,
    MapRow,
    TitleRecord,
    fingerprint,
    mapping_settings,
    read_fingerprint,
    read_manifest,
    remap,
    validate,
    write_titles,
)
from vsal.manifest.fingerprints import ALGORITHMS
from vsal.roi.qp import QpMapping, qp_offsets
from vsal.settings import PrepareSettings

LINEAR = QpMapping("linear", limit=10, offset=9)


@pytest.fixture
def out(tmp_path: Path) -> str:
    folder = str(tmp_path / "out")
    write_title(folder, map_rows(300))
    write_title(folder, map_rows(5, "b", size=(100, 50)), "b")
    write_titles(
        folder,
        [
            TitleRecord("park", "/videos/park.mp4", "done", path="maps/park.parquet", maps=300),
            TitleRecord("lost", "/videos/lost.mp4", "failed", "source_not_found", "there is no lost.mp4"),
        ],
    )
    return folder


def test_saliency_stays_and_offsets_are_those_of_the_mapping(out: str, tmp_path: Path) -> None:
    dest = str(tmp_path / "dest")
    remap(out, dest, LINEAR)
    assert validate(dest) == []
    with read_manifest(out).title("park") as old, read_manifest(dest).title("park") as new:
        for before, after in zip(old.iter_maps(), new.iter_maps(), strict=True):
            assert np.array_equal(before.saliency, after.saliency)
            assert np.array_equal(after.qp_offset, qp_offsets(before.saliency.astype(np.float32) / 255, LINEAR))
            assert (before.frame_start, before.pts_end, before.shot) == (after.frame_start, after.pts_end, after.shot)
        assert new.settings == {**old.settings, **mapping_settings(LINEAR)}
        assert (new.decode_errors, new.video, new.source) == (old.decode_errors, old.video, old.source)


def test_the_same_mapping_writes_the_same_file(out: str, tmp_path: Path) -> None:
    remap(out, str(tmp_path / "dest"), QpMapping())
    for name in ("park", "b"):
        old, new = (tmp_path / folder / "maps" / f"{name}.parquet" for folder in ("out", "dest"))
        assert old.read_bytes() == new.read_bytes()


def test_a_later_run_finds_the_titles_done(out: str, tmp_path: Path) -> None:
    dest = str(tmp_path / "dest")
    remap(out, dest, LINEAR)
    assert read_fingerprint(dest, "park") == fingerprint(SOURCE, MODEL[1], {**SETTINGS, **mapping_settings(LINEAR)})
    assert set(mapping_settings(LINEAR)) <= set(PrepareSettings().shaping())


def test_every_title_has_its_record(out: str, tmp_path: Path) -> None:
    dest = str(tmp_path / "dest")
    told: list[TitleRecord] = []
    records = remap(out, dest, LINEAR, told.append)
    assert told == records == read_manifest(dest).titles()
    assert [(r.title_id, r.status, r.reason, r.maps) for r in records] == [
        ("park", "done", None, 300),
        ("lost", "failed", "source_not_found", 0),
        ("b", "done", None, 5),
    ]
    again = remap(out, dest, LINEAR)
    assert [(record.title_id, record.status) for record in again] == [
        ("park", "skipped"),
        ("lost", "failed"),
        ("b", "skipped"),
    ]


def test_a_damaged_title_does_not_stop_the_others(out: str, tmp_path: Path) -> None:
    path = tmp_path / "out" / "maps" / "park.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    dest = str(tmp_path / "dest")
    records = {record.title_id: record for record in remap(out, dest, LINEAR)}
    assert (records["park"].status, records["park"].reason, records["park"].path) == ("failed", "unreadable", "")
    assert "park.parquet" in records["park"].detail
    assert records["b"].status == "done"
    assert os.listdir(tmp_path / "dest" / "maps") == ["b.parquet"]


def test_a_title_that_cannot_be_written_does_not_stop_the_others(out: str, tmp_path: Path) -> None:
    dest = str(tmp_path / "dest")
    publish = storage.publish

    def full(path: str, uri: str) -> None:
        if uri.endswith("park.parquet"):
            raise OSError("No space left on device")
        publish(path, uri)

    with mock.patch.object(storage, "publish", full):
        records = {record.title_id: record for record in remap(out, dest, LINEAR)}
    assert (records["park"].status, records["park"].reason) == ("failed", "write_failed")
    assert os.listdir(tmp_path / "dest" / "maps") == ["b.parquet"]


def test_a_fault_of_vsal_costs_its_title_alone_and_leaves_nothing(
    out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(row: MapRow, mapping: QpMapping) -> MapRow:
        if row.title_id == "b":
            raise ZeroDivisionError("of vsal")
        return row

    monkeypatch.setattr(sys.modules["vsal.manifest.remap"], "_remapped", faulty)
    records = {record.title_id: record for record in remap(out, str(tmp_path / "dest"), LINEAR)}
    assert (records["b"].status, records["b"].reason) == ("failed", "internal")
    assert records["park"].status == "done"
    assert [path.name for path in (tmp_path / "dest" / "maps").iterdir()] == ["park.parquet"]


def test_maps_stay_as_old_as_they_were(out: str, tmp_path: Path) -> None:
    """What made them is not what it is today; their offsets are."""
    with mock.patch.dict(ALGORITHMS, {"maps": 7, "qp.linear": 3}):
        remap(out, str(tmp_path / "dest"), LINEAR)
    assert validate(str(tmp_path / "dest")) == []
    with read_manifest(str(tmp_path / "dest")).title("park") as title:
        assert (title.algorithms["maps"], title.algorithms["qp.linear"]) == (1, 3)
        assert "qp.rd" not in title.algorithms


def test_a_manifest_is_not_remapped_onto_itself(out: str) -> None:
    with pytest.raises(SettingsError, match="onto itself"):
        remap(out, f"file://{out}/", LINEAR)
    with pytest.raises(ManifestError, match="holds no manifest"):
        remap(f"{out}/none", f"{out}/dest", LINEAR)


def test_from_disk_to_bucket(out: str, s3_server: S3Server) -> None:
    dest = f"{s3_server.bucket()}/dest"
    remap(out, dest, LINEAR)
    assert validate(dest) == []
    files = [key for key in s3_server.keys(dest) if not key.endswith("/")]  # pyarrow marks folders by empty objects
    assert files == ["dest/maps/b.parquet", "dest/maps/park.parquet", "dest/titles.parquet"]


def test_a_title_that_failed_later_but_has_maps_is_remapped(out: str, tmp_path: Path) -> None:
    write_titles(out, [replace(read_manifest(out).titles()[1], title_id="park")])
    records = {record.title_id: record for record in remap(out, str(tmp_path / "dest"), LINEAR)}
    assert records["park"].status == "done"
    assert records["park"].uri == "/videos/park.mp4"
