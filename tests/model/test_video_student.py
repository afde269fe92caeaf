from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from model.data import augment, clips
from model.data.stills import Dataset, load
from tests.model.discs import disc_at_the_side, import_torch, write_shards

SIZE = (96, 64)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("shards"), train=24, val=4, draw=disc_at_the_side)


@pytest.fixture
def stills(shards: Path, tmp_path: Path) -> Dataset:
    return load(shards, "train", tmp_path / "cache")


def scenes(stills: Dataset, count: int = 120) -> list[clips.Scene]:
    rng = np.random.default_rng(3)
    return [clips.make_scene(stills, i % len(stills), SIZE, rng) for i in range(count)]


def test_clips_depend_on_seed_and_step_alone(stills: Dataset) -> None:
    def make(step: int) -> clips.Clips:
        return clips.batch(stills, step, 2, 3, 7)

    straight = list(augment.in_order(make, 0, 6))
    for a, b in zip(straight[4:], augment.in_order(make, 4, 6), strict=True):
        np.testing.assert_array_equal(a.frames, b.frames)
        np.testing.assert_array_equal(a.motion, b.motion)
        np.testing.assert_array_equal(a.masks, b.masks)
    assert not np.array_equal(straight[0].frames, clips.batch(stills, 0, 2, 3, 8).frames)


def test_the_mask_stays_on_the_object_while_it_moves(stills: Dataset) -> None:
    moved = 0
    for scene in scenes(stills):
        if scene.mover is None or scene.front is not None:
            continue
        (first, at_first), (later, at_later) = scene.frame(0.0), scene.frame(0.7)
        for picture, mask in ((first, at_first), (later, at_later)):
            if (mask > 250).sum() > 8:
                assert picture[mask > 250].mean() > 180, "the mask is not where the bright disc is"
        moved += int(np.abs(at_first.astype(int) - at_later).max() > 200)
    assert moved > 5


def test_what_hides_the_object_is_taken_from_its_mask(stills: Dataset) -> None:
    hidden = 0
    for scene in scenes(stills, 400):
        if scene.mover is None or scene.front is None:
            continue
        ground = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
        whole = scene.mover.draw(ground.copy(), 0.4)
        seen = scene.frame(0.4)[1]
        assert (seen <= whole).all()
        hidden += int((whole.astype(int) - seen).max() > 200)
    assert hidden > 0


def test_motion_is_that_of_the_camera_or_none(stills: Dataset) -> None:
    """A still has no motion at all, whatever its picture; a sample's motion is against the frame just before it."""
    quiet = busy = 0
    for step in range(20):
        made = clips.batch(stills, step, 2, 3, 1)
        still = (made.frames == made.frames[:, :1]).all((1, 2, 3, 4))
        for n in range(2):
            if still[n]:
                assert made.motion[n].max() == 0
                quiet += 1
            busy += int(made.motion[n].mean() > 1)
    assert quiet > 0
    assert busy > 0


def test_scenes_without_a_subject_are_among_the_clips(stills: Dataset) -> None:
    empty = [not any(s.frame(t)[1].any() for t in (0.0, 0.3)) for s in scenes(stills)]
    assert 0.02 < np.mean(empty) < 0.3


