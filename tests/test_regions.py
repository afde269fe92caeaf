"""A user's own regions: read, drawn on the blocks of pictures in any orientation, merged with a map."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsal.errors import SettingsError, TitleFailed
from vsal.regions import Region, TitleRegions, read_regions, regions_key
from vsal.video.orientation import UPRIGHT, Orientation

WIDTH, HEIGHT = 75, 40  # its last blocks reach over the edge: 3 rows of 5
ROWS, COLS = 3, 5
DARK = np.zeros((ROWS, COLS), np.float32)


def merged(region: dict[str, Any], saliency: np.ndarray = DARK, orientation: Orientation = UPRIGHT) -> np.ndarray:
    title = TitleRegions([Region(title="t", **region)], orientation)
    return title.merged(saliency, (WIDTH, HEIGHT), (0, 8), (0.0, 1.0))


orientations = st.builds(Orientation, st.sampled_from((0, 90, 180, 270)), st.booleans())


@given(orientations, st.data())
def test_a_rectangle_covers_the_blocks_under_its_pixels(orientation: Orientation, data: st.DataObject) -> None:
    width, height = (HEIGHT, WIDTH) if orientation.swaps_sides else (WIDTH, HEIGHT)
    left, top = data.draw(st.integers(-5, width - 1)), data.draw(st.integers(-5, height - 1))
    right = data.draw(st.integers(max(left, 0) + 1, width + 5))
    bottom = data.draw(st.integers(max(top, 0) + 1, height + 5))
    drawn = np.zeros((height, width))
    drawn[max(top, 0) : bottom, max(left, 0) : right] = 1
    coded = orientation.coded(drawn)
    blocks = np.array(
        [[coded[r : r + 16, c : c + 16].mean() for c in range(0, WIDTH, 16)] for r in range(0, HEIGHT, 16)]
    )
    box = (left, top, right - left, bottom - top)
    found = merged({"pixels": box}, orientation=orientation)
    assert np.allclose(found, blocks, atol=1e-6)
    fractions = (box[0] / width, box[1] / height, box[2] / width, box[3] / height)
    assert np.allclose(merged({"fractions": fractions}, orientation=orientation), blocks, atol=1e-6)


def test_a_grid_is_seen_upright() -> None:
    left_half = {"grid": [[1.0, 0.0]], "weight": 0.5}
    assert merged(left_half)[:, 0].tolist() == pytest.approx([0.5] * ROWS, abs=0.05)
    turned = merged(left_half, orientation=Orientation(180))
    assert turned[:, 0].tolist() == pytest.approx([0.0] * ROWS, abs=0.05)
    assert turned[:, -1].tolist() == pytest.approx([0.5] * ROWS, abs=0.1)


@pytest.mark.parametrize(
    ("merge", "expected"),
    [
        ("max", [0.8, 0.4, 0.3]),  # all of the first block, half of the second
        ("replace", [0.8, 0.55, 0.3]),
        ("at-least", [0.8, 0.8, 0.3]),
    ],
)
def test_how_a_region_is_merged(merge: str, expected: list[float]) -> None:
    saliency = np.full((ROWS, COLS), 0.3, np.float32)
    found = merged({"pixels": (0, 0, 24, 40), "weight": 0.8, "merge": merge}, saliency)
    assert found[0, :3].tolist() == pytest.approx(expected)
    assert found.dtype == np.float32


def test_replace_can_take_weight_away_and_regions_follow_each_other() -> None:
    everything = Region(title="t", fractions=(0, 0, 1, 1), weight=0.0, merge="replace")
    corner = Region(title="t", pixels=(0, 0, 16, 16), weight=1.0)
    for regions, first in (((everything, corner), 1.0), ((corner, everything), 0.0)):
        found = TitleRegions(regions, UPRIGHT).merged(DARK + 0.5, (WIDTH, HEIGHT), (0, 8), (0.0, 1.0))
        assert found[0].tolist() == [first, 0.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("times", "acts"),
    [
        ({}, True),
        ({"frame_start": 7, "frame_end": 9}, True),
        ({"frame_start": 8, "frame_end": 9}, False),
        ({"start_s": 0.9, "end_s": 5.0}, True),
        ({"start_s": 1.0, "end_s": 5.0}, False),
    ],
)
def test_a_region_acts_on_the_maps_that_share_a_frame_with_it(times: dict[str, Any], acts: bool) -> None:
    assert bool(merged({"fractions": (0, 0, 1, 1)} | times).any()) is acts


def test_a_rectangle_outside_the_picture_fails_its_title_with_the_numbers() -> None:
    with pytest.raises(TitleFailed, match=r"region of t \(80, 0, 10, 10\) lies outside its upright picture of 75x40"):
        merged({"pixels": (80, 0, 10, 10)})


ROWS_OF_A_FILE = [
    {"title": "a", "pixels": [0, 0, 10, 10], "frame_start": 3, "frame_end": 9},
    {"title": "b", "fractions": [0, 0, 0.5, 1], "start_s": 1.0, "end_s": 2.0, "weight": 0.5, "merge": "replace"},
    {"title": "a", "grid": [[0, 1], [1, 0]], "merge": "at-least"},
]


def as_json(path: Path) -> None:
    path.write_text(json.dumps(ROWS_OF_A_FILE))


def as_parquet(path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS_OF_A_FILE, schema=pa.schema([
        ("title", pa.string()), ("pixels", pa.list_(pa.float64())), ("fractions", pa.list_(pa.float64())),
        ("grid", pa.list_(pa.list_(pa.float64()))), ("frame_start", pa.int64()), ("frame_end", pa.int64()),
        ("start_s", pa.float64()), ("end_s", pa.float64()), ("weight", pa.float64()), ("merge", pa.string()),
    ])), path)  # fmt: skip


def test_json_and_parquet_say_the_same(tmp_path: Path) -> None:
    found = []
    for name, write in (("r.json", as_json), ("r.parquet", as_parquet)):
        write(tmp_path / name)
        found.append(read_regions(str(tmp_path / name)))
    assert found[0].by_title == found[1].by_title
    assert regions_key(()) is None
    assert [len(found[0].of(title)) for title in ("a", "b", "c")] == [2, 1, 0]
    assert regions_key(found[0].of("a")) == regions_key(found[1].of("a")) != regions_key(found[0].of("b"))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "it is empty"),
        ([{"title": "a"}], "row 0: a region is one of pixels, fractions and grid"),
        ([ROWS_OF_A_FILE[0], {"title": "a", "pixels": [0, 0, 0, 5]}], "row 1: a region is wider and higher than 0"),
        ([{"title": "a", "fractions": [1, 0, 0.5, 1]}], "row 0: a region in fractions lies within 0..1"),
        (
            [{"title": "a", "fractions": [0, 0, 1, 1], "weight": 2}],
            "row 0: weight: Input should be less than or equal to 1",
        ),
        (
            [{"title": "a", "fractions": [0, 0, 1, 1], "merge": "add"}],
            "row 0: merge: Input should be 'max', 'replace' or",
        ),
        ([{"title": "a", "fractions": [0, 0, 1, 1], "start_s": 2}], "row 0: a region's time is frame_start and"),
        ([{"title": "a", "fractions": [0, 0, 1, 1], "start_s": 2, "end_s": 1}], "row 0: a region ends after it begins"),
        ([{"title": "a", "grid": [[0, 1], [1]]}], "row 0: a grid is rows of one length"),
        ([{"titel": "a", "fractions": [0, 0, 1, 1]}], "row 0: title: Field required"),
        ({"title": "a"}, "JSON is a list of objects"),
    ],
)
def test_a_bad_file_is_refused_with_its_rows(rows: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(rows))
    with pytest.raises(SettingsError) as caught:
        read_regions(str(path))
    assert words in str(caught.value)


def test_a_file_that_is_neither_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.bin"

    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(SettingsError, match="cannot be read as Parquet or JSON"):
        read_regions(str(path))
