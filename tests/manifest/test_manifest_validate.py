from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.manifest.content import map_rows, tampered, with_column, write_title
from vsal.manifest import ManifestError, TitleManifest, validate


def at(index: int, value: Any) -> Callable[[list[Any]], list[Any]]:
    def change(values: list[Any]) -> list[Any]:
        values[index] = value
        return values

    return change


@pytest.fixture
def path(tmp_path: Path) -> str:
    return write_title(str(tmp_path), map_rows(300))


def test_a_sound_file_has_no_problem(path: str) -> None:
    assert validate(path) == []
    assert validate(tampered(path)) == []


@pytest.mark.parametrize(
    ("column", "change", "says"),
    [
        ("frame_start", at(100, 799), "map 100: begins at frame 799; expected 800"),
        ("frame_end", at(100, 809), "map 101: begins at frame 808; expected 809"),
        ("frame_end", at(255, 2050), "map 256: begins at frame 2048; expected 2050"),
        ("frame_end", at(7, 56), "map 7: holds no frame"),
        ("frame_start", at(0, 1), "map 0: begins at frame 1; expected 0"),
        ("map", at(256, 255), "expected map 256 here"),
        ("shot", at(10, 4), "map 10: shot 4 comes after shot 1"),
        ("shot", at(299, 58), "map 299: shot 58 comes after shot 59"),
        ("shot", lambda shots: [shot + 1 for shot in shots], "map 0: shot 1 comes after shot -1"),
        ("pts_start", at(3, 1), "map 3: begins at pts 1"),
        ("pts_end", at(299, 0), "map 299: lasts from pts"),
        ("title_id", at(9, "other"), "map 9: title_id is other, not park"),
        ("time_base_den", at(256, 1), "map 256: time_base_den is 1"),
        ("time_base_num", at(5, 0), "map 5: the time base is not positive"),
        ("width", at(5, 400), "map 5: 20x12 blocks do not fit 400x180 pixels"),
        ("height", at(5, 0), "the picture is 320x0"),
        ("cols", at(5, 21), "map 5: 21x12 blocks do not fit"),
        ("block_size", at(5, 8), "block_size is 8; expected 16"),
        ("samples", at(5, -1), "samples is -1"),
        ("motion", at(5, float("nan")), "motion is nan"),
        ("motion", at(5, 256.0), "motion is 256"),
        ("saliency", at(5, [1, 2, 3]), "map 5: saliency holds 3 values for 240 blocks"),
        ("qp_offset", at(270, [0] * 239), "map 270: qp_offset holds 239 values for 240 blocks"),
        ("qp_offset", at(270, [0] * 239 + [9]), "map 270: QP offsets leave -8..8"),
    ],
)
def test_a_broken_promise_is_named(path: str, column: str, change: Callable[[list[Any]], list[Any]], says: str) -> None:
    problems = validate(tampered(path, with_column(column, change)))
    assert any(says in problem for problem in problems), problems


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({"vsal.model": None}, "metadata lacks vsal.model"),
        ({"vsal.settings": "{"}, "no readable vsal.settings"),
        ({"vsal.source": "[]"}, "vsal.source is no JSON object"),
        ({"vsal.source": '{"uri": "a"}'}, "metadata"),
        ({"vsal.settings": '{"qp_limit":6,"sample_rate":9}'}, "fingerprint is"),
        ({"vsal.frames": "1"}, "vsal.frames is 1; the rows give 2400"),
        ({"vsal.shots": "1"}, "vsal.shots is 1; the rows give 60"),
        ({"vsal.maps": "many"}, "vsal.maps is many; the rows give 300"),
        ({"vsal.decode_errors": "-1"}, "decode errors are -1"),
        ({"vsal.schema_version": "99"}, "schema version 99"),
    ],
)
def test_broken_metadata_is_named(path: str, metadata: dict[str, str | None], says: str) -> None:
    problems = validate(tampered(path, metadata=metadata))
    assert any(says in problem for problem in problems), problems


def test_a_hole_is_found(path: str) -> None:
    gone = tampered(path, lambda table: pa.concat_tables([table.slice(0, 256), table.slice(257)]))
    assert "map 257: begins at frame 2056; expected 2048" in validate(gone)


def test_other_columns_and_layouts_are_named(path: str) -> None:
    assert "row group 0 holds 300 maps" in " ".join(validate(tampered(path, group=1000)))
    wide = lambda table: table.set_column(1, pa.field("shot", pa.int64(), False), table["shot"].cast(pa.int64()))  # noqa: E731
    assert validate(tampered(path, wide)) == ["column shot is int64 not null; expected int32 not null"]
    assert "expected title_id" in validate(tampered(path, lambda table: table.drop_columns(["motion"])))[0]


def test_a_file_under_a_wrong_name_is_found(path: str) -> None:
    other = Path(path).rename(Path(path).with_name("meadow.parquet"))
    assert validate(str(other)) == ["the file is named meadow.parquet, but holds the title park"]
    assert validate(str(other.parent.parent)) == ["meadow: the file is named meadow.parquet, but holds the title park"]


def test_a_flipped_bit_is_found(path: str) -> None:
    column = pq.read_metadata(path).row_group(1).column(16)
    data = bytearray(Path(path).read_bytes())
    data[column.data_page_offset + column.total_compressed_size // 2] ^= 4
    Path(path).write_bytes(data)
    (problem,) = validate(path)
    assert "row group 1 cannot be read" in problem
    with TitleManifest(path) as title:
        assert title.map_at(0).map == 0
        with pytest.raises(ManifestError, match="row group 1"):
            list(title.iter_maps())


def test_what_is_no_parquet_is_one_problem(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"text")
    (problem,) = validate(str(tmp_path / "a.parquet"))
    assert "not a whole Parquet file" in problem
    with pytest.raises(FileNotFoundError):
        validate(str(tmp_path / "none.parquet"))


def test_problems_of_one_file_are_bounded(path: str) -> None:
    assert len(validate(tampered(path, with_column("frame_start", lambda values: [5] * len(values))))) == 100
