"""One file is all that an encoder takes: chunks, joins, containers, trial and proof ask it and know no names."""

from __future__ import annotations

from pathlib import Path

import pytest

from vsal.encode.codecs import ENCODERS
from vsal.encode.codecs.base import FrameRun
from vsal.encode.codecs.libav import LibavEncoder
from vsal.encode.maps.regions import QpUnit
from vsal.encode.proof.verdict import Verdict
from vsal.encode.proof.verify import verify_title
from vsal.encode.settings import EncodeSettings
from vsal.encode.source_facts import SourceFacts
from vsal.encode.title import check_settings, encode_title
from vsal.errors import SettingIgnored, SettingsError
from vsal.manifest import TitleManifest, maps_uri


class Wavelet(LibavEncoder):
    """Under a name of its own; its bits are those of libx264, so that there are some."""

    name = "wavelet"
    label = "Wavelet"
    av_name = "libx264"
    params_option = "x264-params"
    default_crf, most_crf, default_preset = 20, 40, "superfast"
    reports_qp = True
    containers = ("mkv",)

    def own_options(self, settings: EncodeSettings) -> tuple[dict[str, str], dict[str, str]]:
        return {"preset": self.preset(settings), "forced-idr": "1"}, {"aq-strength": "0.001", "mbtree": "0"}

    def unit(self, settings: EncodeSettings, bit_depth: int) -> QpUnit:
        return QpUnit.at_depth(bit_depth)


class Deaf(Wavelet):
    """Takes maps and drops them, as a build without the feature would."""

    name = "deaf"

    def encode(self, run: FrameRun, path: str) -> list[int]:
        return super().encode(
            FrameRun(run.frames, run.facts, None, run.settings, run.first_frame, on_frame=run.on_frame), path
        )

    def pixel_format(self, settings: EncodeSettings, facts: SourceFacts) -> str:
        return "yuv420p"


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for encoder in (Wavelet(), Deaf()):
        monkeypatch.setitem(ENCODERS, encoder.name, encoder)


@pytest.mark.usefixtures("made_up")
def test_a_new_encoder_codes_in_chunks_and_is_proved(prepared: Path, tmp_path: Path) -> None:
    settings = EncodeSettings("wavelet", chunked=True, chunk_s=1.0)
    check_settings(settings)
    record = encode_title(str(prepared), "title", settings, str(tmp_path))
    assert record["outputs"][0]["name"] == "title.mkv", "it is in no other container"
    assert len(record["chunks"]) == 3
    with TitleManifest(maps_uri(str(prepared), "title")) as title:
        proof = verify_title(title, str(tmp_path / record["outputs"][0]["name"]), settings)
    assert proof.verdict is Verdict.OBEYED
    assert {shot.method for shot in proof.shots} == {"qp"}


@pytest.mark.usefixtures("made_up")
def test_what_it_does_not_take_is_refused_by_its_own_words() -> None:
    with pytest.raises(SettingsError, match="wavelet is 0 to 40"):
        check_settings(EncodeSettings("wavelet", crf=41))
    with pytest.raises(SettingsError, match="mov does not hold wavelet: take mkv"):
        check_settings(EncodeSettings("wavelet", container="mov"))
    with pytest.raises(SettingIgnored, match="Wavelet codes the same with a ROI map and without"):
        check_settings(EncodeSettings("deaf"))


def test_an_encoder_that_nobody_wrote_is_named() -> None:
    with pytest.raises(SettingsError, match="kvazaar, not 'wavelet'"):
        check_settings(EncodeSettings("wavelet"))
