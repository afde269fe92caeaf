"""An encoder that would ignore a map is not started."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tests.encode.test_title import program_of, settings_of
from vsal.encode.codecs.svtav1 import find_svtav1
from vsal.encode.codecs.trial import refuse_ignored, refuse_interlaced
from vsal.encode.settings import EncodeSettings
from vsal.encode.source_facts import read_source_facts
from vsal.encode.title import check_settings
from vsal.errors import SettingIgnored, SettingsError, TitleFailed

IGNORED = [
    ("x264", None, {"qp": "20"}, "constant QP"),
    ("x264", None, {"aq-mode": "0"}, "adaptive quantisation"),
    ("x264", None, {"x264-params": "aq-mode=0"}, "adaptive quantisation"),
    ("x264", None, {"aq-strength": "0", "mbtree": "0"}, "mbtree=0"),
    ("x264", "ultrafast", {}, "preset=ultrafast comes to aq-mode=0"),
    ("x264", None, {"tune": "psnr"}, "tune=psnr"),
    ("x264", None, {"x264-params": "interlaced=1"}, "interlaced"),
    ("x264", None, {"flags": "+ildct+ilme"}, "interlaced"),
    ("x265", None, {"qp": "20"}, "constant QP"),
    ("x265", None, {"x265-params": "aq-mode=0:cutree=0"}, "adaptive quantisation"),
    ("x265", None, {"aq-strength": "0", "cutree": "0"}, "cutree=0"),
    ("x265", "superfast", {}, "preset=superfast"),
    ("vp9", None, {"deadline": "good"}, "realtime"),
    ("vp9", "4", {}, "cpu-used=5"),
    ("vp9", None, {"aq-mode": "3"}, "segments"),
    ("vp9", None, {"lag-in-frames": "25"}, "lag-in-frames=25"),
    ("svtav1", None, {"rc": "1"}, "VBR and CBR"),
    ("svtav1", None, {"tbr": "1000"}, "VBR and CBR"),
    ("kvazaar", None, {"bitrate": "500000"}, "rate control"),
]


@pytest.mark.parametrize(("codec", "preset", "options", "reason"), IGNORED)
def test_what_would_be_ignored_is_refused_with_reason_and_remedy(
    codec: str, preset: str | None, options: dict[str, str], reason: str
) -> None:
    settings = EncodeSettings(codec, preset=preset, encoder_options=options)
    with pytest.raises(SettingIgnored, match=reason) as refused:
        refuse_ignored(settings)
    assert "--no-roi" in str(refused.value)
    if codec in ("x264", "x265", "vp9"):
        refuse_ignored(settings.plain())


TAKEN = [
    ("x264", "superfast", {}),
    ("x264", "ultrafast", {"aq-mode": "1"}),
    ("x264", "veryfast", {"aq-strength": "0.001", "mbtree": "0"}),
    ("x264", "veryfast", {"aq-strength": "0"}),  # the tree of macroblocks carries the map
    ("x264", "veryfast", {"b": "500k"}),
    ("x265", "veryfast", {}),
    ("x265", "veryfast", {"aq-strength": "0.001", "cutree": "0"}),
    ("vp9", "5", {}),
    ("vp9", "8", {}),
    ("x264", "medium", {"crf": "45"}),
    ("x265", "slow", {"crf": "45"}),
]


@pytest.mark.parametrize(("codec", "preset", "options"), TAKEN)
def test_what_acts_is_taken(codec: str, preset: str, options: dict[str, str]) -> None:
    refuse_ignored(EncodeSettings(codec, preset=preset, encoder_options=options))


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("x264", {"subme": "x"}),
        ("x264", {"no-such": "1"}),
        ("x265", {"no-such": "1"}),
        ("vp9", {"no": "1"}),
    ],
)
def test_an_option_that_the_encoder_would_drop_stops_the_run(codec: str, options: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match=next(iter(options))):
        refuse_ignored(EncodeSettings(codec, encoder_options=options))


PROGRAMS = [
    ("svtav1", None, {"no-such": "1"}, "no-such"),
    ("svtav1", "medium", {}, "medium"),
    ("svtav1", "99", {}, "must be in the range"),
    ("kvazaar", None, {"no-such": "1"}, "no-such=1"),
    ("kvazaar", "quick", {}, "preset=quick"),
    ("kvazaar", None, {"qp": "99"}, "out of range"),
]


@pytest.mark.parametrize(("codec", "preset", "options", "reason"), PROGRAMS)
def test_what_a_program_does_not_take_stops_the_run_and_not_each_title(
    codec: str, preset: str | None, options: dict[str, str], reason: str, request: pytest.FixtureRequest
) -> None:
    settings = EncodeSettings(codec, preset=preset, encoder_options=options, program=program_of(codec, request))
    for asked in (settings, settings.plain()):
        with pytest.raises(SettingsError, match=reason):
            refuse_ignored(asked)
    refuse_ignored(settings_of(codec, program=settings.program))


@pytest.mark.parametrize(
    ("codec", "settings", "reason"),
    [
        ("x264", {"crf": 52}, "0 to 51"),
        ("vp9", {"crf": -1}, "0 to 63"),
        ("x264", {"container": "webm"}, "webm does not hold x264"),
        ("svtav1", {"container": "mov"}, "mov does not hold svtav1"),
        ("x264", {"container": "avi"}, "avi"),
    ],
)
def test_what_can_never_be_is_refused_at_once(codec: str, settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        check_settings(EncodeSettings(codec, **settings))


@pytest.mark.parametrize("codec", ["x264", "kvazaar"])
def test_a_pixel_format_that_the_encoder_does_not_take_stops_the_run(
    codec: str, request: pytest.FixtureRequest
) -> None:
    with pytest.raises(SettingsError, match="gbrap16"):
        check_settings(settings_of(codec, pix_fmt="gbrap16", program=program_of(codec, request)))


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("x264", {"x264-params": "pass=1:stats=log"}),
        ("x264", {"flags": "+pass1"}),
        ("x265", {"pass": "2"}),
        ("vp9", {"flags": "+pass1"}),
        ("svtav1", {"passes": "2"}),
    ],
)
def test_half_of_a_two_pass_encode_is_refused(
    codec: str, options: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for roi in (True, False):
        with pytest.raises(SettingsError, match="one pass"):
            refuse_ignored(EncodeSettings(codec, encoder_options=options, roi=roi))
    assert not list(tmp_path.iterdir()), "an encoder's log of its first pass"


def test_an_old_svtav1_is_refused(tmp_path: Path) -> None:
    old = tmp_path / "SvtAv1EncApp"
    old.write_text("#!/bin/sh\necho 'SVT-AV1 v1.4.1 (release)'\n")
    old.chmod(0o755)
    with pytest.raises(SettingIgnored, match=r"1\.4.*1\.6"):
        find_svtav1(str(old))


def test_a_missing_program_is_named_with_the_way_to_get_it() -> None:
    with pytest.raises(SettingsError, match="apt install svt-av1"):
        find_svtav1("/nowhere/SvtAv1EncApp")


def test_interlaced_sources_are_refused_unless_asked_for(source: Path) -> None:
    picture = read_source_facts(str(source))
    fields = replace(picture, info=replace(picture.info, interlaced=True, fps=Fraction(25)))
    with pytest.raises(TitleFailed, match="interlaced"):
        refuse_interlaced(EncodeSettings("x264"), fields)
    refuse_interlaced(EncodeSettings("x264", code_fields_as_frames=True), fields)
