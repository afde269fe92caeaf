from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vsal
from tests.fixtures_s3 import S3Server
from tests.manifest.content import MODEL, SETTINGS, SOURCE, grid, map_rows, tampered, write_title
from vsal import storage
from vsal.manifest import (
    KEYS,
    SCHEMA,
    ManifestError,
    ManifestWriter,
    MapRow,
    TitleManifest,
    TitleRecord,
    file_metadata,
    fingerprint,
    maps_uri,
    read_fingerprint,
    read_manifest,
    runs_uri,
    titles_uri,
    validate,
    write_titles,
)


def same(one: MapRow, other: MapRow) -> bool:
    names = [name for name in MapRow.__slots__ if name not in ("saliency", "qp_offset")]
    plain = all(getattr(one, name) == getattr(other, name) for name in names)
    return plain and np.array_equal(one.saliency, other.saliency) and np.array_equal(one.qp_offset, other.qp_offset)


# What is written is what docs/manifest.md says

COLUMNS = (
    "title_id shot map frame_start frame_end pts_start pts_end time_base_num time_base_den width height block_size "
    "cols rows samples motion saliency qp_offset"
)


def test_columns_have_their_names_and_order() -> None:
    assert " ".join(SCHEMA.names) == COLUMNS
    assert SCHEMA.field("saliency").type.value_type == pa.uint8()
    assert SCHEMA.field("qp_offset").type.value_type == pa.int8()
    assert not any(field.nullable for field in SCHEMA)


def test_the_file_is_as_other_readers_need_it(tmp_path: Path) -> None:
    path = write_title(str(tmp_path), map_rows(600))
    metadata = pq.read_metadata(path)
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [256, 256, 88]
    for group in range(metadata.num_row_groups):
        for index in range(metadata.num_columns):
            column = metadata.row_group(group).column(index)
            assert column.compression == "ZSTD"
            assert set(column.encodings) <= {"PLAIN", "RLE", "RLE_DICTIONARY", "PLAIN_DICTIONARY"}
    assert pq.read_schema(path).remove_metadata() == SCHEMA
    assert pq.read_table(path)["frame_start"].to_pylist() == list(range(0, 4800, 8))


def test_metadata_says_where_the_maps_come_from(tmp_path: Path) -> None:
    path = write_title(str(tmp_path), map_rows(23))
    assert set(KEYS) <= {key.decode() for key in pq.read_metadata(path).metadata}
    with TitleManifest(path) as title:
        assert title.source == SOURCE
        assert title.model == {"name": MODEL[0], "sha256": MODEL[1]}
        assert title.settings == SETTINGS
        assert title.video == {"codec": "h264"}
        assert title.metadata["vsal.version"] == vsal.__version__
        assert (title.frames, title.shot_count, title.map_count, title.decode_errors) == (184, 5, 23, 2)
        assert title.fingerprint == fingerprint(SOURCE, MODEL[1], SETTINGS)


def test_what_close_adds_replaces_what_was_known_before(tmp_path: Path) -> None:
    path = str(tmp_path / "a.parquet")
    writer = ManifestWriter(path, file_metadata(SOURCE, *MODEL, SETTINGS))
    writer.append(list(map_rows(3)))
    assert (writer.frames, writer.shots, writer.maps) == (24, 1, 3)
    writer.close({"vsal.decode_errors": "7"})
    writer.close()
    with TitleManifest(path) as title:
        assert title.decode_errors == 7


