"""What is encoded is known from listings; what these do not tell, from records; and nothing is skipped that is not."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.encode.test_title import settings_of
from tests.encode.titles import write_manifest, write_source
from tests.fixtures_s3 import S3Server
from vsal import storage
from vsal.encode.codecs.x264 import X264
from vsal.encode.record import record_uri, write_record
from vsal.encode.resume import Commit, Encoded, commit_of
from vsal.encode.settings import EncodeSettings
from vsal.encode.title import encode_title
from vsal.manifest import maps_uri, read_manifest

SETTINGS = settings_of("x264", crf=30)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A title that is prepared and encoded: out and dest in one folder."""
    folder = tmp_path_factory.mktemp("one")
    write_manifest(folder / "out", write_source(folder / "clip.mp4", 24))
    encode_title(str(folder / "out"), "title", SETTINGS, str(folder / "dest"))
    return folder


@pytest.fixture
def copy(one: Path, tmp_path: Path) -> Path:
    """The same, to be spoiled; times of change are kept."""
    shutil.copytree(one / "out", tmp_path / "out")
    shutil.copytree(one / "dest", tmp_path / "dest")
    return tmp_path


def looked(folder: Path, settings: EncodeSettings = SETTINGS) -> Encoded:
    out = str(folder / "out")
    return Encoded(out, str(folder / "dest"), settings, read_manifest(out).title_files())


def commits(folder: Path) -> dict[str, Commit]:
    return {title_id: commit_of(record) for title_id, record in looked(folder).read(["title"]).items()}


def test_a_title_is_known_by_its_record_and_from_then_on_without_one(copy: Path) -> None:
    known = commits(copy)
    assert set(known) == {"title"}
    assert looked(copy).known(known) == {"title"}
    # Through JSON, as a journal keeps it.
    assert looked(copy).known(json.loads(json.dumps(known))) == {"title"}


def test_a_source_that_is_gone_does_not_make_an_encode_undone(copy: Path, one: Path) -> None:
    (one / "clip.mp4").rename(one / "elsewhere.mp4")
    try:
        assert set(looked(copy).read(["title"])) == {"title"}
    finally:
        (one / "elsewhere.mp4").rename(one / "clip.mp4")


@pytest.mark.parametrize("spoilt", ["output", "record", "both", "time", "bytes"])
def test_what_does_not_lie_there_as_it_was_is_not_known(copy: Path, spoilt: str) -> None:
    known = commits(copy)
    output, record = copy / "dest" / "title.mp4", copy / "dest" / "title.encode.json"
    if spoilt in ("output", "both"):
        output.unlink()
    if spoilt in ("record", "both"):
        record.unlink()
    if spoilt == "time":
        os.utime(output)
    if spoilt == "bytes":
        status = output.stat()
        output.write_bytes(output.read_bytes()[:-1])
        os.utime(output, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert looked(copy).known(known) == set()
    assert looked(copy).read(["title"]) == {}


def test_a_record_of_other_settings_is_not_known_by_what_a_journal_keeps_of_these(copy: Path) -> None:
    known = commits(copy)
    encode_title(str(copy / "out"), "title", settings_of("x264", crf=40), str(copy / "dest"))
    assert looked(copy).known(known) == set()
    assert looked(copy).read(["title"]) == {}


@pytest.mark.parametrize("other", [{"crf": 31}, {"roi": False}, {"container": "mkv"}, {"chunk_s": 10.0}])
def test_other_settings_ask_for_another_encode(copy: Path, other: dict[str, Any]) -> None:
    known = commits(copy)
    asked = looked(copy, settings_of("x264", **({"crf": 30} | other)))
    assert asked.known(known) == set()
    assert asked.read(["title"]) == {}


def test_another_encoder_asks_for_another_encode(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = commits(copy)
    monkeypatch.setattr(X264, "version", lambda self, settings: "libx264 core 999")
    assert looked(copy).known(known) == set()
    assert looked(copy).read(["title"]) == {}


def test_maps_that_were_written_anew_are_told_by_their_fingerprint(copy: Path, one: Path) -> None:
    known = commits(copy)
    maps = Path(maps_uri(str(copy / "out"), "title"))
    os.utime(maps)
    assert looked(copy).known(known) == set(), "the manifest may be another one"
    assert set(looked(copy).read(["title"])) == {"title"}, "its fingerprint says that it is not"
    other = write_source(one / "other.mp4", 24)
    write_manifest(copy / "out", other)
    assert looked(copy).read(["title"]) == {}


def test_a_bucket_is_listed_and_nothing_in_it_looked_at(one: Path, s3_server: S3Server) -> None:
    """40 titles cost what one does; of those that no journal tells, one request each."""
    bucket, count = s3_server.bucket(), 40
    encoded = looked(one).read(["title"])["title"]
    for number in range(count):
        title_id = f"t{number}"
        s3_server.put(maps_uri(f"{bucket}/out", title_id), Path(maps_uri(str(one / "out"), "title")).read_bytes())
        s3_server.put(f"{bucket}/dest/{title_id}.mp4", (one / "dest" / "title.mp4").read_bytes())
        manifest, output = (
            storage.stat(uri) for uri in (maps_uri(f"{bucket}/out", title_id), f"{bucket}/dest/{title_id}.mp4")
        )
        told = {"size": manifest.size, "mtime_ns": manifest.mtime_ns, "etag": manifest.etag}
        written = {"name": f"{title_id}.mp4", "size": output.size, "mtime_ns": output.mtime_ns, "etag": output.etag}
        record = encoded | {"manifest": encoded["manifest"] | told, "outputs": [written]}
        write_record(f"{bucket}/dest", title_id, record)
    begun = len(s3_server.requests)
    found = Encoded(f"{bucket}/out", f"{bucket}/dest", SETTINGS, read_manifest(f"{bucket}/out").title_files())
    listed = len(s3_server.requests) - begun
    assert listed <= 8
    records = found.read([f"t{number}" for number in range(count)])
    assert len(records) == count
    assert len(s3_server.requests) - begun - listed <= 2 * count  # pyarrow's HEAD and GET
    begun = len(s3_server.requests)
    assert found.known({title_id: commit_of(record) for title_id, record in records.items()}) == set(records)
    assert len(s3_server.requests) == begun
    assert storage.exists(record_uri(f"{bucket}/dest", "t0"))
