"""kvazaar, through an ffmpeg program that holds it; it takes a ROI file in coding order."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import lru_cache
from itertools import repeat

import av
import numpy as np
from av.video.frame import VideoFrame

from vsal import storage
from vsal.encode.codecs.base import PLAIN_REMEDY, Encoder, FrameRun
from vsal.encode.codecs.process import feed
from vsal.encode.maps.cells import cell_offsets
from vsal.encode.settings import EncodeSettings
from vsal.encode.source_facts import SourceFacts
from vsal.errors import Reason, SettingIgnored, SettingsError, TitleFailed
from vsal.manifest import MapRow
from vsal.roi.qp import QpMapping
from vsal.video.ffmpeg import bundled_ffmpeg

_FORMAT = "yuv420p"
_SIDE_MULTIPLE = 8
_GOP = re.compile(r"0|8|16|lp-(g\d+|d\d+|t\d+|[a-z]\d+)+")
# kvazaar's words for the numbers of ITU-T H.273.
_PRIMARIES = {1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "film", 9: "bt2020"}
_TRANSFER = {1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "linear", 13: "iec61966-2-1"} | {
    14: "bt2020-10",
    15: "bt2020-12",
}
_MATRIX = {0: "GBR", 1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 9: "bt2020nc", 10: "bt2020c"}

_SITING = ("left", "center", "topleft", "top", "bottomleft", "bottom")  # chroma_sample_loc_type of ITU-T H.265


def roi_frames(
    maps: Iterable[MapRow], mapping: QpMapping, first_frame: int, end_frame: int, gain: float | None = None
) -> Iterator[str]:
    """For each frame in display order its array: cells across and down, then their QP offsets in raster order."""
    for row in maps:
        offsets, _ = cell_offsets(row, mapping, gain)
        rows, cols = offsets.shape
        values = " ".join(str(value) for value in np.rint(offsets).astype(int).ravel().tolist())
        count = min(row.frame_end, end_frame) - max(row.frame_start, first_frame)
        yield from repeat(f"{cols} {rows}\n{values}\n", count)


def coding_order(program: str, params: str, count: int) -> list[int]:
    """Display numbers of frames in the order in which kvazaar codes them, for it takes its ROI arrays in that order.

    The structure does not depend on content or size, so it is read off an encode of black 64x64 frames.
    """
    with storage.TemporaryFolder("kvazaar") as folder:
        path = os.path.join(folder, "order.mp4")
        black = np.zeros((96, 64), dtype=np.uint8)
        found = (VideoFrame.from_ndarray(black, format=_FORMAT) for _ in range(count))
        feed(
            _command(program, 64, 64, Fraction(25), params, path),
            b"",
            b"",
            found,
            "kvazaar",
            lambda done: None,
        )
        with av.open(path) as container:
            times = [packet.pts for packet in container.demux(video=0) if packet.size and packet.pts is not None]
    rank = {pts: number for number, pts in enumerate(sorted(times))}
    return [rank[pts] for pts in times]


class Kvazaar(Encoder):
    """HEVC; a map has one QP offset for each 64x64 unit."""

    name = label = "kvazaar"
    default_crf, most_crf, default_preset = 27, 51, "fast"
    crf_options, rate_options = ("qp",), ("bitrate",)
    cell = 64

    def check(self, settings: EncodeSettings) -> None:
        """As `Encoder.check`."""
        super().check(settings)
        find_kvazaar_ffmpeg(settings.program)
        gop = settings.encoder_options.get("gop")
        if gop is not None and _GOP.fullmatch(gop) is None:
            raise SettingsError(
                f"kvazaar reads gop={gop} as gop=0, without a word: use 0, 8, 16 or a low-delay structure such as "
                "lp-g8d4t2"
            )

    def crf_step(self, settings: EncodeSettings) -> float:
        """As `Encoder.crf_step`: its QP is a whole number."""
        return 1.0

    def version(self, settings: EncodeSettings) -> str:
        """As `Encoder.version`: by what it writes into its streams."""
        return _version(find_kvazaar_ffmpeg(settings.program))

    def refuse(self, settings: EncodeSettings) -> None:
        """As `Encoder.refuse`."""
        options = settings.encoder_options
        asked = {key: value for key, value in options.items() if key in ("bitrate", "rc-algorithm", "roi")}
        if asked:
            raise SettingIgnored(
                f"kvazaar's rate control sets the QP of each block itself, over the ROI map: asked for {asked}. Use "
                f"--crf, which it takes as its QP, {PLAIN_REMEDY}."
            )

    def pixel_format(self, settings: EncodeSettings, facts: SourceFacts) -> str:
        """As `Encoder.pixel_format`."""
        info = facts.info
        name = (settings.pix_fmt or info.pix_fmt).replace("yuvj", "yuv")
        if name != _FORMAT:
            if settings.pix_fmt:
                raise SettingsError(f"kvazaar takes {_FORMAT}, not --pix-fmt {name}")
            raise TitleFailed(
                Reason.UNSUPPORTED,
                f"kvazaar takes {_FORMAT}, not {name}, the source's; convert with --pix-fmt {_FORMAT}",
            )
        if info.width % 2 or info.height % 2:
            raise TitleFailed(Reason.UNSUPPORTED, f"kvazaar takes even sides, not {info.width}x{info.height}")
        return name

    def encode(self, run: FrameRun, path: str) -> list[int]:
        """As `Encoder.encode`, into an MP4."""
        facts, settings = run.facts, run.settings
        program = find_kvazaar_ffmpeg(settings.program)
        params = self._params(settings, facts)
        with storage.TemporaryFolder("kvazaar") as folder:
            if run.maps is not None:
                rows = list(run.maps)
                end = rows[-1].frame_end if run.frame_count is None else run.first_frame + run.frame_count
                arrays = list(roi_frames(rows, run.mapping, run.first_frame, end, run.gain))
                map_file = os.path.join(folder, "roi.txt")
                with open(map_file, "w", encoding="ascii") as file:
                    file.writelines(arrays[number] for number in coding_order(program, params, len(arrays)))
                params += f",roi={map_file}"
            command = _command(program, facts.info.width, facts.info.height, facts.fps, params, path)
            return feed(command, b"", b"", run.frames, self.label, run.on_frame)

    def _params(self, settings: EncodeSettings, facts: SourceFacts) -> str:
        info = facts.info
        params = {"preset": self.preset(settings), "qp": f"{self.crf(settings):g}"}
        if settings.threads:
            params["threads"] = str(settings.threads)
        for key, names, value in (
            ("colorprim", _PRIMARIES, info.color_primaries),
            ("transfer", _TRANSFER, info.color_trc),
            ("colormatrix", _MATRIX, info.colorspace),
        ):
            if value in names:
                params[key] = names[value]
        if info.color_range == 2 or info.pix_fmt.startswith("yuvj"):
            params["range"] = "pc"
        if facts.chroma_siting in _SITING:
            params["chromaloc"] = str(_SITING.index(facts.chroma_siting))
        if facts.sample_aspect_ratio is not None:
            params["sar"] = f"{facts.sample_aspect_ratio.numerator}:{facts.sample_aspect_ratio.denominator}"
        params |= settings.encoder_options
        return ",".join(f"{key}={value}" for key, value in params.items())


def _command(program: str, width: int, height: int, fps: Fraction, params: str, path: str) -> list[str]:
    raw = ["-f", "rawvideo", "-pix_fmt", _FORMAT, "-s", f"{width}x{height}", "-r", str(fps), "-i", "-"]
    right, bottom = -width % _SIDE_MULTIPLE, -height % _SIDE_MULTIPLE
    whole = []
    if right or bottom:
        # kvazaar codes whole 8x8 units: the rest is filled from the edge and cropped again by the bitstream's window.
        grown = f"pad={width + right}:{height + bottom},fillborders=right={right}:bottom={bottom}:mode=smear"
        whole = ["-vf", grown, "-bsf:v", f"hevc_metadata=crop_right={right}:crop_bottom={bottom}"]
    coder = ["-c:v", "libkvazaar", "-kvazaar-params", params]
    return [program, "-v", "warning", *raw, *whole, *coder, "-f", "mp4", "-y", path]


@lru_cache(maxsize=8)
def find_kvazaar_ffmpeg(program: str | None = None) -> str:
    """An ffmpeg program that holds kvazaar: the one asked for, imageio-ffmpeg's, or the one on PATH.

    Raises:
        SettingsError: none of them does.
    """
    tried = []
    for path in [program] if program else [bundled_ffmpeg(), shutil.which("ffmpeg")]:
        if path is None or shutil.which(path) is None:
            continue
        tried.append(path)
        said = subprocess.run([path, "-hide_banner", "-encoders"], capture_output=True, text=True, check=False)
        if "libkvazaar" in said.stdout:
            return path
    where = ", ".join(tried) or "no ffmpeg"
    raise SettingsError(
        f"kvazaar is not found ({where}): pip install imageio-ffmpeg brings an ffmpeg with it, or name one with "
        "--encoder-program FILE"
    )


@lru_cache(maxsize=8)
def _version(program: str) -> str:
    with storage.TemporaryFolder("kvazaar") as folder:
        path = os.path.join(folder, "version.mp4")
        black = VideoFrame.from_ndarray(np.zeros((96, 64), dtype=np.uint8), format=_FORMAT)
        command = _command(program, 64, 64, Fraction(25), "preset=ultrafast,qp=51", path)
        feed(command, b"", b"", [black], "kvazaar", lambda done: None)
        with open(path, "rb") as file:
            found = re.search(rb"Kvazaar HEVC Encoder v\. ?(\S+)", file.read())
    if found is None:
        raise SettingsError(f"{program} holds a kvazaar that does not tell its version: name another ffmpeg")
    return f"kvazaar {found[1].decode()}"
