"""The record is the commit: what dies before it has done nothing, what cannot be cleared away is no failure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.encode.test_title import settings_of
from tests.encode.titles import write_manifest, write_source
from tests.fixtures_s3 import S3Server
from vsal import storage
from vsal.encode import chunk_folders
from vsal.encode.chunk_folders import KEPT_S, LEASE_S, Lease, folder_of
from vsal.encode.chunks import ChunksLost, encode_chunk
from vsal.encode.codecs.x264 import X264
from vsal.encode.keys import settings_key
from vsal.encode.record import holds, looking_in, read_record, version_of
from vsal.encode.title import encode_title, finish, plan_title
from vsal.errors import TitleFailed

KILLED = """
import os, signal, sys
from vsal.encode import title
from vsal.encode.settings import EncodeSettings
title.write_record = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
title.encode_title(sys.argv[1], "title", EncodeSettings("x264", preset="superfast", crf=45), sys.argv[2])
"""


def test_who_dies_between_output_and_record_leaves_no_foreign_record_that_counts(
    prepared: Path, tmp_path: Path
) -> None:
    settings = settings_of("x264", crf=20)
    first = encode_title(str(prepared), "title", settings, str(tmp_path))
    before = (tmp_path / "title.mp4").read_bytes()
    killed = subprocess.run([sys.executable, "-c", KILLED, str(prepared), str(tmp_path)], check=False)
    assert killed.returncode < 0
    assert (tmp_path / "title.mp4").read_bytes() != before, "it died too early"
    record = read_record(str(tmp_path), "title")
    assert record == {key: value for key, value in first.items() if key not in ("record", "seconds")}
    assert not holds(record, looking_in(str(tmp_path)))
    again = encode_title(str(prepared), "title", settings, str(tmp_path))
    assert "skipped" not in again
    assert holds(again, looking_in(str(tmp_path)))
    assert not (tmp_path / ".chunks").exists(), "chunks of a run that is dead stay"


def test_an_output_that_was_replaced_or_removed_is_made_again(prepared: Path, tmp_path: Path) -> None:
    settings = settings_of("x264")
    made = tmp_path / encode_title(str(prepared), "title", settings, str(tmp_path))["outputs"][0]["name"]
    assert encode_title(str(prepared), "title", settings, str(tmp_path))["skipped"]
    changed = bytearray(made.read_bytes())
    changed[-1] ^= 1
    made.write_bytes(changed)  # as many bytes
    assert "skipped" not in encode_title(str(prepared), "title", settings, str(tmp_path))
    made.unlink()
    assert "skipped" not in encode_title(str(prepared), "title", settings, str(tmp_path))


def test_a_record_that_is_none_counts_for_nothing(prepared: Path, tmp_path: Path) -> None:
    settings = settings_of("x264")
    encode_title(str(prepared), "title", settings, str(tmp_path))
    beside = tmp_path / "title.encode.json"
    whole = json.loads(beside.read_text())
    for broken in ("", "{", "[]", "{}", json.dumps(whole | {"outputs": []}), json.dumps(whole | {"outputs": [{}]})):
        beside.write_text(broken)
        assert plan_title(str(prepared), "title", settings, str(tmp_path)).made is None, broken
    beside.write_text(json.dumps(whole))
    made = plan_title(str(prepared), "title", settings, str(tmp_path)).made
    assert made == whole | {"record": version_of(storage.stat(str(beside)))}


@contextmanager
def bucket_with_title(s3_server: S3Server, source: Path) -> Iterator[str]:
    bucket = s3_server.bucket()
    s3_server.put(f"{bucket}/videos/clip.mp4", source.read_bytes())
    write_manifest(f"{bucket}/roi", f"{bucket}/videos/clip.mp4")
    yield bucket
    s3_server.denied.clear()


def test_nothing_stays_beside_the_encodes_in_a_bucket(s3_server: S3Server, source: Path) -> None:
    with bucket_with_title(s3_server, source) as bucket:
        settings = settings_of("x264", chunked=True, chunk_s=1.0)
        record = encode_title(f"{bucket}/roi", "title", settings, f"{bucket}/enc")
        left = {"enc/", "enc/title.encode.json", "enc/title.mp4"}  # enc/ is what pyarrow puts in place of a folder
        assert set(s3_server.keys(f"{bucket}/enc")) == left
        assert record["outputs"][0]["etag"]
        assert encode_title(f"{bucket}/roi", "title", settings, f"{bucket}/enc")["skipped"]


def test_a_bucket_that_forbids_deleting_makes_no_failure(s3_server: S3Server, source: Path) -> None:
    with bucket_with_title(s3_server, source) as bucket:
        s3_server.denied[bucket.removeprefix("s3://")] = {"s3:DeleteObject"}
        settings = settings_of("x264", chunked=True, chunk_s=1.0)
        encode_title(f"{bucket}/roi", "title", settings, f"{bucket}/enc")
        assert encode_title(f"{bucket}/roi", "title", settings, f"{bucket}/enc")["skipped"]
        kept = [key for key in s3_server.keys(f"{bucket}/enc") if key.endswith(".chunk")]
        assert len(kept) == 3, "it deletes what it may not"


def test_chunks_that_others_are_at_work_on_are_left_to_them(prepared: Path, tmp_path: Path) -> None:
    """Two runs of one title into one DEST: each ends with an encode, whoever is first."""
    settings, dest = settings_of("x264", chunked=True, chunk_s=1.0), str(tmp_path)
    with Lease(dest, settings_key(settings), "one") as one, Lease(dest, settings_key(settings), "other") as other:
        plan = plan_title(str(prepared), "title", settings, dest)
        mine = [encode_chunk(chunk) for chunk in plan.chunks]
        assert all(encode_chunk(chunk).reused for chunk in plan.chunks)
        finish(plan, mine, one.name)
        one.sweep()
        assert len(list(tmp_path.rglob("*.chunk"))) == 3
        finish(plan, mine, other.name)  # the other goes on as if it were alone
        assert len(list(tmp_path.rglob("*.chunk"))) == 3
    with Lease(dest, settings_key(settings), "third") as third:
        third.sweep()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["title.encode.json", "title.mp4"]


def test_chunks_of_other_settings_go_once_nobody_uses_them(prepared: Path, tmp_path: Path) -> None:
    dest, ours = str(tmp_path), settings_of("x264")
    encode_title(str(prepared), "title", ours, dest)
    others = {name: settings_of("x264", crf=crf) for name, crf in (("live", 30), ("dead", 31), ("old", 32))}
    folders = {}
    for name, settings in others.items():
        folder = folder_of(dest, settings_key(settings), "title" if name != "old" else "another", "0" * 16)
        storage.write_bytes(storage.join(folder, "0-24.chunk"), b"chunk")
        folders[name] = Path(folder)
    kept = Path(folder_of(dest, settings_key(others["dead"]), "another", "0" * 16))
    storage.write_bytes(storage.join(str(kept), "0-24.chunk"), b"chunk")
    # A process that has ended: its lease is as fresh as can be, and counts for nothing.
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    lease = f"lease-{storage.process_mark().partition('-')[0]}-{gone.pid}-run"
    storage.write_bytes(storage.join(storage.parent(str(kept)), lease), b"in use")
    storage.write_bytes(storage.join(storage.parent(str(folders["live"])), "lease-0badcafe-7-run"), b"in use")
    long_ago = time.time() - KEPT_S - 60
    os.utime(folders["old"] / "0-24.chunk", (long_ago, long_ago))
    with Lease(dest, settings_key(ours), "ours") as own:
        own.sweep()
        assert folders["live"].exists(), "somebody on another machine uses it"
        assert kept.exists(), "whoever goes back to these settings goes on with it"
        assert not folders["dead"].exists()
        assert not folders["old"].exists()
        assert not list(kept.parent.glob("lease-*"))
        silent = time.time() - LEASE_S - 60
        os.utime(folders["live"].parent / "lease-0badcafe-7-run", (silent, silent))
        own.sweep()
    assert not folders["live"].exists(), "nothing was heard of whoever used it"


def test_a_lease_is_written_anew_as_long_as_it_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunk_folders, "RENEW_S", 0.05)
    with Lease(str(tmp_path), "0" * 16, "run") as lease:
        path = next(tmp_path.rglob(lease.name))
        first = path.stat().st_mtime_ns
        deadline = time.monotonic() + 10
        while path.stat().st_mtime_ns == first:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert list(tmp_path.iterdir()) == []


def test_chunks_that_are_lost_before_the_join_are_told_as_that(prepared: Path, tmp_path: Path) -> None:
    settings = settings_of("x264", chunked=True, chunk_s=1.0)
    plan = plan_title(str(prepared), "title", settings, str(tmp_path))
    done = [encode_chunk(chunk) for chunk in plan.chunks]
    Path(plan.chunks[1].uri).unlink()
    with pytest.raises(ChunksLost, match=r"\[1\]"):
        finish(plan, done)
    assert not (tmp_path / "title.mp4").exists()


def test_a_machine_with_another_encoder_codes_no_chunk_of_the_title(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_title(str(prepared), "title", settings_of("x264", chunked=True, chunk_s=1.0), str(tmp_path))
    encode_chunk(plan.chunks[0])
    monkeypatch.setattr(X264, "version", lambda self, settings: "libx264 core 999")
    with pytest.raises(TitleFailed, match="codes with libx264 core 999, the other chunks of"):
        encode_chunk(plan.chunks[1])
    assert encode_chunk(plan.chunks[0]).reused


def test_the_same_file_by_another_word_is_not_made_again(prepared: Path, tmp_path: Path) -> None:
    """What settings come to decides, once what was asked for differs."""
    made = encode_title(str(prepared), "title", settings_of("x264"), str(tmp_path))
    for other in ({"container": "mp4"}, {"chunk_s": 40.0}, {"chunked": False}, {"pix_fmt": "yuv420p"}):
        again = encode_title(str(prepared), "title", replace(settings_of("x264"), **other), str(tmp_path))
        assert again["skipped"], other
        assert again["asked"] == made["asked"]
    assert "skipped" not in encode_title(str(prepared), "title", settings_of("x264", container="mkv"), str(tmp_path))


def test_a_short_title_is_written_once_and_its_manifest_is_told(tmp_path: Path) -> None:
    write_manifest(tmp_path / "out", write_source(tmp_path / "clip.mp4", 24))
    record = encode_title(str(tmp_path / "out"), "title", settings_of("x264"), str(tmp_path / "dest"))
    status = (tmp_path / "out" / "maps" / "title.parquet").stat()
    assert (record["manifest"]["size"], record["manifest"]["mtime_ns"]) == (status.st_size, status.st_mtime_ns)
