from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from model import gaze_clips
from tests.evaluate import sets
from tests.saliency import foreign_graphs
from vsal.evaluate.saliency.items import Frame, Item, Truth, picture_of
from vsal.evaluate.saliency.sets import open_training_part
from vsal.saliency import SaliencySession
from vsal.saliency.foreign import Interface, wrap


def subject_in_labels(sample: int) -> tuple[float, float]:
    x, y = sets.subject(sample)
    return (x + 0.5) / sets.WIDTH * 128, (y + 0.5) / sets.HEIGHT * 72


@pytest.fixture
def dhf1k(tmp_path: Path) -> Path:
    return sets.dhf1k(tmp_path / "dhf1k", videos=True)


def test_recorded_gaze_becomes_labels_where_it_was(dhf1k: Path, tmp_path: Path) -> None:
    """At 30 samples a second every frame is one: label, frame and motion are of the same moment."""
    assert gaze_clips.make_labels(f"dhf1k:{dhf1k}", "", tmp_path / "out", rate_hz=30) == 1
    (path,) = gaze_clips.load(tmp_path / "out")
    assert path.stem == "0001", "only what is given out to train on"
    with np.load(path) as held:
        frames, motion, labels = held["frames"], held["motion"], held["labels"]
    assert frames.shape == (sets.FRAMES, 144, 256, 3)
    assert motion.shape == (sets.FRAMES, 144, 256)
    assert labels.shape == (sets.FRAMES, 72, 128)
    for t in range(sets.FRAMES):
        x, y = subject_in_labels(t)
        assert labels[t].max() > 240
        assert np.abs(np.array(np.unravel_index(labels[t].argmax(), labels[t].shape)) - (y, x)).max() < 2
        red = frames[t, ..., 0].astype(int) - frames[t, ..., 1]
        assert red[round(2 * y), round(2 * x)] > 100


def bright_item() -> Item:
    """A white square that walks right; the red one of the sets is as light as its ground."""

    def frames() -> Iterator[Frame]:
        for i in range(sets.FRAMES):
            shown = np.repeat(sets.mask(i)[..., None], 3, 2)
            picture, truth = picture_of(shown), Truth(density=sets.density(i).astype(np.float32))
            yield Frame(i, 0, lambda picture=picture: picture, lambda truth=truth: truth)

    return Item("walk", 30.0, frames)


def test_motion_is_against_the_frame_before_and_not_the_sample_before() -> None:
    every = gaze_clips.read_clip(bright_item(), None, rate_hz=30)
    third = gaze_clips.read_clip(bright_item(), None, rate_hz=10)
    assert every is not None
    assert third is not None
    assert every.motion[0].max() == 0, "there is no frame before the first"
    for t in range(1, sets.FRAMES):  # the left edge of the square before, and the right edge of the square now
        left, right = (
            4 * (x + side) for x, side in zip((sets.subject(t - 1)[0], sets.subject(t)[0]), (-6, 7), strict=True)
        )
        columns = np.flatnonzero(every.motion[t].max(0) > 128)
        np.testing.assert_allclose((columns.min(), columns.max() + 1), (left, right), atol=1)
    np.testing.assert_array_equal(third.frames, every.frames[::3])
    np.testing.assert_array_equal(third.motion, every.motion[::3])
    np.testing.assert_array_equal(third.labels, every.labels[::3])


def test_a_recurrent_teacher_sees_the_video_in_order(dhf1k: Path) -> None:
    teacher = SaliencySession(wrap(foreign_graphs.unisal(), Interface("recurrent", output="log-density")))
    item = open_training_part(f"dhf1k:{dhf1k}").items[0]
    made = gaze_clips.read_clip(item, teacher, rate_hz=30)
    assert made is not None
    size = teacher.input.size_for(sets.WIDTH / sets.HEIGHT)
    seen = np.stack([frame.picture().rgb(size) for frame in item.frames()])
    wanted = teacher.run_sequence(seen).saliency
    alone = np.concatenate([teacher.run_sequence(seen[t : t + 1]).saliency for t in range(len(seen))])
    for t in range(len(seen)):
        small = gaze_clips.cv2.resize(wanted[t], (128, 72), interpolation=gaze_clips.cv2.INTER_AREA)
        np.testing.assert_allclose(made.labels[t], small * 255, atol=0.51)
    assert np.abs(wanted - alone).max() > 0.01, "the teacher remembers nothing: a weak test"


def test_a_run_that_goes_on_keeps_what_it_had(dhf1k: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    gaze_clips.make_labels(f"dhf1k:{dhf1k}", "", out)
    before = (out / "0001.npz").stat().st_mtime_ns
    assert gaze_clips.make_labels(f"dhf1k:{dhf1k}", "", out) == 1
    assert (out / "0001.npz").stat().st_mtime_ns == before
    with pytest.raises(SystemExit, match=r"model\.gaze_clips"):
        gaze_clips.load(tmp_path)


def test_batches_are_runs_of_a_video_and_depend_on_seed_and_step_alone(dhf1k: Path, tmp_path: Path) -> None:
    gaze_clips.make_labels(f"dhf1k:{dhf1k}", "", tmp_path / "out", rate_hz=30)
    files = gaze_clips.load(tmp_path / "out")
    directions = []
    for step in range(12):
        made, again = (gaze_clips.batch(files, step, 2, 3, seed=4) for _ in range(2))
        np.testing.assert_array_equal(made.frames, again.frames)
        np.testing.assert_array_equal(made.soft, again.soft)
        assert made.soft_known.all()
        for n in range(2):
            at = [int(label.argmax()) % 128 for label in made.soft[n]]
            shown = [int(mask.argmax()) % 256 for mask in made.masks[n]]
            np.testing.assert_allclose(shown, [2 * a for a in at], atol=4)
            directions.append(np.sign(np.diff(at)))
    signs = {tuple(d) for d in directions}
    assert signs == {(1, 1), (-1, -1)}, "in order, and mirrored now and then"


def test_a_short_video_stands_still_at_its_end(tmp_path: Path) -> None:
    walk = gaze_clips.read_clip(bright_item(), None, rate_hz=30)
    assert walk is not None
    gaze_clips.save_clip(walk, tmp_path / "walk.npz")
    made = gaze_clips.batch(gaze_clips.load(tmp_path), 0, 1, 8, seed=0)
    np.testing.assert_array_equal(made.soft[0, 6], made.soft[0, 5])
    assert made.motion[0, 5].max() > 0
    assert made.motion[0, 6:].max() == 0


def test_the_student_learns_from_labelled_videos(dhf1k: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed (pip install -e .[train])")
    torch.set_num_threads(1)
    from model.losses import video_loss
    from model.video_student import VideoStudent

    gaze_clips.make_labels(f"dhf1k:{dhf1k}", "", tmp_path / "out", rate_hz=30)
    torch.manual_seed(0)
    student = VideoStudent().train()
    optimiser = torch.optim.AdamW(student.parameters(), 3e-3)
    losses = []
    for step in range(10):
        loss = video_loss(student, gaze_clips.batch(gaze_clips.load(tmp_path / "out"), step, 1, 3, 0), "cpu")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])
