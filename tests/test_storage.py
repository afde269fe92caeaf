from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from unittest import mock

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fixtures_s3 import S3Server
from vsal import storage
from vsal.errors import SettingsError
from vsal.storage import ranges, staging
from vsal.storage.places import filesystem, parse

PATTERN = bytes(range(251))  # a prime length: no two ranges of a power of two look alike


@pytest.fixture(params=["local", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder that does not exist yet, in each kind of place."""
    if request.param == "local":
        return str(tmp_path / "below")
    server: S3Server = request.getfixturevalue("s3_server")
    return f"{server.bucket()}/below"


def test_a_file_comes_back_as_written(folder: str) -> None:
    for name, data in (("a", b"x"), ("empty", b""), ("deep/er/b", os.urandom(100_000))):
        uri = storage.join(folder, name)
        storage.write_bytes(uri, data)
        assert storage.read_bytes(uri) == data
        assert storage.exists(uri)
        assert storage.stat(uri).size == len(data)
        with storage.open_input(uri) as file:
            assert file.read() == data
    storage.write_bytes(storage.join(folder, "a"), b"again")
    assert storage.read_bytes(storage.join(folder, "a")) == b"again"


def test_names_that_a_uri_would_mangle_stay_themselves(folder: str) -> None:
    for name in ("a b", "50%20off", "100%", "q?x=1", "h#1", "é😀", "plus+", "[1]", "a&b=c"):
        uri = storage.join(folder, name)
        storage.write_bytes(uri, name.encode())
        assert storage.name(uri) == name
        assert storage.read_bytes(uri) == name.encode()
        assert storage.stat(uri).uri == uri
    assert {storage.name(info.uri) for info in storage.list_files(folder)} >= {"50%20off", "q?x=1"}
    assert all(storage.read_bytes(info.uri) for info in storage.list_files(folder))


def test_listing_is_sorted_and_complete(folder: str) -> None:
    assert storage.list_files(folder) == []
    names = ["b", "a", "sub/c", "sub/sub/d", "z"]
    for name in names:
        storage.write_bytes(storage.join(folder, name), b"12")
    found = storage.list_files(folder)
    assert [info.uri for info in found] == sorted(storage.join(folder, name) for name in names)
    assert all(info.size == 2 and info.mtime_ns for info in found)
    assert [storage.name(info.uri) for info in storage.list_files(folder, recursive=False)] == ["a", "b", "z"]
    assert storage.is_folder(folder)
    assert not storage.is_folder(storage.join(folder, "a"))


def test_what_is_missing_or_a_folder_is_told_apart(folder: str) -> None:
    storage.write_bytes(storage.join(folder, "sub/a"), b"1")
    for missing in (storage.join(folder, "none"), folder + "/nul\0"):
        assert not storage.exists(missing)
        for look in (storage.stat, storage.open_input, storage.read_bytes):
            with pytest.raises(FileNotFoundError):
                look(missing)
    for look in (storage.stat, storage.open_input, storage.read_bytes):
        with pytest.raises(IsADirectoryError):
            look(storage.join(folder, "sub"))


def test_removing_twice_is_no_error_and_leaves_no_file(folder: str) -> None:
    uri = storage.join(folder, "a")
    storage.write_bytes(uri, b"1")
    storage.remove(uri)
    storage.remove(uri)
    assert not storage.exists(uri)
    assert storage.list_files(folder) == []


def test_a_writable_place_is_left_as_it_was(folder: str) -> None:
    storage.check_writable(folder)
    assert storage.list_files(folder) == []


def test_a_changed_file_changes_its_stat(folder: str) -> None:
    uri = storage.join(folder, "a")
    storage.write_bytes(uri, b"1")
    first = storage.stat(uri)
    assert storage.stat(uri) == first
    time.sleep(0.01)
    storage.write_bytes(uri, b"2")
    assert storage.stat(uri) != first


def test_publish_moves_the_staging_file(folder: str) -> None:
    uri = storage.join(folder, "maps/title.parquet")
    path = storage.staging_file(uri)
    Path(path).write_bytes(b"whole")
    assert not storage.exists(uri)
    assert storage.list_files(folder) == []
    storage.publish(path, uri)
    assert not os.path.exists(path)
    assert storage.read_bytes(uri) == b"whole"
    assert [storage.name(info.uri) for info in storage.list_files(folder)] == ["title.parquet"]


# Local


def test_uris_of_local_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert storage.local_path("a/../b") == str(tmp_path / "b")
    assert storage.local_path("file:///a%20b") == "/a b"
    assert storage.local_path("FILE://localhost/a") == "/a"
    assert storage.join("file:///a%20b", "c%20d") == "/a b/c%20d"
    assert storage.is_local("x.mp4")
    assert not storage.is_local("s3://b/x.mp4")
    assert storage.parent("/a/b") == "/a"
    assert storage.parent("/a") == "/"
    assert storage.join("/", "a") == "/a"
    assert storage.resolve("/videos", "../b/c.mp4") == "/b/c.mp4"


@pytest.mark.parametrize("part", ["", "..", "a/../../b", "/etc/passwd"])
def test_join_does_not_lead_out(part: str) -> None:
    for folder in ("/out", "s3://bucket/out"):
        with pytest.raises(ValueError, match="does not name a place below"):
            storage.join(folder, part)


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("http://host/a.mp4", "not http://"),
        ("hdfs://host/a", "not hdfs://"),
        ("s3://", "names no bucket"),
        ("s3:///key", "names no bucket"),
        ("file://host/a", "absolute path"),
        ("s3://KEY:SECRET@bucket/a", "password"),
        ("", "empty path"),
    ],
)
def test_uris_that_no_place_has_say_so(uri: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says) as caught:
        storage.stat(uri)
    assert "SECRET" not in str(caught.value)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    uri = str(tmp_path / "a")
    storage.write_bytes(uri, b"old")
    with mock.patch.object(os, "replace", side_effect=OSError("no space")), pytest.raises(OSError, match="no space"):
        storage.write_bytes(uri, b"new")
    assert storage.read_bytes(uri) == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_file_is_on_disk_before_it_has_its_name(tmp_path: Path) -> None:
    done: list[str] = []
    real_replace = os.replace

    def replace(source: str, target: str) -> None:
        done.append("replace")
        real_replace(source, target)

    with (
        mock.patch.object(os, "fsync", side_effect=lambda _: done.append("fsync")),
        mock.patch.object(os, "replace", side_effect=replace),
    ):
        storage.write_bytes(str(tmp_path / "a"), b"1")
    assert done == ["fsync", "replace", "fsync"]


def test_publish_takes_a_file_of_another_disk(tmp_path: Path) -> None:
    shm = Path("/dev/shm")
    if not os.access(shm, os.W_OK) or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system")
    source = shm / f"vsal-test-{os.getpid()}"
    source.write_bytes(b"whole")
    storage.publish(str(source), str(tmp_path / "a"))
    assert (tmp_path / "a").read_bytes() == b"whole"
    assert not source.exists()
    assert os.listdir(tmp_path) == ["a"]


KILLED_WRITER = """
import os, signal, sys
from vsal import storage
path = storage.staging_file(sys.argv[1])
open(path, "wb").write(b"half")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_writer_left_is_no_file_and_goes(tmp_path: Path) -> None:
    uri = str(tmp_path / "maps" / "a.parquet")
    subprocess.run([sys.executable, "-c", KILLED_WRITER, uri], check=False)
    (left,) = os.listdir(tmp_path / "maps")
    assert not left.endswith(".parquet")
    assert storage.list_files(str(tmp_path)) == []
    storage.write_bytes(uri, b"whole")
    assert os.listdir(tmp_path / "maps") == ["a.parquet"]


def test_sweeping_spares_those_who_may_still_write(tmp_path: Path) -> None:
    mine = storage.staging_file(str(tmp_path / "a"))
    host, dead = staging._host(), _dead_pid()
    names = {
        f".vsal-staging-{host}-{os.getppid()}-{'0' * 16}": True,  # alive
        f".vsal-staging-{'f' * 8}-{dead}-{'0' * 16}": True,  # another machine
        f".vsal-staging-{host}-{dead}-{'1' * 16}": False,
        f".vsal-staging-{host}-{os.getpid()}-{'2' * 16}": False,  # this number, but none of mine
        "title.parquet": True,
        ".vsal-staging-by-someone-else": True,
    }
    for name in [*names, os.path.basename(mine)]:
        (tmp_path / name).write_bytes(b"1")
    old = tmp_path / f".vsal-staging-{'e' * 8}-1-{'3' * 16}"
    old.write_bytes(b"1")
    os.utime(old, (0, 0))
    assert storage.sweep(str(tmp_path)) == 3
    assert set(os.listdir(tmp_path)) == {name for name, stays in names.items() if stays} | {os.path.basename(mine)}
    storage.discard(mine)
    storage.discard(mine)


KILLED = """
import os, signal
from vsal import storage
folder = storage.TemporaryFolder("svtav1")
open(os.path.join(folder.name, "roi.txt"), "w").close()
print(folder.name, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_temporary_folder_goes_after_use_and_that_of_a_killed_process_with_the_next_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    run = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True, check=False)
    left = Path(run.stdout.strip())
    assert run.returncode == -signal.SIGKILL
    assert (left / "roi.txt").exists()
    with storage.TemporaryFolder("trial") as used:
        Path(used, "file").touch()
        assert storage.sweep_temporary() <= 1  # it may have gone when the other one was made
        assert Path(used, "file").exists(), "a folder in use is gone"
    assert list(tmp_path.iterdir()) == []


def _dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_places_that_cannot_be_written_stop_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SettingsError, match="is a file"):
        storage.check_writable(str(tmp_path / "file"))
    with pytest.raises(SettingsError, match="cannot write below"):
        storage.check_writable(str(tmp_path / "file" / "deeper"))
    with pytest.raises(SettingsError, match="cannot write below"):
        storage.check_writable("/proc/vsal")


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "dead").symlink_to(tmp_path / "none")
    assert [storage.name(info.uri) for info in storage.list_files(str(tmp_path))] == ["a"]


def test_what_never_ends_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    for path in (str(tmp_path / "pipe.mp4"), "/dev/zero"):
        for look in (storage.stat, storage.open_input, storage.read_bytes):
            with pytest.raises(OSError, match="no regular file"):
                look(path)
    assert storage.list_files(str(tmp_path)) == []


def test_a_path_through_a_file_names_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    with pytest.raises(FileNotFoundError):
        storage.stat(f"{tmp_path}/a/b.mp4")


# S3


def video(file: str, faststart: bool) -> bytes:
    """A film of noise, 640x360, about 4 MB."""
    random = np.random.default_rng(0)
    with av.open(file, "w", options={"movflags": "faststart"} if faststart else {}) as container:
        stream = container.add_stream("mpeg4", rate=24)
        stream.width, stream.height, stream.bit_rate = 640, 360, 8_000_000
        for _ in range(96):
            picture = random.integers(0, 256, (360, 640, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return Path(file).read_bytes()


@pytest.mark.parametrize("faststart", [True, False], ids=["index first", "index last"])
def test_a_video_in_a_bucket_is_never_fetched_for_its_header(
    s3_server: S3Server, tmp_path: Path, faststart: bool
) -> None:
    data, uri = video(f"{tmp_path}/noise.mp4", faststart), f"{s3_server.bucket()}/noise.mp4"
    assert len(data) > 2_000_000
    s3_server.put(uri, data)
    with storage.open_input(uri) as file, av.open(file) as container:
        assert container.streams.video[0].frames == 96
    assert sum(request.sent for request in s3_server.gets(uri)) < 400_000
    before = len(s3_server.gets(uri))
    with storage.open_input(uri) as file, av.open(file) as container:
        assert sum(1 for _ in container.decode(video=0)) == 96
    gets = s3_server.gets(uri)[before:]
    assert sum(request.sent for request in gets) < 1.2 * len(data)
    assert len(gets) < 12


def test_s3_stat_knows_the_etag_and_costs_one_request(s3_server: S3Server) -> None:
    uri = f"{s3_server.bucket()}/a.mp4"
    s3_server.put(uri, b"12345")
    before = len(s3_server.requests)
    info = storage.stat(uri)
    assert len(s3_server.requests) == before + 1
    assert (info.uri, info.size) == (uri, 5)
    assert info.etag == "827ccb0eea8a706c4c34a16891f84e7b"
    assert info.mtime_ns is not None
    assert abs(info.mtime_ns / 1e9 - time.time()) < 60
    assert storage.list_files(storage.parent(uri))[0].mtime_ns == info.mtime_ns


def test_the_endpoint_may_stand_in_the_uri(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = s3_server.bucket()
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    host = s3_server.endpoint.removeprefix("http://")
    out = f"{bucket}/out?endpoint_override={host}&scheme=http&region=us-east-1"
    uri = storage.join(out, "maps", "a")
    assert uri == f"{bucket}/out/maps/a?endpoint_override={host}&scheme=http&region=us-east-1"
    storage.write_bytes(uri, b"1")
    assert [info.uri for info in storage.list_files(out)] == [uri]
    assert storage.name(uri) == "a"
    assert s3_server.keys(bucket) == ["out/maps/a"]


def test_a_file_system_is_made_once_a_bucket(s3_server: S3Server) -> None:
    one, other = s3_server.bucket(), s3_server.bucket()
    assert filesystem(parse(f"{one}/a")) is filesystem(parse(f"{one}/b/c"))
    assert filesystem(parse(f"{one}/a")) is not filesystem(parse(f"{other}/a"))


def test_a_header_costs_little_of_a_large_object(s3_server: S3Server) -> None:
    uri = f"{s3_server.bucket()}/large.mp4"
    size = 8 * 1024 * 1024
    s3_server.put(uri, PATTERN * (size // len(PATTERN) + 1))
    with storage.open_input(uri) as file:
        file.read(32)
        file.seek(-40_000, io.SEEK_END)  # an index at the end
        file.read(40_000)
        file.seek(32)
        file.read(1000)
    assert sum(request.sent for request in s3_server.gets(uri)) <= 2 * ranges.FIRST_WINDOW
    assert all(request.range for request in s3_server.gets(uri))


def test_reading_through_costs_few_requests(s3_server: S3Server) -> None:
    uri = f"{s3_server.bucket()}/large.mp4"
    data = PATTERN * 50_000
    s3_server.put(uri, data)
    with storage.open_input(uri) as file:
        assert b"".join(iter(lambda: file.read(32768), b"")) == data
    gets = s3_server.gets(uri)
    assert sum(request.sent for request in gets) == len(data)
    assert len(gets) <= 9


def test_s3_writing_is_one_request_and_shows_nothing_early(s3_server: S3Server) -> None:
    bucket = s3_server.bucket()
    path = storage.staging_file(f"{bucket}/a")
    Path(path).write_bytes(b"whole")
    assert s3_server.keys(bucket) == []
    storage.publish(path, f"{bucket}/a")
    puts = [r for r in s3_server.requests if r.path.startswith(bucket[4:] + "/") and r.method in ("PUT", "POST")]
    assert [request.method for request in puts] == ["PUT"]
    assert storage.read_bytes(f"{bucket}/a") == b"whole"


def test_a_large_upload_arrives_whole(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "COPY_BYTES", 1 << 20)
    uri = f"{s3_server.bucket()}/large"
    data = os.urandom(12 << 20)  # beyond the size where pyarrow begins a multipart upload
    storage.write_bytes(uri, data)
    assert storage.read_bytes(uri) == data


def test_an_upload_that_lost_bytes_is_an_error(s3_server: S3Server) -> None:
    uri = f"{s3_server.bucket()}/a"
    with mock.patch.object(os.path, "getsize", return_value=7), pytest.raises(OSError, match="holds 5 bytes"):
        storage.write_bytes(uri, b"12345")


def test_an_unknown_bucket_stops_the_run(s3_server: S3Server) -> None:
    with pytest.raises(SettingsError, match=r"cannot write to s3://no-such-bucket-of-vsal/out.*AWS_ENDPOINT_URL"):
        storage.check_writable("s3://no-such-bucket-of-vsal/out")
    assert not storage.exists("s3://no-such-bucket-of-vsal/out")


def test_patterns_over_s3_are_those_of_glob(s3_server: S3Server, tmp_path: Path) -> None:
    bucket = s3_server.bucket()
    names = ["a.mp4", "b.mkv", "x/a.mp4", "x/y/c1.mp4", "x/y/c2.mp4", "x/.h/d.mp4", ".e.mp4", "z[1].mp4"]
    for name in names:
        s3_server.put(f"{bucket}/{name}", b"1")
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
    for pattern in (
        "*.mp4",
        "**/*.mp4",
        "x/**",
        "**",
        "*/a.*",
        "x/y/c[2-9].mp4",
        "x/y/c[!1].mp4",
        "?.mkv",
        ".*",
        "x/*",
    ):
        local = [path.removeprefix(f"{tmp_path}/") for path in storage.match_files(f"{tmp_path}/{pattern}")]
        remote = [uri.removeprefix(f"{bucket}/") for uri in storage.match_files(f"{bucket}/{pattern}")]
        assert remote == local, pattern
    with pytest.raises(SettingsError, match="bucket"):
        storage.match_files("s3://*/a.mp4")


# Google Cloud Storage: no server to talk to here, so only what pyarrow is given


def test_gs_options_reach_pyarrow() -> None:
    place = parse("gs://bucket/a?anonymous=true&endpoint_override=localhost:1&scheme=http")
    assert (place.scheme, place.path) == ("gs", "bucket/a")
    assert filesystem(place).type_name == "gcs"
    assert storage.join(place.uri, "b") == "gs://bucket/a/b?anonymous=true&endpoint_override=localhost:1&scheme=http"


# Ranges


class Remote:
    """What RangeReader needs of a pyarrow.NativeFile, counting."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.reads: list[int] = []

    def size(self) -> int:
        return len(self.data)

    def read_at(self, length: int, at: int) -> bytes:
        self.reads.append(length)
        return self.data[at : at + length]

    def close(self) -> None:
        pass


LONG = PATTERN * 3000  # 753 KB

moves = st.lists(
    st.one_of(
        st.tuples(st.just("seek"), st.integers(0, len(LONG) + 10)),
        st.tuples(st.just("end"), st.integers(0, len(LONG))),
        st.tuples(st.just("read"), st.integers(-1, 200_000)),
        st.tuples(st.just("into"), st.integers(0, 70_000)),
    ),
    max_size=30,
)


@settings(deadline=None)
@given(moves)
def test_ranges_read_as_the_file_would(todo: list[tuple[str, int]]) -> None:
    ours, truth = storage.RangeReader(Remote(LONG), "s3://b/k"), io.BytesIO(LONG)
    for move, number in todo:
        if move == "seek":
            assert ours.seek(number) == truth.seek(number)
        elif move == "end":
            assert ours.seek(-number, io.SEEK_END) == truth.seek(-number, io.SEEK_END)
        elif move == "read":
            assert ours.read(number) == truth.read(number)
        else:
            one, other = bytearray(number), bytearray(number)
            assert ours.readinto(one) == truth.readinto(other)
            assert one == other
        assert ours.tell() == truth.tell()


def test_two_streams_far_apart_do_not_fetch_each_others_bytes_again() -> None:
    size = 16 << 20
    remote = Remote(bytes(size))
    reader = storage.RangeReader(remote, "s3://b/k")
    for step in range(128):  # video in the first half, audio in the second
        for base in (0, size // 2):
            reader.seek(base + step * 65536)
            assert len(reader.read(65536)) == 65536
    assert sum(remote.reads) <= size + ranges.LARGEST_WINDOW  # the first reads ahead into the second's half once
    assert len(remote.reads) < 20


def test_memory_of_a_reader_is_bounded() -> None:
    reader = storage.RangeReader(Remote(bytes(64 << 20)), "s3://b/k")
    while reader.read(32768):
        held = sum(len(window.data) for window in reader._windows)
        assert held <= ranges.WINDOWS * ranges.LARGEST_WINDOW
    reader.close()
    reader.close()


def test_an_object_cut_short_meanwhile_is_an_error() -> None:
    remote = Remote(LONG)
    reader = storage.RangeReader(remote, "s3://b/k")
    remote.data = LONG[:100]
    with pytest.raises(OSError, match="got 100"):
        reader.read(1000)


def test_two_writers_of_one_name_leave_one_of_them_whole(tmp_path: Path) -> None:
    uri = str(tmp_path / "a")
    versions = [bytes([i]) * 200_000 for i in range(8)]
    threads = [threading.Thread(target=storage.write_bytes, args=(uri, data)) for data in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert storage.read_bytes(uri) in versions
    assert os.listdir(tmp_path) == ["a"]
