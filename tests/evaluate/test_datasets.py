from __future__ import annotations

import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from tests.evaluate import sets
from tests.video.media import encode, moving_picture
from vsal.errors import SettingsError
from vsal.evaluate.saliency.items import Dataset, DatasetBroken, Frame, Item, video_pictures
from vsal.evaluate.saliency.moments import read_moments
from vsal.evaluate.saliency.sets import KINDS, TRAINING, open_dataset, open_training_part
from vsal.evaluate.saliency.sets.parquet import gaze_held_out
from vsal.saliency import ModelInput
from vsal.settings import PrepareSettings
from vsal.video.probe import probe
from vsal.video.scan import ScanSettings, scan_segment
from vsal.video.segments import WHOLE


def check_subject(item: Item, frames: int) -> None:
    """Each frame shows the subject where its truth says that it is."""
    seen = 0
    for frame in item.frames():
        x, y = sets.subject(frame.index if item.fps else int(item.name[-1]))
        picture, truth = frame.picture().rgb(), frame.truth()
        assert picture.shape == (sets.HEIGHT, sets.WIDTH, 3)
        assert picture[y, x, 0] > 190
        assert picture[y, x, 1] < 70
        assert truth is not None
        if truth.mask is not None:
            assert truth.mask.shape == picture.shape[:2]
            assert truth.mask[y, x] == 255
            assert truth.mask.mean() < 30
        if truth.fixations is not None:
            np.testing.assert_allclose(truth.fixations, [[(x + 0.5) / sets.WIDTH, (y + 0.5) / sets.HEIGHT]], atol=1e-5)
        if truth.density is not None:
            top = np.unravel_index(truth.density.argmax(), truth.density.shape)
            np.testing.assert_allclose(top, (y, x), atol=1)  # a saliency video has been through an encoder
        seen += 1
    assert seen == frames


def opened(kind: str, root: Path, names: list[str], fps: float | None, truth: str) -> Dataset:
    dataset = open_dataset(f"{kind}:{root}")
    assert (dataset.truth, [item.name for item in dataset.items]) == (truth, names)
    for item in dataset.items:
        assert item.fps == fps
        check_subject(item, sets.FRAMES if fps else 1)
        check_subject(item, sets.FRAMES if fps else 1)  # anew each time
    return dataset


@pytest.mark.parametrize(
    ("images", "masks"),
    [("DUTS-TE/DUTS-TE-Image", "DUTS-TE/DUTS-TE-Mask"), ("images", "ground_truth_mask"), ("Imgs", "GT")],
)
def test_photographs_and_masks_in_folders(tmp_path: Path, images: str, masks: str) -> None:
    opened("masks", sets.photographs(tmp_path, images, masks), ["p0", "p1", "p2"], None, "mask")


def test_of_shards_only_what_no_model_was_trained_on(tmp_path: Path) -> None:
    sets.parquet_masks(tmp_path / "train-00.parquet", 5)
    sets.parquet_masks(tmp_path / "val-00.parquet", 2)
    opened("parquet", tmp_path, ["p0", "p1"], None, "mask")
    assert len(open_dataset(f"parquet:{tmp_path}/train-*.parquet").items) == 5


def test_of_pictures_with_fixations_only_what_the_first_models_were_not_trained_on(tmp_path: Path) -> None:
    sets.parquet_gaze(tmp_path / "osie.parquet", 9)
    kept = [name for name in (f"p{i}" for i in range(9)) if gaze_held_out(name)]
    assert 0 < len(kept) < 9
    dataset = opened("parquet", tmp_path / "osie.parquet", kept, None, "gaze")
    assert (
        dataset.part
        == f"{len(kept)} of 9 pictures, the quarter by name that v1 is not trained on (others: see their cards)"
    )


def test_clips_with_masks(tmp_path: Path) -> None:
    opened("davis", sets.davis(tmp_path), ["bear", "dog"], 24, "mask")


@pytest.mark.parametrize("videos", [False, True])
def test_dhf1k_as_frames_and_as_videos(tmp_path: Path, videos: bool) -> None:
    opened("dhf1k", sets.dhf1k(tmp_path, videos), ["0601", "0602"], 30, "gaze")


def test_dhf1k_without_its_validation_part_says_that_it_is_for_training(tmp_path: Path) -> None:
    sets.gaze_folder(tmp_path / "0007", "")
    dataset = opened("dhf1k", tmp_path, ["0007"], 30, "gaze")
    assert dataset.part == "videos of 1 to 600, which it gives out to train on"


