"""An encoder that would ignore a map is not started."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tests.encode.test_title import program_of, settings_of
from vsal.encode.codecs import ENCODERS
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


RATES = [
    ("x264", {"b": "2M"}, r"--crf=23 and b=2M"),
    ("x264", {"x264-params": "bitrate=2000"}, r"--crf=23 and bitrate=2000"),
    ("x265", {"x265-params": "qp=30"}, r"--crf=23 and qp=30"),
    ("x265", {"crf": "30"}, r"--crf=23 and crf=30"),
    ("vp9", {"crf": "30"}, r"--crf=23 and crf=30"),
    ("svtav1", {"tbr": "1000"}, r"--crf=23 and tbr=1000"),
    ("svtav1", {"qp": "30"}, r"--crf=23 and qp=30"),
    ("svtav1", {"rc": "1"}, r"--crf=23 and rc=1"),
    ("kvazaar", {"bitrate": "500000"}, r"--crf=23 and bitrate=500000"),
    ("kvazaar", {"qp": "30"}, r"--crf=23 and qp=30"),
]


@pytest.mark.parametrize(("codec", "options", "told"), RATES)
@pytest.mark.parametrize("roi", [True, False])
def test_two_rates_at_once_are_refused(
    codec: str, options: dict[str, str], told: str, roi: bool, request: pytest.FixtureRequest
) -> None:
    """FFmpeg's x264 follows the rate factor and forgets the bit rate; parameter strings win over both."""
    program = program_of(codec, request)
    with pytest.raises(SettingsError, match=rf"{told} ask .* leave out all but one"):
        check_settings(settings_of(codec, crf=23, encoder_options=options, roi=roi, program=program))


def test_two_rates_among_the_encoder_s_own_options_are_refused_too() -> None:
    with pytest.raises(SettingsError, match="crf=23 and b=2M"):
        check_settings(EncodeSettings("x264", encoder_options={"crf": "23", "b": "2M"}))
    check_settings(settings_of("vp9", crf=23, encoder_options={"b": "2M"}))  # constrained quality follows both


STEPS = [("vp9", 27.5, "27 or 28"), ("svtav1", 35.25, "35 or 36"), ("kvazaar", 27.5, "27 or 28")]


@pytest.mark.parametrize(("codec", "crf", "nearest"), STEPS)
def test_a_rate_factor_that_would_be_rounded_is_refused_with_the_nearest_two(
    codec: str, crf: float, nearest: str, request: pytest.FixtureRequest
) -> None:
    program = program_of(codec, request)
    with pytest.raises(SettingsError, match=rf"{crf:g} would be rounded.*{nearest}"):
        check_settings(settings_of(codec, crf=crf, program=program))
    own = {"kvazaar": "qp"}.get(codec, "crf")
    with pytest.raises(SettingsError, match=rf"{crf:g} would be rounded.*{nearest}"):
        check_settings(settings_of(codec, encoder_options={own: f"{crf:g}"}, program=program))
    check_settings(settings_of(codec, crf=float(int(crf)), program=program))


def test_later_svtav1_takes_quarters(tmp_path: Path) -> None:
    later = script(tmp_path / "SvtAv1EncApp", "echo 'SVT-AV1 v4.0.1 (release)'")
    ENCODERS["svtav1"].check(EncodeSettings("svtav1", crf=35.25, program=later))
    with pytest.raises(SettingsError, match=r"35\.25 or 35\.5"):
        ENCODERS["svtav1"].check(EncodeSettings("svtav1", crf=35.4, program=later))


@pytest.mark.parametrize("gop", ["eight", "12", "lp", "lp-", "lp-8"])
def test_a_structure_that_kvazaar_would_read_as_none_is_refused(gop: str, kvazaar: str) -> None:
    with pytest.raises(SettingsError, match=f"gop={gop} as gop=0"):
        check_settings(settings_of("kvazaar", encoder_options={"gop": gop}, program=kvazaar))


@pytest.mark.parametrize("gop", ["0", "8", "16", "lp-g4d3t1"])
def test_structures_that_kvazaar_knows_are_taken(gop: str, kvazaar: str) -> None:
    check_settings(settings_of("kvazaar", encoder_options={"gop": gop}, program=kvazaar))


def script(path: Path, *lines: str) -> str:
    path.write_text("\n".join(("#!/bin/sh", *lines, "")))
    path.chmod(0o755)
    return str(path)


def test_a_svtav1_that_drops_its_map_is_refused(svtav1: str, tmp_path: Path) -> None:
    """A build without the feature, as some of FFmpeg's are, takes the file and says nothing."""
    deaf = script(
        tmp_path / "deaf",
        "drop=0",
        "for word; do",
        '  shift; if [ "$word" = --roi-map-file ]; then drop=1; elif [ $drop = 1 ]; then drop=0',
        '  else set -- "$@" "$word"; fi',
        "done",
        f'exec {svtav1} "$@"',
    )
    with pytest.raises(SettingIgnored, match="SVT-AV1 codes the same with a ROI map and without"):
        refuse_ignored(settings_of("svtav1", program=deaf))
    refuse_ignored(settings_of("svtav1", program=deaf).plain())
    refuse_ignored(settings_of("svtav1", program=svtav1))


def test_a_kvazaar_that_drops_its_map_is_refused(kvazaar: str, tmp_path: Path) -> None:
    deaf = script(
        tmp_path / "deaf",
        "for word; do",
        """  shift; set -- "$@" "$(printf %s "$word" | sed 's/,roi=[^,]*//')\"""",
        "done",
        f'exec {kvazaar} "$@"',
    )
    with pytest.raises(SettingIgnored, match="kvazaar codes the same with a ROI map and without"):
        refuse_ignored(settings_of("kvazaar", program=deaf))
    refuse_ignored(settings_of("kvazaar", program=deaf).plain())
    refuse_ignored(settings_of("kvazaar", program=kvazaar))


def test_an_old_svtav1_is_refused(tmp_path: Path) -> None:
    old = script(tmp_path / "SvtAv1EncApp", "echo 'SVT-AV1 v1.4.1 (release)'")
    with pytest.raises(SettingIgnored, match=r"1\.4.*1\.6"):
        find_svtav1(old)


def test_a_missing_program_is_named_with_the_way_to_get_it() -> None:
    with pytest.raises(SettingsError, match="apt install svt-av1"):
        find_svtav1("/nowhere/SvtAv1EncApp")


def test_interlaced_sources_are_refused_unless_asked_for(source: Path) -> None:
    picture = read_source_facts(str(source))
    fields = replace(picture, info=replace(picture.info, interlaced=True, fps=Fraction(25)))
    with pytest.raises(TitleFailed, match="interlaced"):
        refuse_interlaced(EncodeSettings("x264"), fields)
    refuse_interlaced(EncodeSettings("x264", code_fields_as_frames=True), fields)
