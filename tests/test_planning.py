from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests import handmade
from tests.fixtures_s3 import S3Server
from vsal import manifest, planning, storage
from vsal.catalog import Title
from vsal.errors import Reason
from vsal.planning import plan_titles, work_list
from vsal.settings import PrepareSettings

MODEL = "0" * 64  # what handmade manifests say


def titles(folder: Path, *names: str) -> list[Title]:
    return [Title(name, str(folder / f"{name}.mp4")) for name in names]


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    handmade.write_clip(tmp_path / "a.mp4")
    (tmp_path / "b.mp4").write_bytes((tmp_path / "a.mp4").read_bytes())
    handmade.write_manifest(tmp_path / "out", "a", tmp_path / "a.mp4")
    return tmp_path


def test_what_is_committed_is_known_and_the_rest_is_to_do(catalogue: Path) -> None:
    items = work_list(titles(catalogue, "b", "a", "gone"), str(catalogue / "out"), PrepareSettings(), MODEL)
    assert [item.title.title_id for item in items] == ["b", "a", "gone"]
    assert [item.committed is not None for item in items] == [False, True, False]
    assert items[2].failure is not None
    assert items[2].failure.reason is Reason.SOURCE_NOT_FOUND
    assert str(catalogue / "gone.mp4") in items[2].failure.detail


def test_other_settings_another_model_or_another_file_is_to_do_again(catalogue: Path) -> None:
    out, a = str(catalogue / "out"), titles(catalogue, "a")
    assert work_list(a, out, PrepareSettings(), MODEL)[0].committed
    assert not work_list(a, out, PrepareSettings(qp_limit=3), MODEL)[0].committed
    assert not work_list(a, out, PrepareSettings(aggregator="max"), MODEL)[0].committed
    assert work_list(a, out, PrepareSettings(smooth_s=1.0), MODEL)[0].committed  # which ema does not use
    # The mode chooses model and aggregator, and these are the same.
    assert work_list(a, out, PrepareSettings(saliency_mode="video", aggregator="ema"), MODEL)[0].committed
    assert not work_list(a, out, PrepareSettings(), "1" * 64)[0].committed
    with (catalogue / "a.mp4").open("ab") as file:
        file.write(b"\0")
    assert not work_list(a, out, PrepareSettings(), MODEL)[0].committed


def test_a_broken_manifest_is_work_not_an_error(catalogue: Path) -> None:
    (catalogue / "out" / "maps" / "a.parquet").write_bytes(b"PAR1 no more")
    assert not work_list(titles(catalogue, "a"), str(catalogue / "out"), PrepareSettings(), MODEL)[0].committed


def test_a_folder_or_a_title_that_cannot_be_looked_at_fails_alone(catalogue: Path) -> None:
    (catalogue / "folder.mp4").mkdir()
    items = work_list(
        [*titles(catalogue, "folder"), Title("nul", "a\0b.mp4"), Title("deep", "x" * 5000), *titles(catalogue, "a")],
        str(catalogue / "out"),
        PrepareSettings(),
        MODEL,
    )
    assert [item.failure is None for item in items] == [False, False, False, True]
    assert items[3].committed


