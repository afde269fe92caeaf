"""Journals of runs: few files, nothing lost whoever writes beside, and a resume that opens no file."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import handmade
from tests.fixtures_s3 import S3Server
from vsal import manifest, planning, storage
from vsal.catalog import Title
from vsal.distributed import parts
from vsal.distributed.journal import MERGED, Journal, read_known, write_titles
from vsal.distributed.known import committed_files, failed_titles, settled_titles
from vsal.distributed.outcomes import Outcome, new_run_id
from vsal.distributed.parts import Part
from vsal.errors import Reason
from vsal.manifest import read_manifest
from vsal.planning import work_list
from vsal.settings import PrepareSettings, RunSettings
from vsal.storage import SourceInfo

MODEL = "0" * 64


@pytest.fixture(autouse=True)
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts are written when a test says so."""
    monkeypatch.setattr("vsal.distributed.journal.PART_S", 1e6)


def journal(place: Any, run_id: str = "", kind: str = "prepare") -> Journal:
    return Journal(str(place), run_id or new_run_id(), kind, {})


def done(title_id: str, frames: int = 1, fingerprint: str = "f", size: int = 10) -> Outcome:
    file = SourceInfo("", size, 1) if fingerprint else None
    return Outcome(title_id, f"/{title_id}.mp4", "done", frames=frames, fingerprint=fingerprint, file=file)


def failed(title_id: str, reason: Reason = Reason.NO_VIDEO) -> Outcome:
    return Outcome(title_id, f"/{title_id}.mp4", "failed", reason, "it has none", attempts=1)


def told(place: Any) -> dict[str, tuple[str, int]]:
    rows = parts.newest(parts.read_all(str(place)).table)
    return {outcome.title_id: (outcome.status, outcome.frames) for outcome, _ in parts.outcomes_in(rows)}


