from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.data import augment, stills, teach
from tests.model.discs import SHAPES, import_torch, write_shards


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("shards"), train=40, val=6)


def test_cache_holds_what_the_shards_hold(shards: Path, tmp_path: Path) -> None:
    first = stills.load(shards, "train", tmp_path)
    again = stills.load(shards, "train", tmp_path)
    assert len(first) == len(again) == 40
    for i in (0, 1, 39):
        assert first.image(i).shape == (*SHAPES[i % 4], 3)
        assert set(np.unique(again.mask(i))) == {0, 255}
        assert first.image(i)[first.mask(i) > 0].mean() > first.image(i)[first.mask(i) == 0].mean() + 80


def test_a_missing_split_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="--data"):
        stills.load(tmp_path, "train", tmp_path / "cache")


def test_batches_depend_on_seed_and_step_alone(shards: Path, tmp_path: Path) -> None:
    sets = [stills.load(shards, "train", tmp_path)]
    straight = list(augment.batches(sets, 0, 6, 4, seed=7))
    resumed = list(augment.batches(sets, 4, 6, 4, seed=7))
    for a, b in zip(straight[4:], resumed, strict=True):
        np.testing.assert_array_equal(a.frames, b.frames)
        np.testing.assert_array_equal(a.masks, b.masks)
    assert not np.array_equal(straight[0].frames[0], augment.batch(sets, 0, 4, seed=8).frames[0])


def test_picture_and_mask_are_moved_together(shards: Path, tmp_path: Path) -> None:
    sets = [stills.load(shards, "train", tmp_path)]
    agree = []
    for step in range(8):
        seen = augment.batch(sets, step, 4, seed=1)
        for frame, mask in zip(seen.frames.mean(3), seen.masks, strict=True):
            if 0.01 < (mask > 127).mean() < 0.9:
                agree.append(frame[mask > 250].mean() > frame[mask < 5].mean())
    assert np.mean(agree) > 0.95


def write_gaze(folder: Path, count: int = 24) -> Path:
    """Pictures with a bright disc at which everybody looks."""
    folder.mkdir()
    rng, rows = np.random.default_rng(1), []
    for i in range(count):
        x, y = (int(v) for v in rng.integers(30, 66, 2))
        image = rng.integers(0, 80, (96, 128, 3), np.uint8)
        cv2.circle(image, (x, y), 16, (250, 250, 250), -1)
        at = rng.normal([x / 128, y / 96], 0.02, (30, 2)).clip(0, 0.999)
        rows.append({"name": f"gaze{i}", "image_webp": cv2.imencode(".webp", image)[1].tobytes(),
                     "fixation_x": at[:, 0].tolist(), "fixation_y": at[:, 1].tolist()})  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), folder / "gaze.parquet")
    return folder


def test_a_fixed_part_of_the_gaze_is_kept_for_judging(tmp_path: Path) -> None:
    trained = stills.load(write_gaze(tmp_path / "gaze"), "gaze", tmp_path / "cache")
    every = {f"gaze{i}" for i in range(24)}
    assert {n for n in every if stills.gaze_held_out(n)} == every - set(trained.names) != set()
    for i in range(len(trained)):
        assert trained.known(i) == (False, True)
        peak = np.unravel_index(trained.gaze(i).argmax(), trained.gaze(i).shape)
        assert trained.image(i)[peak].min() > 200, "nobody looks where the disc is"
        assert trained.gaze(i)[0, 0] == 0


def test_soft_labels_stand_in_for_what_a_picture_lacks(shards: Path, tmp_path: Path) -> None:
    def white(image: augment.U8) -> teach.F32:
        return np.full((10, 10), 0.5, np.float32)

    made = [tmp_path / "objects.parquet", tmp_path / "gaze-labels.parquet"]
    assert teach.make_labels(white, [write_gaze(tmp_path / "gaze") / "gaze.parquet"], made[0], every=1) == 24
    shard = shards / "train-00.parquet"
    assert teach.make_labels(white, [shard], made[1], every=4) == 10
    assert teach.make_labels(white, [shard], made[1], every=2) == 20, "a run that goes on keeps what it had"
    labels = stills.SoftLabels.read([made[0]], [made[1]])
    photographs = stills.load(shards, "train", tmp_path / "cache", labels)
    gaze = stills.load(tmp_path / "gaze", "gaze", tmp_path / "cache", labels)
    assert [photographs.known(i) for i in range(3)] == [(True, True), (True, False), (True, True)]
    assert set(np.unique(photographs.mask(0))) == {0, 255}, "a mask of its own is not replaced"
    assert photographs.gaze(0).shape == photographs.mask(0).shape
    assert set(np.unique(photographs.gaze(0))) == {128}
    assert gaze.known(0) == (True, True)
    seen = augment.batch([photographs, gaze], 0, 16, seed=0)
    assert len(seen.frames) == 16
    assert seen.gaze_known[-2:].all()


def test_small_and_empty_pictures_are_among_the_examples(shards: Path, tmp_path: Path) -> None:
    sets = [stills.load(shards, "train", tmp_path)]
    areas = [(m > 127).mean() for step in range(12) for m in augment.batch(sets, step, 16, seed=2).masks]
    assert np.mean(np.array(areas) == 0) > 0.02
    assert np.mean((np.array(areas) > 0) & (np.array(areas) < 0.06)) > 0.04


