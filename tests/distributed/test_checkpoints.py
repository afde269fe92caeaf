"""What is kept of a title while it is scanned: taken up it makes the same file, and nothing of it stays."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest

from tests.assembly.test_title import chunks_of, inferred, info, make_title
from tests.fixtures_s3 import S3Server
from vsal.catalog import Title
from vsal.distributed.prepare.checkpoints import EVERY_FRAMES, STALE_AFTER_S, Checkpoints, sweep_checkpoints
from vsal.distributed.prepare.job import Job
from vsal.distributed.prepare.open_title import OpenTitle, open_title
from vsal.planning import WorkItem
from vsal.settings import PrepareSettings, RunSettings
from vsal.storage import SourceInfo
from vsal.video.segments import WHOLE, Segment

FRAMES, KEY = 3000, "ab" * 32
TITLE = make_title(FRAMES, 3)
EVERY_100 = list(range(0, FRAMES, 100))
EVERY_130 = list(range(0, FRAMES, 130))


def job(out: str) -> Job:
    settings = PrepareSettings()
    return Job(out, settings, RunSettings(), "m", "cd" * 32, cast(Any, None), None, 2, cast(Any, None))


def opened(out: str, starts: list[int], anew: bool = False, duration_s: float = FRAMES / 25) -> OpenTitle:
    bounds = [None, *(int(TITLE.pts[start]) for start in starts[1:]), None]
    segments = [Segment(i, *ends) for i, ends in enumerate(pairwise(bounds))]
    item = WorkItem(Title("t", "t.mp4"), SourceInfo("/t.mp4", 1, 1), KEY, False)
    return open_title(job(out), item, replace(info(), duration_s=duration_s), segments, anew)


def scanned(title: OpenTitle, starts: list[int]) -> Iterator[Any]:
    """Chunks of what the title wants to be scanned."""
    at = first_frame(title)
    rest = [at, *(start for start in starts if start > at)]
    assert [s.start_pts for s in title.segments[1:]] == [int(TITLE.pts[start]) for start in rest[1:]]
    for chunk, masks in chunks_of(TITLE, sorted({0, *rest}), 60, 3.0):
        chunk.segment -= at > 0
        if chunk.end is not None:
            chunk.end = replace(chunk.end, decode_errors=0)  # else they would tell how often the title was cut
        if chunk.segment >= 0:
            yield chunk, masks


def first_frame(title: OpenTitle) -> int:
    """That it wants to be scanned."""
    start_pts = title.segments[0].start_pts
    return 0 if start_pts is None else int((TITLE.pts == start_pts).nonzero()[0][0])


def finish(title: OpenTitle, starts: list[int]) -> bytes:
    for chunk, masks in scanned(title, starts):
        title.add(chunk, inferred(masks))
    title.commit()
    return Path(title._target).read_bytes()


def die(title: OpenTitle, starts: list[int], at: int) -> None:
    """The title's process ends when so many frames have been taken in; nothing is cleared away."""
    for chunk, masks in scanned(title, starts):
        title.add(chunk, inferred(masks))
        if title._assembly.frames >= at:
            title._writer._writer.close()
            return
    raise AssertionError("the title ended first")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return finish(opened(str(tmp_path_factory.mktemp("whole")), EVERY_100), EVERY_100)


def test_a_title_goes_on_from_its_last_checkpoint_however_it_is_cut_then(tmp_path: Path, undisturbed: bytes) -> None:
    out = str(tmp_path)
    for starts, at, since in ((EVERY_100, 1000, 0), (EVERY_130, 2100, 600), (EVERY_100, 2800, 1950)):
        title = opened(out, starts)
        assert first_frame(title) == since
        die(title, starts, at)
    assert finish(opened(out, EVERY_130), EVERY_130) == undisturbed
    assert not (tmp_path / "checkpoints" / KEY).exists(), "the checkpoints outlive the commit"


def test_without_a_checkpoint_it_begins_at_its_beginning(tmp_path: Path, undisturbed: bytes) -> None:
    title = opened(str(tmp_path), EVERY_100)
    die(title, EVERY_100, EVERY_FRAMES - 100)
    again = opened(str(tmp_path), EVERY_100)
    assert again.segments[0].start_pts is None
    assert finish(again, EVERY_100) == undisturbed