@pytest.mark.parametrize("may_remove", [True, False])
def test_ten_hours_leave_few_parts_and_each_title_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, may_remove: bool
) -> None:
    # The worst number of parts below 7,200, as one every five seconds makes, is that of 6,999: 6 + 9 + 9 + 9.
    if not may_remove:

        def denied(uri: str) -> None:
            raise PermissionError("no delete here")

        monkeypatch.setattr(storage, "remove", denied)
    book, count = journal(tmp_path), 199
    for number in range(count):
        book.add(done(f"t{number}", frames=number))
        book._flush()
        book._merge_tens()
    listed = parts.list_parts(str(tmp_path))
    assert len(parts.current(listed)) == sum(int(digit) for digit in str(count))
    assert len(listed) == (len(parts.current(listed)) if may_remove else count + count // MERGED + count // MERGED**2)
    rows = parts.read_all(str(tmp_path))
    assert rows.table.num_rows == count, "a part that was merged is read too"
    assert told(tmp_path) == {f"t{number}": ("done", number) for number in range(count)}
    book.close("ended", {})
    assert len(parts.current(parts.list_parts(str(tmp_path)))) == 1
    assert parts.read_all(str(tmp_path)).table.num_rows == count


def test_what_cannot_be_written_now_is_written_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book, write, broken = journal(tmp_path), parts.write_part, [True]

    def sometimes(*arguments: Any, **more: Any) -> None:
        if broken[0]:
            raise OSError("AWS Error SLOW_DOWN")
        write(*arguments, **more)

    monkeypatch.setattr(parts, "write_part", sometimes)
    book.add(done("a"))
    book._flush()
    assert told(tmp_path) == {}
    broken[0] = False
    book.add(failed("b"))
    book._flush()
    assert told(tmp_path) == {"a": ("done", 1), "b": ("failed", 0)}
    book.close("ended", {})


def test_what_a_stopped_run_leaves_open_is_told_at_once_and_counts_as_no_failure(tmp_path: Path) -> None:
    book = journal(tmp_path)
    for title_id in ("a", "b", "c"):
        book.opened(title_id, f"/{title_id}.mp4")
    book.add(done("a"))
    began = time.monotonic()
    book.stopping("SIGTERM")
    assert time.monotonic() - began < 1.0
    rows = parts.read_all(str(tmp_path)).table
    ended = {o.title_id: o.reason for o, _ in parts.outcomes_in(parts.newest(rows))}
    assert ended == {"a": None, "b": Reason.INTERRUPTED, "c": Reason.INTERRUPTED}
    assert failed_titles(rows, "prepare") == set()
    book.add(done("b"))  # in the time that open steps are given
    book.close("stopped", {})
    assert told(tmp_path) == {"a": ("done", 1), "b": ("done", 1), "c": ("failed", 0)}


def test_two_runs_over_two_shards_lose_nothing_of_each_other(tmp_path: Path) -> None:
    out, first, second = str(tmp_path), "20260101T000000-aaaaaa", "20260101T000001-bbbbbb"
    one, other = journal(out, first), journal(out, second)
    for number in range(6):
        (one if number % 2 else other).add(done(f"t{number}", frames=number))
        if number == 3:
            one.close("ended", {})
            write_titles(out, first)  # the other has not ended, and its last rows are to come
            one = journal(out, "20260101T000002-cccccc")
    one.close("ended", {})
    other.close("ended", {})
    write_titles(out, second)
    records = read_manifest(out).titles()
    assert [(record.title_id, record.frames) for record in records] == [(f"t{i}", i) for i in range(6)]


def test_who_ends_looks_again_whether_newer_parts_have_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, write = str(tmp_path), manifest.write_titles
    one = journal(out)
    one.add(done("a"))
    one.close("ended", {})

    def overtaken(place: str, records: Any) -> None:
        records = list(records)
        if len(records) == 1:  # another run ends, and writes its table first
            other = journal(out)
            other.add(done("b"))
            other.close("ended", {})
        write(place, records)

    monkeypatch.setattr(manifest, "write_titles", overtaken)
    write_titles(out, "20260101T000000-aaaaaa")
    assert [record.title_id for record in read_manifest(out).titles()] == ["a", "b"]


def test_many_runs_are_read_by_one_base_and_what_comes_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = str(tmp_path)
    for number in range(30):
        book = journal(out, f"20260101T0000{number:02d}-aaaaaa")
        book.add(done(f"t{number % 20}", frames=number))
        book.add(failed("t0", Reason.TIMEOUT))
        book.close("ended", {})
    before = told(out)
    read_known(out, "20260102T000000-bbbbbb")
    after = parts.read_all(out)
    assert (after.read, told(out)) == (1, before)
    assert len(after.listed) == 31
    index = committed_files(after.table)
    assert index["t0"].counts["frames"] == 20, "a committed file is forgotten for a later failure"
    book = journal(out, "20260103T000000-cccccc")
    book.add(done("t5", frames=99))
    book.close("ended", {})
    assert parts.read_all(out).read == 2
    assert told(out)["t5"] == ("done", 99)


@pytest.mark.faults
def test_two_runs_over_two_shards_at_a_time_fill_one_place(clip: Path, tmp_path: Path) -> None:
    out, runs = tmp_path / "out", []
    for shard in range(2):
        listing = tmp_path / f"{shard}.csv"
        listing.write_text("uri,title_id\n" + "".join(f"{clip},t{shard}{i}\n" for i in range(4)))
        command = [sys.executable, "-m", "vsal", "prepare", str(listing), "--out", str(out), "--json"]
        runs.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    for run in runs:
        stdout, stderr = run.communicate(timeout=250)
        assert json.loads(stdout)["titles"] == {"done": 4, "skipped": 0, "failed": 0}, stderr
    told = {record.title_id: record.status for record in read_manifest(str(out)).titles()}
    assert told == {f"t{shard}{i}": "done" for shard in range(2) for i in range(4)}
    assert manifest.validate(str(out)) == []


Rows = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.booleans()), max_size=12)


