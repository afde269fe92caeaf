"""A catalogue of everything that goes wrong, in one run: each title an outcome, none a trace, the others done."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.distributed.manifests import maps_of
from tests.video.media import encode, moving_picture
from tests.video.test_bad_input import PLAYLISTS, damage, declare, keyframes, with_index_first
from vsal.catalog import Title, read_catalog
from vsal.distributed.prepare import prepare_catalogue
from vsal.errors import Reason
from vsal.manifest import validate
from vsal.settings import PrepareSettings, RunSettings

FAST = {"preset": "ultrafast"}


def picture(width: int, height: int) -> list[np.ndarray]:
    return moving_picture(1, width, height)


def cut_in_the_middle(path: Path, clip: Path, tmp_path: Path) -> None:
    path.write_bytes(clip.read_bytes())
    with_index_first(path, tmp_path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])


def size_change(path: Path) -> None:
    raw = []
    for width, height in ((64, 48), (96, 80)):
        part = path.with_suffix(f".{width}.264")
        encode(part, moving_picture(30, width, height), options=FAST, fps=25)
        raw.append(part.read_bytes())
        part.unlink()
    path.write_bytes(b"".join(raw))


def huge(path: Path) -> None:
    encode(path, moving_picture(2), codec="wrapped_avframe", container_format="yuv4mpegpipe")
    declare(path, 60000, 60000)


def hls(path: Path, clip: Path) -> None:
    path.write_text(PLAYLISTS[next(name for name in PLAYLISTS if name.endswith("m3u8"))].format(clip))


DONE: dict[str, Callable[[Path, Path, Path], object]] = {
    "cut.mp4": lambda path, clip, tmp: cut_in_the_middle(path, clip, tmp),
    "damaged-gop.mp4": lambda path, clip, tmp: damage(clip, path, [keyframes(clip)[3] + 4, keyframes(clip)[3] + 5]),
    "one-frame.mp4": lambda path, clip, tmp: encode(path, picture(64, 48)),
    "2x2.mp4": lambda path, clip, tmp: encode(path, moving_picture(30, 2, 2)),
    "1-wide.mkv": lambda path, clip, tmp: encode(path, moving_picture(30, 1, 64), pix_fmt="yuv444p", options=FAST),
    "8k.mp4": lambda path, clip, tmp: encode(path, picture(7680, 4320), options=FAST),
    "size-change.264": lambda path, clip, tmp: size_change(path),
    "good.mp4": lambda path, clip, tmp: path.write_bytes(clip.read_bytes()),
}
FAILED: dict[str, tuple[Callable[[Path, Path, Path], object], set[Reason]]] = {
    "missing.mp4": (lambda path, clip, tmp: None, {Reason.SOURCE_NOT_FOUND}),
    "empty.mp4": (lambda path, clip, tmp: path.touch(), {Reason.UNREADABLE}),
    "text.mp4": (lambda path, clip, tmp: path.write_text("no video\n" * 99), {Reason.UNREADABLE}),
    "no-index.mp4": (
        lambda path, clip, tmp: path.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2]),
        {Reason.UNREADABLE},
    ),
    "huge.y4m": (lambda path, clip, tmp: huge(path), {Reason.UNSUPPORTED, Reason.UNREADABLE}),
    "playlist.m3u8": (lambda path, clip, tmp: hls(path, clip), {Reason.UNSUPPORTED}),
    "concat.txt": (
        lambda path, clip, tmp: path.write_text(f"ffconcat version 1.0\nfile {clip}\n"),
        {Reason.UNSUPPORTED},
    ),
}


def test_every_title_has_an_outcome_and_no_trace_is_shown(clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    for name, make in DONE.items():
        make(folder / name, clip, tmp_path)
    for name, (make, _) in FAILED.items():
        make(folder / name, clip, tmp_path)
    ids = {"good.mp4": "../../etc/passwd", "2x2.mp4": "🦊 fox", "8k.mp4": "n" * 300, "one-frame.mp4": "nul\0byte"}
    catalog, out = tmp_path / "catalog.csv", tmp_path / "out"
    with catalog.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["uri", "title_id"])
        # A NUL cannot stand in a CSV file; jsonl carries it below.
        rows.writerows([str(folder / name), ids.get(name, "").replace("\0", "%")] for name in [*DONE, *FAILED])
    command = [sys.executable, "-m", "vsal", "prepare", str(catalog), "--out", str(out), "--json", "--segment-s", "2"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 1
    assert "Traceback" not in run.stderr
    document = json.loads(run.stdout)
    assert document["titles"] == {"done": len(DONE), "skipped": 0, "failed": len(FAILED)}
    reasons = {Path(failure["uri"]).name: failure["reason"] for failure in document["failed"]}
    assert set(reasons) == set(FAILED)
    assert {name: reason for name, reason in reasons.items() if reason not in FAILED[name][1]} == {}
    assert all(failure["detail"] for failure in document["failed"])
    assert document["decode_errors"] > 0
    (journal,) = (out / "journal").iterdir()
    assert {path.parent for path in out.rglob("*.parquet")} == {out, out / "maps", journal}
    assert len(list((out / "maps").iterdir())) == len(DONE)
    assert validate(str(out)) == []


@pytest.mark.usefixtures("local_ray")
def test_ids_with_a_nul_stay_inside_the_folder(clip: Path, tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.jsonl"
    catalog.write_text("".join(json.dumps({"uri": str(clip), "title_id": name}) + "\n" for name in ("a\0b", "../x")))
    titles = read_catalog(str(catalog))
    out = tmp_path / "out"
    prepare_catalogue(titles, str(out), PrepareSettings(), RunSettings())
    assert len(list((out / "maps").iterdir())) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"catalog.jsonl", "out"}


@pytest.mark.usefixtures("local_ray")
def test_the_size_of_the_picture_changes_with_the_maps(tmp_path: Path) -> None:
    size_change(tmp_path / "t.264")
    prepare_catalogue([Title("t", str(tmp_path / "t.264"))], str(tmp_path / "out"), PrepareSettings(), RunSettings())
    rows = maps_of(tmp_path / "out", "t")
    assert [(row.width, row.height) for row in rows if row.frame_start < 30][-1] == (64, 48)
    assert {(row.width, row.height) for row in rows if row.frame_start >= 30} == {(96, 80)}


@pytest.mark.usefixtures("local_ray")
def test_all_shared_videos_have_an_outcome(shared_data: Path, tmp_path: Path) -> None:
    titles = read_catalog(str(shared_data / "videos"))
    summary = prepare_catalogue(titles, str(tmp_path), PrepareSettings(), RunSettings())
    assert len(summary.outcomes) == 51
    bad = [o for o in summary.outcomes if o.status == "failed"]
    assert {Path(outcome.uri).parent.name for outcome in bad} == {"bad"}
    assert all(outcome.reason and outcome.detail and outcome.attempts == 1 for outcome in bad)
    lossy = [o for o in summary.outcomes if "bad/" in o.uri and o.status == "done"]
    assert sum(outcome.figures["decode_errors"] for outcome in lossy) > 0
    assert validate(str(tmp_path)) == []