def test_a_manifest_that_cannot_be_read_now_is_not_made_again(catalogue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(out: str, title_id: str) -> str:
        raise OSError("connection reset")

    monkeypatch.setattr(manifest, "read_commit", unreachable)
    (item,) = work_list(titles(catalogue, "a"), str(catalogue / "out"), PrepareSettings(), MODEL)
    assert item.failure is not None
    assert item.failure.reason is Reason.WRITE_FAILED


def test_only_manifests_that_exist_are_opened(catalogue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    read = manifest.read_commit
    monkeypatch.setattr(manifest, "read_commit", lambda out, name: opened.append(name) or read(out, name))
    work_list(titles(catalogue, "a", "b"), str(catalogue / "out"), PrepareSettings(), MODEL)
    assert opened == ["a"]


def test_two_thousand_titles_take_less_than_a_millisecond_each(tmp_path: Path) -> None:
    for number in range(2000):
        (tmp_path / f"{number}.mp4").write_bytes(b"x")
    many = titles(tmp_path, *(str(number) for number in range(2000)))
    storage.list_files(str(tmp_path / "out"))  # what storage loads on its first use is not a title's
    start = time.perf_counter()
    items = work_list(many, str(tmp_path / "out"), PrepareSettings(), MODEL)
    assert len(items) == 2000
    assert time.perf_counter() - start < 2.0


def test_the_plan_counts_segments_frames_and_samples(catalogue: Path) -> None:
    (plan,) = plan_titles(titles(catalogue, "b"), str(catalogue / "out"), PrepareSettings(), MODEL, segment_s=30)
    assert plan.failure is None
    assert (plan.codec, plan.width, plan.height) == ("h264", handmade.WIDTH, handmade.HEIGHT)
    assert (plan.frames, plan.segments, plan.would_skip) == (72, 1, False)
    assert plan.frames_to_infer == pytest.approx(9, abs=1)  # 3 s at 3 a second
    (dense,) = plan_titles(titles(catalogue, "b"), None, PrepareSettings(sample_rate=200), MODEL, segment_s=1)
    assert dense.segments == 3
    assert dense.frames_to_infer == 72  # no frame twice


def test_the_plan_tells_skips_and_failures(catalogue: Path) -> None:
    (catalogue / "text.mp4").write_text("not a video")
    plans = list(
        plan_titles(
            titles(catalogue, "a", "text", "gone"), str(catalogue / "out"), PrepareSettings(), MODEL, segment_s=9
        )
    )
    assert [plan.would_skip for plan in plans] == [True, False, False]
    reasons = [plan.failure and plan.failure.reason for plan in plans]
    assert reasons == [None, Reason.UNREADABLE, Reason.SOURCE_NOT_FOUND]
    (forced,) = plan_titles(
        titles(catalogue, "a"), str(catalogue / "out"), PrepareSettings(), MODEL, segment_s=9, force=True
    )
    assert not forced.would_skip


def test_results_keep_their_order_however_threads_finish() -> None:
    def slow_first(number: int) -> int:
        time.sleep(0.02 if number < 3 else 0)
        return number

    assert list(planning._threaded(slow_first, range(100))) == list(range(100))
    assert list(planning._threaded(slow_first, [])) == []


def test_in_a_bucket_a_title_costs_one_request_and_a_committed_one_its_footer(
    tmp_path: Path, s3_server: S3Server
) -> None:
    bucket = s3_server.bucket()
    clip = handmade.write_clip(tmp_path / "clip.mp4").read_bytes()
    names = [f"{number:02d}" for number in range(40)]
    for name in names:
        s3_server.put(f"{bucket}/films/{name}.mp4", clip)
    catalogue = [Title(name, f"{bucket}/films/{name}.mp4") for name in [*names, "gone"]]
    handmade.write_manifest(f"{bucket}/roi", "07", f"{bucket}/films/07.mp4")
    before = len(s3_server.requests)

    items = work_list(catalogue, f"{bucket}/roi", PrepareSettings(), MODEL)

    asked = s3_server.requests[before:]
    assert [item.title.title_id for item in items if item.committed] == ["07"]
    assert [item.title.title_id for item in items if item.failure] == ["gone"]
    films = [request for request in asked if "/films/" in request.path]
    assert len(films) <= len(catalogue) + 2
    assert all(request.method == "HEAD" for request in films)
    assert {request.path.rpartition("/")[2] for request in asked if "/roi/maps/0" in request.path} == {"07.parquet"}


def test_planning_decodes_nothing(catalogue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def decoded(*args: object) -> None:
        raise AssertionError("a picture was decoded")

    monkeypatch.setattr("vsal.video.probe._first_picture", decoded)
    (plan,) = plan_titles(titles(catalogue, "b"), None, PrepareSettings(), MODEL, segment_s=30)
    assert plan.frames_to_infer


def test_a_cut_model_is_known_by_its_content() -> None:
    there = PrepareSettings(shot_detector="transnetv2", shot_model="a.onnx").pinned(b"one")
    assert there.shaping() == PrepareSettings(shot_detector="transnetv2", shot_model="b.onnx").pinned(b"one").shaping()
    assert there.shaping() != PrepareSettings(shot_detector="transnetv2", shot_model="a.onnx").pinned(b"two").shaping()