@pytest.mark.parametrize("damage", ["cut short", "gone", "foreign", "a gap"])
def test_a_damaged_checkpoint_costs_the_prefix_and_nothing_more(
    damage: str, tmp_path: Path, undisturbed: bytes
) -> None:
    die(opened(str(tmp_path), EVERY_100), EVERY_100, 2000)
    left = list(tmp_path.rglob(".vsal-staging-*"))
    parts = sorted((tmp_path / "checkpoints" / KEY).iterdir())
    assert [part.stem for part in parts] == [f"{i * 600:09d}-{(i + 1) * 600:09d}" for i in range(3)]
    match damage:
        case "cut short":
            parts[1].write_bytes(parts[1].read_bytes()[:200])
        case "gone":
            parts[0].unlink()
        case "foreign":
            parts[2].write_bytes(b"anything")
        case "a gap":
            parts[1].write_bytes(parts[2].read_bytes())
    title = opened(str(tmp_path), EVERY_100)
    assert title.segments[0].start_pts is None
    assert finish(title, EVERY_100) == undisturbed
    assert list(tmp_path.rglob(".vsal-staging-*")) == left, "what was begun on the damaged ones stays"


def test_pieces_that_do_not_fit_are_not_taken_up(tmp_path: Path) -> None:
    die(opened(str(tmp_path), EVERY_100), EVERY_100, 2000)
    title = opened(str(tmp_path), [0], anew=True)
    assert title.segments == [WHOLE]
    assert not list(tmp_path.glob("checkpoints/*/*"))


def test_two_writers_of_one_title_do_not_mix(tmp_path: Path, undisturbed: bytes) -> None:
    one, other = opened(str(tmp_path), EVERY_100), opened(str(tmp_path), EVERY_130)
    die(one, EVERY_100, 1300)
    die(other, EVERY_130, 2000)
    title = opened(str(tmp_path), EVERY_100)
    assert first_frame(title) == 1950
    assert finish(title, EVERY_100) == undisturbed


def test_a_place_that_takes_no_checkpoint_costs_only_them(tmp_path: Path, undisturbed: bytes) -> None:
    (tmp_path / "checkpoints").write_text("a file where a folder should be")
    title = open_blind(tmp_path)
    assert finish(title, EVERY_100) == undisturbed


def open_blind(tmp_path: Path) -> OpenTitle:
    (tmp_path / "checkpoints").unlink()
    title = opened(str(tmp_path), EVERY_100)
    (tmp_path / "checkpoints").write_text("a file where a folder should be")
    return title


def test_a_short_title_has_no_checkpoints(tmp_path: Path) -> None:
    die(opened(str(tmp_path), EVERY_100, duration_s=100.0), EVERY_100, 2000)
    assert not (tmp_path / "checkpoints").exists()


def test_what_nobody_will_ask_for_is_swept(tmp_path: Path) -> None:
    for key in ("done", "old", "open"):
        kept = Checkpoints(str(tmp_path), key)
        kept.save(600, 1, b"state")
    (old,) = (tmp_path / "checkpoints" / "old").iterdir()
    os.utime(old, (time.time() - STALE_AFTER_S - 60,) * 2)
    sweep_checkpoints(str(tmp_path), {"done"})
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["open"]
    sweep_checkpoints(str(tmp_path), {"open"})
    assert not (tmp_path / "checkpoints").exists()


def test_a_large_state_is_kept_less_often(tmp_path: Path) -> None:
    kept = Checkpoints(str(tmp_path), KEY)
    kept.save(600, 1, bytes(5_000_000))
    assert not kept.due(5500)
    assert kept.due(5600)


def test_a_bucket_keeps_them_too(s3_server: S3Server) -> None:
    out = s3_server.bucket()
    for frames in (600, 1200):
        kept = Checkpoints(out, KEY)
        prefix = kept.load()
        assert (prefix.frames if prefix else 0) == frames - 600
        kept.save(frames, 7 * frames, b"state")
    prefix = Checkpoints(out, KEY).load()
    assert prefix is not None
    assert prefix.rest([WHOLE]) == [Segment(0, 8400, None)]
    assert list(prefix.rows()) == [[], []]
    Checkpoints(out, KEY).discard()
    assert [key for key in s3_server.keys(out) if not key.endswith("/")] == []
    sweep_checkpoints(out, set())