@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_any_title_comes_back_as_it_was(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    integers = st.integers
    pts = data.draw(integers(-(2**40), 2**40))
    time_base = Fraction(data.draw(integers(1, 1001)), data.draw(integers(1, 2**31 - 1)))
    rows: list[MapRow] = []
    frame, shot = 0, 0
    for i in range(data.draw(integers(1, 12))):
        width, height = data.draw(integers(1, 200)), data.draw(integers(1, 200))
        shape = (-(-height // 16), -(-width // 16))
        length, duration = data.draw(integers(1, 10**6)), data.draw(integers(1, 2**40))
        random = np.random.default_rng(data.draw(integers(0, 2**32)))
        shot += bool(i) and data.draw(st.booleans())
        rows.append(
            MapRow(
                title_id="t%20",
                shot=shot,
                map=i,
                frame_start=frame,
                frame_end=frame + length,
                pts_start=pts,
                pts_end=pts + duration,
                time_base=time_base,
                width=width,
                height=height,
                samples=data.draw(integers(0, 100)),
                motion=data.draw(st.floats(0, 255, width=32)),
                saliency=random.integers(0, 256, shape, dtype=np.uint8),
                qp_offset=random.integers(-6, 7, shape, dtype=np.int8),
            )
        )
        frame, pts = frame + length, pts + duration
    out = str(tmp_path_factory.mktemp("out"))
    path = write_title(out, rows, "t%20")
    assert validate(path) == []
    with TitleManifest(path) as title:
        assert all(same(a, b) for a, b in zip(title.iter_maps(), rows, strict=True))
        assert title.frames == frame
        assert [shot for shot, _, _ in title.shots()] == list(range(shot + 1))
        for asked in [0, frame - 1, data.draw(integers(0, frame - 1))]:
            assert title.map_at(asked).frame_start <= asked < title.map_at(asked).frame_end


# Refusing what would break a promise


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"frame_start": 17}, "has to begin at frame 16"),
        ({"frame_start": 15}, "has to begin at frame 16"),
        ({"frame_end": 16}, "to hold a frame"),
        ({"map": 3}, "map 2 has to begin"),
        ({"shot": 2}, "expected 0 or 1"),
        ({"title_id": "other"}, "in the manifest file of park"),
        ({"width": 400}, r"needs uint8 \[12, 25\]"),
        ({"saliency": np.zeros((12, 20), np.float32)}, "saliency is float32"),
        ({"qp_offset": np.zeros((12, 20), np.uint8)}, r"needs int8 \[12, 20\]"),
    ],
)
def test_a_row_that_would_break_the_manifest_is_refused(tmp_path: Path, changes: dict[str, object], says: str) -> None:
    rows = list(map_rows(3))
    rows[2] = replace(rows[2], **changes)
    with pytest.raises(ValueError, match=says), ManifestWriter(str(tmp_path / "a"), {}) as writer:
        writer.append(rows)
    assert os.listdir(tmp_path) == []


def test_a_title_without_maps_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="without a map"), ManifestWriter(str(tmp_path / "a"), {}):
        pass
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("title_id", ["", "../up", "a/b", ".hidden", "nul\0"])
def test_ids_that_are_no_file_names_lead_nowhere(title_id: str) -> None:
    with pytest.raises(ValueError, match="no title id"):
        maps_uri("/out", title_id)


def test_names_below_out() -> None:
    assert maps_uri("s3://b/out", "a%20b") == "s3://b/out/maps/a%20b.parquet"
    assert titles_uri("/out") == "/out/titles.parquet"
    assert runs_uri("/out", "r1") == "/out/runs/r1.json"


# Reading


def test_maps_of_a_range_are_those_that_cover_it(tmp_path: Path) -> None:
    rows = list(map_rows(600))
    with TitleManifest(write_title(str(tmp_path), rows)) as title:
        for start, end in (
            (0, None),
            (0, 1),
            (2047, 2049),
            (2048, 2049),
            (100, 5000),
            (4799, None),
            (4800, None),
            (9, 9),
        ):
            stop = 4800 if end is None else end
            expected = [row.map for row in rows if row.frame_end > start and row.frame_start < stop]
            assert [row.map for row in title.iter_maps(start, end)] == expected, (start, end)
        assert [title.map_at(frame).map for frame in (0, 7, 8, 2047, 2048, 4799, 3)] == [0, 0, 1, 255, 256, 599, 0]
        for frame in (-1, 4800):
            with pytest.raises(IndexError, match="frames 0 to 4799"):
                title.map_at(frame)
        assert title.shots() == [(shot, shot * 40, shot * 40 + 40) for shot in range(120)]
        assert title.title_id == "park"


def test_grids_cannot_be_changed_by_accident(tmp_path: Path) -> None:
    with TitleManifest(write_title(str(tmp_path), map_rows(2))) as title, pytest.raises(ValueError, match="read-only"):
        title.map_at(0).saliency[0, 0] = 1


def test_titles_come_from_the_table_or_from_the_files(tmp_path: Path) -> None:
    out = str(tmp_path)
    with pytest.raises(ManifestError, match="vsal prepare"):
        read_manifest(out)
    write_title(out, map_rows(7))
    write_title(out, map_rows(2, "b%20c"), "b%20c")
    found = read_manifest(out).titles()
    assert [(r.title_id, r.status, r.path, r.maps) for r in found] == [
        ("b%20c", "done", "maps/b%20c.parquet", 2),
        ("park", "done", "maps/park.parquet", 7),
    ]
    records = [
        TitleRecord("park", "/videos/park.mp4", "done", path="maps/park.parquet", frames=56, shots=2, maps=7),
        TitleRecord("gone", "/videos/caf\udce9.mp4", "failed", "source_not_found", "there is no such file", attempts=1),
    ]
    write_titles(out, records)
    again = read_manifest(out).titles()
    assert again[0] == records[0]
    assert again[1] == replace(records[1], uri="/videos/caf\\udce9.mp4")
    assert read_manifest(out).map_at("park", 9).map == 1
    with pytest.raises(ManifestError, match="no maps of 'none'"):
        read_manifest(out).title("none")


