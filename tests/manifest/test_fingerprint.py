"""Which results each setting may move, by name: a setting that moves none does no title again."""

from __future__ import annotations

from typing import Any

import pytest

from vsal.manifest.fingerprints import ALGORITHMS, NEUTRAL, algorithms, effective, fingerprint
from vsal.settings import PrepareSettings, RunSettings
from vsal.storage import SourceInfo

SOURCE = SourceInfo("/videos/clip.mp4", 1, 2)
SHOT_MODEL = {"shot_detector": "transnetv2", "shot_model": "sha256:0"}

# What a title may be prepared under, and for each setting another value of it.
UNDER: dict[str, dict[str, Any]] = {
    "ema": {},
    "mean": {"aggregator": "mean"},
    "max": {"aggregator": "max"},
    "motion": {"aggregator": "motion"},
    "learned": {"aggregator": "learned"},
    "smooth": {"aggregator": "smooth"},
    "shot": {"map_interval": "shot"},
    "content": {"shot_detector": "content"},
    "transnetv2": SHOT_MODEL,
    "linear": {"qp_mapping": "linear"},
}
OTHER: dict[str, Any] = {
    "saliency_mode": "video",
    "model": "another name of the same file",
    "sample_rate": 6.0,
    "map_interval": 2.0,
    "samples_per_map": 4,
    "aggregator": {"mean": "max"},
    "ema_alpha": 0.9,
    "ema_half_life_s": 1.0,
    "smooth_s": 1.0,
    "shot_detector": {"content": "adaptive"},
    "shot_model": "sha256:1",
    "min_shot_s": 2.0,
    "exact_decode": True,
    "qp_mapping": {"linear": "rd"},
    "qp_floor": 0.5,
    "qp_limit": 3,
    "regions": "sha256:1",
    "qp_offset": 3,
}
ALL = frozenset(UNDER)
MOVES: dict[str, frozenset[str]] = {
    "saliency_mode": frozenset(),  # it chooses model and aggregator, and these are as they were
    "model": frozenset(),  # its hash counts, not its name
    "sample_rate": ALL,
    "map_interval": ALL,
    "samples_per_map": frozenset({"shot"}),
    "aggregator": ALL,
    "ema_alpha": ALL - {"mean", "max", "motion", "learned", "smooth", "shot"},
    "ema_half_life_s": ALL - {"mean", "max", "motion", "learned", "smooth", "shot"},
    "smooth_s": frozenset({"smooth"}),
    "shot_detector": ALL,
    "shot_model": frozenset({"transnetv2"}),
    "min_shot_s": ALL - {"transnetv2"},
    "exact_decode": ALL,
    "qp_mapping": ALL,
    "qp_floor": ALL - {"linear"},
    "qp_limit": ALL,
    "regions": ALL,  # of a title that has some: a hash of what they say
    "qp_offset": frozenset({"linear"}),
}


def mark(settings: PrepareSettings) -> str:
    return fingerprint(SOURCE, "0" * 64, settings.shaping())


def test_each_setting_is_named() -> None:
    assert set(PrepareSettings.model_fields) == set(MOVES) == set(OTHER), "say which results a new setting may move"
    assert not set(RunSettings.model_fields) & set(PrepareSettings.model_fields)


@pytest.mark.parametrize("name", list(MOVES))
def test_a_setting_moves_what_it_shapes_and_nothing_else(name: str) -> None:
    for under, values in UNDER.items():
        # As it was chosen: a default that follows another setting would change with it.
        before = PrepareSettings(**values).model_dump()
        value = OTHER[name]
        if isinstance(value, dict):
            value = value.get(before[name], next(iter(value)))
        after = PrepareSettings(**(before | {name: value}))
        if after.model_dump() == before or (name == "shot_detector" and under == "transnetv2"):
            continue
        moved = mark(after) != mark(PrepareSettings(**before))
        assert moved == (under in MOVES[name]), f"{name} under {under}"


def test_what_comes_to_the_same_is_the_same() -> None:
    default = PrepareSettings()
    assert mark(default) == mark(PrepareSettings(ema_alpha=default.alpha))
    assert mark(default) == mark(PrepareSettings(map_interval=1 / 3)), "both are one sample a map"
    assert mark(default) == mark(PrepareSettings(map_interval=0.33, sample_rate=3, exact_decode=False))


def test_a_setting_that_comes_later_does_nothing_again_that_does_not_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before, values = mark(PrepareSettings()), PrepareSettings().shaping()
    monkeypatch.setitem(NEUTRAL, "denoise", "off")
    assert fingerprint(SOURCE, "0" * 64, values | {"denoise": "off"}) == before
    assert fingerprint(SOURCE, "0" * 64, values | {"denoise": "on"}) != before


@pytest.mark.parametrize("stage", list(ALGORITHMS))
def test_a_corrected_algorithm_does_again_what_it_was_used_for(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {under: mark(PrepareSettings(**values)) for under, values in UNDER.items()}
    monkeypatch.setitem(ALGORITHMS, stage, ALGORITHMS[stage] + 1)
    moved = {under for under, values in UNDER.items() if mark(PrepareSettings(**values)) != before[under]}
    assert moved == {
        under for under, values in UNDER.items() if stage in algorithms(PrepareSettings(**values).shaping())
    }
    assert moved, "nothing uses it"
    if "." in stage:
        assert moved != set(UNDER)


def test_a_default_is_a_value_like_any_other() -> None:
    """Left out it would be the same as the default of tomorrow."""
    acting = effective(PrepareSettings().shaping())
    assert {"qp_floor", "qp_limit", "min_shot_s", "sample_rate", "aggregator"} <= set(acting)
