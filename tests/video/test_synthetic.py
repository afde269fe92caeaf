from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from tests.video.media import scan
from vsal.video.probe import probe
from vsal.video.segments import WHOLE
from vsal.video.shots import AdaptiveCuts, ContentCuts
from vsal.video.synthetic import render_title, synthetic_title


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_its_cuts_are_found_and_nothing_else(seed: int, tmp_path: Path) -> None:
    title = render_title(str(tmp_path / "title.mp4"), synthetic_title(320, 180, 24, 7, 14, seed))
    scanned = scan(probe(str(tmp_path / "title.mp4")), [WHOLE])
    assert len(scanned.pts) == title.frame_count == 336
    for decider in (AdaptiveCuts(), ContentCuts()):
        decider.push(scanned.score, np.arange(len(scanned.score)) / 24)
        assert decider.take_final() + decider.close() == [shot.start for shot in title.shots[1:]]


def test_shots_follow_each_other_and_last_as_promised() -> None:
    title = synthetic_title(fps=30, shots=40, seconds=120, seed=4)
    assert title.shots[0].start == 0
    assert all(a.end == b.start for a, b in zip(title.shots, title.shots[1:], strict=False))
    lengths = [(shot.end - shot.start) / 30 for shot in title.shots]
    assert min(lengths) > 1.8
    assert max(lengths) < 4.4
    takes = title.takes
    assert all(a.scene != b.scene and a.subject != b.subject for a, b in itertools.pairwise(takes))


def test_the_mask_is_where_the_subject_is(small_title: object) -> None:
    from dataclasses import replace

    assert isinstance(small_title, type(synthetic_title()))
    bare = replace(small_title, takes=tuple(replace(take, scale=1e-3) for take in small_title.takes))
    pairs = zip(small_title.frames(), bare.frames(), strict=True)
    for number, (with_subject, without) in enumerate(pairs):
        if number % 40 == 5:
            mask = small_title.mask(number)
            assert 0.01 < mask.mean() < 0.3
            change = np.abs(with_subject[:144].astype(int) - without[:144])
            assert change[mask > 0.9].mean() > 10
            assert change[mask == 0].max() <= 3 * 30  # the dot that is left of the bare title's subject
            assert change[mask == 0].mean() < 1
            colour = np.abs(with_subject[144:].astype(int) - without[144:]).reshape(2, 72, 128).max(axis=0)
            assert colour[mask[::2, ::2] == 0].mean() < 1


def test_the_same_seed_makes_the_same_title() -> None:
    one, two, other = (next(synthetic_title(64, 48, seed=s).frames()).copy() for s in (5, 5, 6))
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()


@pytest.mark.parametrize("arguments", [{"width": 641}, {"shots": 0}, {"shots": 400, "seconds": 1}, {"height": 8}])
def test_titles_that_cannot_be_made_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"even sizes|too few"):
        synthetic_title(**arguments)