def test_a_run_that_is_resumed_ends_where_an_undisturbed_one_does(shards: Path, tmp_path: Path) -> None:
    torch = import_torch()
    from model.training.students import Run, train_image

    write_gaze(tmp_path / "gaze")

    def run(out: str, stop: int | None = None) -> dict[str, object]:
        settings = Run(str(tmp_path / out), 6, str(shards), str(tmp_path / "cache"), seed=3, batch=8, save_every=3,
                       gaze=str(tmp_path / "gaze"))  # fmt: skip
        state: dict[str, object] = torch.load(train_image(settings, stop), weights_only=True)
        return state

    straight = run("straight")
    run("halted", stop=3)
    resumed = run("halted")
    assert straight["step"] == resumed["step"] == 6
    for name, tensor in straight["ema"].items():  # type: ignore[attr-defined]
        torch.testing.assert_close(resumed["ema"][name], tensor, msg=name)  # type: ignore[index]


def test_training_learns_and_the_export_keeps_contract_and_parity(shards: Path, tmp_path: Path) -> None:
    torch = import_torch()
    from model.networks.student import ImageStudent
    from model.shipping.export import PARITY, parity, to_onnx
    from model.shipping.registering import describe
    from model.training.losses import image_loss
    from vsal.saliency import ModelInput, SaliencySession, read_contract

    torch.manual_seed(0)
    net = ImageStudent().train()
    seen = augment.batch([stills.load(shards, "train", tmp_path)], 0, 8, seed=0, small=True)
    optimiser = torch.optim.AdamW(net.parameters(), 3e-3)
    losses = []
    for _ in range(12):
        loss = image_loss(net, seen)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]

    net.eval()
    exported = to_onnx(net)
    assert parity(net, exported) <= PARITY
    assert read_contract(exported) == ModelInput(36864, 16, None, False)
    assert SaliencySession(exported).run(np.zeros((3, 160, 224, 3), np.uint8)).saliency.shape == (3, 80, 112)
    assert describe("x", exported)["sha256"] == describe("x", to_onnx(net))["sha256"], "the export is not repeatable"
    assert onnx.load_model_from_string(exported).ir_version <= 10


def test_a_run_goes_on_from_an_exported_file(shards: Path, tmp_path: Path) -> None:
    torch = import_torch()
    from model.judging.evaluate import torch_predict
    from model.networks.student import ImageStudent
    from model.shipping.export import to_onnx
    from model.training.losses import image_loss
    from model.training.warm_start import start_from

    torch.manual_seed(0)
    taught = ImageStudent().train()
    seen = augment.batch([stills.load(shards, "train", tmp_path)], 0, 16, seed=0, small=True)
    optimiser = torch.optim.AdamW(taught.parameters(), 3e-3)
    for _ in range(4):  # norms away from where they start
        image_loss(taught, seen).backward()
        optimiser.step()
    file = tmp_path / "taught.onnx"
    file.write_bytes(to_onnx(taught.eval()))

    net = ImageStudent()
    frames = torch.from_numpy(seen.frames).permute(0, 3, 1, 2).float().div_(255)
    assert start_from(net, str(file), frames) == sum(isinstance(m, torch.nn.Conv2d) for m in net.modules()) - 2
    np.testing.assert_allclose(torch_predict(net.eval(), seen.frames), torch_predict(taught, seen.frames), atol=1e-4)

    narrower = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, bias=False), torch.nn.BatchNorm2d(8))
    with pytest.raises(SystemExit, match="convolution 0 is"):
        start_from(narrower, str(file), frames)


def test_int8_stays_close_to_float_and_keeps_the_contract(shards: Path, tmp_path: Path) -> None:
    from model.shipping.quantise import quantise
    from vsal.saliency import SaliencySession, load_model, read_contract

    given = load_model("image_saliency_student_v1")
    sets = stills.load(shards, "train", tmp_path)
    made = quantise(given.data, sets)
    assert len(made) < 0.4 * len(given.data)
    assert read_contract(made) == read_contract(given.data)
    frames = np.stack([cv2.resize(sets.image(i), (256, 144)) for i in range(4)])
    exact, coarse = (SaliencySession(m).run(frames).saliency for m in (given.data, made))
    assert 0 < np.abs(exact - coarse).mean() < 0.05


def test_the_worst_pictures_come_first(shards: Path, tmp_path: Path) -> None:
    from model.judging.evaluate import shrink
    from model.judging.failures import SIZE, worst_stills

    held_out = stills.load(shards, "val", tmp_path)

    def bright(frames: augment.U8) -> teach.F32:
        """Right for all discs but the third picture's, which is drawn empty."""
        found = (frames.mean(3) > 120).astype(np.float32)
        same = np.array_equal(frames[0], shrink(held_out.image(2), SIZE))
        return found * 0 if same else found

    sheet = worst_stills(held_out, bright, 2)
    assert sheet.shape == (2 * SIZE[1], 3 * SIZE[0], 3)
    np.testing.assert_array_equal(sheet[: SIZE[1], : SIZE[0]], shrink(held_out.image(2), SIZE))
