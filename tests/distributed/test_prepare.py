"""Catalogues on local Ray: what is done, what is skipped, and how titles fail."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.distributed.manifests import maps_of, same_maps
from tests.saliency import foreign_graphs as theirs
from tests.saliency.conftest import build_model, build_step
from tests.video.media import moving_picture
from tests.video.test_times import matroska
from vsal.assembly import TitleAssembly
from vsal.assembly.cuts import make_cut_decider
from vsal.assembly.inputs import scan_settings
from vsal.catalog import Title
from vsal.cli.verbs.prepare import lines
from vsal.distributed.prepare import prepare_catalogue
from vsal.errors import Reason, SettingsError
from vsal.manifest import read_manifest, remap, validate
from vsal.regions import read_regions
from vsal.roi.qp import QpMapping
from vsal.saliency import Masks, ModelRefused, SaliencySession
from vsal.saliency.foreign import Interface, wrap
from vsal.settings import PrepareSettings, RunSettings
from vsal.video.probe import probe
from vsal.video.scan import Chunk, scan_segment
from vsal.video.segments import WHOLE
from vsal.video.synthetic import synthetic_title

pytestmark = pytest.mark.usefixtures("local_ray")


def prepare(titles, out, settings=None, **run):
    return prepare_catalogue(titles, str(out), settings or PrepareSettings(), RunSettings(**run))


def only(summary):
    (outcome,) = summary.outcomes
    return outcome


@pytest.mark.parametrize("aggregator", ["ema", "smooth"])
def test_one_segment_and_many_give_the_same_manifest(clip: Path, tmp_path: Path, aggregator: Any) -> None:
    settings = PrepareSettings(aggregator=aggregator)
    one = prepare([Title("t", str(clip))], tmp_path / "one", settings, segment_s=1000)
    many = prepare([Title("t", str(clip))], tmp_path / "many", settings, segment_s=2)
    assert one.count("done") == many.count("done") == 1
    same_maps(tmp_path / "one", tmp_path / "many", "t")
    assert validate(str(tmp_path / "many")) == []


def test_regions_make_the_same_maps_in_a_run_and_afterwards(clip: Path, tmp_path: Path) -> None:
    marks = tmp_path / "regions.json"
    row = {"title": "t", "fractions": [0.1, 0.2, 0.3, 0.4], "start_s": 2.0, "end_s": 5.0}
    marks.write_text(json.dumps([row, {"title": "another", "fractions": [0, 0, 1, 1]}]))
    titles = [Title("t", str(clip))]
    marked = PrepareSettings(regions=str(marks))
    assert prepare(titles, tmp_path / "with", marked, segment_s=2).count("done") == 1
    assert prepare(titles, tmp_path / "with", marked).count("skipped") == 1
    assert prepare(titles, tmp_path / "without").count("done") == 1
    remap(str(tmp_path / "without"), str(tmp_path / "after"), QpMapping(), regions=read_regions(str(marks)))
    same_maps(tmp_path / "with", tmp_path / "after", "t")
    assert prepare(titles, tmp_path / "after", marked).count("skipped") == 1
    pairs = zip(maps_of(tmp_path / "with", "t"), maps_of(tmp_path / "without", "t"), strict=True)
    changed = [number for number, (a, b) in enumerate(pairs) if not np.array_equal(a.saliency, b.saliency)]
    times = [float(row.pts_start * row.time_base) for row in maps_of(tmp_path / "with", "t")]
    assert 1.5 < times[changed[0]] < 2.01
    assert 4.5 < times[changed[-1]] < 5.0
    marks.write_text(json.dumps([row | {"title": "T"}]))
    with pytest.raises(SettingsError, match=r"has regions of T, and none of them is a title here"):
        prepare(titles, tmp_path / "with", marked)


@pytest.fixture(scope="module")
def video_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model of kind video: the mask is the brightness, the gate the motion."""
    path = tmp_path_factory.mktemp("models") / "bright.onnx"
    path.write_bytes(build_model(kind="video"))
    return str(path)


def test_a_learned_memory_is_the_same_in_one_segment_and_many(clip: Path, video_model: str, tmp_path: Path) -> None:
    video = PrepareSettings(saliency_mode="video", model=video_model)
    assert video.aggregator == "learned"
    titles = [Title("t", str(clip))]
    assert prepare(titles, tmp_path / "one", video, segment_s=1000).count("done") == 1
    assert prepare(titles, tmp_path / "many", video, segment_s=2).count("done") == 1
    same_maps(tmp_path / "one", tmp_path / "many", "t")
    assert validate(str(tmp_path / "many")) == []
    # Where nothing moves, the gate is shut and the first map of the shot stays; without the gate, each map is its own.
    alone = PrepareSettings(saliency_mode="video", model=video_model, aggregator="mean")
    assert prepare(titles, tmp_path / "alone", alone).count("done") == 1
    changes = {}
    for name in ("one", "alone"):
        with read_manifest(str(tmp_path / name)).title("t") as title:
            maps = [title.map_at(frame).saliency.astype(float) for frame in range(0, 40, 8)]
        changes[name] = np.mean([np.abs(b - a).mean() for a, b in pairwise(maps)])
    assert changes["one"] < 0.7 * changes["alone"], changes


