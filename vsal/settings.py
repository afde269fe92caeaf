"""What a user can set, checked at the edge.

Two groups, because resume depends on the difference: `PrepareSettings` shape the manifest and go into its fingerprint;
`RunSettings` say how the work is run and may change between two runs of the same job.
"""

from __future__ import annotations

import hashlib
from fractions import Fraction
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vsal.errors import SettingsError

AggregatorName = Literal["mean", "ema", "max", "motion", "learned", "smooth"]
SaliencyMode = Literal["image", "video"]
ShotDetectorName = Literal["adaptive", "content", "transnetv2"]
Device = Literal["auto", "cpu", "gpu"]

SHIPPED_MODELS: dict[SaliencyMode, str] = {
    "image": "image_saliency_student_v2",
    "video": "video_saliency_student_v2",
}
SHIPPED_MODEL = SHIPPED_MODELS["image"]

# SalEMA (Linardos et al., BMVC 2019) weighs each new frame by 0.1 at 30 frames a second: half of what is remembered has
# gone after ln 0.5 / ln 0.9 = 6.6 frames. In seconds it holds for any sample rate.
SALEMA_HALF_LIFE_S = 0.22

# The samples of twice that are held for every open title: about 1000 at the highest rate, 70 MB of masks of 128x72.
LONGEST_SMOOTH_S = 2.0


def samples_per_span(map_interval: float | str, sample_rate: float) -> int | None:
    """Samples of the clock that share one map; None with one map a shot."""
    return None if map_interval == "shot" else max(1, round(float(map_interval) * sample_rate))


def ema_weight(alpha: float | None, sample_rate: float, half_life_s: float) -> float:
    """Weight of a new sample in the exponential moving average, in (0, 1]."""
    return float(1.0 - 0.5 ** (1.0 / (sample_rate * half_life_s))) if alpha is None else alpha


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PrepareSettings(_Settings):
    """What shapes a manifest: two runs with equal settings, model and source write the same maps."""

    saliency_mode: SaliencyMode = "image"
    model: str = SHIPPED_MODEL  # where none is given, the shipped one of the mode
    sample_rate: Annotated[float, Field(gt=0, le=240)] = 3.0  # frames a second that the model sees
    map_interval: Literal["shot"] | Annotated[float, Field(gt=0, le=3600)] = 0.33  # seconds, or one map a shot
    samples_per_map: Annotated[int, Field(ge=1, le=64)] = 8  # of a shot, when there is one map a shot
    aggregator: AggregatorName = "ema"  # where none is given: learned in mode video, mean with one map a shot
    ema_alpha: Annotated[float, Field(gt=0, le=1)] | None = None  # weight of a new sample; overrides the half-life
    ema_half_life_s: Annotated[float, Field(gt=0)] = SALEMA_HALF_LIFE_S
    smooth_s: Annotated[float, Field(gt=0, le=LONGEST_SMOOTH_S)] = 1 / 3  # to either side of a map's middle
    shot_detector: ShotDetectorName = "adaptive"
    shot_model: str | None = None  # a TransNetV2 ONNX file
    min_shot_s: Annotated[float, Field(ge=0)] = 0.6
    regions: str | None = None  # a file of regions that somebody marked, merged with the maps
    exact_decode: bool = False  # run the loop filter too
    qp_mapping: Literal["rd", "linear"] = "rd"
    qp_floor: Annotated[float, Field(gt=0, le=1)] = 0.08
    qp_limit: Annotated[int, Field(ge=0, le=12)] = 8
    qp_offset: Annotated[int, Field(ge=0, le=12)] = 6  # strength of the linear mapping

    @model_validator(mode="before")
    @classmethod
    def _by_mode(cls, given: Any) -> Any:
        """Model and aggregator where none is chosen."""
        if not isinstance(given, dict):
            return given
        mode, chosen = given.get("saliency_mode", "image"), dict(given)
        if chosen.get("model") is None:
            chosen["model"] = SHIPPED_MODELS.get(mode, SHIPPED_MODEL)
        if chosen.get("aggregator") is None:
            # Over a whole shot the moving average knows its last second only, the mean all of it.
            of_images = "mean" if given.get("map_interval") == "shot" else "ema"
            chosen["aggregator"] = "learned" if mode == "video" else of_images
        return chosen

    @model_validator(mode="after")
    def _consistent(self) -> PrepareSettings:
        if isinstance(self.map_interval, float) and self.map_interval * self.sample_rate < 0.5:
            raise ValueError(
                f"a map every {self.map_interval:g} s needs a sample in each, and {self.sample_rate:g} samples a "
                f"second are too few: use --sample-rate {1 / self.map_interval:g} or a longer --map-interval"
            )
        if self.shot_detector == "transnetv2" and self.shot_model is None:
            raise ValueError("the transnetv2 shot detector needs its ONNX file: --shot-model FILE")
        return self

    @property
    def samples_per_span(self) -> int | None:
        """Samples of the clock that share one map; None with one map a shot.

        The interval is rounded to whole sample periods, so that every map between two cuts rests on as many samples.
        """
        return samples_per_span(self.map_interval, self.sample_rate)

    @property
    def alpha(self) -> float:
        """Weight of a new sample in the exponential moving average, in (0, 1]."""
        return ema_weight(self.ema_alpha, self.sample_rate, self.ema_half_life_s)

    def pinned(self, shot_model: bytes | None) -> PrepareSettings:
        """The same settings with the cut model named by its content, wherever the file lies.

        Args:
            shot_model: what `shot_model` holds; None where there is none.
        """
        if shot_model is None:
            return self
        return self.model_copy(update={"shot_model": f"sha256:{hashlib.sha256(shot_model).hexdigest()}"})

    def shaping(self) -> dict[str, Any]:
        """The settings as plain values, for metadata and fingerprint; `model` is left to its hash."""
        return self.model_dump(mode="json", exclude={"model"})


