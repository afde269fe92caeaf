from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fixtures_s3 import S3Server
from vsal import storage
from vsal.catalog import ID_BYTES, Title, read_catalog, title_id
from vsal.errors import SettingsError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def ids(titles: list[Title]) -> list[str]:
    return [title.title_id for title in titles]


# Kinds of catalogues


def test_one_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "My film.final.MP4")
    monkeypatch.chdir(tmp_path)
    assert read_catalog("My film.final.MP4") == [Title("My%20film.final", str(tmp_path / "My film.final.MP4"))]
    assert read_catalog((tmp_path / "My film.final.MP4").as_uri())[0].uri == str(tmp_path / "My film.final.MP4")


def test_a_video_that_is_missing_is_still_a_title(tmp_path: Path) -> None:
    assert read_catalog(f"{tmp_path}/gone.mp4") == [Title("gone", f"{tmp_path}/gone.mp4")]
    with pytest.raises(SettingsError, match="no file or folder"):
        read_catalog(f"{tmp_path}/gone")
    with pytest.raises(SettingsError, match="no file or folder"):
        read_catalog(f"{tmp_path}/gone.csv")


def test_a_file_of_any_other_name_is_one_video(tmp_path: Path) -> None:
    touch(tmp_path, "raw", "clip.1080p", ".mp4")
    assert ids(read_catalog(f"{tmp_path}/raw")) == ["raw"]
    assert ids(read_catalog(f"{tmp_path}/clip.1080p")) == ["clip.1080p"]
    assert ids(read_catalog(f"{tmp_path}/.mp4")) == ["%2Emp4"]


def test_a_folder_gives_its_videos_at_any_depth(tmp_path: Path) -> None:
    folder = tmp_path / ".films"  # hidden itself, but asked for
    touch(folder, "b.mp4", "a.MKV", "sub/deep/c.webm", "notes.txt", "list.csv", "._b.mp4", ".trash/d.mp4", "mp4")
    (folder / "sub" / "e.mp4").mkdir()
    assert ids(read_catalog(str(folder))) == ["a", "b", "c"]
    assert read_catalog(f"{folder}/") == read_catalog(str(folder))