def test_hollywood2_tests_on_its_testing_part(tmp_path: Path) -> None:
    opened("hollywood2", sets.hollywood2(tmp_path), ["actionclipautoautotest00001_1"], 24, "gaze")


def test_ucf_sports_tests_on_its_testing_part(tmp_path: Path) -> None:
    opened("ucf-sports", sets.ucf_sports(tmp_path), ["Kicking-Front-003"], 24, "gaze")


@pytest.mark.parametrize("maps", [False, True])
def test_ledov(tmp_path: Path, maps: bool) -> None:
    pytest.importorskip("scipy", reason="LEDOV's MATLAB files take SciPy")
    dataset = opened("ledov", sets.ledov(tmp_path, maps), ["animal_alpaca01", "man_news02"], 25, "gaze")
    truth = next(dataset.items[0].frames()).truth()
    assert truth is not None
    assert (truth.density is not None) == maps


def test_avimos_tests_on_its_test_part(tmp_path: Path) -> None:
    opened("avimos", sets.avimos(tmp_path), ["0002"], 30, "gaze")


def test_what_is_trained_on_is_never_what_is_judged(tmp_path: Path) -> None:
    makers: dict[str, Callable[[Path], Path]] = {
        "dhf1k": lambda root: sets.dhf1k(root, videos=True),
        "hollywood2": sets.hollywood2,
        "ucf-sports": sets.ucf_sports,
        "avimos": sets.avimos,
    }
    assert makers.keys() == TRAINING.keys()
    names = {"dhf1k": "0001", "hollywood2": "actionclipautoautotrain00001_1", "ucf-sports": "Diving-Side-001",
             "avimos": "0001"}  # fmt: skip
    for kind, make in makers.items():
        root = make(tmp_path / kind)
        part = open_training_part(f"{kind}:{root}")
        judged = {item.name for item in open_dataset(f"{kind}:{root}").items}
        assert [item.name for item in part.items] == [names[kind]]
        assert names[kind] not in judged
        check_subject(part.items[0], sets.FRAMES)


def test_a_set_that_does_not_say_what_is_for_training_is_not_trained_on(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="KIND one of dhf1k, hollywood2, ucf-sports, avimos"):
        open_training_part(f"ledov:{tmp_path}")
    (sets.avimos(tmp_path / "avimos") / "TrainTestSplit.json").unlink()
    with pytest.raises(DatasetBroken, match=r"TrainTestSplit\.json is not there"):
        open_training_part(f"avimos:{tmp_path}/avimos")
    sets.gaze_folder(tmp_path / "films" / "clip", "clip_")
    with pytest.raises(DatasetBroken, match="no folder `training`"):
        open_training_part(f"hollywood2:{tmp_path}/films")
    sets.gaze_folder(tmp_path / "validation" / "annotation" / "0601", "")
    with pytest.raises(DatasetBroken, match="holds nothing"):
        open_training_part(f"dhf1k:{tmp_path}/validation")


def test_what_is_given_out_to_learn_from_does_not_judge(tmp_path: Path) -> None:
    root = sets.hollywood2(tmp_path / "films")
    shutil.rmtree(root / "testing")
    for path in (root, root / "training"):
        with pytest.raises(DatasetBroken, match="no folder `testing`"):
            open_dataset(f"hollywood2:{path}")
    root = sets.avimos(tmp_path / "avimos")
    shutil.rmtree(root / "FixationsTest")
    with pytest.raises(DatasetBroken, match="the truth of no test video"):
        open_dataset(f"avimos:{root}")


