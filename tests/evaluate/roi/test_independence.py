from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from vsal.errors import SettingsError
from vsal.evaluate.roi.arms import ELSEWHERE, STATUS_QUO, parse_arm, status_quo, with_controls
from vsal.evaluate.roi.independence import independent, open_account
from vsal.saliency import ModelRefused
from vsal.saliency.lineage import lineage, shared
from vsal.saliency.registry import Entry, list_models

TEACHER = "image_saliency_student_v1"  # of the first video student


def entry(name: str) -> Entry:
    return next(one for one in list_models() if one.name == name)


@pytest.mark.parametrize(
    "judge",
    [
        pytest.param(TEACHER, id="the arm's own teacher"),
        pytest.param(f"{TEACHER}_int8", id="the int8 form of that"),
        pytest.param("image_saliency_student_small_v1", id="a smaller sister"),
        pytest.param("video_saliency_student_v1", id="the arm itself"),
    ],
)
def test_an_arm_is_not_judged_by_its_kin(judge: str, tmp_path: Path) -> None:
    account = open_account(f"model:{judge}", str(tmp_path))
    with pytest.raises(SettingsError, match=r"cannot judge the arm mine: they share .*(U2-Net-p|student)"):
        independent(account, [parse_arm("mine:mode=video,model=video_saliency_student_v1")])


@pytest.mark.parametrize(
    ("judge", "arm"),
    [
        ("image_saliency_student_v1_int8", "image_saliency_student_v1"),
        ("image_saliency_student_small_v2", "image_saliency_student_v2"),
        ("image_saliency_student_v2", "image_saliency_student_small_v2"),
    ],
)
def test_nor_by_what_was_made_of_it_or_beside_it(judge: str, arm: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot judge"):
        independent(open_account(f"model:{judge}", str(tmp_path)), [parse_arm(f"mine:model={arm}")])


def test_an_unrelated_model_may_judge_and_the_standing_arm_is_left_out_aloud(tmp_path: Path) -> None:
    account = open_account("model:image_saliency_student_small_v1", str(tmp_path))
    arms = with_controls([status_quo(), parse_arm("mine:model=image_saliency_student_v2")], has_truth=False)
    kept, left_out = independent(account, arms)
    assert "mine" in {arm.name for arm in kept}
    # Another title's map is the status quo's: it is as related.
    assert {text.partition(" is left")[0] for text in left_out} == {STATUS_QUO, ELSEWHERE}


def test_people_judge_everybody(tmp_path: Path) -> None:
    arms = [status_quo(), parse_arm("mine:mode=video")]
    assert independent(open_account("none", str(tmp_path)), arms) == (arms, [])


def test_a_file_that_nobody_knows_judges_nothing(tmp_path: Path) -> None:
    copy = tmp_path / "copy.onnx"
    shutil.copy(entry("image_saliency_student_small_v1").path, copy)
    with pytest.raises(SettingsError, match="no registry knows"):
        independent(open_account(f"model:{copy}", str(tmp_path)), [parse_arm("mine:model=image_saliency_student_v2")])
    account = open_account("model:image_saliency_student_v2", str(tmp_path))
    with pytest.raises(SettingsError, match="no registry knows"):
        independent(account, [parse_arm(f"mine:model={copy}")])


def test_the_same_bytes_under_another_name_are_the_same_model() -> None:
    one = entry("image_saliency_student_v2")
    twin = replace(one, name="renamed", teachers=(), ancestors=())
    assert shared(one, twin) == [f"sha256:{one.sha256}"]


def test_lineage_goes_on_through_the_registry() -> None:
    assert {"U2-Net-p", TEACHER} <= lineage(entry("video_saliency_student_v1_step"))
    assert not shared(entry("image_saliency_student_v1"), entry("image_saliency_student_v2"))


def test_a_lineage_that_nobody_has_said_is_refused() -> None:
    with pytest.raises(ModelRefused, match=r"does not say what .* has learned from"):
        lineage(replace(entry(TEACHER), teachers=None))


def test_every_model_that_is_shipped_says_what_it_has_learned_from() -> None:
    registry = Path(__file__).resolve().parents[3] / "model" / "shipped" / "registry.json"
    for item in json.loads(registry.read_text())["models"]:
        assert isinstance(item.get("teachers"), list), f"{item['name']}: teachers in registry.json"
        assert isinstance(item.get("ancestors"), list), f"{item['name']}: ancestors in registry.json"


def test_what_is_no_account_is_named(tmp_path: Path) -> None:
    for words in ("gaze:", "people", "model", "none:x"):
        with pytest.raises(SettingsError, match="--weights is gaze:FOLDER"):
            open_account(words, str(tmp_path))
    with pytest.raises(SettingsError, match=r"_mask\.mkv"):
        open_account(f"mask:{tmp_path}", str(tmp_path))
