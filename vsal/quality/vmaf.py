"""VMAF by libvmaf, and CAMBI and XPSNR beside it, through an ffmpeg program that holds them (imageio-ffmpeg's does)."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsal import storage
from vsal.errors import Reason, SettingsError, TitleFailed
from vsal.quality.weights import Floats, Pixels
from vsal.video.ffmpeg import find_ffmpeg

MODEL = "vmaf_v0.6.1"  # 1080p at three times the picture's height, as Netflix publishes it
NEG = "vmaf_v0.6.1neg"  # the same without gain from sharpening and contrast: for comparing encoders
LEAST_SIDE = 16  # libvmaf's features halve the picture four times
_LOG, _XPSNR_LOG = "vmaf.json", "xpsnr.txt"
_XPSNR = re.compile(r"XPSNR y: *(\S+)")
_TAIL = 300  # characters of what ffmpeg says last
_KEY = "v{}"  # name of a model's score in the log


@dataclass(frozen=True, slots=True)
class VmafScores:
    """One model's scores of a clip.

    Attributes:
        model: its name.
        frames: float64 [n], 0..100 each.
    """

    model: str
    frames: Floats

    @property
    def mean(self) -> float:
        """Over the frames."""
        return float(self.frames.mean())

    @property
    def harmonic_mean(self) -> float:
        """n / sum(1 / (score + 1)) - 1, as libvmaf pools: nearer to the worst frames than the mean."""
        return float(len(self.frames) / np.sum(1.0 / (self.frames + 1.0)) - 1.0)

    @property
    def percentile_5(self) -> float:
        """The score that a twentieth of the frames stays below."""
        return float(np.percentile(self.frames, 5))


class Vmaf:
    """A libvmaf that is fed pairs of luma, whatever decoded them; use it as a context manager.

    Frames go to ffmpeg through one pipe, the source's above the encode's, so the two cannot fall out of step: pairing
    by time is `vsal.quality.decoded.in_step`'s work, and one decode serves every metric. VMAF reads luma alone.

    Args:
        width: luma samples a row.
        height: luma rows.
        bit_depth: 8, 10 or 12, in which luma is handed over; that of the deeper of the two.
        models: libvmaf's built-in models by name; those of `available_models()` if None.
        threads: of libvmaf.
        every: scores every nth frame that is added.
        more: CAMBI (banding of the encode, 0 is none: Tandon et al., PCS 2021) and XPSNR of luma (Helmrich et al.,
            ICASSP 2020) too; `more` holds them after `scores`.

    Raises:
        SettingsError: there is no ffmpeg with libvmaf and these models, or pictures are too small for it.
    """

    def __init__(
        self,
        width: int,
        height: int,
        bit_depth: int = 8,
        models: Iterable[str] | None = None,
        threads: int = 1,
        every: int = 1,
        more: bool = False,
    ) -> None:
        if min(width, height) < LEAST_SIDE:
            raise SettingsError(f"VMAF needs sides of at least {LEAST_SIDE} pixels, not {width}x{height}")
        if bit_depth not in (8, 10, 12):
            raise SettingsError(f"VMAF takes luma of 8, 10 or 12 bits, not {bit_depth}")
        self.models = tuple(available_models() if models is None else models)
        self._measures_more, self.more = more, dict[str, Floats]()
        self._size, self._shift, self._added, self._every = (height, width), bit_depth - 8, 0, every
        # Pictures of odd sides have no halves of chroma; at full size it is only zeros that are carried along.
        sampling = "420" if width % 2 == height % 2 == 0 else "444"
        pixels = width * height // 2 if sampling == "420" else width * height * 2
        self._dtype = np.dtype(np.uint8 if bit_depth == 8 else np.uint16)
        self._chroma = np.full(2 * pixels, 1 << (bit_depth - 1), self._dtype)
        self._folder = storage.TemporaryFolder("vmaf")
        pix_fmt = f"yuv{sampling}p" + ("" if bit_depth == 8 else f"{bit_depth}le")
        # It says why it fails into a file, for a pipe that nobody reads would fill up and stop it.
        self._words = open(os.path.join(self._folder.name, "words"), "w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            _command(width, height, pix_fmt, self.models, threads, more),
            cwd=self._folder.name,
            stdin=subprocess.PIPE,
            stdout=self._words,
            stderr=subprocess.STDOUT,
        )

    def __enter__(self) -> Vmaf:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None and not self._process.stdin.closed:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        self._words.close()
        self._folder.cleanup()

    def add(self, source: Pixels, encoded: Pixels) -> None:
        """Hand over luma of one frame of each, in 8-bit units: float32 [height, width].

        Raises:
            ValueError: they are not of the size that was announced.
            TitleFailed: libvmaf stopped.
        """
        if source.shape != self._size or encoded.shape != self._size:
            raise ValueError(f"VMAF was opened for {self._size} and is given {source.shape} and {encoded.shape}")
        self._added += 1
        if (self._added - 1) % self._every:
            return
        assert self._process.stdin is not None
        try:
            for picture in (source, encoded):
                self._process.stdin.write(self._whole(picture).data)
            self._process.stdin.write(self._chroma.data)
        except BrokenPipeError as error:
            raise self._failed() from error

    def scores(self) -> tuple[VmafScores, ...]:
        """Ends the clip: the scores of each model, in their order.

        Raises:
            TitleFailed: nothing was added, or libvmaf failed or scored another number of frames.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except BrokenPipeError as error:
            raise self._failed() from error
        if self._process.wait() != 0 or not self._added:
            raise self._failed()
        with open(os.path.join(self._folder.name, _LOG), encoding="utf-8") as file:
            frames = json.load(file)["frames"]
        wanted = -(-self._added // self._every)
        if len(frames) != wanted:
            raise TitleFailed(Reason.DECODE_ERROR, f"libvmaf scored {len(frames)} frames of {wanted}: {self._said()}")
        if self._measures_more:
            self.more = {"xpsnr": self._xpsnr()}
            banding = [frame["metrics"].get("cambi") for frame in frames]
            if None not in banding:  # of very small pictures libvmaf says none
                self.more["cambi"] = np.array(banding, np.float64)
        return tuple(
            VmafScores(model, np.array([frame["metrics"][_KEY.format(i)] for frame in frames], np.float64))
            for i, model in enumerate(self.models)
        )

    def _xpsnr(self) -> Floats:
        """Of each frame, in dB; infinite where nothing differs."""
        with open(os.path.join(self._folder.name, _XPSNR_LOG), encoding="utf-8") as file:
            found = [float(match[1]) for line in file if (match := _XPSNR.search(line))]
        return np.array(found, np.float64)

    def _whole(self, picture: Pixels) -> NDArray[Any]:
        """Luma at the depth of the pipe."""
        top = (256 << self._shift) - 1
        whole: NDArray[Any] = np.clip(np.rint(picture * np.float32(1 << self._shift)), 0, top).astype(self._dtype)
        return whole

    def _said(self) -> str:
        self._words.seek(0)
        return " / ".join(self._words.read().strip().splitlines())[-_TAIL:]

    def _failed(self) -> TitleFailed:
        self._process.wait()
        return TitleFailed(Reason.UNSUPPORTED, f"libvmaf fails after {self._added} frames: {self._said() or 'no word'}")


@lru_cache(maxsize=4)
def available_models(program: str | None = None) -> tuple[str, ...]:
    """VMAF's models that an ffmpeg program can score with: `MODEL`, and `NEG` where its libvmaf holds that.

    Raises:
        SettingsError: it has no libvmaf.
    """
    program = program or find_ffmpeg()
    found = tuple(model for model in (MODEL, NEG) if _scores_black(program, model))
    if not found:
        raise SettingsError(
            f"{program} has no libvmaf: pip install imageio-ffmpeg brings an ffmpeg with it; PSNR and SSIM need none"
        )
    return found


def _scores_black(program: str, model: str) -> bool:
    black = bytes(64 * 128 * 3 // 2)
    with storage.TemporaryFolder("vmaf") as folder:
        command = [program, *_command(64, 64, "yuv420p", (model,), 1)[1:]]
        return subprocess.run(command, cwd=folder, input=black, capture_output=True, check=False).returncode == 0


def _command(
    width: int, height: int, pix_fmt: str, models: Iterable[str], threads: int, more: bool = False
) -> list[str]:
    """An ffmpeg that reads pictures of twice the height, source above encode, and writes scores beside itself."""
    listed = "|".join(rf"version={model}\:name={_KEY.format(i)}" for i, model in enumerate(models))
    vmaf = f"libvmaf=model='{listed}':log_fmt=json:log_path={_LOG}:n_threads={threads}"
    graph = f"split[a][b];[a]crop={width}:{height}:0:0[source];[b]crop={width}:{height}:0:{height}[encoded];"
    if more:
        graph += "[source]split[s][s2];[encoded]split[e][e2];"
        graph += f"[e][s]{vmaf}:feature=name=cambi,nullsink;[e2][s2]xpsnr=stats_file={_XPSNR_LOG}"
    else:
        graph += f"[encoded][source]{vmaf}"
    raw = ["-f", "rawvideo", "-pix_fmt", pix_fmt, "-s", f"{width}x{2 * height}", "-r", "25", "-i", "-"]
    return [
        find_ffmpeg(),
        "-nostdin",
        "-v",
        "error",
        *raw,
        "-lavfi",
        graph,
        "-fps_mode",
        "passthrough",
        "-f",
        "null",
        "-",
    ]
