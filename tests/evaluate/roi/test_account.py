from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.evaluate import sets
from vsal.errors import TitleFailed
from vsal.evaluate.roi.account import GazeAccount, MaskAccount, at_frames
from vsal.evaluate.roi.clip import Clip, first_seconds, some_shots
from vsal.evaluate.saliency.sets.gaze import Fixations
from vsal.manifest import MapRow
from vsal.roi.grid import block_means


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sets.gaze_clips(tmp_path_factory.mktemp("gaze"))


@pytest.fixture
def clip(root: Path) -> Clip:
    return first_seconds(str(root / "Keiba.mp4"), "Keiba", "Keiba", None)


def looks(*rows: tuple[int, float, float, float, float]) -> GazeAccount:
    observer, start, end, x, y = (np.array(column) for column in zip(*rows, strict=True))
    at = np.stack([x, y], 1).astype(np.float32)
    return GazeAccount("gaze:made", {"Keiba": Fixations(observer, start.astype(float), end.astype(float), at)}, {})


def test_only_odd_observers_weigh_and_even_ones_make_the_truth(clip: Clip) -> None:
    account = looks((1, 0.0, 9.0, 0.25, 0.5), (2, 0.0, 9.0, 0.75, 0.5), (3, 0.0, 9.0, 0.25, 0.5))
    weights = account.weights(clip)
    assert weights.shape == (36, 9, 12)
    row, col = np.unravel_index(weights[5].argmax(), weights[5].shape)
    assert (row, col) in {(4, 2), (4, 3)}
    assert weights[5][:, 8:].max() < 1e-3
    truth = account.truth(clip, np.array([0, 20]))
    assert truth is not None
    assert truth.shape == (2, 9, 12)
    assert truth[1].argmax() % 12 in (8, 9)
    assert truth[1][:, :4].max() < 1e-3


def test_a_look_weighs_for_a_quarter_of_a_second_around_it(clip: Clip) -> None:
    weights = looks((1, 0.5, 0.7, 0.5, 0.5)).weights(clip)
    seen = np.flatnonzero(weights.max(axis=(1, 2)) > 0) / 24
    assert seen.min() == pytest.approx(0.25, abs=1 / 24)
    assert seen.max() == pytest.approx(0.95, abs=1 / 24)


def test_each_frame_has_a_maximum_of_one_before_blocks(clip: Clip) -> None:
    """Two looks at one place weigh no more than one; a block is as heavy as its pixels are on average."""
    one, two = (looks(*[(1, 0.0, 9.0, 0.5, 0.5)] * n).weights(clip) for n in (1, 2))
    np.testing.assert_allclose(one, two, atol=1e-6)
    at = np.linspace(0, 1, 192, endpoint=False) + 1 / 384
    down = np.linspace(0, 1, 144, endpoint=False) + 1 / 288
    bell = np.exp(-((at[None] - 0.5) ** 2 + ((down[:, None] - 0.5) * 144 / 192) ** 2) / (2 * 0.05**2))
    exact = block_means(bell.astype(np.float32), 192, 144)
    np.testing.assert_allclose(one[0], exact, atol=0.06)


def test_a_title_without_looks_fails_alone(clip: Clip) -> None:
    account = looks((1, 0.0, 1.0, 0.5, 0.5))
    with pytest.raises(TitleFailed, match="holds no fixation of Male"):
        account.digest("Male")
    assert looks((1, 0.0, 1.0, 0.5, 0.5)).truth(clip, np.array([0])) is None  # nobody of even number


def test_masks_weigh_by_blocks(tmp_path: Path) -> None:
    sets.davis(tmp_path)
    account = MaskAccount.open(str(tmp_path))
    clip = first_seconds(str(tmp_path / "bear.mp4"), "bear", "bear", None)
    weights = account.weights(clip)
    expected = block_means(sets.mask(3).astype(np.float32) / 255, sets.WIDTH, sets.HEIGHT)
    np.testing.assert_allclose(weights[3], expected, atol=1e-4)
    np.testing.assert_array_equal(account.truth(clip, np.array([3]))[0], weights[3])
    with pytest.raises(TitleFailed, match="no mask of cat"):
        account.digest("cat")


def test_stretches_have_the_weights_of_their_own_frames(root: Path) -> None:
    whole = first_seconds(str(root / "Keiba.mp4"), "Keiba", "Keiba", None)
    part = some_shots(whole, [(0, 12), (12, 24), (24, 36)], 2, 0.25)
    assert [(s.start, s.end) for s in part.stretches] == [(0, 6), (24, 30)]
    account = GazeAccount.open(str(root))
    picked = account.weights(whole)[part.numbers]
    np.testing.assert_array_equal(account.weights(part), picked)
    assert part.numbers.tolist() == [*range(6), *range(24, 30)]
    assert [len(list(part.source(s))) for s in part.stretches] == [6, 6]


def test_the_first_seconds_are_counted_by_time(root: Path) -> None:
    assert len(first_seconds(str(root / "Keiba.mp4"), "Keiba", "Keiba", 1.0).pts) == 24


def test_a_models_map_weighs_while_it_is_in_force() -> None:
    rows = [row(0, 4, 100), row(4, 9, 200)]
    weights = at_frames(rows, np.array([0, 3, 4, 8]))
    assert weights[:, 0, 0].tolist() == [1.0] * 4  # each map's maximum is 1
    assert weights[:, 0, 1].tolist() == pytest.approx([0.5, 0.5, 0.25, 0.25])


def row(start: int, end: int, top: int) -> MapRow:
    saliency = np.array([[top, 50]], np.uint8)
    return MapRow("t", 0, 0, start, end, 0, 0, Fraction(1, 24), 32, 16, 1, 0.0, saliency, saliency.astype(np.int8))