def test_an_empty_run_has_an_empty_table(tmp_path: Path) -> None:
    write_titles(str(tmp_path), [])
    assert read_manifest(str(tmp_path)).titles() == []


def test_a_manifest_in_a_bucket_reads_as_a_local_one(s3_server: S3Server) -> None:
    out = f"{s3_server.bucket()}/out"
    rows = list(map_rows(600))
    uri = write_title(out, rows)
    write_titles(out, [TitleRecord("park", "/videos/park.mp4", "done")])
    assert s3_server.keys(out) == ["out/maps/park.parquet", "out/titles.parquet"]
    assert read_fingerprint(out, "park") == fingerprint(SOURCE, MODEL[1], SETTINGS)
    manifest = read_manifest(out)
    assert manifest.titles()[0].title_id == "park"
    assert manifest.title_ids() == ["park"]
    with manifest.title("park") as title:
        assert all(same(a, b) for a, b in zip(title.iter_maps(), rows, strict=True))
    assert validate(uri) == []
    assert validate(out) == []


def test_one_map_of_a_remote_title_costs_one_row_group(s3_server: S3Server) -> None:
    out = s3_server.bucket()
    uri = write_title(out, noisy_rows(1024))
    size = storage.stat(uri).size
    before = len(s3_server.gets(uri))
    assert read_manifest(out).map_at("park", 4000).map == 500
    asked = s3_server.gets(uri)[before:]
    assert sum(request.sent for request in asked) < size / 4 + 100_000
    assert len(asked) <= 4


def noisy_rows(maps: int) -> list[MapRow]:
    random = np.random.default_rng(0)
    return [
        replace(row, saliency=random.integers(0, 256, row.saliency.shape, dtype=np.uint8)) for row in map_rows(maps)
    ]


# Resume