def test_a_pattern_gives_what_fits(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.mp4", "sub/c.mp4", "d.dat", ".e.mp4")
    (tmp_path / "folder.mp4").mkdir()
    assert ids(read_catalog(f"{tmp_path}/*.mp4")) == ["a", "b"]
    assert ids(read_catalog(f"{tmp_path}/**/*.mp4")) == ["a", "b", "c"]
    assert ids(read_catalog(f"{tmp_path}/?.dat")) == ["d.dat"]
    assert ids(read_catalog(f"{tmp_path}/s*/c.mp4")) == ["c"]


def test_a_file_whose_name_looks_like_a_pattern_is_itself(tmp_path: Path) -> None:
    touch(tmp_path, "clip[1].mp4", "clip1.mp4")
    assert read_catalog(f"{tmp_path}/clip[1].mp4")[0].uri == f"{tmp_path}/clip[1].mp4"


def test_a_text_file_has_a_uri_a_line(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(
        b"\xef\xbb\xbfa.mp4\r\n\r\n# a remark\r\n  ../b c.mp4  \ns3://bucket/d.mp4\n/e.mp4"
    )
    assert read_catalog(f"{tmp_path}/list.txt") == [
        Title("a", f"{tmp_path}/a.mp4"),
        Title("b%20c", f"{tmp_path.parent}/b c.mp4"),
        Title("d", "s3://bucket/d.mp4"),
        Title("e", "/e.mp4"),
    ]


def test_a_csv_has_uri_and_perhaps_title_id(tmp_path: Path) -> None:
    path = tmp_path / "list.CSV"
    path.write_text('year, URI ,title_id\n1999,"a, b.mp4",\n2001, c.mp4 , The Movie\n\n,d.mp4\n', "utf-8-sig")
    assert read_catalog(str(path)) == [
        Title("a%2C%20b", f"{tmp_path}/a, b.mp4"),
        Title("The%20Movie", f"{tmp_path}/c.mp4"),
        Title("d", f"{tmp_path}/d.mp4"),
    ]


def test_json_lines_and_parquet(tmp_path: Path) -> None:
    rows = [{"uri": "a.mp4", "title_id": None, "x": 1}, {"uri": "b.mp4", "title_id": "Zwölf"}]
    (tmp_path / "list.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "list.parquet")
    expected = [Title("a", f"{tmp_path}/a.mp4"), Title("Zw%C3%B6lf", f"{tmp_path}/b.mp4")]
    assert read_catalog(f"{tmp_path}/list.jsonl") == expected
    assert read_catalog(f"{tmp_path}/list.parquet") == expected
    pq.write_table(pa.table({"uri": ["a.mp4", "b.mp4"], "title_id": [7, 8]}), tmp_path / "numbers.parquet")
    assert ids(read_catalog(f"{tmp_path}/numbers.parquet")) == ["7", "8"]
    pq.write_table(pa.table({"uri": ["a.mp4"]}), tmp_path / "uris.parquet")
    assert ids(read_catalog(f"{tmp_path}/uris.parquet")) == ["a"]


def test_file_names_that_are_no_utf8(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"caf\xe9.mp4\n")
    (title,) = read_catalog(f"{tmp_path}/list.txt")
    assert title.title_id == "caf%E9"
    assert not storage.exists(title.uri)
    (Path(title.uri)).write_bytes(b"1")
    assert storage.stat(title.uri).size == 1
    assert read_catalog(f"{tmp_path}/*.mp4") == [title]


def test_catalogues_in_a_bucket(s3_server: S3Server) -> None:
    bucket = s3_server.bucket()
    for name in ("films/a b.mp4", "films/sub/c%20d.mkv", "films/.h/x.mp4", "films/notes.txt", "films/"):
        s3_server.put(f"{bucket}/{name}", b"")
    s3_server.put(f"{bucket}/lists/all.csv", b"uri\n../films/a b.mp4\n/local.mp4\ns3://other/z.mp4\n")
    folder = [Title("a%20b", f"{bucket}/films/a b.mp4"), Title("c%2520d", f"{bucket}/films/sub/c%20d.mkv")]
    assert read_catalog(f"{bucket}/films") == folder
    assert read_catalog(f"{bucket}/films/") == folder
    assert read_catalog(f"{bucket}/**/*.m*") == folder
    assert read_catalog(f"{bucket}/films/a b.mp4") == folder[:1]
    assert read_catalog(f"{bucket}/films/gone.mp4")[0].uri == f"{bucket}/films/gone.mp4"
    assert [title.uri for title in read_catalog(f"{bucket}/lists/all.csv")] == [
        f"{bucket}/films/a b.mp4",
        "/local.mp4",
        "s3://other/z.mp4",
    ]
    s3_server.put(f"{bucket}/out.txt", b"../../other-bucket/a.mp4\n")
    with pytest.raises(SettingsError, match="leads out of the bucket"):
        read_catalog(f"{bucket}/out.txt")


# What stops a run


def test_nothing_to_do_is_an_error(tmp_path: Path, s3_server: S3Server) -> None:
    touch(tmp_path, "empty/notes.txt", "list.txt", "list.csv")
    (tmp_path / "list.jsonl").write_text("\n")
    (tmp_path / "head.csv").write_text("uri,title_id\n")
    sources = ["empty", "empty/*.mp4", "list.txt", "list.jsonl", "head.csv"]
    for source in [*(f"{tmp_path}/{name}" for name in sources), f"{s3_server.bucket()}/*.mp4"]:
        with pytest.raises(SettingsError, match=r"is empty\. Name a video"):
            read_catalog(source)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", "uri\nok.mp4\n,\n''\nx,y\n", "row 5: 2 fields, but 1 columns"),
        ("a.csv", "path,title\na.mp4,b\n", r"columns \['path', 'title'\]: .* needs a column `uri`"),
        ("a.csv", "title_id,uri\nx,\n", "row 2: uri is ''"),
        ("a.csv", 'uri\n"' + "x" * 200_000 + '"\n', "row 2: no CSV"),
        ("a.jsonl", '{"uri": "a.mp4"}\nnonsense\n', "row 2: no JSON"),
        ("a.jsonl", '"a.mp4"\n', "row 1: not a JSON object"),
        ("a.jsonl", '{"uri": "\\ud800.mp4"}', "row 1: uri or title_id holds half a character"),
        ("a.jsonl", '{"uri": "a", "title_id": "\\udc00"}', "row 1: uri or title_id holds half a character"),
        ("a.jsonl", '{"url": "a.mp4"}\n', "row 1: uri is None"),
        ("a.jsonl", '{"uri": 3}\n', "row 1: uri is 3"),
        ("a.jsonl", '{"uri": "a.mp4", "title_id": ["x"]}\n', r"row 1: title_id is \['x'\]"),
        ("a.jsonl", '{"uri": "a.mp4", "title_id": true}\n', "row 1: title_id is True"),
        ("a.jsonl", "[" * 100_000, "row 1: no JSON"),
        ("a.txt", "ok.mp4\nhttp://host/a.mp4\n", "row 2: http://host/a.mp4: vsal reads local paths"),
        ("a.txt", "a\0.mp4\n", "row 1: uri holds a NUL"),
        ("a.parquet", "no parquet", "cannot be read as Parquet"),
    ],
)
def test_a_malformed_row_is_named(tmp_path: Path, name: str, content: str, says: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(SettingsError, match=says):
        read_catalog(str(tmp_path / name))


def test_other_parquet_columns_are_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"path": ["a.mp4"]}), tmp_path / "a.parquet")
    with pytest.raises(SettingsError, match=r"\['path'\].*needs a column `uri`"):
        read_catalog(f"{tmp_path}/a.parquet")


