"""Real encodes with x264: what they are kept by, and what comes of a ladder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.encode.titles import write_manifest, write_source
from vsal.catalog import Title
from vsal.errors import TitleFailed
from vsal.evaluate.roi import ladder as ladders
from vsal.evaluate.roi import points
from vsal.evaluate.roi.account import GazeAccount, NoAccount
from vsal.evaluate.roi.arms import ELSEWHERE, Arm, at_spread, parse_arm, with_controls
from vsal.evaluate.roi.catalogue import evaluate_here, judged_titles
from vsal.evaluate.roi.clip import Clip, first_seconds
from vsal.evaluate.roi.independence import open_account
from vsal.evaluate.roi.ladder import Judged, Ladder, Rates, ladder_of, read_rows, write_rows
from vsal.evaluate.roi.maps import gain_for, make_manifest, maps_of
from vsal.evaluate.roi.points import Metrics, make_point
from vsal.evaluate.roi.table import make_table
from vsal.evaluate.saliency.sets.gaze import Fixations
from vsal.manifest import TitleManifest
from vsal.roi.qp import QpMapping

CRFS = (24.0, 30.0, 36.0, 42.0)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_source(tmp_path_factory.mktemp("roi") / "title.mp4", frame_count=24)


@pytest.fixture(scope="module")
def prepared(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    write_manifest(out, source)
    return out


def people(at: tuple[float, float] = (0.25, 0.5)) -> GazeAccount:
    observer, start, end = np.arange(1, 9), np.zeros(8), np.full(8, 9.0)
    return GazeAccount("gaze:made", {"title": Fixations(observer, start, end, np.tile(np.float32(at), (8, 1)))}, {})


def ladder(tmp_path: Path, arms: list[Arm], crfs: tuple[float, ...] = CRFS) -> Ladder:
    rates = (Rates("x264", crfs, "superfast"),)
    return Ladder(str(tmp_path / "dest"), people(), tuple(arms), rates)


def judged(source: Path) -> Judged:
    return judged_titles([Title("title", str(source))], people())[0]


def test_a_ladder_steers_resumes_and_grows(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encodes: list[float] = []
    real = points.encode_frames

    def counted(run, path):
        encodes.append(run.settings.crf)
        return real(run, path)

    monkeypatch.setattr(points, "encode_frames", counted)
    truth = parse_arm("people:kind=truth,floor=0.2,limit=6")
    arms = with_controls([truth], has_truth=True)
    assert ELSEWHERE not in [arm.name for arm in arms]  # no arm has a model of which another title's map could be
    first = ladder_of(ladder(tmp_path, arms), judged(source))
    assert len(encodes) == len(first) == 4 * len(arms)
    assert ladder_of(ladder(tmp_path, arms), judged(source)) == first
    assert len(encodes) == len(first)

    more = ladder_of(ladder(tmp_path, [*arms, parse_arm("blob:kind=prior")], (*CRFS, 27.0)), judged(source))
    assert len(encodes) == len(more)  # those that were there are shared
    assert [row for row in more if row["arm"] != "blob" and row["crf"] != 27] == first

    assert all(row["steered"] is None for row in first if row["arm"] == "plain")
    assert all(row["steered"] == 1.0 for row in first if row["arm"] == "people")
    table = make_table(("gaze", "x"), arms, first)
    found = table.of("x264", "people")
    assert found is not None
    assert found.mean < -0.08
    uniform = table.of("x264", "uniform offset", "psnr")
    assert uniform is not None
    assert abs(uniform.mean) < 0.03

    kept = ladder(tmp_path, arms)
    write_rows(kept, "title", first)
    assert [known(row) for row in read_rows(kept, "title")] == [known(row) for row in first]


def known(row: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in row.items() if value is not None}


def clip_of(source: Path) -> Clip:
    return first_seconds(str(source), "title", "title", 0.5)


def test_a_point_is_known_by_everything_that_makes_it(source: Path) -> None:
    clip, account = clip_of(source), people()
    settings = Rates("x264", CRFS, "superfast").settings(30, parse_arm("a"))
    maps = maps_of(parse_arm("a:kind=truth"), clip, account, None)
    assert maps is not None
    digest = account.digest("title")
    base = (clip, settings, maps, digest, Metrics())
    others = [
        (first_seconds(str(source), "title", "title", 0.4), *base[1:]),
        (clip, replace(settings, crf=31), *base[2:]),
        (clip, replace(settings, encoder_options={"aq-mode": "3"}), *base[2:]),
        (clip, settings, None, digest, Metrics()),
        (clip, settings, replace(maps, gain=0.5), digest, Metrics()),
        (clip, settings, maps_of(parse_arm("a:kind=truth,limit=3"), clip, account, None), digest, Metrics()),
        (clip, settings, maps, people((0.3, 0.5)).digest("title"), Metrics()),
        (clip, settings, maps, digest, Metrics(full=True)),
    ]
    keys = {points.point_key(*parts) for parts in (base, *others)}  # type: ignore[arg-type]
    assert len(keys) == 1 + len(others)
    assert points.point_key(*base) == points.point_key(*base)


def test_maps_that_an_encoder_drops_are_not_steered(source: Path) -> None:
    clip, account = clip_of(source), people()
    rates = Rates("x264", CRFS, "superfast")
    maps = maps_of(parse_arm("a:kind=truth"), clip, account, None)
    weights = account.weights(clip)
    dropped = rates.settings(30, parse_arm("a:kind=truth,x264.aq-mode=0"))
    _, twin = make_point("k", clip, replace(dropped, roi=False), None, weights, Metrics())
    point, _ = make_point("k", clip, dropped, maps, weights, Metrics(), twin)
    assert point.steered == 0.0


def test_full_metrics_come_from_the_same_decode(source: Path) -> None:
    clip, account = clip_of(source), people()
    settings = Rates("x264", CRFS, "superfast").settings(36, Arm("plain", "plain"))
    point, _ = make_point("k", clip, settings, None, account.weights(clip), Metrics(full=True, every=4))
    figures = {"vmaf", "vmaf_harmonic", "vmaf_5", "vmaf_neg", "vmaf_alone", "vmaf_even", "cambi", "xpsnr"}
    assert figures <= set(point.figures)
    assert 20 < point.figures["vmaf_alone"] < 100
    assert point.figures["vmaf_alone"] != pytest.approx(point.figures["vmaf"], abs=1e-3)


def test_stretches_are_encoded_apart_and_counted_together(source: Path) -> None:
    whole = first_seconds(str(source), "title", "title", None)
    stretches = points.Stretch(0, 8), points.Stretch(12, 20, int(whole.pts[12]))
    part = Clip("title", "title", whole.facts, stretches, np.concatenate([whole.pts[:8], whole.pts[12:20]]))
    account, settings = people(), Rates("x264", CRFS, "superfast").settings(30, parse_arm("a"))
    maps = maps_of(parse_arm("a:kind=truth"), part, account, None)
    assert maps is not None
    point, errors = make_point("k", part, settings, maps, account.weights(part), Metrics())
    assert point.frames == len(errors) == 16
    assert point.duration_s == pytest.approx(16 / 24)


def test_one_manifest_serves_every_mapping(source: Path, prepared: Path) -> None:
    clip = first_seconds(str(source), "title", "title", None)
    uri = str(prepared / "maps" / "title.parquet")
    weak, strong = (
        maps_of(parse_arm(f"a:maps={prepared},floor=0.1,limit={limit}"), clip, NoAccount(), uri) for limit in (2, 10)
    )
    assert weak is not None
    assert strong is not None
    assert max(np.abs(row.qp_offset).max() for row in weak.rows) == 2
    assert max(np.abs(row.qp_offset).max() for row in strong.rows) > 4
    np.testing.assert_array_equal(weak.rows[0].saliency, strong.rows[0].saliency)


def test_an_equal_spread_is_the_spread_that_was_asked_for(source: Path) -> None:
    clip = clip_of(source)
    for arm in at_spread([parse_arm("people:kind=truth"), parse_arm("blob:kind=prior")], 2.0):
        maps = maps_of(arm, clip, people(), None)
        assert maps is not None
        assert np.concatenate([grid.ravel() for grid in maps.offsets()]).std() == pytest.approx(2.0, abs=0.2)
        assert arm.name.endswith("@ 2 QP")
    even = maps_of(parse_arm("flat:kind=prior,floor=1"), clip, people(), None)
    assert even is not None
    with pytest.raises(TitleFailed, match="even"):
        gain_for(even.rows, QpMapping(floor=1.0), 2.0)


def test_maps_of_another_picture_are_refused(source: Path, prepared: Path, tmp_path: Path) -> None:
    other = write_source(tmp_path / "title.mp4", frame_count=24, width=256)
    clip = first_seconds(str(other), "title", "title", None)
    with pytest.raises(TitleFailed, match="does not hold maps"):
        maps_of(parse_arm(f"a:maps={prepared}"), clip, people(), str(prepared / "maps" / "title.parquet"))


def test_another_titles_map_is_of_another_group() -> None:
    account = GazeAccount("gaze:x", {}, {"a": "one", "b": "one", "c": "two"})
    titles = judged_titles([Title(name, f"/{name}.mp4") for name in "abc"], account)
    assert [(t.title_id, t.other_id) for t in titles] == [("a", "c"), ("b", "c"), ("c", "a")]
    names = [Title(name, "x") for name in ("Vidyo1", "Vidyo3")]
    assert [t.other_id for t in judged_titles(names, NoAccount())] == [None, None]
    assert ladders.arms_of(
        Ladder("x", NoAccount(), tuple(with_controls([parse_arm("a")], False)), ()),
        judged_titles(names, NoAccount())[0],
    )


def test_maps_are_made_once_and_anew_when_the_source_changes(tmp_path: Path) -> None:
    video = write_source(tmp_path / "title.mp4", frame_count=12)
    one, other = (parse_arm(f"a:model=image_saliency_student_small_v2,limit={limit}").source for limit in (3, 9))
    assert one is not None
    assert other is not None
    made = Path(make_manifest(one, str(video), "title", str(tmp_path / "out")))
    before = made.stat().st_mtime_ns
    make_manifest(other, str(video), "title", str(tmp_path / "out"))  # another strength alone
    assert made.stat().st_mtime_ns == before
    write_source(video, frame_count=24)
    make_manifest(one, str(video), "title", str(tmp_path / "out"))
    with TitleManifest(str(made)) as title:
        assert title.frames == 24


def test_an_unrelated_model_weighs(source: Path, tmp_path: Path) -> None:
    account = open_account("model:image_saliency_student_small_v1", str(tmp_path))
    arms = (Arm("plain", "plain", control=True), parse_arm("blob:kind=prior"))
    asked = Ladder(str(tmp_path), account, arms, (Rates("x264", (30.0,), "superfast"),), seconds=0.5)
    rows = evaluate_here(asked, judged_titles([Title("title", str(source))], account))
    assert len(rows) == 2
    assert all(row["psnr_alone"] != row["psnr"] for row in rows)


def test_shots_are_judged_from_their_beginnings(tmp_path: Path) -> None:
    video = write_source(tmp_path / "title.mp4", frame_count=72)  # three shots of 24
    write_manifest(tmp_path / "out", video)
    arms = (Arm("plain", "plain", control=True), parse_arm(f"mine:maps={tmp_path / 'out'}"))
    asked = replace(ladder(tmp_path, list(arms), (30.0,)), seconds=0.5, shots_per_title=2)
    title = judged(video)
    clip = ladders.open_clip(asked, title)
    assert [(s.start, s.end) for s in clip.stretches] == [(0, 12), (48, 60)]
    plain, steered = ladder_of(asked, title)
    assert plain["frames"] == steered["frames"] == 24
    assert steered["steered"] == 1.0
