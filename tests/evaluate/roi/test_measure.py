from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsal.evaluate.roi.full import tile_weights, tiles_of
from vsal.evaluate.roi.measure import Measuring, pooled
from vsal.quality.psnr import psnr_db, weighted_error
from vsal.quality.ssim import weighted_ssim
from vsal.quality.weights import Pooled


def pictures(seed: int, n: int = 3, width: int = 40, height: int = 24) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    source = random.integers(0, 255, (n, height, width)).astype(np.float32)
    encoded = (source + random.normal(0, 9, source.shape)).clip(0, 255).astype(np.float32)
    return source, encoded, random.random((n, -(-height // 16), -(-width // 16))).astype(np.float32)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000))
def test_one_pass_gives_what_each_metric_gives_alone(seed: int) -> None:
    source, encoded, weights = pictures(seed)
    measuring = Measuring(40, 24, True)
    for time_s, (one, other, weight) in enumerate(zip(source, encoded, weights, strict=True)):
        measuring.add(float(time_s), one, other, weight)
    found = pooled([measuring.done()])
    for name, of, db in (("psnr", weighted_error, True), ("ssim", weighted_ssim, False)):
        for column, weigh in (
            (name, lambda w: None),
            (f"{name}_alone", lambda w: w),
            (f"{name}_even", lambda w: 0.1 + 0.9 * w),
        ):
            total = sum(
                (of(a, b, weigh(w), 16) for a, b, w in zip(source, encoded, weights, strict=True)), start=Pooled()
            )
            assert found[column] == pytest.approx(psnr_db(total) if db else total.mean, rel=1e-5), column


def test_stretches_pool_to_the_clip_and_the_first_second_can_be_left_out() -> None:
    source, encoded, weights = pictures(7, n=6)

    def measured(part: slice):
        measuring = Measuring(40, 24, True)
        for i in range(*part.indices(6)):
            measuring.add(i / 3, source[i], encoded[i], weights[i])
        return measuring.done()

    whole = pooled([measured(slice(0, 6))])
    assert pooled([measured(slice(0, 2)), measured(slice(2, 6))]) == pytest.approx(whole)
    assert pooled([measured(slice(0, 6))], 1.0) == pytest.approx(pooled([measured(slice(3, 6))]))
    assert pooled([measured(slice(0, 2))], 1.0) == {}


def test_without_an_account_there_are_no_weighted_figures() -> None:
    source, encoded, _ = pictures(1)
    measuring = Measuring(40, 24, False)
    measuring.add(0.0, source[0], encoded[0])
    assert set(pooled([measuring.done()])) == {"psnr", "ssim", "psnr_worst"}
    with pytest.raises(ValueError, match="no weights"):
        measuring.add(0.0, source[0], encoded[0], np.ones((2, 3), np.float32))


def test_frames_at_which_nobody_looks_weigh_nothing_alone() -> None:
    source, encoded, weights = pictures(2, n=2)
    weights[1] = 0
    measuring = Measuring(40, 24, True)
    measuring.add(0.0, source[0], encoded[0], weights[0])
    measuring.add(1.0, source[1], source[1], weights[1])
    assert pooled([measuring.done()])["psnr_alone"] == pytest.approx(
        psnr_db(weighted_error(source[0], encoded[0], weights[0], 16))
    )


@given(st.integers(64, 2000), st.integers(64, 2000))
def test_tiles_cover_the_picture_and_are_large(width: int, height: int) -> None:
    tiles = tiles_of(width, height)
    covered = np.zeros((height, width), np.bool_)
    for down, across in tiles:
        covered[down, across] = True
        assert down.stop - down.start >= height / 3
        assert across.stop - across.start >= width / 3
        assert (down.stop - down.start) % 2 == 0
    assert len(tiles) == 9
    assert covered[: height - 1, : width - 1].all()


def test_a_tile_has_the_weight_that_lies_in_it() -> None:
    weights = np.zeros((8, 8), np.float32)
    weights[0, 0] = 1
    shares = tile_weights(weights, 9)
    assert shares[0] > 0
    assert shares[1:].tolist() == [0.0] * 8