@pytest.mark.parametrize(
    ("data", "mode", "aggregator"),
    [
        (wrap(theirs.clip_model(6, 32, 48), Interface("clip")), "image", "mean"),
        (wrap(theirs.unisal(), Interface("recurrent", output="log-density")), "image", "smooth"),
        (build_step(), "video", "mean"),
    ],
    ids=["clip", "recurrent", "step"],
)
def test_models_with_a_memory_see_each_shot_from_its_beginning(
    data: bytes, mode: Any, aggregator: Any, clip: Path, tmp_path: Path
) -> None:
    (tmp_path / "it.onnx").write_bytes(data)
    settings = PrepareSettings(
        saliency_mode=mode, model=str(tmp_path / "it.onnx"), aggregator=aggregator, sample_rate=6
    )
    shutil.copy(clip, tmp_path / "copy.mp4")
    titles = [Title("t", str(clip)), Title("other", str(tmp_path / "copy.mp4"))]  # two at a time in one session
    assert prepare(titles, tmp_path / "out", settings, segment_s=2, saliency_actors=1).count("done") == 2
    same = [[row.saliency for row in maps_of(tmp_path / "out", title.title_id)] for title in titles]
    np.testing.assert_array_equal(*same)

    session, info = SaliencySession(data), probe(str(clip))
    chunk = joined(scan_segment(info, WHOLE, scan_settings(settings, session.input), session.input.size_for))
    masks = []
    starts = [shot.start for shot in synthetic_title(320, 180, 24, 6, 12, seed=4).shots]
    for shot in np.split(np.arange(len(chunk.samples)), np.searchsorted(chunk.samples, starts[1:])):
        motion = None if chunk.motion_maps is None else chunk.motion_maps[shot]
        masks.append(session.run_sequence(chunk.frames[shot], motion).saliency.astype(np.float16))
    assembly = TitleAssembly("t", info, 1, settings, make_cut_decider(settings, None))
    expected = [*assembly.add(chunk, Masks(np.concatenate(masks), None)), *assembly.close()]
    np.testing.assert_array_equal([row.saliency for row in expected], same[0])


def joined(chunks: Iterable[Chunk]) -> Chunk:
    """All of a scan as one chunk."""
    parts = list(chunks)
    arrays = ("pts", "score", "motion", "samples", "frames", "sample_motion")
    whole = {name: np.concatenate([getattr(part, name) for part in parts if len(part.pts)]) for name in arrays}
    moved = [part.motion_maps for part in parts if part.motion_maps is not None and len(part.samples)]
    changes = {**whole, "motion_maps": np.concatenate(moved) if moved else None, "end": parts[-1].end}
    return replace(parts[0], **changes)


def test_models_and_aggregators_that_do_not_fit_the_mode_are_refused(
    clip: Path, video_model: str, tmp_path: Path
) -> None:
    titles = [Title("t", str(clip))]
    for settings, remedy in (
        (PrepareSettings(saliency_mode="video", model="image_saliency_student_v1"), "--saliency-mode image"),
        (PrepareSettings(model=video_model), "add --saliency-mode video"),
        (PrepareSettings(aggregator="learned"), "use --aggregator ema"),
    ):
        with pytest.raises(ModelRefused, match=remedy):
            prepare(titles, tmp_path / "none", settings)


def test_shots_of_a_title_with_known_cuts_are_found(clip: Path, tmp_path: Path) -> None:
    prepare([Title("t", str(clip))], tmp_path)
    with read_manifest(str(tmp_path)).title("t") as title:
        found = [(start, end) for _, start, end in title.shots()]
    assert found == [(shot.start, shot.end) for shot in synthetic_title(320, 180, 24, 6, 12, seed=4).shots]


def test_a_second_run_does_nothing_and_anything_changed_does_the_title_again(clip: Path, tmp_path: Path) -> None:
    source = tmp_path / "source.mp4"
    shutil.copy(clip, source)
    out = tmp_path / "out"
    titles = [Title("t", str(source))]
    assert prepare(titles, out).count("done") == 1
    first = (out / "maps" / "t.parquet").stat().st_mtime_ns
    again = only(prepare(titles, out))
    assert (again.status, again.frames, again.figures["shots"] > 0) == ("skipped", 288, True)
    assert (out / "maps" / "t.parquet").stat().st_mtime_ns == first
    assert prepare(titles, out, force=True).count("done") == 1
    assert prepare(titles, out, PrepareSettings(qp_limit=3)).count("done") == 1
    assert prepare(titles, out, PrepareSettings(qp_limit=3)).count("skipped") == 1
    os.utime(source, ns=(1, 1))
    assert prepare(titles, out, PrepareSettings(qp_limit=3)).count("done") == 1
    assert prepare(titles, out, PrepareSettings(qp_limit=3), segment_s=3).count("skipped") == 1