def test_only_a_whole_file_counts_as_committed(tmp_path: Path) -> None:
    out = str(tmp_path)
    assert read_fingerprint(out, "park") is None
    path = write_title(out, map_rows(300))
    assert read_fingerprint(out, "park") == fingerprint(SOURCE, MODEL[1], SETTINGS)
    data = Path(path).read_bytes()
    wrong_length = data[:-8] + b"\xff\xff\xff\x7f" + data[-4:]  # of the footer
    for broken in (b"", b"PAR1", data[: len(data) // 2], data[:-1], b"x" * len(data), wrong_length):
        Path(path).write_bytes(broken)
        assert read_fingerprint(out, "park") is None
        with pytest.raises(ManifestError, match="prepare the title again"):
            TitleManifest(path)
    Path(path).write_bytes(data)
    tampered(path, metadata={"vsal.schema_version": "2"})
    assert read_fingerprint(out, "park") is None


def test_a_place_out_of_reach_is_not_a_missing_title(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "open_random", refuse)
    with pytest.raises(PermissionError):
        read_fingerprint(str(tmp_path), "park")


def refuse(_: str) -> None:
    raise PermissionError("access denied")


def test_fingerprints_change_with_all_they_stand_for() -> None:
    base = fingerprint(SOURCE, MODEL[1], SETTINGS)
    assert base == fingerprint(SOURCE, MODEL[1], dict(reversed(SETTINGS.items())))
    assert len(base) == 64
    others = [
        fingerprint(replace(SOURCE, uri="/videos/other.mp4"), MODEL[1], SETTINGS),
        fingerprint(replace(SOURCE, size=1), MODEL[1], SETTINGS),
        fingerprint(replace(SOURCE, mtime_ns=1), MODEL[1], SETTINGS),
        fingerprint(replace(SOURCE, etag="e"), MODEL[1], SETTINGS),
        fingerprint(SOURCE, "cd" * 32, SETTINGS),
        fingerprint(SOURCE, MODEL[1], {**SETTINGS, "qp_limit": 7}),
        fingerprint(SOURCE, MODEL[1], {**SETTINGS, "new": None}),
    ]
    assert len({base, *others}) == len(others) + 1
    # An object that was copied onto itself keeps its content.
    tagged = replace(SOURCE, etag="e")
    assert fingerprint(replace(tagged, mtime_ns=9), MODEL[1], SETTINGS) == fingerprint(tagged, MODEL[1], SETTINGS)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=40)
@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_a_fingerprint_survives_the_way_through_metadata(values: dict[str, object]) -> None:
    metadata = file_metadata(SOURCE, *MODEL, values)
    read = fingerprint(
        storage.SourceInfo(**json.loads(metadata["vsal.source"])),
        json.loads(metadata["vsal.model"])["sha256"],
        json.loads(metadata["vsal.settings"]),
    )
    assert read == metadata["vsal.fingerprint"] == fingerprint(SOURCE, MODEL[1], values)


def test_a_setting_without_exact_form_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        fingerprint(SOURCE, MODEL[1], {"rate": float("nan")})


# Size, time, memory


@pytest.fixture(scope="module")
def lifelike() -> list[tuple[np.ndarray, np.ndarray]]:
    """Grids of 1080p: a soft subject that drifts over a faint, noisy ground.

    They take 37 MB an hour: more than the calm maps of U2-Net-p over real clips (27 MB), less than those of a noisier
    network (46 MB). So the test holds the encoding, and says nothing of what a certain model will need.
    """
    random = np.random.default_rng(1)
    ground = np.kron(random.random((9, 15)), np.ones((8, 8)))[:68, :120] * 30
    found = []
    for i in range(256):
        noise = random.normal(0, 0.25, (68, 120))
        saliency = np.clip(grid(68, 120, i / 20).astype(float) + np.maximum(ground + noise - 15, 0), 0, 255)
        offsets = np.clip(np.rint(2 - 8 * saliency / 255), -6, 6)
        found.append((np.rint(saliency).astype(np.uint8), offsets.astype(np.int8)))
    return found


def write_grids(path: str, grids: list[tuple[np.ndarray, np.ndarray]], maps: int) -> None:
    with ManifestWriter(path, file_metadata(SOURCE, *MODEL, SETTINGS)) as writer:
        for i in range(maps):
            saliency, offsets = grids[i % len(grids)]
            times = (i * 8, i * 8 + 8, i * 4096, i * 4096 + 4096)
            size = (saliency.shape[1] * 16, saliency.shape[0] * 16)
            writer.append([MapRow("park", 0, i, *times, Fraction(1, 12288), *size, 1, 0.5, saliency, offsets)])


def test_an_hour_of_lifelike_1080p_stays_under_40_mb_and_12_s(
    tmp_path: Path, lifelike: list[tuple[np.ndarray, np.ndarray]]
) -> None:
    path = str(tmp_path / "a.parquet")
    maps, hour = 1024, 10_800
    began = time.process_time()
    write_grids(path, lifelike, maps)
    seconds = (time.process_time() - began) * hour / maps
    # Row groups are compressed one by one: that grids come again after 256 maps makes nothing smaller.
    megabytes = os.path.getsize(path) * hour / maps / 1e6
    assert megabytes < 40
    assert seconds < 12


MEMORY = """
import resource, sys
from tests.manifest.test_manifest_files import write_grids
from tests.manifest.content import grid
from vsal.manifest import TitleManifest, validate
grids = [(grid(30, 54, i), grid(30, 54, i).astype("int8") // 16) for i in range(8)]
write_grids(sys.argv[1], grids, int(sys.argv[2]))
with TitleManifest(sys.argv[1]) as title:
    assert sum(1 for _ in title.iter_maps()) == int(sys.argv[2])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_title(tmp_path: Path) -> None:
    def peak_mb(maps: int) -> float:
        arguments = [sys.executable, "-c", MEMORY, str(tmp_path / "a.parquet"), str(maps)]
        done = subprocess.run(arguments, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
        return int(done.stdout) / 1024

    short, long = peak_mb(512), peak_mb(4096)
    assert long < short * 1.1 + 5


def test_a_row_group_is_bounded_for_large_pictures(tmp_path: Path) -> None:
    first = next(map_rows(1, size=(7680, 4320)))
    numbers = [{"map": i, "frame_start": i, "frame_end": i + 1, "pts_start": i, "pts_end": i + 1} for i in range(40)]
    path = write_title(str(tmp_path), [replace(first, **number) for number in numbers])
    metadata = pq.read_metadata(path)
    blocks = 480 * 270
    assert all(metadata.row_group(i).num_rows * blocks <= 4 << 20 for i in range(metadata.num_row_groups))
    assert validate(path) == []
