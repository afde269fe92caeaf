from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.evaluate import sets
from tests.evaluate.models import red_model, sees_red
from tests.saliency.conftest import build_model, build_step
from vsal.evaluate.saliency.arms import ELSEWHERE, OBSERVERS, PRIOR, Arm
from vsal.evaluate.saliency.clip_scores import on_grid
from vsal.evaluate.saliency.items import DatasetBroken
from vsal.evaluate.saliency.kept import Kept
from vsal.evaluate.saliency.markdown import markdown_of
from vsal.evaluate.saliency.observed import Looks, judged_size, looks_at, observers
from vsal.evaluate.saliency.prepared import masks_of, moments_of, rows_of, scan
from vsal.evaluate.saliency.protocol import GazeTable, document_of, judge_gaze
from vsal.evaluate.saliency.sets.gaze import Fixations, group_of, open_gaze_clips, read_looks
from vsal.manifest import MapRow
from vsal.saliency import SaliencySession
from vsal.settings import PrepareSettings
from vsal.video.orientation import Orientation
from vsal.video.segments import WHOLE

NOTHING_KEPT = Kept(None)
SETTINGS = PrepareSettings(sample_rate=12, map_interval=1 / 12)


def fixations(*rows: tuple[int, float, float, float, float]) -> Fixations:
    observer, start, end, x, y = (np.array(column) for column in zip(*rows, strict=True))
    return Fixations(observer, start.astype(float), end.astype(float), np.stack([x, y], 1).astype(np.float32))


def judged(root: Path, arms: list[Arm], settings: PrepareSettings = SETTINGS, kept: Kept = NOTHING_KEPT) -> GazeTable:
    return judge_gaze("gaze:tiny", open_gaze_clips(str(root)), arms, settings, kept)


def test_like_clips_of_the_published_set_are_one_group() -> None:
    names = ["BasketballDrill", "BasketballPass", "Vidyo1", "Vidyo4", "Male", "Female", "Simo", "Yan", "Keiba"]
    groups = ["Basketball", "Basketball", "Vidyo", "Vidyo", "Heads", "Heads", "Heads", "Heads", "Keiba"]
    assert [group_of(name) for name in names] == groups
    assert group_of("Yandere") == "Yandere"


def test_a_set_may_name_its_own_groups(tmp_path: Path) -> None:
    sets.gaze_clips(tmp_path, ("a", "b", "c"))
    table = pq.read_table(tmp_path / "fixations.parquet")
    group = ["one" if clip in ("a", "b") else None for clip in table["clip"].to_pylist()]
    pq.write_table(table.append_column("group", pa.array(group)), tmp_path / "fixations.parquet")
    assert [clip.group for clip in open_gaze_clips(str(tmp_path))] == ["one", "one", "c"]


def test_fixations_may_come_as_csv_and_samples_last_until_the_next(tmp_path: Path) -> None:
    (tmp_path / "fixations.csv").write_text("clip,observer,start_ms,duration_ms,x,y\na,1,100,300,0.5,0.25\n")
    looks, group = read_looks(str(tmp_path))["a"]
    assert (group, looks.start_s.tolist(), looks.end_s.tolist()) == ("a", [0.1], [pytest.approx(0.4)])
    samples = tmp_path / "diem.csv"
    samples.write_text("clip,observer,time_ms,x,y\na,1,0,0.1,0.1\na,2,10,0.9,0.9\na,1,40,0.2,0.1\na,1,500,0.3,0.1\n")
    looks, _ = read_looks(str(samples))["a"]
    assert looks.end_s.tolist() == pytest.approx([0.04, 0.11, 0.14, 0.6])
    samples.write_text("clip,observer,start_ms,x,y\na,1,0,0.1,0.1\n")
    with pytest.raises(DatasetBroken, match="needed are clip"):
        read_looks(str(samples))