def test_a_teacher_labels_clips_of_one_photograph_only(stills: Dataset) -> None:
    def teach(frames: clips.U8) -> np.ndarray:
        assert frames.dtype == np.uint8
        return np.full((len(frames), frames.shape[1] // 2, frames.shape[2] // 2), 0.5, np.float32)

    made = [clips.batch(stills, step, 4, 2, 5, teach=teach) for step in range(8)]
    known = np.concatenate([m.soft_known for m in made])
    assert 0 < known.sum() < len(known)
    for some in made:
        assert set(np.unique(some.soft[some.soft_known])) <= {128}
        assert not some.soft[~some.soft_known].any()


def test_a_run_that_is_resumed_ends_where_an_undisturbed_one_does(shards: Path, tmp_path: Path) -> None:
    torch = import_torch()
    from model.training.loop import Run
    from model.training.students import train_video

    def run(out: str, stop: int | None = None) -> dict[str, object]:
        settings = Run(data=str(shards), out=str(tmp_path / out), cache=str(tmp_path / "cache"),
                       steps=4, seed=3, batch=6, samples=3,
                       small_steps=4, save_every=2)  # fmt: skip
        state: dict[str, object] = torch.load(train_video(settings, stop), weights_only=True)
        return state

    straight = run("straight")
    run("halted", stop=2)
    resumed = run("halted")
    assert straight["step"] == resumed["step"] == 4
    for name, tensor in straight["ema"].items():  # type: ignore[attr-defined]
        torch.testing.assert_close(resumed["ema"][name], tensor, rtol=0, atol=0, msg=name)  # type: ignore[index]


def taught_student(stills: Dataset, steps: int = 8) -> tuple[object, list[float]]:
    """A student after a few steps, away from where weights and norms start, and its losses."""
    torch = import_torch()
    from model.networks.video_student import VideoStudent
    from model.training.losses import video_loss

    torch.manual_seed(0)
    student = VideoStudent().train()
    seen = clips.batch(stills, 0, 3, 3, 0, small=True)
    optimiser = torch.optim.AdamW(student.parameters(), 3e-3)
    losses = []
    for _ in range(steps):
        loss = video_loss(student, seen)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return student.eval(), losses


def test_training_learns_and_both_exports_keep_contract_and_parity(stills: Dataset) -> None:
    import_torch()
    from model.shipping.export import PARITY
    from model.shipping.video_export import parity, to_onnx
    from vsal.saliency import read_contract
    from vsal.saliency.contract import operators, parameter_count, parse
    from vsal.saliency.registry import allowed_operators

    student, losses = taught_student(stills, 12)
    assert losses[-1] < 0.85 * losses[0]
    frames, step = to_onnx(student, step=False), to_onnx(student, step=True)  # type: ignore[arg-type]
    assert parity(student, frames, step, samples=4) <= PARITY  # type: ignore[arg-type]
    assert frames == to_onnx(student, step=False), "the export is not repeatable"  # type: ignore[arg-type]
    assert 200_000 <= parameter_count(parse(frames)) <= 300_000
    for graph in (frames, step):
        assert set(operators(parse(graph))) <= allowed_operators()
    for graph, ordered in ((frames, False), (step, True)):
        wants = read_contract(graph)
        assert (wants.pixels, wants.multiple, wants.fixed, wants.motion) == (36864, 16, None, True)
        assert wants.ordered is ordered


def test_parity_sees_a_file_of_other_weights(stills: Dataset) -> None:
    import_torch()
    from model.shipping.export import PARITY
    from model.shipping.video_export import parity, to_onnx

    student, _ = taught_student(stills, 2)
    other, _ = taught_student(stills, 3)
    right = [to_onnx(student, step=step) for step in (False, True)]  # type: ignore[arg-type]
    wrong = [to_onnx(other, step=step) for step in (False, True)]  # type: ignore[arg-type]
    assert parity(student, wrong[0], right[1], samples=2) > PARITY  # type: ignore[arg-type]
    assert parity(student, right[0], wrong[1], samples=2) > PARITY  # type: ignore[arg-type]


def test_motion_beyond_what_is_told_apart_changes_nothing(stills: Dataset) -> None:
    import_torch()
    from model.shipping.video_export import to_onnx
    from vsal.saliency import SaliencySession

    student, _ = taught_student(stills)
    session = SaliencySession(to_onnx(student, step=False))  # type: ignore[arg-type]
    frames = np.full((1, 64, 96, 3), 90, np.uint8)
    none, much, most = (session.run(frames, np.full((1, 64, 96), v, np.uint8)).saliency for v in (0, 64, 255))
    np.testing.assert_array_equal(much, most)
    assert np.abs(none - much).max() > 1e-4, "the student does not see motion"


def test_both_forms_give_the_same_masks_over_a_long_clip(stills: Dataset) -> None:
    """64 frames one by one through the step graph, and at once through the parallel one and vsal's aggregator."""
    import_torch()
    from model.shipping.video_export import to_onnx
    from vsal.saliency import SaliencySession
    from vsal.temporal import Fold, Learned

    student, _ = taught_student(stills)
    every = scenes(stills, 8)  # eight shots of eight samples
    frames = np.stack([every[t // 8].frame(t / 3)[0] for t in range(64)])
    before = [every[t // 8].frame(t / 3 - 0.04)[0] for t in range(64)]
    motion = np.stack([cv2.absdiff(clips.luma(a), clips.luma(b)) for a, b in zip(frames, before, strict=True)])

    parallel, step = (SaliencySession(to_onnx(student, step=step)) for step in (False, True))  # type: ignore[arg-type]
    each = parallel.run(frames, motion)
    assert each.gate is not None
    assert 0.05 < each.gate.mean() < 0.95, "a gate that is always open or shut proves nothing"
    stepped = step.run_sequence(frames, motion).saliency
    fold = Fold(Learned())
    for t in range(64):
        fold.add(each.saliency[t], 0.0, each.gate[t])
        np.testing.assert_allclose(stepped[t], fold.mask(), atol=1e-3, err_msg=f"frame {t}")
    assert np.abs(stepped - each.saliency).max() > 0.02, "nothing is carried from frame to frame"
