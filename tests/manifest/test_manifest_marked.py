"""Regions that somebody marked, merged with maps that are there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.assembly.test_title import info
from tests.manifest.content import map_rows, write_title
from vsal.errors import Reason, SettingsError
from vsal.manifest import KEY_REGIONS, TitleRecord, read_fingerprint, read_manifest, remap, validate, write_titles
from vsal.regions import Regions, read_regions
from vsal.roi.qp import QpMapping, qp_offsets

MAPPING = QpMapping()


@pytest.fixture
def out(tmp_path: Path) -> str:
    folder = str(tmp_path / "out")
    for name in ("park", "b"):
        write_title(folder, map_rows(20, name), name, video=info().to_json())
    write_titles(folder, [TitleRecord(name, name, "done", path=f"maps/{name}.parquet") for name in ("park", "b")])
    return folder


def regions(tmp_path: Path, **row: object) -> Regions:
    path = tmp_path / "regions.json"
    path.write_text(
        json.dumps([{"title": "park", "fractions": [0, 0, 0.5, 1], "frame_start": 0, "frame_end": 1} | row])
    )
    return read_regions(str(path))


def test_maps_that_share_a_frame_change_and_no_others(out: str, tmp_path: Path) -> None:
    dest, marks = str(tmp_path / "dest"), regions(tmp_path)
    assert [record.status for record in remap(out, dest, MAPPING, regions=marks)] == ["done", "done"]
    assert validate(dest) == []
    with read_manifest(out).title("park") as old, read_manifest(dest).title("park") as new:
        for before, after in zip(old.iter_maps(), new.iter_maps(), strict=True):
            half = after.saliency[:, : after.cols // 2]
            assert (half == 255).all() == (before.frame_start == 0)
            assert np.array_equal(after.saliency, before.saliency) == (before.frame_start > 0)
            assert np.array_equal(after.qp_offset, qp_offsets(after.saliency.astype(np.float32) / 255, MAPPING))
        assert new.settings["regions"].startswith("sha256:")
        assert new.metadata[KEY_REGIONS] == marks.uri
    with read_manifest(dest).title("b") as other:
        assert "regions" not in other.settings
        assert KEY_REGIONS not in other.metadata


def test_what_regions_say_is_in_the_fingerprint_and_their_file_is_not(out: str, tmp_path: Path) -> None:
    made = []
    for number, row in enumerate(({}, {"weight": 0.5}, {})):
        remap(out, str(tmp_path / str(number)), MAPPING, regions=regions(tmp_path, **row))
        made.append([read_fingerprint(str(tmp_path / str(number)), name) for name in ("park", "b")])
    assert made[0] == made[2]
    assert made[0][0] != made[1][0]
    assert made[0][1] == made[1][1], "a title without regions is done again"
    again = remap(out, str(tmp_path / "0"), MAPPING, regions=regions(tmp_path))
    assert [record.status for record in again] == ["skipped", "skipped"]


def test_regions_are_not_merged_twice(out: str, tmp_path: Path) -> None:
    remap(out, str(tmp_path / "once"), MAPPING, regions=regions(tmp_path))
    records = remap(str(tmp_path / "once"), str(tmp_path / "twice"), MAPPING, regions=regions(tmp_path, weight=0.5))
    told = {record.title_id: (record.status, record.reason) for record in records}
    assert told == {"park": ("failed", str(Reason.UNREADABLE)), "b": ("done", None)}
    assert "has regions merged already" in next(record.detail for record in records if record.title_id == "park")


def test_a_region_outside_the_picture_fails_its_title_only(out: str, tmp_path: Path) -> None:
    marks = regions(tmp_path, fractions=None, pixels=[100_000, 0, 10, 10])
    records = remap(out, str(tmp_path / "dest"), MAPPING, regions=marks)
    assert [record.status for record in records] == ["failed", "done"]
    assert "lies outside its upright picture" in records[0].detail
    assert not list((tmp_path / "dest" / "maps").glob("*park*"))


def test_regions_of_other_titles_alone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"has regions of park, and none of them is a title here: those are x, y"):
        regions(tmp_path).require_any(["x", "y"])