def test_a_look_is_in_force_within_a_tenth_of_a_second() -> None:
    some = fixations((1, 1.0, 1.2, 0.25, 0.5), (2, 1.0, 1.2, 0.75, 0.5), (3, 0.0, 9.0, 1.5, 0.5))
    moments = np.array([0.89, 0.91, 1.1, 1.29, 1.31])
    looks = looks_at(some, observers(some, odd=True), moments, (8, 4))
    assert looks.counts.sum(axis=(1, 2)).tolist() == [0, 1, 1, 1, 0]  # the third lies beside the picture
    assert looks.counts[2, 2, 2] == 1
    even = looks_at(some, observers(some, odd=False), moments, (8, 4))
    assert even.counts[2, 2, 6] == 1
    assert even.counts[2].sum() == 1


def test_a_look_has_a_density_of_a_twentieth_of_the_width() -> None:
    some = fixations((1, 0.0, 1.0, 0.5, 0.5))
    looks = looks_at(some, np.array([True]), np.array([0.5]), (161, 91))
    row = looks.density[0, 45]
    assert row.argmax() == 80
    assert row[88] / row[80] == pytest.approx(np.exp(-((8 / (161 / 20)) ** 2) / 2), rel=0.01)
    assert looks.density.sum() == pytest.approx(1.0, abs=1e-3)


def test_pictures_are_judged_on_their_own_aspect() -> None:
    assert judged_size(16 / 9) == (160, 90)
    for aspect in (4 / 3, 1.0, 9 / 16, 21 / 9):
        width, height = judged_size(aspect)
        assert width / height == pytest.approx(aspect, rel=0.02)
        assert width * height == pytest.approx(160 * 90, rel=0.02)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_a_row_lies_on_the_grid_as_the_picture_is_seen(rotation: int, mirrored: bool) -> None:
    """40x24 luma samples are 3x2 blocks, the last ones half outside: the grid covers what is inside."""
    levels = np.array([[0, 100, 200], [50, 150, 250]], np.uint8)
    row = MapRow("t", 0, 0, 0, 1, 0, 1, 1, 40, 24, 1, 0.0, levels, levels.astype(np.int8))  # type: ignore[arg-type]
    orientation = Orientation(rotation, mirrored)
    size = (24, 40) if orientation.swaps_sides else (40, 24)
    grid = on_grid(row, size, orientation)
    assert grid.shape == size[::-1]
    upright = orientation.upright(levels)
    corners = grid[[0, 0, -1, -1], [0, -1, 0, -1]] * 255
    # Beyond the outermost block centres a map goes on level; the last row and column end before their centre is past.
    wanted = np.array([upright[0, 0], upright[0, -1], upright[-1, 0], upright[-1, -1]], float)
    np.testing.assert_allclose(corners, wanted, atol=13)
    assert grid.min() >= 0


def test_one_who_sees_the_subject_is_near_the_observers_and_ahead_of_every_control(tmp_path: Path) -> None:
    table = judged(sets.gaze_clips(tmp_path), [Arm("red", "mean", "red", sees_red)])
    assert [row.name for row in table.rows] == [OBSERVERS, PRIOR, ELSEWHERE, "red mean"]
    observed, prior, elsewhere, red = table.rows
    assert table.groups == {"Keiba": "Keiba", "Vidyo1": "Vidyo", "Vidyo3": "Vidyo"}
    assert table.mean(red, "nss") > 1.5 * max(table.mean(prior, "nss"), table.mean(elsewhere, "nss"))
    assert table.mean(red, "auc_shuffled") > 0.9
    assert table.mean(observed, "cc") > 0.9
    assert table.share(observed) == 1.0
    assert 0.4 < table.share(red) < 1.3
    assert table.mean(prior, "gain_bits") == pytest.approx(0, abs=0.02)
    assert table.mean(red, "gain_bits") > 1
    assert table.mean(red, "rate") < -0.1
    assert table.groups_below(red, prior) == []
    document = document_of(table)
    shown = document["rows"][3]
    assert shown["ahead_of"][PRIOR]["nss"] == pytest.approx(table.mean(red, "nss") - table.mean(prior, "nss"), abs=1e-4)
    assert shown["nss_low"] <= shown["nss"] <= shown["nss_high"]
    of_clip = document["by_clip"]["Keiba"]["rows"]["red mean"]
    assert of_clip["nss"] == pytest.approx(red.by_clip["Keiba"]["nss"], abs=1e-4)


