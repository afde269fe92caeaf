"""By whose account an encode is judged: what weighs its errors, block by block and frame by frame.

`gaze:FOLDER`: people. The odd observers weigh, the even ones make the map that says what can be reached. A fixation is
in force if it lasts within 0.25 s of the frame; its density is a Gaussian of a twentieth of the picture's width, and
each frame's density has a maximum of 1. `mask:PATTERN`: true masks of objects. `model:NAME`: a model that shares no
teacher and no ancestor with any arm. `none`: nobody; plain figures alone.
"""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from vsal.errors import Reason, SettingsError, TitleFailed
from vsal.evaluate.roi.clip import Clip
from vsal.evaluate.roi.sources import MapSource
from vsal.evaluate.saliency.clip_scores import by_blocks
from vsal.evaluate.saliency.items import video_planes
from vsal.evaluate.saliency.observed import ACCOUNT_S, judged_size, looks_at, observers
from vsal.evaluate.saliency.sets.gaze import Fixations, read_looks
from vsal.manifest import MapRow, TitleManifest, maps_uri
from vsal.roi.grid import block_means
from vsal.video.probe import VideoInfo

BlockWeights = npt.NDArray[np.float32]
MASK_END = "_mask.mkv"


class Account(Protocol):
    """Whose judgement weighs."""

    @property
    def name(self) -> str:
        """As `--weights` has it."""

    @property
    def says(self) -> str:
        """Whose, in a sentence for the first line of a table."""

    def group(self, title_id: str) -> str:
        """The group of titles that are like this one."""

    def digest(self, title_id: str) -> str:
        """Of all that the weights of a title depend on."""

    def weights(self, clip: Clip) -> BlockWeights | None:
        """float32 [n, rows, cols] in 0..1, of each frame's blocks; None where nobody weighs.

        Raises:
            TitleFailed: nobody has looked at this title.
        """

    def truth(self, clip: Clip, numbers: npt.NDArray[np.int64]) -> BlockWeights | None:
        """Saliency of blocks in 0..1 at some frames (indices into the clip's), of the best possible map; None if there
        is none.
        """


@dataclass(frozen=True)
class GazeAccount:
    """Recorded gaze of many observers, see `vsal.evaluate.saliency.sets.gaze`."""

    name: str
    fixations: dict[str, Fixations] = field(repr=False)
    groups: dict[str, str] = field(repr=False)

    @classmethod
    def open(cls, folder: str) -> GazeAccount:
        """Of a folder with fixations, or a file of them.

        Raises:
            DatasetBroken: it holds no gaze set.
        """
        looks = read_looks(folder)
        groups = {name: group for name, (_, group) in looks.items()}
        return cls(f"gaze:{folder}", {name: fixations for name, (fixations, _) in looks.items()}, groups)

    @property
    def says(self) -> str:
        """As `Account.says`."""
        return (
            "the gaze of the observers of odd number (looks in force within 0.25 s, Gaussian of a twentieth of the "
            "width, each frame to a maximum of 1)"
        )

    def group(self, title_id: str) -> str:
        """As `Account.group`."""
        return self.groups.get(title_id, title_id)

    def digest(self, title_id: str) -> str:
        """As `Account.digest`."""
        looks = self._of(title_id)
        odd = observers(looks, odd=True)
        parts = (looks.start_s[odd], looks.end_s[odd], looks.at[odd])
        return "gaze-" + hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()

    def weights(self, clip: Clip) -> BlockWeights:
        """As `Account.weights`."""
        return self.density(clip.facts.info, clip.title_id, clip.times_s, odd=True)

    def truth(self, clip: Clip, numbers: npt.NDArray[np.int64]) -> BlockWeights | None:
        """As `Account.truth`: the even observers' density."""
        if not observers(self._of(clip.title_id), odd=False).any():
            return None
        return self.density(clip.facts.info, clip.title_id, clip.times_s[numbers], odd=False)

    def _of(self, title_id: str) -> Fixations:
        if title_id not in self.fixations:
            raise TitleFailed(
                Reason.UNSUPPORTED,
                f"{self.name} holds no fixation of {title_id}: titles go by the names of its clips. Leave it out of "
                "the catalogue, or take another --weights",
            )
        return self.fixations[title_id]

    def density(self, info: VideoInfo, title_id: str, times_s: npt.NDArray[np.float64], odd: bool) -> BlockWeights:
        """Of one half of the observers at some times, by the blocks of the picture: float32 [n, rows, cols] in 0..1."""
        looks = self._of(title_id)
        size = judged_size(info.display_aspect)
        density = looks_at(looks, observers(looks, odd), times_s, size, ACCOUNT_S).density
        top = density.max(axis=(1, 2), keepdims=True)
        density /= np.where(top > 0, top, 1)
        return by_blocks(density, (info.width, info.height), info.orientation).clip(0, 1)


