from __future__ import annotations

import pytest

from vsal.errors import SettingsError
from vsal.evaluate.roi.arms import ELSEWHERE, PLAIN, STATUS_QUO, UNIFORM, parse_arm, status_quo, with_controls
from vsal.roi.qp import QpMapping


def test_an_arm_is_read_from_its_words() -> None:
    arm = parse_arm(
        "mine:model=image_saliency_student_v1,aggregator=mean,rate=6,interval=0.2,floor=0.1,limit=10,gain=2"
    )
    assert arm.source is not None
    assert arm.source.model == "image_saliency_student_v1"
    assert (arm.source.settings.aggregator, arm.source.settings.sample_rate) == ("mean", 6)
    assert arm.mapping == QpMapping("rd", 0.1, 10)
    assert arm.gain == 2.0
    assert parse_arm("video:mode=video").source.settings.aggregator == "learned"
    assert parse_arm("m:maps=s3://bucket/out").kind == "manifest"
    aq = parse_arm("aq:kind=plain,x264.aq-mode=3,option.preset=slow")
    assert aq.options_for("x264") == {"aq-mode": "3", "preset": "slow"}
    assert aq.options_for("x265") == {"preset": "slow"}


def test_arms_that_differ_in_strength_alone_share_their_maps() -> None:
    one, other, third = (
        parse_arm(f"a:floor={f},aggregator={a}") for f, a in ((0.1, "ema"), (0.3, "ema"), (0.1, "mean"))
    )
    assert one.source.key == other.source.key != third.source.key


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "a name of its own"),
        ("plain:model=x", "a name of its own"),
        ("a:colour=red", "no option 'colour'"),
        ("a:floor", "no key=value"),
        ("a:floor=high", "floor is a number"),
        ("a:floor=2", "qp-floor"),
        ("a:aggregator=best", "aggregator"),
        ("a:kind=elsewhere", "kind is plain"),
    ],
)
def test_what_is_no_arm_is_refused(words: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        parse_arm(words)


def test_controls_stand_at_every_strength_of_the_arms() -> None:
    arms = with_controls([status_quo(), parse_arm("mine:floor=0.08,limit=8")], has_truth=True)
    names = [arm.name for arm in arms]
    assert names[:3] == [PLAIN, STATUS_QUO, "mine"]
    assert {n for n in names if n.startswith("fixed prior")} == {
        "fixed prior (floor 0.2, limit 6)",
        "fixed prior (floor 0.08, limit 8)",
    }
    assert len([n for n in names if n.startswith("truth")]) == 2
    assert names[-2:] == [ELSEWHERE, UNIFORM]
    assert [arm.name for arm in arms if not arm.control] == [STATUS_QUO, "mine"]
    assert not [a for a in with_controls([status_quo()], has_truth=False) if a.kind == "truth"]
    with pytest.raises(SettingsError, match="two arms are called mine"):
        with_controls([parse_arm("mine"), parse_arm("mine:limit=3")], has_truth=False)
