"""Which encodes each setting may move, by name; and what two ways of saying one thing come to."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from vsal.encode import keys
from vsal.encode.codecs.x264 import X264
from vsal.encode.keys import settings_key
from vsal.encode.settings import Budget, EncodeSettings

BUDGET = Budget(0.25, 0.5)
UNDER = {
    "regions": EncodeSettings("x264"),
    "levels": EncodeSettings("kvazaar"),
    "plain": EncodeSettings("x264", roi=False),
    "budget": EncodeSettings("x264", budget=BUDGET),
    "whole": EncodeSettings("x264", chunked=False),
}
ALL = frozenset(UNDER)
OTHER: dict[str, tuple[Any, frozenset[str]]] = {
    "codec": ("x265", ALL),
    "crf": (30.0, ALL),
    "preset": ("veryfast", ALL),
    "encoder_options": ({"bf": "1"}, ALL),
    "roi": (None, ALL - {"budget"}),  # turned over; a budget has no plain twin
    "max_rectangles": (10, ALL - {"levels", "plain"}),
    "budget": (Budget(0.1, 0.5), ALL - {"plain"}),
    "measure_share": (True, frozenset({"budget"})),
    "pix_fmt": ("yuv420p10le", ALL),
    "container": ("mkv", ALL),
    "chunked": (True, ALL),
    "chunk_s": (30.0, ALL - {"whole"}),
    "threads": (2, ALL),
    "code_fields_as_frames": (True, ALL),
    "program": ("/somewhere/else", frozenset()),  # its version counts, not its place
}


@pytest.fixture(autouse=True)
def any_program(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """A version of kvazaar, wherever it is looked for."""
    monkeypatch.setattr("vsal.encode.codecs.kvazaar.Kvazaar.version", lambda self, settings: "kvazaar 2.3.0")


def test_each_setting_is_named() -> None:
    assert {field.name for field in fields(EncodeSettings)} == set(OTHER), "say which encodes a new setting may move"


@pytest.mark.parametrize("name", list(OTHER))
def test_a_setting_moves_what_it_shapes_and_nothing_else(name: str) -> None:
    value, moves = OTHER[name]
    for under, settings in UNDER.items():
        if (name == "measure_share" and settings.budget is None) or (name == "roi" and settings.budget is not None):
            continue
        other = replace(settings, **{name: not settings.roi if name == "roi" else value})
        assert (settings_key(other) != settings_key(settings)) == (under in moves), f"{name} under {under}"


def test_a_default_that_is_named_is_the_default() -> None:
    encoder, settings = X264(), EncodeSettings("x264")
    named = replace(settings, crf=encoder.default_crf, preset=encoder.default_preset)
    assert settings_key(named) == settings_key(settings)
    by_option = replace(settings, encoder_options={"crf": "30"})
    assert keys.effective(by_option)["crf"] == 30.0


def test_a_rate_is_no_rate_factor() -> None:
    """VP9 follows both, and differs with them."""
    rate = EncodeSettings("vp9", encoder_options={"b": "1M"})
    assert keys.effective(rate)["crf"] is None
    assert settings_key(replace(rate, crf=32)) != settings_key(rate)


@pytest.mark.parametrize("layout", [True, False])
def test_another_way_of_cutting_or_of_putting_maps_is_another_encode(
    layout: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {under: settings_key(settings) for under, settings in UNDER.items()}
    if layout:
        monkeypatch.setattr(keys, "LAYOUT_VERSION", keys.LAYOUT_VERSION + 1)
    else:
        monkeypatch.setattr(X264, "maps_version", X264.maps_version + 1)
    moved = {under for under, settings in UNDER.items() if settings_key(settings) != before[under]}
    assert moved == (set(UNDER) if layout else {"regions", "budget", "whole"})