def test_failures_are_outcomes_and_the_others_are_done(clip: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("this is not a video\n" * 100)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    titles = [
        Title("missing", str(tmp_path / "none.mp4")), Title("text", str(text)), Title("good", str(clip)),
        Title("empty", str(empty)), Title("folder", str(tmp_path)),
    ]  # fmt: skip
    summary = prepare(titles, tmp_path / "out")
    assert [(o.title_id, o.status, o.reason) for o in summary.outcomes] == [
        ("missing", "failed", Reason.SOURCE_NOT_FOUND),
        ("text", "failed", Reason.UNREADABLE),
        ("good", "done", None),
        ("empty", "failed", Reason.UNREADABLE),
        ("folder", "failed", Reason.UNSUPPORTED),
    ]
    assert summary.exit_code == 1
    assert all(outcome.detail for outcome in summary.outcomes if outcome.status == "failed")
    table = pq.read_table(tmp_path / "out" / "titles.parquet").to_pylist()
    reasons = {o.title_id: None if o.reason is None else str(o.reason) for o in summary.outcomes}
    assert [(row["title_id"], row["reason"]) for row in table] == sorted(reasons.items())
    written = json.loads((tmp_path / "out" / "runs" / f"{summary.run_id}.json").read_text())
    assert written["titles"] == {"done": 1, "skipped": 0, "failed": 4}
    assert prepare(titles, tmp_path / "out", max_failed=4).exit_code == 0


def test_titles_of_other_catalogues_stay_in_the_table(clip: Path, tmp_path: Path) -> None:
    prepare([Title("a", str(clip))], tmp_path / "out")
    prepare([Title("b", str(clip))], tmp_path / "out")
    assert pq.read_table(tmp_path / "out" / "titles.parquet")["title_id"].to_pylist() == ["a", "b"]


@pytest.mark.parametrize("aggregator", ["mean", "max", "motion"])
def test_aggregators_and_the_published_baseline(clip: Path, tmp_path: Path, aggregator: str) -> None:
    settings = PrepareSettings(aggregator=aggregator, map_interval="shot", qp_mapping="linear")  # type: ignore[arg-type]
    outcome = only(prepare([Title("t", str(clip))], tmp_path, settings))
    assert outcome.figures["maps"] == outcome.figures["shots"] == 6
    with read_manifest(str(tmp_path)).title("t") as title:
        for row in title.iter_maps():
            assert 3 <= row.samples <= 8
            linear = np.rint(-(2 * row.saliency.astype(np.float64) / 255 - 1) * 6)
            assert np.abs(row.qp_offset - linear).max() <= 1


@pytest.mark.parametrize(
    ("run", "match"),
    [
        ({"device": "gpu"}, "GPU"),
        ({"windows_in_flight": 64, "object_store_mb": 80}, "windows in flight"),
    ],
)
def test_what_can_never_work_stops_the_run_before_any_work(clip: Path, tmp_path: Path, run, match: str) -> None:
    with pytest.raises(SettingsError, match=match):
        prepare([Title("t", str(clip))], tmp_path / "out", **run)
    assert not (tmp_path / "out" / "maps").exists()


def test_no_title_and_no_place_to_write_are_errors(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no title"):
        prepare([], tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="file"):
        prepare([Title("t", str(clip))], tmp_path / "file" / "out")


def test_a_title_that_takes_too_long_is_a_timeout(long_clip: Path, clip: Path, tmp_path: Path) -> None:
    many_samples = PrepareSettings(sample_rate=24)  # seconds of work
    summary = prepare([Title("slow", str(long_clip))], tmp_path, many_samples, title_timeout_s=0.05, segment_s=5)
    assert only(summary).reason == Reason.TIMEOUT
    assert "0.05 s are allowed (--title-timeout-s)" in only(summary).detail
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and "maps" in path.parts]
    assert prepare([Title("t", str(clip))], tmp_path).count("done") == 1  # its CPUs are free again


def test_progress_tells_of_every_title(clip: Path, tmp_path: Path) -> None:
    seen = []
    titles = [Title(f"t{i}", str(clip)) for i in range(3)]
    prepare_catalogue(titles, str(tmp_path), PrepareSettings(), RunSettings(), on_progress=seen.append)
    assert sorted(p.finished.title_id for p in seen if p.finished) == ["t0", "t1", "t2"]
    assert (seen[-1].done, seen[-1].frames) == (3, 3 * 288)


def test_a_title_with_wrong_times_fails_and_one_with_a_wrong_header_warns(tmp_path: Path) -> None:
    pictures = moving_picture(120)
    slow = matroska(tmp_path / "slow.mkv", pictures, step_ms=83, header_ms=5000)
    odd = matroska(tmp_path / "odd.mkv", pictures, step_ms=42, header_ms=12000)
    summary = prepare([Title("slow", str(slow)), Title("odd", str(odd))], tmp_path / "out")
    ended = {outcome.title_id: outcome for outcome in summary.outcomes}
    assert (ended["slow"].status, ended["slow"].reason) == ("failed", Reason.DECODE_ERROR)
    assert ended["odd"].status == "done"
    assert any("warning" in line and "12.00 s" in line for line in lines(summary))
    records = {record.title_id: record.detail for record in read_manifest(str(tmp_path / "out")).titles()}
    assert records == {title_id: outcome.detail for title_id, outcome in ended.items()}