def test_the_even_observers_never_score(tmp_path: Path) -> None:
    """What the even observers look at changes the ceiling and nothing else."""
    sets.gaze_clips(tmp_path)
    before = judged(tmp_path, [])
    table = pq.read_table(tmp_path / "fixations.parquet").to_pylist()
    for row in table:
        if row["observer"] % 2 == 0:
            row["x"], row["y"] = 0.1, 0.9
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "fixations.parquet")
    after = judged(tmp_path, [])
    assert after.mean(after.rows[1], "nss") == before.mean(before.rows[1], "nss")
    assert after.mean(after.rows[0], "nss") < 0.5 * before.mean(before.rows[0], "nss")


@pytest.mark.parametrize("kind", ["gated", "in order"])
def test_a_model_with_a_memory_is_judged_with_it(tmp_path: Path, kind: str) -> None:
    """Its maps differ from those of the same frames each for itself."""
    clip = open_gaze_clips(str(sets.gaze_clips(tmp_path)))[0]
    settings = PrepareSettings(sample_rate=12, map_interval=1 / 12, aggregator="mean")
    if kind == "gated":
        session = SaliencySession(build_model(kind="video"))
        scanned = scan(clip.path, session.input, settings, NOTHING_KEPT)
        masks = masks_of(session, scanned, settings)
        alone = rows_of(scanned, masks, settings)
        carried = rows_of(scanned, masks, settings.model_copy(update={"aggregator": "learned"}))
    else:
        session = SaliencySession(build_step(pixels=36864))
        scanned = scan(clip.path, session.input, settings, NOTHING_KEPT)
        carried = rows_of(scanned, masks_of(session, scanned, settings), settings)
        both = SaliencySession(build_model(kind="video"))
        seen = scan(clip.path, both.input, settings, NOTHING_KEPT)
        alone = rows_of(seen, masks_of(both, seen, settings), settings)
    assert len(carried) == len(alone) == 19  # the first and the last of half a span
    assert any(not np.array_equal(a.saliency, b.saliency) for a, b in zip(carried, alone, strict=True))


def test_judged_moments_lie_on_the_clock(tmp_path: Path) -> None:
    clip = open_gaze_clips(str(sets.gaze_clips(tmp_path)))[0]
    scanned = scan(clip.path, sees_red().input, SETTINGS, NOTHING_KEPT)
    assert moments_of(scanned, 12.0).tolist() == list(range(0, 36, 2))
    assert scanned.chunks[0].segment == WHOLE.index


def test_what_is_kept_is_what_would_be_made(tmp_path: Path) -> None:
    sets.gaze_clips(tmp_path / "set")
    arms = [Arm("red", "ema", "red", sees_red)]
    kept = Kept(tmp_path / "kept")
    first = judged(tmp_path / "set", arms, kept=kept)
    files = sorted(file.name for file in (tmp_path / "kept").iterdir())
    assert {name.split("-")[0] for name in files} == {"scan", "masks", "scores"}
    again = judged(tmp_path / "set", arms, kept=kept)
    assert document_of(again) == document_of(first) == document_of(judged(tmp_path / "set", arms))
    assert sorted(file.name for file in (tmp_path / "kept").iterdir()) == files
    slower = SETTINGS.model_copy(update={"ema_half_life_s": 5.0})
    assert judged(tmp_path / "set", arms, slower, kept).rows[3].by_clip != first.rows[3].by_clip
    for file in (tmp_path / "kept").iterdir():
        file.write_bytes(file.read_bytes()[:40])  # torn
    assert document_of(judged(tmp_path / "set", arms, kept=kept)) == document_of(first)


def _no_fixations(root: Path) -> None:
    (root / "fixations.parquet").unlink()


def _no_video(root: Path) -> None:
    (root / "Keiba.mp4").unlink()


def _other_columns(root: Path) -> None:
    pq.write_table(pa.table({"clip": ["a"], "x": [0.5]}), root / "fixations.parquet")