def test_clips_are_read_as_prepare_reads_them(tmp_path: Path) -> None:
    """Unmarked colours of a large picture are BT.709's, and what is scaled is scaled by the same code."""
    i420 = np.full((720 * 3 // 2, 1280), 128, np.uint8)
    i420[:720, :640] = 60
    i420[720:].reshape(2, 360, 640)[1, :, :320] = 220  # red
    path = tmp_path / "unmarked.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(i420, format="yuv420p")))
        container.mux(stream.encode(None))
    info = probe(str(path))
    (chunk,) = scan_segment(info, WHOLE, ScanSettings(sample_rate=24, motion="frame"), lambda aspect: (256, 144))
    pictures = [picture() for picture in video_pictures(path)]
    np.testing.assert_array_equal(np.stack([p.rgb((256, 144)) for p in pictures]), chunk.frames)
    changes = [now.change(before, (256, 144)) for before, now in pairwise(pictures)]
    assert chunk.motion_maps is not None
    np.testing.assert_array_equal(np.stack(changes), chunk.motion_maps[1:])
    red = pictures[0].rgb((256, 144))[72, 40].astype(int)
    in_709 = 1.164 * (60 - 16) + 1.793 * (220 - 128)  # BT.601 would have 198
    assert red[0] == pytest.approx(in_709, abs=4)


def test_signed_motion_of_sets_is_that_of_prepare(tmp_path: Path) -> None:
    path = tmp_path / "walk.mp4"
    encode(path, moving_picture(20, 96, 64))
    settings = PrepareSettings(sample_rate=8.0)
    wants = ModelInput(96 * 64, 16, None, motion=True, signed=True)
    (chunk,) = scan_segment(
        probe(str(path)), WHOLE, ScanSettings(sample_rate=8.0, motion="signed"), lambda aspect: (96, 64)
    )
    item = Item("walk", 24.0, lambda: (Frame(i, 0, p, lambda: None) for i, p in enumerate(video_pictures(path))))
    moments = read_moments(item, "gaze", [wants], settings, judge_rate_hz=1e-6)
    assert len(chunk.samples) == 7
    np.testing.assert_array_equal(moments.seen[0].motion, chunk.motion_maps)
    assert chunk.motion_maps is not None
    assert chunk.motion_maps[1:].any(axis=(1, 2, 3)).all()


def test_synthetic_titles_know_their_shots_and_masks() -> None:
    dataset = open_dataset("synthetic:2")
    frames = list(zip(range(80), dataset.items[1].frames(), strict=False))
    assert {frame.shot for _, frame in frames} == {0, 1}
    picture, truth = frames[10][1].picture().rgb(), frames[10][1].truth()
    assert truth is not None
    assert truth.mask is not None
    assert truth.mask.shape == picture.shape[:2] == (480, 854)
    assert 0.01 < truth.mask.mean() / 255 < 0.3
    assert not np.array_equal(picture, frames[40][1].picture().rgb())  # each keeps its own picture


def test_the_shared_sets_open(shared_data: Path) -> None:
    for name, count, truth in (
        ("parquet:duts_tr", 557, "mask"),
        ("parquet:osie", 123, "gaze"),
        ("davis:davis", 10, "mask"),
    ):
        kind, _, folder = name.partition(":")
        dataset = open_dataset(f"{kind}:{shared_data / folder}")
        assert (len(dataset.items), dataset.truth) == (count, truth)
        frame = next(dataset.items[0].frames())
        assert frame.picture().rgb().ndim == 3
        assert frame.truth() is not None


def _no_video(root: Path) -> None:
    sets.gaze_folder(root / "0601", "", images=False)


def _torn(root: Path) -> None:
    sets.gaze_folder(root / "0601", "")
    (root / "0601" / "fixation" / "0003.png").unlink()


def _not_a_video(root: Path) -> None:
    sets.davis(root, ("bear",))
    (root / "bear.mp4").write_bytes(b"nonsense")


def _no_clip(root: Path) -> None:
    sets.davis(root, ("bear",))
    (root / "bear.mp4").unlink()


def _not_a_picture(root: Path) -> None:
    sets.photographs(root, "images", "masks", 1)
    (root / "masks" / "p0.png").write_bytes(b"nonsense")


@pytest.mark.parametrize(
    ("kind", "make", "says"),
    [
        ("dhf1k", _no_video, "neither a folder `images` nor a video"),
        ("dhf1k", _torn, "6 maps and 5 fixation maps"),
        ("davis", _not_a_video, "no video that FFmpeg reads"),
        ("davis", _no_clip, "no bear.mp4 beside it"),
        ("masks", _not_a_picture, "no picture that OpenCV reads"),
    ],
)
def test_a_broken_set_is_named(tmp_path: Path, kind: str, make: Callable[[Path], None], says: str) -> None:
    make(tmp_path)

    def read() -> None:
        for frame in open_dataset(f"{kind}:{tmp_path}").items[0].frames():
            frame.picture()
            frame.truth()

    with pytest.raises(DatasetBroken, match=says):
        read()


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"synthetic"}))
def test_a_missing_and_an_empty_folder_are_settings_errors(tmp_path: Path, kind: str) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(SettingsError):
            open_dataset(f"{kind}:{path}")


@pytest.mark.parametrize("name", ["salicon:x", "davis", "", "synthetic:", "synthetic:0", "synthetic:many"])
def test_what_is_no_data_set_says_what_is(name: str) -> None:
    with pytest.raises(SettingsError, match=r"dhf1k|number of titles"):
        open_dataset(name)
