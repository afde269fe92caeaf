from __future__ import annotations

import numpy as np
import pytest

from tests.evaluate.roi.test_verdict import rows_of
from vsal.errors import SettingsError
from vsal.evaluate.roi.arms import PLAIN, Arm, parse_arm
from vsal.evaluate.roi.table import ALONE, RoiTable, make_table
from vsal.evaluate.roi.tune import aq_round, cross_fit, mappings_round, split, told_of

GROUPS = ("a", "a", "b", "b", "c", "d", "e", "f")
ARMS = [parse_arm(f"{name}:limit={i}") for i, name in enumerate(("weak", "good", "strong"), 4)]


def table_of(worth: dict[str, tuple[float, float]], noise: float = 0.005, groups: tuple[str, ...] = GROUPS) -> RoiTable:
    arms = [Arm(PLAIN, "plain", control=True), *ARMS]
    return make_table(("gaze", "people"), arms, rows_of({PLAIN: (0.0, 0.0), **worth}, noise=noise, groups=groups))


def test_the_strongest_within_the_guard_is_chosen() -> None:
    found = cross_fit(table_of({"weak": (-0.05, 0.01), "good": (-0.15, 0.04), "strong": (-0.2, 0.09)}), "x264", ARMS)
    assert found is not None
    assert found.arm.name == "good"
    assert found.steady
    assert found.held_out[ALONE].mean == pytest.approx(-0.15, abs=0.01)
    assert found.held_out[ALONE].titles == 8
    groups = [set(half.groups) for half in found.halves]
    assert groups[0].isdisjoint(groups[1])
    assert groups[0] | groups[1] == set(GROUPS)
    assert "good, chosen on all titles" in told_of(found)


def test_what_is_chosen_by_chance_is_not_what_is_reported() -> None:
    """Arms that differ by nothing but noise: the best looks good where it was chosen, and gains nothing elsewhere."""
    looks, held = [], []
    for seed in range(12):
        random = np.random.default_rng(seed)
        worth = {arm.name: (0.0, 0.0) for arm in ARMS}
        rows = rows_of({PLAIN: (0.0, 0.0), **worth}, noise=0, groups=GROUPS)
        shift = {(t, arm): random.normal() * 0.05 for t in range(8) for arm in worth}
        for row in rows:
            if row["arm"] != PLAIN:
                row["psnr_alone"] -= 4 * np.log2(1 + shift[int(row["title_id"][1:]), row["arm"]])
        found = cross_fit(make_table(("g", "p"), [Arm(PLAIN, "plain", control=True), *ARMS], rows), "x264", ARMS)
        assert found is not None
        looks.append(np.mean([half.here for half in found.halves]))
        held.append(found.held_out[ALONE].mean)
    assert np.mean(looks) < -0.01
    assert abs(np.mean(held)) < 0.01


def test_nothing_is_chosen_where_nothing_keeps_the_guard() -> None:
    worth = {"weak": (-0.05, 0.06), "good": (-0.15, 0.07), "strong": (-0.2, 0.09)}
    assert cross_fit(table_of(worth), "x264", ARMS) is None


def test_fewer_than_six_titles_or_one_group_are_no_round() -> None:
    worth = {"weak": (-0.05, 0.01), "good": (-0.15, 0.04), "strong": (-0.2, 0.04)}
    with pytest.raises(SettingsError, match="5 titles with figures"):
        cross_fit(table_of(worth, groups=GROUPS[:5]), "x264", ARMS)
    with pytest.raises(SettingsError, match="two groups"):
        cross_fit(table_of(worth, groups=("a",) * 7), "x264", ARMS)


def test_like_titles_stay_on_one_side() -> None:
    one, other = split(["a", "a", "a", "b", "c", "c", "d"])
    assert one.isdisjoint(other)
    assert one | other == set("abcd")
    assert abs(len([g for g in "aaabccd" if g in one]) - len([g for g in "aaabccd" if g in other])) <= 1
    assert split(["a"]) == ({"a"}, set())


def test_the_grid_is_coarse_and_shares_its_maps() -> None:
    arms = mappings_round(parse_arm("mine"))
    assert len(arms) == 8
    assert len({arm.source.key for arm in arms}) == 1
    assert len({arm.mapping for arm in arms}) == 8
    after = aq_round(arms[0], "x264")
    assert after[0] == arms[0]
    assert {"aq-strength": "0.4", "qcomp": "0.8"} in [arm.options_for("x264") for arm in after]
    assert all(arm.options_for("x265") == {} for arm in after)
    assert aq_round(arms[0], "kvazaar") == [arms[0]]


def test_an_arm_whose_curves_are_refused_does_not_take_the_titles_with_it() -> None:
    worth = {"weak": (-0.05, 0.01), "good": (-0.15, 0.04), "strong": (-0.9, 0.04)}  # 13 dB away: no overlap
    found = cross_fit(table_of(worth), "x264", ARMS)
    assert found is not None
    assert found.arm.name == "good"
    assert found.dropped == ("strong",)
    assert "Not chosen among, for their curves are refused: strong." in told_of(found)
