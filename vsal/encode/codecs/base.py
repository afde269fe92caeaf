"""What an encoder says of itself, and what it is given: a run of frames, their maps, and how they are to be coded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import ClassVar

from av.video.frame import VideoFrame

from vsal.encode.settings import EncodeSettings
from vsal.encode.source_facts import SourceFacts
from vsal.errors import SettingsError
from vsal.manifest import MapRow
from vsal.roi.grid import MACROBLOCK
from vsal.roi.qp import QpMapping

PLAIN_REMEDY = "or --no-roi to encode without maps"


def _unwatched(done: int) -> None:
    """Nobody asks how far it is."""


@dataclass(frozen=True, slots=True)
class FrameRun:
    """A run of frames to be encoded on its own, each frame under its map.

    Attributes:
        frames: in display order, with whole timestamps; they are read once.
        facts: of the source.
        maps: those of the frames, in order; None for a plain encode.
        settings: of the encode.
        first_frame: number of the first frame in its title.
        mapping: by which saliency becomes QP, where cells or `gain` ask for other offsets than the maps'.
        gain: strength of the maps; None leaves them as they are.
        on_frame: told how many frames are done.
        frame_count: of the run, where its last map goes on beyond it; None where the maps end with the frames.
    """

    frames: Iterable[VideoFrame]
    facts: SourceFacts
    maps: Iterable[MapRow] | None
    settings: EncodeSettings
    first_frame: int = 0
    mapping: QpMapping = field(default_factory=QpMapping)
    gain: float | None = None
    on_frame: Callable[[int], None] = _unwatched
    frame_count: int | None = None


class Encoder(ABC):
    """One encoder: all that vsal knows of it.

    Attributes:
        name: under which `--codec` asks for it.
        label: by which messages call it.
        default_crf: its own default, except VP9's, whose default takes no maps.
        least_crf: the smallest that it takes.
        most_crf: the largest that it takes.
        crf_options: its own options that say the same as `--crf`.
        rate_options: its own options that ask for a rate or a quality in another way, of which it follows one alone.
        default_preset: likewise its own word.
        cell: side of the squares in which it takes offsets, in luma samples.
        takes_regions: whether it takes rectangles, of which `max_rectangles` of the settings is the most.
        maps_version: of the way in which maps are put to it; raised when the same maps come to another bitstream.
        reports_qp: whether a decoder tells the QP of each block of its bitstream.
        says_aspect: whether its bitstream tells the shape of the pixels.
        says_siting: whether its bitstream tells where the samples of chroma lie.
        containers: that hold its bitstream, as file endings.
        caveat: what a user of its maps must know, in a sentence.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    default_crf: ClassVar[float]
    least_crf: ClassVar[float] = 0
    most_crf: ClassVar[float]
    default_preset: ClassVar[str]
    crf_options: ClassVar[tuple[str, ...]] = ("crf",)
    rate_options: ClassVar[tuple[str, ...]] = ("qp", "b", "bitrate")
    cell: ClassVar[int] = MACROBLOCK
    takes_regions: ClassVar[bool] = False
    maps_version: ClassVar[int] = 1
    reports_qp: ClassVar[bool] = False
    says_aspect: ClassVar[bool] = True
    says_siting: ClassVar[bool] = True
    containers: ClassVar[tuple[str, ...]] = ("mp4", "mov", "mkv")
    caveat: ClassVar[str] = ""

    def crf(self, settings: EncodeSettings) -> float:
        """The rate factor that the encoder is given: `--crf`, the option of its own that says the same, or its default.

        Raises:
            SettingsError: its option is no number.
        """
        if settings.crf is not None:
            return settings.crf
        options = self.options_of(settings)
        asked = next((options[key] for key in self.crf_options if key in options), None)
        try:
            return self.default_crf if asked is None else float(asked)
        except ValueError:
            raise SettingsError(f"--crf of {self.name} is a number, not {asked!r}") from None

    def crf_step(self, settings: EncodeSettings) -> float:
        """The steps in which it takes rate factors; 0 for any."""
        return 0.0

    def preset(self, settings: EncodeSettings) -> str:
        """The preset that the encoder is given."""
        return settings.preset or self.default_preset

    def check(self, settings: EncodeSettings) -> None:
        """Refuse what can never be, before anything is opened.

        Raises:
            SettingsError: its program is missing, or a setting is out of its range.
        """
        if settings.container not in ("auto", *self.containers):
            holding = " or ".join(self.containers)
            raise SettingsError(f"--container {settings.container} does not hold {self.name}: take {holding}")
        self._check_rate(settings)

    def _check_rate(self, settings: EncodeSettings) -> None:
        """Refuse what an encoder would settle in silence: two rates at once, and a rate factor between its steps."""
        asked = {} if settings.crf is None else {"--crf": f"{settings.crf:g}"}
        asked |= {
            key: value
            for key, value in self.options_of(settings).items()
            if key in (*self.crf_options, *self.rate_options)
        }
        if len(asked) > 1:
            told = " and ".join(f"{key}={value}" for key, value in asked.items())
            raise SettingsError(
                f"{told} ask {self.label} for different rates, and it would follow one of them without a word: leave "
                "out all but one"
            )
        crf, step = self.crf(settings), self.crf_step(settings)
        if not self.least_crf <= crf <= self.most_crf:
            raise SettingsError(f"--crf of {self.name} is {self.least_crf:g} to {self.most_crf:g}, not {crf:g}")
        if step and crf % step:
            below = crf // step * step
            raise SettingsError(
                f"--crf of {self.name} goes in steps of {step:g}, and {crf:g} would be rounded without a word: use "
                f"{below:g} or {below + step:g}"
            )

    def carries_dolby_vision(self, settings: EncodeSettings, facts: SourceFacts) -> bool:
        """Whether the Dolby Vision metadata of a source's frames goes into its bitstream."""
        return False

    def refuse(self, settings: EncodeSettings) -> None:  # noqa: B027 - most encoders know of nothing
        """Refuse settings under which it is known to ignore maps or to put them on other frames.

        Raises:
            SettingIgnored: with the reason and the remedy.
        """

    def codes_fields(self, written: bytes) -> bool:
        """Whether a trial came out interlaced: macroblocks then come in pairs of rows, and a map's rows are misread."""
        return False

    def why_ignored(self, settings: EncodeSettings, written: bytes) -> str:
        """Why a trial encode came out the same with a map and without, and what to do about it.

        Args:
            settings: of the trial.
            written: the trial's file.
        """
        return f"{self.label} codes the same with a ROI map and without under {self.told(settings)}. Leave options out"

    def told(self, settings: EncodeSettings) -> str:
        """What was asked of it, for a message."""
        options = {"preset": self.preset(settings)} | dict(settings.encoder_options)
        return ", ".join(f"{key}={value}" for key, value in options.items())

    def options_of(self, settings: EncodeSettings) -> dict[str, str]:
        """The user's own options, those inside a parameter string taken apart."""
        return dict(settings.encoder_options)

    @abstractmethod
    def version(self, settings: EncodeSettings) -> str:
        """Which build of it codes under these settings, in its own words: part of what an encode's bytes depend on.

        Raises:
            SettingsError: its program is missing.
        """

    @abstractmethod
    def pixel_format(self, settings: EncodeSettings, facts: SourceFacts) -> str:
        """The pixel format to encode in, by FFmpeg's name: the source's, unless another is asked for.

        Raises:
            SettingsError: it does not take the one asked for.
            TitleFailed: it does not take the source's format or size.
        """

    @abstractmethod
    def encode(self, run: FrameRun, path: str) -> list[int]:
        """Encode a run of frames into a file that holds nothing else: MP4, or IVF from SVT-AV1.

        Args:
            run: frames, maps and settings.
            path: local file to write.

        Returns:
            Timestamps of the frames, in the source's time base. Those in the file only say in which order they are
            shown.

        Raises:
            TitleFailed: source, maps and encoder do not fit each other.
            SettingsError: the encoder does not take a setting.
        """