class RunSettings(_Settings):
    """How the work is run; none of it changes a manifest."""

    device: Device = "auto"
    gpu_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0  # of one GPU, for each saliency actor
    saliency_actors: Annotated[int, Field(ge=1)] | None = None  # None: by the size of the cluster
    saliency_threads: Annotated[int, Field(ge=1)] | None = None  # of one CPU actor
    segment_s: Annotated[float, Field(gt=0)] = 30.0
    titles_in_flight: Annotated[int, Field(ge=1)] | None = None
    windows_in_flight: Annotated[int, Field(ge=1, le=64)] = 3  # of one scan task
    object_store_mb: Annotated[int, Field(ge=80)] = 200
    attempts: Annotated[int, Field(ge=1, le=20)] = 3
    stall_s: Annotated[float, Field(gt=0)] = 300.0  # without progress of a step that has begun
    title_timeout_s: Annotated[float, Field(gt=0)] | None = None  # of work on a title; None: no limit
    grace_s: Annotated[float, Field(ge=0)] = 1.0  # for open steps to end once the run is told to stop
    max_failed: Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern=r"^(\d{1,2}(\.\d+)?|100)%$")] = (
        0  # or a share
    )
    force: bool = False  # do titles again whose manifest is already committed
    retry_failed: bool = False  # only titles that failed the last time
    accept_licence: bool = False

    @model_validator(mode="after")
    def _one_choice(self) -> RunSettings:
        if self.force and self.retry_failed:
            raise ValueError("--force does all titles again and --retry-failed those that failed: give one of them")
        return self

    def failures_allowed(self, titles: int) -> int:
        """How many of so many titles may fail, a share rounded down."""
        if isinstance(self.max_failed, int):
            return self.max_failed
        return int(Fraction(self.max_failed.removesuffix("%")) * titles / 100)


S = TypeVar("S", bound=_Settings)


def checked(kind: type[S], values: dict[str, Any]) -> S:
    """Settings from what a user typed.

    Raises:
        SettingsError: a value is out of range or does not fit the others; the text names option, value and remedy.
    """
    try:
        return kind(**values)
    except ValidationError as error:
        lines = []
        for item in error.errors():
            option = "--" + str(item["loc"][0]).replace("_", "-") if item["loc"] else ""
            given = f" (given: {item['input']!r})" if item["loc"] else ""
            lines.append(f"{option}: {item['msg'].removeprefix('Value error, ')}{given}".removeprefix(": "))
        raise SettingsError("\n".join(dict.fromkeys(lines))) from None