def test_many_malformed_rows_make_a_short_message(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("x\n" * 1000)
    with pytest.raises(SettingsError) as caught:
        read_catalog(f"{tmp_path}/a.jsonl")
    assert "1000 of the rows" in str(caught.value)
    assert "and 995 rows more" in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "names", [("a/x.mp4", "b/x.mp4"), ("x.mp4", "x.mkv"), ("x.mp4", "X.mp4"), ("é.mp4", "sub/é.mov")]
)
def test_two_titles_of_one_id_are_both_named(tmp_path: Path, names: tuple[str, str]) -> None:
    touch(tmp_path, *names)
    with pytest.raises(SettingsError, match="same id") as caught:
        read_catalog(str(tmp_path))
    assert all(f"{tmp_path}/{name}" in str(caught.value) for name in names)
    assert "title_id" in str(caught.value)


def test_the_same_video_twice_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x.mp4\n./x.mp4\n")
    with pytest.raises(SettingsError, match="same id"):
        read_catalog(f"{tmp_path}/a.txt")
    (tmp_path / "b.csv").write_text("uri,title_id\nx.mp4,one\nx.mp4,two\n")
    assert ids(read_catalog(f"{tmp_path}/b.csv")) == ["one", "two"]


# Ids

SAFE = re.compile(r"[A-Za-z0-9~%-][A-Za-z0-9._~%-]*")


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=400))
def test_an_id_is_a_safe_name_for_any_text(name: str) -> None:
    encoded = title_id(name)
    assert SAFE.fullmatch(encoded)
    assert len(encoded) <= ID_BYTES
    if len(encoded) < ID_BYTES - 20:  # nothing was cut: the name can be had back
        assert unquote_to_bytes(encoded) == name.encode()
    else:
        assert unquote_to_bytes(encoded).decode()


@given(st.binary(min_size=1, max_size=255))
def test_an_id_is_a_safe_name_for_any_bytes(name: bytes) -> None:
    encoded = title_id(name.decode("utf-8", "surrogateescape"))
    assert SAFE.fullmatch(encoded)
    assert len(encoded) <= ID_BYTES


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300), unique=True, max_size=6))
def test_different_names_have_different_ids(names: list[str]) -> None:
    assert len({title_id(name) for name in names}) == len(names)


def test_long_names_that_begin_alike_stay_apart() -> None:
    one, other = title_id("é" * 300), title_id("é" * 299 + "e")
    assert one != other
    assert len(one) <= ID_BYTES
    assert unquote_to_bytes(one.rpartition("-")[0]).decode().strip("é") == ""  # cut between characters


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"),
        ("..", "%2E."),
        (".hidden", "%2Ehidden"),
        ("_hidden from Spark", "%5Fhidden%20from%20Spark"),
        ("a\0b", "a%00b"),
        ("😀", "%F0%9F%98%80"),
        ("a%20b", "a%2520b"),
        ("-rf", "-rf"),
        ("50%", "50%25"),
    ],
)
def test_ids_of_awkward_names(name: str, expected: str) -> None:
    assert title_id(name) == expected


def test_a_title_of_an_awkward_name_can_be_written(tmp_path: Path) -> None:
    from vsal.manifest import maps_uri

    for name in ("../../x", "a\0b", "😀" * 50, "x" * 300, ".x", "CON"):
        uri = maps_uri(str(tmp_path), title_id(name))
        storage.write_bytes(uri, b"1")
        assert Path(uri).parent == tmp_path / "maps"
    assert len(storage.list_files(str(tmp_path / "maps"))) == 6


def test_the_development_videos_are_a_catalogue(shared_data: Path) -> None:
    titles = read_catalog(str(shared_data / "videos"))
    assert len(titles) == 51
    assert all(storage.stat(title.uri).size >= 0 for title in titles)
