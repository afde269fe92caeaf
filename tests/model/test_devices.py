"""Pictures follow the network: seen on a CPU by its float type, which is wrong in the same places as the device."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.model.discs import import_torch, write_shards

torch = import_torch()

from model.data import augment, clips, stills  # noqa: E402
from model.judging.evaluate import score_clips, still_predict, torch_predict  # noqa: E402
from model.networks.student import SMALL, ImageStudent  # noqa: E402
from model.networks.video_student import VideoStudent  # noqa: E402
from model.training.device import as_input  # noqa: E402
from model.training.losses import image_loss  # noqa: E402


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> stills.Dataset:
    folder = tmp_path_factory.mktemp("shards")
    return stills.load(write_shards(folder, train=12, val=2), "train", folder / "cache")


def test_judging_takes_pictures_to_where_the_network_is(pictures: stills.Dataset) -> None:
    frames = np.zeros((1, 32, 48, 3), np.uint8)
    assert torch_predict(ImageStudent(SMALL).double().eval(), frames).dtype == np.float32
    video = VideoStudent().double().eval()
    assert still_predict(video, frames).shape == (1, 16, 24)
    made = clips.batch(pictures, 0, 1, 3, 0)
    assert np.isfinite(score_clips(video, [made])).all()


def test_a_network_without_parameters_says_so() -> None:
    with pytest.raises(ValueError, match="Identity has no parameters"):
        as_input(torch.nn.Identity(), np.zeros(1))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_step_and_its_judging_run_on_cuda(pictures: stills.Dataset) -> None:
    net = ImageStudent(SMALL).cuda()
    seen = augment.batch([pictures], 0, 4, 0, small=True)
    image_loss(net.train(), seen).backward()
    assert np.isfinite(torch_predict(net.eval(), seen.frames)).all()


def test_a_batch_without_any_mask_has_a_loss(pictures: stills.Dataset) -> None:
    seen = augment.batch([pictures], 0, 4, 0, small=True)
    gaze = np.full_like(seen.masks, 20)
    none, known = np.zeros(4, bool), np.ones(4, bool)
    loss = image_loss(ImageStudent(SMALL).train(), augment.Batch(seen.frames, seen.masks, gaze, none, known))
    loss.backward()
    assert torch.isfinite(loss)


def test_another_folder_of_pictures_is_decoded_anew(pictures: stills.Dataset, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = stills.load(write_shards(tmp_path / "a", train=4, val=1), "train", tmp_path / "cache")
    second = stills.load(write_shards(tmp_path / "b", train=7, val=1), "train", tmp_path / "cache")
    assert (len(first), len(second)) == (4, 7)


def test_other_labels_are_not_taken_from_the_cache(tmp_path: Path) -> None:
    folder = write_shards(tmp_path, train=4, val=1)
    plain = stills.load(folder, "train", tmp_path / "cache")
    label = np.full((10, 10), 200, np.uint8)
    labelled = stills.load(folder, "train", tmp_path / "cache", stills.SoftLabels({}, {plain.names[0]: label}))
    assert not plain.known(0)[1]
    assert labelled.known(0)[1]
    assert set(np.unique(labelled.gaze(0))) == {200}
