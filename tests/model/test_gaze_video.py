"""The video network: it starts as its image twin, remembers in seconds, learns what moves, and exports as it trains."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.model.discs import import_torch
from tests.model.test_looks import scene

torch = import_torch()
pytest.importorskip("efficientnet_lite_pytorch", reason="the trunk's packages come with pip install vsal[train]")

from model.data import motion_cache, motion_clips, motion_labels  # noqa: E402
from model.data.looks import Scene  # noqa: E402
from model.data.motion_labels import Shown  # noqa: E402
from model.networks.gaze import density, saliency  # noqa: E402
from model.networks.gaze_file import Seer, read_gaze_network  # noqa: E402
from model.networks.gaze_video import GATE_S, GazeVideoNet, accumulate, half_life_s, weight_after  # noqa: E402
from model.shipping import gaze_video_export  # noqa: E402
from model.training.gaze_video import gaze_video_loss, train_gaze_video  # noqa: E402
from model.training.loop import Run  # noqa: E402
from tests.model.test_gaze_net import write_scenes  # noqa: E402
from tests.video.media import encode, moving_picture  # noqa: E402
from vsal.saliency import SaliencySession, load_model  # noqa: E402
from vsal.saliency.density import saliency_of  # noqa: E402
from vsal.saliency.graph import operators, parse  # noqa: E402
from vsal.temporal import Fold, make_aggregator  # noqa: E402

SMALL = Path("model/shipped/image_saliency_student_small_v2.onnx")


@pytest.fixture(scope="module")
def net() -> GazeVideoNet:
    torch.manual_seed(0)
    return GazeVideoNet(read_gaze_network(SMALL).net).eval()


def moved(net: GazeVideoNet) -> GazeVideoNet:
    """The network as if it had learned something."""
    with torch.no_grad():
        net.moves.weight.normal_(0, 0.3, generator=torch.Generator().manual_seed(1))
    return net


def frames(count: int, width: int = 96, height: int = 64) -> tuple[np.ndarray, np.ndarray]:
    return gaze_video_export.scene(np.random.default_rng(0), count, width, height)


def test_the_network_of_a_shipped_file_is_the_file() -> None:
    shown, _ = frames(2)
    given = SaliencySession(SMALL.read_bytes()).run(shown).saliency
    file = read_gaze_network(SMALL)
    assert file.name == "small"
    log_density, taps = Seer(file.net).see(shown[0])
    np.testing.assert_allclose(saliency_of(np.exp(log_density)), given[0], atol=1e-5)
    with torch.no_grad():
        wanted = file.net.trunk(torch.from_numpy(shown[:1]).permute(0, 3, 1, 2).float())[1:]
    for mine, theirs in zip(taps, wanted, strict=True):
        np.testing.assert_allclose(mine, theirs.numpy(), atol=1e-3)


def test_an_untrained_video_network_is_its_image_twin(net: GazeVideoNet) -> None:
    shown, motion = frames(3)
    model = SaliencySession(gaze_video_export.to_onnx(net, 192 * 112, step=False))
    assert model.input.signed
    masks = model.run(shown, motion)
    twin = load_model(SMALL.stem)
    np.testing.assert_allclose(masks.saliency, SaliencySession(twin.data).run(shown).saliency, atol=1e-5)
    assert masks.gate is not None
    assert masks.gate.min() > 0.85, "what was seen before hardly counts"


def test_where_nothing_moves_a_trained_network_is_its_twin() -> None:
    learned = moved(GazeVideoNet(read_gaze_network(SMALL).net))
    shown, motion = frames(2)
    x = torch.from_numpy(shown).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        twin = density(learned.twin(learned.trunk(x)[1:]))
        still = density(learned(x, torch.zeros(2, 2, 64, 96))[0])
        moving = density(learned(x, torch.from_numpy(motion).float())[0])
    torch.testing.assert_close(still, twin, rtol=1e-3, atol=1e-3)
    assert (moving - twin).abs().max() > 0.1


def test_both_exports_do_what_the_network_does_over_64_frames(net: GazeVideoNet) -> None:
    learned = moved(GazeVideoNet(read_gaze_network(SMALL).net))
    forms = [gaze_video_export.to_onnx(learned, 192 * 112, step=step) for step in (False, True)]
    assert gaze_video_export.parity(learned, *forms) < 1e-4
    allowed = {line.split("#")[0].strip() for line in Path("model/shipped/op_allowlist.txt").read_text().splitlines()}
    assert all(set(operators(parse(form))) <= allowed for form in forms)
    shown, motion = frames(64)
    together, fold = SaliencySession(forms[0]).run(shown, motion), Fold(make_aggregator("learned", 0.5))
    assert together.gate is not None
    over_time = SaliencySession(forms[1]).run_sequence(shown, motion, GATE_S).saliency
    for t in range(64):
        fold.add(together.saliency[t], 0.0, together.gate[t])
        np.testing.assert_allclose(over_time[t], fold.mask(), atol=1e-4)


def test_memory_is_in_seconds() -> None:
    gate = torch.full((1, 2, 3), -0.5)
    third = weight_after(gate, torch.tensor(GATE_S))
    torch.testing.assert_close(third, gate.sigmoid())
    kept = 1 - weight_after(gate, torch.tensor(1 / 12))
    torch.testing.assert_close(kept**4, 1 - third)
    assert half_life_s(0.5) == pytest.approx(1 / 3)
    # One picture, then another: how much of the first is left after a second does not depend on the rate.
    for rate in (1, 3, 12):
        seen = torch.zeros(1, rate + 1, 4, 6)
        seen[:, 0, 0, 0] = 5.0
        over_time = accumulate(seen, torch.full_like(seen, -0.5), torch.full((1, rate + 1), 1 / rate))
        left = (over_time[0, -1, 0, 0] - 1) / (density(seen[0])[0, 0, 0] - 1)
        assert left.item() == pytest.approx((1 - torch.tensor(-0.5).sigmoid().item()) ** 3, rel=1e-4)


def walking(samples: int = 12) -> Shown:
    """A square that walks over a patterned ground, as prepare shows it."""
    ground = np.random.default_rng(0).integers(90, 160, (8, 12), np.uint8)
    ground = cv2.resize(ground, (96, 64), interpolation=cv2.INTER_CUBIC)
    pictures = np.repeat(ground[None], samples, 0)
    motion = np.zeros((samples, 2, 64, 96), np.int8)
    for t in range(samples):
        at = 10 + 2 * t
        motion[t, 1, 24:40, at - 4 : at] = -90
        motion[t, 1, 24:40, at + 12 : at + 16] = 90
        pictures[t, 24:40, at : at + 16] = 240
    return Shown(np.arange(samples) / 12, np.zeros(samples, np.int64), np.repeat(pictures[..., None], 3, 3), motion)


def test_labels_are_smoothed_within_the_shot_and_drawn_to_what_moves() -> None:
    shown = walking()
    grid = np.zeros((12, 8, 12), np.float32)
    grid[6] = 1.0
    over_time = motion_labels.smoothed(grid, shown)[:, 0, 0]
    np.testing.assert_allclose(
        over_time, [0, 0, 1 / 7, 1 / 8, 1 / 9, 1 / 9, 1 / 9, 1 / 9, 1 / 8, 1 / 7, 1 / 6, 0], atol=1e-6
    )
    cut = replace(shown, shots=(np.arange(12) >= 6).astype(np.int64))
    assert not motion_labels.smoothed(grid, cut)[:6].any(), "nothing is seen before its shot"
    factor = motion_labels.local_motion(shown, (12, 8))
    assert factor[6, 3:5, 2:6].max() > 3
    assert factor[6, :, 10:].max() < 1.3
    told = motion_labels.labels(shown, lambda frame: np.zeros((8, 12), np.float32))
    np.testing.assert_allclose(told, np.log(factor), atol=1e-6)


def stills(count: int = 12) -> list[Scene]:
    rng = np.random.default_rng(1)
    places = rng.uniform(0.25, 0.75, (count, 2))
    discs = [scene(str(i), (96, 160), (float(x), float(y))) for i, (x, y) in enumerate(places)]
    return [
        replace(disc, fixations=rng.normal(at, 0.01, (30, 2)).astype(np.float32))
        for disc, at in zip(discs, places, strict=True)
    ]


def test_made_clips_depend_on_their_seed_alone_and_are_densities() -> None:
    scenes = stills()
    for seed in range(12):
        made, again = (motion_clips.make(scenes, (96, 64), 4, np.random.default_rng(seed)) for _ in range(2))
        np.testing.assert_array_equal(made.frames, again.frames)
        np.testing.assert_array_equal(made.motion, again.motion)
        np.testing.assert_allclose(made.density.sum((1, 2)), 1, atol=1e-4)
        assert made.density.min() >= 0


def test_what_moves_is_drawn_where_it_is_looked_at_and_what_appears_most_when_it_is_new() -> None:
    size, ground = (96, 64), np.zeros((64, 96, 3), np.uint8)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        mover = motion_clips._cut_out(stills()[seed], size, rng, 0.1, -math.inf)
        share, (x, y) = motion_clips._drawn(mover, 1.0, size)
        shown = np.argwhere(mover.draw(ground.copy(), 1.0).max(2) > 10)
        assert share in (0.0, motion_clips.MOVER_SHARE)
        if share:
            apart = np.hypot(*(shown - (y * 64, x * 96)).T)
            assert apart.max() <= mover.alpha.shape[0] / 2 + 1, "looks are drawn to another place"
        new = motion_clips._cut_out(stills()[seed], size, rng, 0.0, 2.0)
        shares = [motion_clips._drawn(new, t, size)[0] for t in (1.9, 2.0, 2.7, 9.0)]
        assert shares[0] == 0
        assert not new.draw(ground.copy(), 1.9).any(), "it is there before it appears"
        assert new.draw(ground.copy(), 2.0).any()
        assert shares[1] == pytest.approx(motion_clips.ONSET_SHARE)
        assert shares[1] > shares[2] > shares[3]
        assert shares[3] == pytest.approx(motion_clips.SETTLED_SHARE, abs=0.01)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "walk.mp4"
    encode(path, moving_picture(72, 96, 64))
    return path


def test_a_run_resumes_to_the_same_weights_and_real_clips_are_a_share_of_its_steps(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = str(write_scenes(tmp_path / "stills.parquet"))
    monkeypatch.setattr(motion_cache, "MADE_AT_A_TIME", 4)
    run = Run(
        out=str(tmp_path / "whole"), steps=4, init=str(SMALL), teacher=str(SMALL), videos=(str(video),), looks=(looks,),
        batch=2, save_every=2, cache=str(tmp_path / "cache"),
    )  # fmt: skip
    whole = torch.load(train_gaze_video(run, made=4), weights_only=True)
    halted = replace(run, out=str(tmp_path / "halted"))
    train_gaze_video(halted, made=4, stop=2)
    again = torch.load(train_gaze_video(halted, made=4), weights_only=True)
    for name, value in whole["net"].items():
        torch.testing.assert_close(again["net"][name], value)
    twin = read_gaze_network(SMALL).net
    for part, of_twin in (("trunk", twin.trunk), ("twin", twin.readout)):
        for name, value in of_twin.state_dict().items():
            torch.testing.assert_close(whole["net"][f"{part}.{name}"], value)
    assert not torch.equal(whole["net"]["moves.weight"], torch.zeros_like(whole["net"]["moves.weight"]))


def test_the_loss_asks_for_what_the_map_remembers(net: GazeVideoNet) -> None:
    """Of two frames with the same looks, forgetting the first is dear when only the first shows them."""
    channels = [layer.in_channels for layer in net.twin.lateral]
    taps = [
        torch.randn(2, c, 8 >> k, 12 >> k, generator=torch.Generator().manual_seed(k)) for k, c in enumerate(channels)
    ]
    seen = motion_cache.Sequences(
        taps, torch.full((2, 64, 96), 100.0), torch.zeros(2, 2, 64, 96), torch.full((1, 2), 1 / 3),
        torch.full((2, 8, 12), 1 / 96), torch.zeros(2, 8, 12),
    )  # fmt: skip
    with torch.no_grad():
        first = density(net.read(taps, net.see(seen.grey, seen.motion))[0])[0]
        seen = replace(seen, density=(first / first.sum()).expand(2, -1, -1))
        losses = []
        first_bias = net.forgets.bias.item()
        for bias in (3.0, -3.0):
            net.forgets.bias[0] = bias
            losses.append(gaze_video_loss(net, seen).item())
        net.forgets.bias[0] = first_bias
    assert losses[1] < losses[0]
    assert saliency(first[None].log()).max() <= 1