def _no_parquet(root: Path) -> None:
    (root / "fixations.parquet").write_bytes(b"nonsense")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_no_fixations, "there is no .*fixations.parquet"),
        (_no_video, "fixations of Keiba, and there is no Keiba.mp4"),
        (_other_columns, "needed are clip, observer"),
        (_no_parquet, "is no Parquet file"),
    ],
)
def test_a_broken_set_is_named(tmp_path: Path, spoil: Callable[[Path], None], says: str) -> None:
    spoil(sets.gaze_clips(tmp_path))
    with pytest.raises(DatasetBroken, match=says):
        open_gaze_clips(str(tmp_path))


def test_the_verb_prints_controls_and_the_first_models_with_every_table(
    vsal: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    sets.gaze_clips(tmp_path / "set")
    (tmp_path / "red.onnx").write_bytes(red_model())
    asked = ("evaluate", "saliency", "--dataset", f"gaze:{tmp_path / 'set'}", "--model", tmp_path / "red.onnx")
    code, out, err = vsal(*asked, "--json", "--no-keep")
    assert code == 0, err
    document = json.loads(out)
    assert [(row["model"], row["aggregator"]) for row in document["rows"]] == [
        (OBSERVERS, None),
        (PRIOR, None),
        (ELSEWHERE, None),
        ("image_saliency_student_v1", "ema"),
        ("image_saliency_student_v1_int8", "ema"),
        ("image_saliency_student_small_v1", "ema"),
        ("video_saliency_student_v1", "ema"),
        ("video_saliency_student_v1", "mean"),
        ("video_saliency_student_v1", "learned"),
        ("red", "ema"),
    ]
    assert "untrained blend is left out" in err
    assert document["prior"]["source"].startswith("1,366 stills")
    assert document["settings"]["sample_rate"] == 3
    assert (tmp_path / "set").is_dir()
    code, out, err = vsal(*asked, "--markdown", "--no-keep", "--limit", "2")
    assert code == 0, err
    first, second, third = (block.splitlines() for block in out.split("\n\n")[:3])
    assert first[0].startswith("| map | NSS | of observers' | CC | SIM | KL |")
    assert second[0].endswith("| ahead of fixed prior | groups below the prior |")
    assert len(first) == len(second) == 12
    assert [line.split(" | ")[0] for line in third[2:]] == ["| Keiba", "| Vidyo3"]
    assert all(line.count("|") == first[0].count("|") for line in first)
    code, _, err = vsal(*asked, "--gaze-teacher", tmp_path / "none.onnx")
    assert code == 2
    assert "there is no gaze teacher at" in err
    code, _, err = vsal(*asked, "--aggregator", "median")
    assert code == 2


def test_a_clip_that_nobody_scores_is_left_out_of_the_means(tmp_path: Path) -> None:
    sets.gaze_clips(tmp_path)
    rows = pq.read_table(tmp_path / "fixations.parquet").to_pylist()
    rows = [row for row in rows if row["clip"] != "Keiba" or row["observer"] % 2 == 0]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "fixations.parquet")
    table = judged(tmp_path, [])
    document = document_of(table)
    assert document["by_clip"]["Keiba"]["rows"][PRIOR]["nss"] is None
    prior = document["rows"][1]
    assert prior["nss"] == pytest.approx(
        np.mean([table.rows[1].by_clip[c]["nss"] for c in ("Vidyo1", "Vidyo3")]), abs=1e-4
    )
    assert prior["nss_low"] == prior["nss_high"] == pytest.approx(prior["nss"], abs=1e-4)  # one group is left
    assert document["rows"][0]["ahead_of"][PRIOR]["p"] == 1.0
    assert markdown_of(document).count("| Keiba | Keiba |  |  |") == 1


def test_a_set_of_even_observers_alone_is_refused(vsal: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    sets.gaze_clips(tmp_path, ("a",))
    rows = [row for row in pq.read_table(tmp_path / "fixations.parquet").to_pylist() if row["observer"] % 2 == 0]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "fixations.parquet")
    code, _, err = vsal("evaluate", "saliency", "--dataset", f"gaze:{tmp_path}", "--no-keep")
    assert code == 2
    assert "the odd observers score" in err


def test_nobody_looked_at_a_moment_is_no_moment() -> None:
    looks = looks_at(fixations((1, 5.0, 6.0, 0.5, 0.5)), np.array([True]), np.array([0.0]), (16, 9))
    assert isinstance(looks, Looks)
    assert not looks.counts.any()
