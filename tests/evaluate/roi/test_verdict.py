"""What the table says of made-up encodes whose truth is known, planted frauds among them."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest

from vsal.evaluate.roi.arms import ELSEWHERE, PLAIN, PRIOR, TRUTH, UNIFORM, Arm, parse_arm, with_controls
from vsal.evaluate.roi.document import document_of, markdown_of
from vsal.evaluate.roi.ladder import Row
from vsal.evaluate.roi.statistics import estimate, holm
from vsal.evaluate.roi.table import ALONE, EVEN, RoiTable, make_table
from vsal.evaluate.roi.verdict import judge, warnings_of

ARMS = with_controls([parse_arm("mine:model=image_saliency_student_v2")], has_truth=True)
# What each arm is worth in the truth: rate at equal quality under the density alone, and plain.
WORTH = {
    PLAIN: (0.0, 0.0),
    "mine": (-0.16, 0.03),
    PRIOR: (-0.10, 0.05),
    TRUTH: (-0.20, 0.04),
    ELSEWHERE: (-0.003, 0.06),
    UNIFORM: (0.001, 0.001),
}
GROUPS = ("sport", "sport", "heads", "heads", "street", "film", "games", "slides")


def rows_of(
    worth: dict[str, tuple[float, float]] = WORTH,
    crfs: Sequence[float] = (24, 29, 34, 39),
    noise: float = 0.01,
    groups: Sequence[str] = GROUPS,
) -> list[Row]:
    random = np.random.default_rng(0)
    rows = []
    for number, group in enumerate(groups):
        for arm, (alone, plain) in worth.items():
            alone, plain = alone + noise * random.normal() * (arm != PLAIN), plain
            for crf in crfs:
                size = 1e6 * 2 ** ((24 - crf) / 5)

                def db(share: float, size: float = size) -> float:
                    return 40 + 4 * np.log2(size / 1e6) - 4 * np.log2(1 + share)

                even = (alone + 2 * plain) / 3
                figures = {"psnr_alone": db(alone), "psnr_even": db(even), "psnr": db(plain), "ssim": 0.9 + crf / 1000}
                rows.append(
                    {
                        "title_id": f"t{number}", "group": group, "codec": "x264", "arm": arm, "crf": float(crf),
                        "bytes": size, "later_bytes": size * 0.8, "steered": None if arm == PLAIN else 0.97,
                        "encode_s": 1.0, "measure_s": 0.3, "too_small": False, "foretold_rate": alone * 1.1,
                        "foretold_rate_even": even, **figures, **{f"later_{k}": v for k, v in figures.items()},
                    }
                )  # fmt: skip
    return rows


def table_of(rows: list[Row], arms: Sequence[Arm] = ARMS) -> RoiTable:
    return make_table(("gaze:made up", "the gaze of the odd observers"), arms, rows)


def test_what_was_planted_is_found() -> None:
    table = table_of(rows_of())
    mine = table.of("x264", "mine")
    assert mine is not None
    assert mine.mean == pytest.approx(-0.16, abs=0.01)
    assert mine.titles == 8
    assert set(mine.groups) == set(GROUPS)
    against = table.of("x264", "mine", ALONE, PRIOR)
    assert against is not None
    assert against.mean == pytest.approx(0.84 / 0.9 - 1, abs=0.015)
    found = judge(table, "x264", "mine")
    assert found.answer == "pays"
    assert "mine under x264: pays." in found.text
    assert "the gaze of the odd observers" in found.text
    assert f"against {PRIOR}" in found.text
    assert f"against {ELSEWHERE}" in found.text
    assert "+3.0%" in found.text  # the loss elsewhere
    assert warnings_of(table) == []


def test_a_map_that_is_no_better_than_a_blob_does_not_pay() -> None:
    found = judge(table_of(rows_of(WORTH | {"mine": (-0.05, 0.03)})), "x264", "mine")
    assert found.answer == "does not pay"
    assert PRIOR in found.reasons[0]
    assert "Behind fixed prior in:" in found.text


def test_a_loss_elsewhere_beyond_the_guard_does_not_pay() -> None:
    found = judge(table_of(rows_of(WORTH | {"mine": (-0.16, 0.09)})), "x264", "mine")
    assert found.answer == "does not pay"
    assert "more than the 5% of the guard" in found.reasons[0]


def test_what_costs_rate_does_not_pay_and_noise_cannot_tell() -> None:
    assert judge(table_of(rows_of(WORTH | {"mine": (0.06, 0.03)})), "x264", "mine").answer == "does not pay"
    assert judge(table_of(rows_of(WORTH | {"mine": (-0.01, 0.0)}, noise=0.1)), "x264", "mine").answer == "cannot tell"


def test_few_titles_cannot_tell() -> None:
    found = judge(table_of(rows_of(groups=("a", "b", "c"))), "x264", "mine")
    assert found.answer == "cannot tell"
    assert "3 titles in 3 groups are too few" in found.text


def test_fraud_a_shuffled_map_that_gains_is_caught() -> None:
    """An account that rewards any map: the arm gains, and so does the map of another title."""
    table = table_of(rows_of(WORTH | {ELSEWHERE: (-0.155, 0.03)}))
    gain = table.of("x264", "mine")
    assert gain is not None
    assert gain.below  # taken alone it looks like a gain
    found = judge(table, "x264", "mine")
    assert found.answer == "cannot tell"
    assert "does not see where maps point" in found.text
    assert any(ELSEWHERE in text and "knows nothing" not in found.text for text in warnings_of(table))


def test_fraud_the_shuffled_map_itself_as_an_arm_is_caught() -> None:
    rows = rows_of(WORTH | {ELSEWHERE: (-0.15, 0.03)})
    planted = [row | {"arm": "mine"} for row in rows if row["arm"] == ELSEWHERE]
    table = table_of([row for row in rows if row["arm"] != "mine"] + planted)
    assert judge(table, "x264", "mine").answer == "cannot tell"


def test_fraud_a_curve_of_three_points_gets_no_figure() -> None:
    table = table_of(rows_of(crfs=(24, 31, 39)))
    found = table.summed("x264", "mine")
    assert found is not None
    assert found.estimate is None
    assert len(found.refused) == 8
    assert "has 3 points, and a curve needs 4" in found.refused[0]
    said = judge(table, "x264", "mine")
    assert said.answer == "cannot tell"
    assert "3 points" in said.text
    assert "3 points" in markdown_of(table)


def test_a_single_refused_curve_is_named_and_leaves_the_others() -> None:
    rows = rows_of()
    for row in rows:
        if row["title_id"] == "t3" and row["arm"] == "mine" and row["crf"] == 34:
            row["psnr_alone"] = 20.0
    table = table_of(rows)
    found = table.summed("x264", "mine")
    assert found is not None
    assert found.estimate is not None
    assert found.estimate.titles == 7
    assert [text.partition(":")[0] for text in found.refused] == ["t3"]
    assert any("t3" in text and "does not rise" in text for text in warnings_of(table))
    assert "(1 refused)" in markdown_of(table)


def test_controls_that_are_wrong_are_told() -> None:
    told = warnings_of(table_of(rows_of(WORTH | {UNIFORM: (0.04, 0.04)})))
    assert any(f"a {UNIFORM} comes out at +4" in text for text in told)


def test_the_foretold_rate_is_held_against_the_measured_over_six_maps() -> None:
    assert table_of(rows_of()).foretold("x264") == {"maps": 4, ALONE: None, EVEN: None}
    arms = [parse_arm(f"arm {i}:model=image_saliency_student_v2") for i in range(4)]
    worth = WORTH | {arm.name: (-0.02 * i, 0.01 * i) for i, arm in enumerate(arms)}
    found = table_of(rows_of(worth, noise=0), [*ARMS, *arms]).foretold("x264")
    assert found["maps"] == 8
    assert found[ALONE] == pytest.approx(1.0)


def test_documents_hold_everything_and_are_plain() -> None:
    table = table_of(rows_of())
    document = document_of(table)
    assert json.loads(json.dumps(document)) == document
    assert document["account"]["name"] == "gaze:made up"
    assert [v["answer"] for v in document["verdicts"]] == ["pays"]
    text = markdown_of(table)
    assert text.startswith("Account: gaze:made up: the gaze of the odd observers.")
    for arm in ARMS[1:]:
        assert arm.name in text
    assert "97%" in text  # of frames are steered


def test_p_is_held_over_the_arms_that_were_considered() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})
    arms = [*ARMS, parse_arm("other:model=image_saliency_student_v1")]
    table = table_of(rows_of(WORTH | {"other": (-0.01, 0.0)}), arms)
    mine, control = table.of("x264", "mine"), table.of("x264", PRIOR)
    assert mine is not None
    assert control is not None
    assert mine.p_holm == pytest.approx(2 * mine.p)
    assert control.p_holm is None


def test_like_titles_count_as_one_draw() -> None:
    values = [-0.1, -0.1, -0.1, -0.1, 0.2, -0.1]
    alike, apart = (estimate(values, groups) for groups in (["a"] * 4 + ["b", "c"], list("abcdef")))
    assert alike is not None
    assert apart is not None
    assert alike.high - alike.low > apart.high - apart.low
    assert estimate([], []) is None