@dataclass(frozen=True)
class MaskAccount:
    """True masks, frame by frame: `NAME_mask.mkv` of the title NAME."""

    name: str
    files: dict[str, str] = field(repr=False)

    @classmethod
    def open(cls, pattern: str) -> MaskAccount:
        """Of a pattern or a folder.

        Raises:
            SettingsError: there is no mask.
        """
        found = sorted(glob.glob(pattern if not Path(pattern).is_dir() else f"{pattern}/*{MASK_END}"))
        files = {Path(file).name.removesuffix(MASK_END): file for file in found if file.endswith(MASK_END)}
        if not files:
            raise SettingsError(f"--weights mask:{pattern} finds no NAME{MASK_END}: name the folder that holds them")
        return cls(f"mask:{pattern}", files)

    @property
    def says(self) -> str:
        """As `Account.says`."""
        return "the true masks of the objects, each frame's own"

    def group(self, title_id: str) -> str:
        """As `Account.group`."""
        return title_id

    def digest(self, title_id: str) -> str:
        """As `Account.digest`."""
        return "mask-" + hashlib.sha256(Path(self._of(title_id)).read_bytes()).hexdigest()

    def weights(self, clip: Clip) -> BlockWeights:
        """As `Account.weights`."""
        return self._masks(clip)

    def truth(self, clip: Clip, numbers: npt.NDArray[np.int64]) -> BlockWeights:
        """As `Account.truth`: the masks themselves."""
        return self._masks(clip)[numbers]

    def _of(self, title_id: str) -> str:
        if title_id not in self.files:
            raise TitleFailed(Reason.UNSUPPORTED, f"{self.name} holds no mask of {title_id}: {title_id}{MASK_END}")
        return self.files[title_id]

    def _masks(self, clip: Clip) -> BlockWeights:
        info, wanted = clip.facts.info, set(clip.numbers.tolist())
        planes = enumerate(islice(video_planes(Path(self._of(clip.title_id)), "gray"), max(wanted) + 1))
        covers = [plane().astype(np.float32) / np.float32(255) for number, plane in planes if number in wanted]
        if len(covers) < len(wanted):
            told = f"the masks of {clip.title_id} end at frame {len(covers)}, and {len(wanted)} are judged"
            raise TitleFailed(Reason.UNSUPPORTED, told)
        return np.stack([block_means(cover, info.width, info.height) for cover in covers]).clip(0, 1)


@dataclass(frozen=True)
class ModelAccount:
    """The maps of a model. Each map's maximum is brought to 1.

    Attributes:
        model: its name.
        sha256: of its file.
        source: what makes its maps.
        out: where its manifests are, or will be before titles are judged.
    """

    model: str
    sha256: str
    source: MapSource
    out: str

    @property
    def name(self) -> str:
        """As `Account.name`."""
        return f"model:{self.model}"

    @property
    def says(self) -> str:
        """As `Account.says`."""
        return f"the maps of {self.model}, a model that shares no teacher and no ancestor with any arm: nobody's eyes"

    def group(self, title_id: str) -> str:
        """As `Account.group`."""
        return title_id

    def digest(self, title_id: str) -> str:
        """As `Account.digest`."""
        return f"model-{self.sha256}"

    def weights(self, clip: Clip) -> BlockWeights:
        """As `Account.weights`."""
        with TitleManifest(maps_uri(self.out, clip.title_id)) as title:
            rows = list(title.iter_maps(int(clip.numbers[0]), int(clip.numbers[-1]) + 1))
        return at_frames(rows, clip.numbers)

    def truth(self, clip: Clip, numbers: npt.NDArray[np.int64]) -> None:
        """As `Account.truth`: a model is none."""
        return


@dataclass(frozen=True)
class NoAccount:
    """Nobody: PSNR, SSIM and VMAF of the whole picture."""

    name: str = "none"
    says: str = "nobody's: no weights, plain figures alone"

    def group(self, title_id: str) -> str:
        """As `Account.group`."""
        return title_id

    def digest(self, title_id: str) -> str:
        """As `Account.digest`."""
        return "none"

    def weights(self, clip: Clip) -> None:
        """As `Account.weights`."""
        return

    def truth(self, clip: Clip, numbers: npt.NDArray[np.int64]) -> None:
        """As `Account.truth`."""
        return


def at_frames(rows: Sequence[MapRow], numbers: npt.NDArray[np.int64]) -> BlockWeights:
    """The saliency of maps in force at some frames, each map's maximum brought to 1: float32 [n, rows, cols]."""
    return np.stack([to_one(rows[i].saliency) for i in in_force(rows, numbers)])


def in_force(rows: Sequence[MapRow], numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Which map holds each frame: int64 [n], indices into `rows`."""
    return np.searchsorted([row.frame_end for row in rows], numbers, side="right").astype(np.int64)


def to_one(saliency: npt.NDArray[np.uint8]) -> BlockWeights:
    """A map's saliency with its maximum brought to 1: float32 [rows, cols]."""
    exact = saliency.astype(np.float32)
    return exact / max(float(exact.max()), 1.0)