@settings(max_examples=60, deadline=None)
@given(Rows, st.randoms(use_true_random=False))
def test_the_newest_rows_do_not_depend_on_how_parts_were_cut_merged_or_read_twice(
    rows: list[tuple[str, int, bool]], chance: random.Random
) -> None:
    ended = [(done(t, frames=at) if good else failed(t), at * 20 + i) for i, (t, at, good) in enumerate(rows)]
    whole = parts.rows_of("prepare", ended)
    pieces = [parts.rows_of("prepare", [row]) for row in ended + chance.sample(ended, len(ended) // 2)]
    chance.shuffle(pieces)
    some = pa.concat_tables([*pieces, parts.condensed(whole)])
    for view in (parts.newest, parts.committed):
        assert view(some).sort_by("title_id").to_pylist() == view(whole).sort_by("title_id").to_pylist()
    last = {o.title_id: o.frames for o, _ in sorted(ended, key=lambda row: row[1])}
    assert {o.title_id: o.frames for o, _ in parts.outcomes_in(parts.newest(some))} == last


def test_names_of_parts_say_what_they_replace() -> None:
    tens, one, foreign = Part("r", 10, 19), Part("r", 12, 12), Part("s", 12, 12)
    assert parts.part_of(tens.uri("s3://b/out?region=x")) == tens
    assert parts.part_of("/out/journal/r/run.json") is None
    assert set(parts.current({tens, one, foreign, Part("r", 0, 0, base=True)})) == {
        tens, foreign, Part("r", 0, 0, base=True),
    }  # fmt: skip


def test_a_damaged_part_costs_a_look_at_its_titles_and_nothing_else(tmp_path: Path) -> None:
    book = journal(tmp_path)
    book.add(done("a"))
    book._flush()
    (part,) = parts.list_parts(str(tmp_path))
    Path(part.uri(str(tmp_path))).write_bytes(b"PAR1 no more")
    book.add(done("b"))
    book._flush()
    assert told(tmp_path) == {"b": ("done", 1)}
    book.close("ended", {})


def test_a_resume_opens_no_manifest_that_a_journal_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handmade.write_clip(tmp_path / "a.mp4")
    out = str(tmp_path / "out")
    handmade.write_manifest(out, "a", tmp_path / "a.mp4")
    titles, opened = [Title("a", str(tmp_path / "a.mp4"))], []
    read = manifest.read_commit
    monkeypatch.setattr(manifest, "read_commit", lambda place, title: opened.append(title) or read(place, title))

    def look() -> planning.WorkItem:
        (item,) = work_list(titles, out, PrepareSettings(), MODEL, committed_files(read_known(out, "r")))
        return item

    assert look().committed is not None
    assert opened == ["a"], "without a journal the file has to tell"
    found = look().committed
    assert found is not None
    book = journal(out)
    book.add(Outcome("a", "a.mp4", "skipped", fingerprint=found.fingerprint, file=found.file, figures={"maps": 9}))
    book.close("ended", {})
    del opened[:]
    storage.write_bytes(manifest.titles_uri(out), b"rubbish")  # which no decision reads
    assert look().committed is not None
    assert look().committed.counts["maps"] == 9  # type: ignore[union-attr]
    assert settled_titles(read_known(out, "r")) == {"a"}
    assert not opened
    handmade.write_manifest(out, "a", tmp_path / "a.mp4", PrepareSettings(qp_limit=2))
    assert look().committed is None, "another file lies there than the journal tells of"
    assert opened == ["a"]


def test_in_a_bucket_a_resume_costs_listings_not_a_request_a_title(
    tmp_path: Path, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket, count = s3_server.bucket(), 220
    handmade.write_clip(tmp_path / "clip.mp4")
    names = [f"{number:03d}" for number in range(count)]
    for name in [*names, "later"]:
        s3_server.put(f"{bucket}/films/{name}.mp4", name.encode())
    book, shaping = journal(f"{bucket}/roi"), PrepareSettings().shaping()
    for name in names:
        s3_server.put(f"{bucket}/roi/maps/{name}.parquet", name.encode() * 2)
        source, file = (storage.stat(f"{bucket}/{key}") for key in (f"films/{name}.mp4", f"roi/maps/{name}.parquet"))
        mark = manifest.fingerprint(source, MODEL, shaping)
        book.add(Outcome(name, source.uri, "done", fingerprint=mark, file=file))
    book._flush()  # and then it was killed
    catalogue = [Title(name, f"{bucket}/films/{name}.mp4") for name in [*names, "later", "gone"]]
    before = len(s3_server.requests)

    known = committed_files(read_known(f"{bucket}/roi", "r"))
    items = work_list(catalogue, f"{bucket}/roi", PrepareSettings(), MODEL, known)

    asked = s3_server.requests[before:]
    assert [item.title.title_id for item in items if not item.committed] == ["later", "gone"]
    assert items[-1].failure is not None
    assert items[-1].failure.reason is Reason.SOURCE_NOT_FOUND
    assert items[-2].source == storage.stat(f"{bucket}/films/later.mp4"), "a listing and a HEAD tell different things"
    assert len(asked) <= 12, [f"{request.method} {request.path}" for request in asked]
    book.close("ended", {})


def test_a_share_of_the_titles_may_fail() -> None:
    assert [RunSettings(max_failed="2%").failures_allowed(n) for n in (10, 50, 99, 100)] == [0, 1, 1, 2]
    assert RunSettings(max_failed="0.5%").failures_allowed(1000) == 5
    assert RunSettings(max_failed="100%").failures_allowed(7) == 7
    assert RunSettings(max_failed="7").failures_allowed(1000) == 7
    for wrong in ("2 %", "101%", "-1%", -1, "two"):
        with pytest.raises(ValueError, match="max_failed"):
            RunSettings(max_failed=wrong)
    with pytest.raises(ValueError, match="--retry-failed"):
        RunSettings(force=True, retry_failed=True)


def test_the_state_of_a_run_lies_beside_its_parts(tmp_path: Path) -> None:
    book = Journal(str(tmp_path), "r", "encode", {"titles": 3})
    book.show({"done": 1})
    book.close("ended", {"done": 3})
    state = json.loads((tmp_path / "journal" / "r" / "run.json").read_text())
    assert (state["phase"], state["done"], state["titles"], state["kind"]) == ("ended", 3, 3, "encode")
