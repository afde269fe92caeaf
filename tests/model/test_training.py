from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model import data as pictures

SHAPES = [(96, 128), (128, 96), (120, 160), (96, 96)]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DUTS-style folder: bright discs on dark ground."""
    folder = tmp_path_factory.mktemp("shards")
    rng = np.random.default_rng(0)
    for split, count in (("train", 40), ("val", 6)):
        rows = []
        for i in range(count):
            h, w = SHAPES[i % len(SHAPES)]
            mask = np.zeros((h, w), np.uint8)
            cv2.circle(mask, (int(rng.integers(30, w - 30)), int(rng.integers(30, h - 30))), 22, 255, -1)
            image = rng.integers(0, 80, (h, w, 3), np.uint8) + (mask[..., None] > 0) * np.uint8(150)
            webp = cv2.imencode(".webp", image.astype(np.uint8))[1].tobytes()
            png = cv2.imencode(".png", mask)[1].tobytes()
            rows.append({"name": f"{split}{i}", "width": w, "height": h, "image_webp": webp, "mask_png": png})
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{split}-00.parquet")
    return folder


def test_cache_holds_what_the_shards_hold(shards: Path, tmp_path: Path) -> None:
    first = pictures.load(shards, "train", tmp_path)
    again = pictures.load(shards, "train", tmp_path)
    assert len(first) == len(again) == 40
    for i in (0, 1, 39):
        assert first.image(i).shape == (*SHAPES[i % 4], 3)
        assert set(np.unique(again.mask(i))) == {0, 255}
        assert first.image(i)[first.mask(i) > 0].mean() > first.image(i)[first.mask(i) == 0].mean() + 80


def test_a_missing_split_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="--data"):
        pictures.load(tmp_path, "train", tmp_path / "cache")


def test_batches_depend_on_seed_and_step_alone(shards: Path, tmp_path: Path) -> None:
    data = pictures.load(shards, "train", tmp_path)
    straight = list(pictures.batches(data, 0, 6, 4, seed=7))
    resumed = list(pictures.batches(data, 4, 6, 4, seed=7))
    for (a, b), (c, d) in zip(straight[4:], resumed, strict=True):
        np.testing.assert_array_equal(a, c)
        np.testing.assert_array_equal(b, d)
    assert not np.array_equal(straight[0][0][0], pictures.batch(data, 0, 4, seed=8)[0][0])


def test_picture_and_mask_are_moved_together(shards: Path, tmp_path: Path) -> None:
    data = pictures.load(shards, "train", tmp_path)
    agree = []
    for step in range(8):
        frames, masks = pictures.batch(data, step, 4, seed=1)
        for frame, mask in zip(frames.mean(3), masks, strict=True):
            if 0.01 < (mask > 127).mean() < 0.9:
                agree.append(frame[mask > 250].mean() > frame[mask < 5].mean())
    assert np.mean(agree) > 0.95


def test_a_run_that_is_resumed_ends_where_an_undisturbed_one_does(shards: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed (pip install -e .[train])")
    from model.train import Run, train_image

    def run(out: str, stop: int | None = None) -> dict[str, object]:
        settings = Run(str(shards), str(tmp_path / out), str(tmp_path / "cache"), 6, seed=3, batch=4, save_every=3)
        state: dict[str, object] = torch.load(train_image(settings, stop), weights_only=True)
        return state

    straight = run("straight")
    run("halted", stop=3)
    resumed = run("halted")
    assert straight["step"] == resumed["step"] == 6
    for name, tensor in straight["ema"].items():  # type: ignore[attr-defined]
        torch.testing.assert_close(resumed["ema"][name], tensor, msg=name)  # type: ignore[index]


def test_training_learns_and_the_export_keeps_contract_and_parity(shards: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed (pip install -e .[train])")
    from model.export import PARITY, describe, parity, to_onnx
    from model.student import ImageStudent
    from model.train import loss_of
    from vsal.saliency import ModelInput, SaliencySession, read_contract

    torch.manual_seed(0)
    net = ImageStudent().train()
    data = pictures.load(shards, "train", tmp_path)
    frames, masks = (torch.from_numpy(a) for a in pictures.batch(data, 0, 8, seed=0, small=True))
    optimiser = torch.optim.AdamW(net.parameters(), 3e-3)
    losses = []
    for _ in range(12):
        loss = loss_of(net, frames, masks, "cpu")
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
